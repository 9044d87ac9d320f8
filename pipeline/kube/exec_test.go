package kube

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestExecRefused: what an API server answers instead of a connection is what the connection's reads say, with a remedy.
// That a command's input and output do come through, a test on the real cluster shows.
func TestExecRefused(t *testing.T) {
	for name, test := range map[string]struct {
		code    int
		message string
		want    string
	}{
		"RBAC": {403, `pods "buildkitd-0" is forbidden: User "system:serviceaccount:build:shipmate" cannot create resource "pods/exec" in API group "" in the namespace "build"`,
			"Pod/buildkitd-0: not allowed to create pods/exec in namespace build; grant it"},
		"no such pod":       {404, `pods "buildkitd-0" not found`, "kubectl get pods --namespace build"},
		"no such container": {400, "container x is not valid for pod buildkitd-0", "is that the container's name?"},
		"not running yet":   {500, `unable to upgrade connection: container not found ("buildkitd")`, "is the pod running"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Method+" "+r.URL.RequestURI())
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.code)
				_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(test.code), Message: test.message})
			}))
			defer server.Close()
			c, err := Open(Config{Server: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			conn, err := c.Exec(t.Context(), Pod{Namespace: "build", Name: "buildkitd-0", Container: "x"}, "buildctl", "dial-stdio")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.ReadAll(conn); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			const path = " /api/v1/namespaces/build/pods/buildkitd-0/exec?command=buildctl&command=dial-stdio&container=x&stderr=true&stdin=true&stdout=true"
			if got, want := strings.Join(asked, "\n"), "GET"+path+"\nPOST"+path; got != want {
				t.Errorf("asked\n%s\nwant WebSocket, then SPDY:\n%s", got, want)
			}
		})
	}
}

// TestExecClose: closing the connection ends the request, also one that is not answered.
func TestExecClose(t *testing.T) {
	asked, left := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(left)
	}))
	defer server.Close()
	c, err := Open(Config{Server: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Exec(t.Context(), Pod{Namespace: "build", Name: "buildkitd-0"}, "buildctl", "dial-stdio")
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	<-left
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a closed connection reads")
	}
}
