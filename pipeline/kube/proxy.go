package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxProxyBody bounds what Proxy reads, in bytes.
const maxProxyBody = 1 << 20

// proxyName matches what may name a namespace, a service and a port in a proxy path
// (RFC 1123 labels, port numbers).
var proxyName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Proxy gets pathAndQuery, as in /healthz?full=1, from a port (number or name) of a
// Service through the API server, and returns what the service answered: the status,
// and at most the first MiB of the body. No redirect is followed, and no path leaves
// the service. What the API server itself answers, as that the service has no
// endpoints, is an *Error.
func (c *Cluster) Proxy(ctx context.Context, namespace, service, port, pathAndQuery string) (status int, body []byte, err error) {
	ref := ObjectRef{Version: "v1", Kind: "Service", Namespace: namespace, Name: service}
	for _, name := range []string{namespace, service, port} {
		if !proxyName.MatchString(name) {
			return 0, nil, fmt.Errorf("reach %s: %q is not the name of a namespace, service or port", ref, name)
		}
	}
	asked, err := url.Parse("/" + strings.TrimLeft(pathAndQuery, "/"))
	if err != nil {
		return 0, nil, fmt.Errorf("reach %s: %q is not a path", ref, pathAndQuery)
	}
	// Cleaned after decoding, so that no .. in any spelling leads to another part of the API.
	inner := path.Clean("/" + asked.Path)
	if strings.HasSuffix(asked.Path, "/") && inner != "/" {
		inner += "/"
	}
	status, body, err = c.fetch(ctx, ref, fmt.Sprintf("/api/v1/namespaces/%s/services/%s:%s/proxy%s", namespace, service, port, inner), asked.RawQuery, maxProxyBody)
	if err != nil {
		return 0, nil, err
	}
	if err := answerOfAPI(status, body); err != nil {
		return 0, nil, explain("reach", ref, err)
	}
	return status, body, nil
}

// Limits of a log excerpt.
const (
	logLines = 20
	logBytes = 64 << 10
	lineSize = 500
)

// logs returns the last lines of a container's log, at most so many.
func (c *Cluster) logs(ctx context.Context, namespace, pod, container string, previous bool, most int) ([]string, error) {
	query := url.Values{
		"container":  {container},
		"tailLines":  {strconv.Itoa(most)},
		"limitBytes": {strconv.Itoa(logBytes)},
		"previous":   {strconv.FormatBool(previous)},
	}
	ref := ObjectRef{Version: "v1", Kind: "Pod", Namespace: namespace, Name: pod}
	status, body, err := c.fetch(ctx, ref, fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/log", namespace, pod), query.Encode(), logBytes)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		if err := answerOfAPI(status, body); err != nil {
			return nil, explain("read the log of", ref, err)
		}
		return nil, fmt.Errorf("read the log of %s: status %d", ref, status)
	}
	text := strings.TrimRight(strings.ToValidUTF8(string(body), "?"), "\r\n")
	if text == "" {
		return nil, nil
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-most):]
	for i, line := range lines {
		if len(line) > lineSize {
			line = strings.ToValidUTF8(line[:lineSize], "") + "…"
		}
		lines[i] = strings.TrimRight(line, "\r")
	}
	return lines, nil
}

// fetch gets one path of the API server and returns what it answers, up to limit bytes.
func (c *Cluster) fetch(ctx context.Context, ref ObjectRef, path, query string, limit int64) (int, []byte, error) {
	u := *c.server
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+path, ""
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, nil, fmt.Errorf("reach %s: %w", ref, err)
	}
	return c.do(req, ref, limit)
}

// do sends one request to the API server and returns what it answers, up to limit bytes.
func (c *Cluster) do(req *http.Request, ref ObjectRef, limit int64) (int, []byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, explain("reach", ref, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil {
		return 0, nil, explain("reach", ref, err)
	}
	return resp.StatusCode, body, nil
}

// answerOfAPI returns the error that the API server itself answered, nil if the
// answer is not of that form.
func answerOfAPI(code int, body []byte) error {
	var s metav1.Status
	if code < 400 || json.Unmarshal(body, &s) != nil || s.Kind != "Status" || s.APIVersion != "v1" {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: s}
}
