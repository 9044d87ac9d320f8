//go:build e2e

// Package page has Chromium look at the pages, on the real parts of package e2e: what people do there is in page.test.mjs.
package page

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/e2e"
	"github.com/shipmate-dev/shipmate/internal/sim"
)

// TestPage starts the parts, and plays page.test.mjs on them.
func TestPage(t *testing.T) {
	ctx := t.Context()
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%6.1f  "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
	}
	bot, modules := os.Getenv("SHIPMATE_BOT"), os.Getenv("SHIPMATE_MODULES")
	if bot == "" || modules == "" {
		t.Fatal("SHIPMATE_BOT and SHIPMATE_MODULES are not set; make e2e-page does that")
	}
	stack, err := e2e.Start(ctx, e2e.Options{Bot: bot, Bin: os.Getenv("SHIPMATE_BIN"), App: "../../app.yaml", Say: say})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the bot's log:\n" + stack.BotLog())
		}
		if err := stack.Close(); err != nil {
			t.Error("taking the stack down:", err)
		}
	})
	x, err := stack.NewExample("../../examples/devops-app")
	if err != nil {
		t.Fatal(err)
	}
	x.Repo.SetPermission("dave", "admin", "")
	stack.GitHub.AddUser("frank") // whom nobody lets see anything
	w := &world{Example: x, gate: map[string]chan struct{}{}}
	control := httptest.NewServer(w)
	t.Cleanup(func() {
		control.CloseClientConnections() // a build may wait at a gate
		control.Close()
	})
	if w.files, err = x.Files(); err != nil {
		t.Fatal(err)
	}
	w.files[".shipmate.yaml"] = strings.NewReplacer("branches: [master]", `branches: [master, '/^topic\//']`, "{count: 1}", "{count: 1, by: [alice, bob]}").Replace(w.files[".shipmate.yaml"])
	shots := os.Getenv("SHIPMATE_SHOTS")
	if shots == "" {
		shots = t.TempDir()
	}
	if shots, err = filepath.Abs(shots); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	given, err := json.Marshal(map[string]any{
		"bot": stack.BotURL, "control": control.URL, "modules": modules, "shots": shots, "setup": setUp(t, bot), "root": os.Geteuid() == 0,
	})
	if err != nil {
		t.Fatal(err)
	}
	say("the parts are there")
	cmd := exec.CommandContext(ctx, "node", "--test", "--test-reporter=spec", "page.test.mjs")
	cmd.Env = append(os.Environ(), "SHIPMATE_PAGE="+string(given))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with the browser
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(os.Stdout, &out), io.MultiWriter(os.Stderr, &out)
	if err := cmd.Run(); err != nil {
		t.Errorf("page.test.mjs: %v", err)
	}
	if ran := regexp.MustCompile(`(?m)^ℹ pass (\d+)$`).FindStringSubmatch(out.String()); ran == nil || ran[1] == "0" {
		t.Error("no test of page.test.mjs passed: were there any?")
	}
	if v := stack.GitHub.Violations(); len(v) > 0 {
		t.Errorf("requests that GitHub's own description forbids: %s", strings.Join(v, "\n"))
	}
	say("the pages are looked at")
}

// A world is what the browser's test has happen outside of the browser: POST /NAME with what the step needs as JSON.
type world struct {
	*e2e.Example
	files map[string]string // of the example

	mu   sync.Mutex
	gate map[string]chan struct{} // closed when it is open
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if name, ok := strings.CutPrefix(r.URL.Path, "/gate/"); ok { // a build waits at one
		select {
		case <-w.at(name):
		case <-r.Context().Done():
		}
		return
	}
	answer, err := w.do(r)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(rw).Encode(answer) // the test has gone
}

// at is a gate, shut at first.
func (w *world) at(name string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gate[name] == nil {
		w.gate[name] = make(chan struct{})
	}
	return w.gate[name]
}

func (w *world) do(r *http.Request) (any, error) {
	var step struct {
		Branch, Author, Message string
		Files                   map[string]string            // empty: the example's
		Replace                 map[string]map[string]string // in the example's file of that name
		SHA, Name, Want         string
		Namespace, Path         string
	}
	if err := json.NewDecoder(r.Body).Decode(&step); err != nil {
		return nil, err
	}
	ctx := r.Context()
	switch r.URL.Path {
	case "/push":
		files := map[string]string{}
		for name, text := range w.files {
			for old, now := range step.Replace[name] {
				if !strings.Contains(text, old) {
					return nil, fmt.Errorf("%s has no %q", name, old)
				}
				text = strings.ReplaceAll(text, old, now)
			}
			files[name] = text
		}
		for name, text := range step.Files {
			files[name] = text
		}
		return w.Repo.Commit(step.Branch, step.Author, step.Message, files)
	case "/status":
		return w.Status(ctx, step.SHA, step.Name, step.Want)
	case "/live":
		return nil, w.Live(ctx, step.Namespace, step.Path, step.Want)
	case "/open":
		close(w.at(step.Name))
		return nil, nil
	}
	return nil, fmt.Errorf("%s is no step", r.URL.Path)
}

// setUp starts a bot that has no App, with a GitHub of its own, and returns the address that it logs.
func setUp(t *testing.T, bot string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	gh, err := sim.NewGitHub(sim.GitHubConfig{Dir: filepath.Join(dir, "github")})
	if err == nil {
		err = gh.Start("127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = gh.Close() }) // nothing depends on its end
	// It makes acme too.
	if _, err := gh.CreateRepo("acme/devops-app", sim.RepoOptions{}); err != nil {
		t.Fatal(err)
	}
	gh.AddUser("erin")
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free now
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "shipmate.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "listen: %s\ndata_dir: data\n", listen), 0o600); err != nil {
		t.Fatal(err)
	}
	// It outlives the test's context: the cleanup ends it, and sees how.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), bot, "serve", "--config", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	read := make(chan struct{})
	go func() { // until it ends
		defer close(read)
		defer close(address)
		found := regexp.MustCompile(`http://\S+/setup\?code=[A-Z2-7]{26}`)
		log := bufio.NewScanner(out)
		for log.Scan() {
			if a := found.FindString(log.Text()); a != "" {
				select {
				case address <- a:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // the wait below tells if it ended before
		<-read
		if err := cmd.Wait(); err != nil {
			t.Error("the bot that was set up:", err)
		}
	})
	select {
	case a, ok := <-address:
		if !ok {
			t.Fatal(errors.New("the bot without an App logs no address"))
		}
		return map[string]string{"address": a, "github": gh.URL(), "public": "http://" + listen, "dir": dir}
	case <-time.After(time.Minute):
		t.Fatal("the bot without an App logs no address within a minute")
	}
	return nil
}
