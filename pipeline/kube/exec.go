package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// Pod names a container that runs.
type Pod struct {
	Namespace string
	Name      string
	Container string // empty: the pod's only one, or the one that it calls its default
}

func (p Pod) ref() ObjectRef {
	return ObjectRef{Version: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name}
}

// Exec starts a command in a pod, and returns its standard input and output as a connection (Kubernetes API reference,
// "create connect POST requests to exec of Pod"): by WebSocket, or by SPDY where the API server, or a proxy before it, knows
// no better. The connection outlives ctx and ends the command when it is closed. Whatever goes wrong, also that the command
// could not be started, is the error of its reads and writes.
func (c *Cluster) Exec(ctx context.Context, p Pod, command ...string) (net.Conn, error) {
	u := *c.server
	u.Path, u.RawPath = fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s/exec", strings.TrimSuffix(u.Path, "/"), p.Namespace, p.Name), ""
	u.RawQuery = url.Values{"container": {p.Container}, "command": command, "stdin": {"true"}, "stdout": {"true"}, "stderr": {"true"}}.Encode()
	web, err := remotecommand.NewWebSocketExecutor(c.endless, http.MethodGet, u.String())
	if err != nil {
		return nil, fmt.Errorf("exec in %s: %w", p.ref(), err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.endless, http.MethodPost, &u)
	if err != nil {
		return nil, fmt.Errorf("exec in %s: %w", p.ref(), err)
	}
	executor, err := remotecommand.NewFallbackExecutor(web, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, fmt.Errorf("exec in %s: %w", p.ref(), err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	// client-go does not let go of an API server that takes the connection and never answers.
	running = httptrace.WithClientTrace(running, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		context.AfterFunc(running, func() { _ = info.Conn.Close() })
	}})
	near, far := net.Pipe()
	conn := &execConn{Conn: near, stop: stop, ended: make(chan struct{})}
	go func() { // until the command ends, or Close
		defer far.Close()
		defer close(conn.ended)
		said := &firstBytes{}
		err := executor.StreamWithContext(quiet(running), remotecommand.StreamOptions{Stdin: far, Stdout: far, Stderr: said})
		if running.Err() == nil {
			conn.err = explainExec(p, command[0], err, said.String())
		}
	}()
	return conn, nil
}

// execConn is our end of a command's input and output.
type execConn struct {
	net.Conn
	stop  context.CancelFunc
	ended chan struct{}
	err   error // why it ended; read when ended is closed
}

// Read tells why the command ended instead of that it did.
func (c *execConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.reason(err)
}

// Write does as Read does.
func (c *execConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.reason(err)
}

func (c *execConn) reason(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrClosedPipe) {
		select {
		case <-c.ended:
			if c.err != nil {
				return c.err
			}
		default: // it was closed by us
		}
	}
	return err
}

// Close ends the command.
func (c *execConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// missingPod is how the API server says it; client-go passes on no more than the words.
var missingPod = regexp.MustCompile(`pods "[^"]*" not found`)

func explainExec(p Pod, program string, err error, said string) error {
	var exit exec.CodeExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		if said = oneLine(said); said == "" {
			said = "it says nothing"
		}
		return fmt.Errorf("%s in %s ended with exit code %d: %s", program, p.ref(), exit.Code, said)
	}
	err = explain("exec in", p.ref(), err)
	var e *Error
	if !errors.As(err, &e) || e.Hint != "" {
		return err
	}
	switch {
	case rbacRefusal.MatchString(e.Message):
		explainForbidden(e)
	case missingPod.MatchString(e.Message):
		e.Hint = fmt.Sprintf("kubectl get pods --namespace %s shows those that there are", p.Namespace)
	case strings.Contains(e.Message, "executable file not found"), strings.Contains(e.Message, "no such file or directory"):
		e.Hint = "the container's image must have the program " + program
	case strings.Contains(e.Message, "container not found"), strings.Contains(e.Message, "is not valid for pod"):
		e.Hint = "is the pod running, and is that the container's name?"
	}
	return err
}

// firstBytes keeps the beginning of what is written.
type firstBytes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (f *firstBytes) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.b.Write(p[:min(len(p), max(0, 4<<10-f.b.Len()))])
	return len(p), nil
}

func (f *firstBytes) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.b.String()
}
