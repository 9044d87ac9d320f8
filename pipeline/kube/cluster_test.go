package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// api is an API server for tests: it answers discovery itself, and the rest by answer.
type api struct {
	*httptest.Server
	answer http.HandlerFunc
	open   atomic.Int32 // requests that are being answered

	mu    sync.Mutex
	asked []string // method and path with query, discovery left out
}

func newAPI(t *testing.T, answer http.HandlerFunc) (*api, *Cluster) {
	a := &api{answer: answer}
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of each connection that a test ends early
	a.StartTLS()
	t.Cleanup(a.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	c, err := Open(Config{Server: a.URL, CA: string(ca), Token: "token-1\n"})
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

var discoveryAnswers = map[string]string{
	"/version":             `{"major": "1", "minor": "37+", "gitVersion": "v1.37.2-tke.1"}`,
	"/api":                 `{"kind":"APIVersions","versions":["v1"]}`,
	"/apis":                `{"kind":"APIGroupList","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]},{"name":"batch","versions":[{"groupVersion":"batch/v1","version":"v1"}]},{"name":"example.com","versions":[{"groupVersion":"example.com/v1","version":"v1"}]}]}`,
	"/api/v1":              `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","kind":"Pod","namespaced":true},{"name":"events","kind":"Event","namespaced":true},{"name":"secrets","kind":"Secret","namespaced":true},{"name":"services","kind":"Service","namespaced":true},{"name":"configmaps","kind":"ConfigMap","namespaced":true}]}`,
	"/apis/apps/v1":        `{"kind":"APIResourceList","groupVersion":"apps/v1","resources":[{"name":"deployments","kind":"Deployment","namespaced":true},{"name":"replicasets","kind":"ReplicaSet","namespaced":true}]}`,
	"/apis/batch/v1":       `{"kind":"APIResourceList","groupVersion":"batch/v1","resources":[{"name":"jobs","kind":"Job","namespaced":true}]}`,
	"/apis/example.com/v1": `{"kind":"APIResourceList","groupVersion":"example.com/v1","resources":[{"name":"things","kind":"Thing","namespaced":true},{"name":"worlds","kind":"World","namespaced":false}]}`,
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.open.Add(1)
	defer a.open.Add(-1)
	w.Header().Set("Content-Type", "application/json")
	if text, ok := discoveryAnswers[r.URL.Path]; ok {
		fmt.Fprint(w, text)
		return
	}
	a.mu.Lock()
	a.asked = append(a.asked, r.Method+" "+r.URL.RequestURI())
	a.mu.Unlock()
	a.answer(w, r)
}

func writeStatus(w http.ResponseWriter, err *apierrors.StatusError) {
	err.ErrStatus.Kind, err.ErrStatus.APIVersion = "Status", "v1"
	w.WriteHeader(int(err.ErrStatus.Code))
	json.NewEncoder(w).Encode(err.ErrStatus)
}

// thing is an object whose Ready condition has the given status.
func thing(ready string) string {
	return fmt.Sprintf(`{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"a","namespace":"n","uid":"1"},"status":{"conditions":[{"type":"Ready","status":%q,"message":"soon"}]}}`, ready)
}

func list(items ...string) string {
	return `{"apiVersion":"example.com/v1","kind":"ThingList","metadata":{"resourceVersion":"7"},"items":[` + strings.Join(items, ",") + `]}`
}

func wantedThing() []*unstructured.Unstructured {
	obj := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": map[string]any{"name": "a", "namespace": "n"}}}
	return []*unstructured.Unstructured{obj}
}

func TestWaitResumes(t *testing.T) {
	// Each watch is lost in another way, before what it should have told.
	loses := []http.HandlerFunc{
		func(http.ResponseWriter, *http.Request) {}, // ends
		func(w http.ResponseWriter, r *http.Request) { // too old, as an event
			fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old"}}`)
		},
		func(w http.ResponseWriter, r *http.Request) { // too old, as the answer
			writeStatus(w, apierrors.NewResourceExpired("too old"))
		},
		func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },    // broken
		func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"type":"MODI`) }, // cut
		func(w http.ResponseWriter, r *http.Request) { // the server is not well
			writeStatus(w, apierrors.NewInternalError(errors.New("etcd is away")))
		},
	}
	var watches atomic.Int32
	a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			fmt.Fprint(w, list(thing("False")))
			return
		}
		if r.URL.Query().Get("resourceVersion") != "7" {
			t.Errorf("watches from %q", r.URL.Query().Get("resourceVersion"))
		}
		n := int(watches.Add(1)) - 1
		if n < len(loses) {
			loses[n](w, r)
			return
		}
		fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"resourceVersion":"8"}}}`)
		fmt.Fprintln(w, `{"type":"MODIFIED","object":`+thing("True")+`}`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var told []string
	err := c.Wait(ctx, wantedThing(), func(p Progress) {
		if p.Object == "Thing/a" { // on a slow machine also how long the cluster was out of sight
			told = append(told, p.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told, ", "); got != "is not ready: soon, made" {
		t.Errorf("told %q", got)
	}
	if got := int(watches.Load()); got != len(loses)+1 {
		t.Errorf("%d watches", got)
	}
	for deadline := time.Now().Add(5 * time.Second); a.open.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a watch is still open after Wait returned")
		}
	}
	for _, asked := range a.asked {
		if !strings.Contains(asked, "fieldSelector=metadata.name%3Da") {
			t.Errorf("asked for more than the object: %s", asked)
		}
	}
}

func TestWaitEnds(t *testing.T) {
	hold := func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	notReady := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "" {
			hold(w, r)
			return
		}
		fmt.Fprint(w, list(thing("False")))
	}
	for _, test := range []struct {
		name    string
		answer  http.HandlerFunc
		timeout time.Duration
		want    string
		failure bool
	}{
		{"time is up", notReady, 3 * time.Second, "Thing/a: Timeout: time is up: Thing/a is not ready: soon", true},
		{"forbidden", func(w http.ResponseWriter, r *http.Request) {
			writeStatus(w, apierrors.NewForbidden(schema.GroupResource{Group: "example.com", Resource: "things"}, "",
				errors.New(`User "u" cannot list resource "things" in API group "example.com" in the namespace "n"`)))
		}, 20 * time.Second, "not allowed to list things.example.com in namespace n", false},
		{"gone", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, list()) }, 20 * time.Second, "Thing/a: NotFound", true},
		{"deleted", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("watch") == "" {
				fmt.Fprint(w, list(thing("False")))
				return
			}
			fmt.Fprintln(w, `{"type":"DELETED","object":`+thing("False")+`}`)
			hold(w, r)
		}, 20 * time.Second, "Thing/a: NotFound", true},
		{"out of sight", func(w http.ResponseWriter, r *http.Request) {
			writeStatus(w, apierrors.NewInternalError(errors.New("etcd is away")))
		}, 3 * time.Second, "the cluster is out of sight", false},
		{"stalled", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("watch") != "" {
				hold(w, r)
				return
			}
			fmt.Fprint(w, list(strings.Replace(thing("True"), `"Ready"`, `"Stalled"`, 1)))
		}, 20 * time.Second, "Thing/a: Failed: soon", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, c := newAPI(t, test.answer)
			ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
			defer cancel()
			err := c.Wait(ctx, wantedThing(), func(Progress) {})
			var f *Failure
			if err == nil || errors.As(err, &f) != test.failure || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWaitNeedsNothing(t *testing.T) {
	a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) { t.Error("asked ", r.URL) })
	objs := parse(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Secret, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Service, metadata: {name: a}}")
	if err := c.Wait(t.Context(), objs, func(Progress) {}); err != nil || len(a.asked) > 0 {
		t.Errorf("%v, asked %q", err, a.asked)
	}
}

func TestScope(t *testing.T) {
	_, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) { t.Error("asked ", r.Method, r.URL) })
	for _, test := range []struct {
		ref  ObjectRef
		want string
	}{
		{ObjectRef{Group: "example.com", Version: "v1", Kind: "World", Namespace: "n", Name: "a"}, "World/a is not of a namespace but of the whole cluster"},
		{ObjectRef{Group: "example.com", Version: "v1", Kind: "Thing", Name: "a"}, "has no namespace"},
		{ObjectRef{Group: "example.com", Version: "v2", Kind: "Thing", Namespace: "n", Name: "a"}, "the cluster knows no kind Thing in example.com/v2"},
	} {
		obj := &unstructured.Unstructured{Object: map[string]any{}}
		obj.SetGroupVersionKind(test.ref.gvk())
		obj.SetName(test.ref.Name)
		obj.SetNamespace(test.ref.Namespace)
		for _, err := range []error{
			c.Apply(t.Context(), []*unstructured.Unstructured{obj}, ApplyOptions{Force: true}),
			c.Wait(t.Context(), []*unstructured.Unstructured{obj}, func(Progress) {}),
		} {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: got %v, want %q", test.ref, err, test.want)
			}
		}
	}
}

func TestPruneAsks(t *testing.T) {
	owned := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"NAME","namespace":"n","uid":"uid-NAME","labels":{"app.kubernetes.io/managed-by":"shipmate","shipmate.dev/app":"web","shipmate.dev/environment":"ENV"}}}`
	a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Base(r.URL.Path)
		switch {
		case r.Method == http.MethodDelete:
			var opts metav1.DeleteOptions
			if err := json.NewDecoder(r.Body).Decode(&opts); err != nil || opts.Preconditions == nil || string(*opts.Preconditions.UID) != "uid-"+name {
				t.Errorf("deletes %s whatever it is by then: %+v %v", name, opts, err)
			}
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
		case name == "gone":
			writeStatus(w, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name))
		case name == "unlabelled":
			fmt.Fprint(w, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"unlabelled","namespace":"n"}}`)
		case name == "production":
			fmt.Fprint(w, strings.NewReplacer("NAME", name, "ENV", "production").Replace(owned))
		default:
			fmt.Fprint(w, strings.NewReplacer("NAME", name, "ENV", "staging").Replace(owned))
		}
	})
	ref := func(kind, name string) ObjectRef {
		return ObjectRef{Version: "v1", Kind: kind, Namespace: "n", Name: name}
	}
	old := Inventory{ref("ConfigMap", "first"), ref("ConfigMap", "kept"), ref("ConfigMap", "gone"), ref("ConfigMap", "unlabelled"),
		ref("ConfigMap", "production"), ref("PersistentVolumeClaim", "claim"), ref("Namespace", "n"), ref("Unknown", "x"), ref("ConfigMap", "last")}
	kept := ref("ConfigMap", "kept")
	kept.Version = "v2"
	pruned, err := c.Prune(t.Context(), old, Inventory{kept}, owner)
	if err != nil || strings.Join(pruned, " ") != "ConfigMap/last ConfigMap/first" {
		t.Errorf("pruned %q, %v", pruned, err)
	}
	for _, asked := range a.asked {
		if strings.Contains(asked, "kept") || strings.Contains(asked, "claim") || asked == "DELETE /api/v1/namespaces/n" {
			t.Errorf("asked %s", asked)
		}
	}
}

// TestEnsurePullSecret: what is not ours is left alone, what others need of ours stays, and nothing that was written meanwhile is lost.
func TestEnsurePullSecret(t *testing.T) {
	secret := func(labels, config string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"pull","namespace":"n","resourceVersion":"7","labels":{%s}},"data":{".dockerconfigjson":%q}}`,
			labels, base64.StdEncoding.EncodeToString([]byte(config)))
	}
	const ours = `"app.kubernetes.io/managed-by":"shipmate"`
	const auth = `{"auth":"Ym90OnNlc2FtZQ==","password":"sesame","username":"bot"}`
	for name, test := range map[string]struct {
		live, host, want string // the latter of the version that it is put upon, or part of the error
		wrong            bool
	}{
		"none":          {"", "r.example.com", ` {"auths":{"r.example.com":` + auth + `}}`, false},
		"Docker Hub":    {"", "docker.io", ` {"auths":{"https://index.docker.io/v1/":` + auth + `}}`, false},
		"rotated":       {secret(ours, `{"auths":{"r.example.com":{"username":"before"}}}`), "r.example.com", `7 {"auths":{"r.example.com":` + auth + `}}`, false},
		"another host":  {secret(ours, `{"auths":{"a.example.com":{"username":"a"}}}`), "r.example.com", `7 {"auths":{"a.example.com":{"username":"a"},"r.example.com":` + auth + `}}`, false},
		"as it was":     {secret(ours, `{"auths":{"r.example.com":`+auth+`}}`), "r.example.com", "", false},
		"made just now": {"", "b.example.com", `7 {"auths":{"a.example.com":{},"b.example.com":` + auth + `}}`, false},
		"broken":        {secret(ours, `{"auths":null`), "r.example.com", `7 {"auths":{"r.example.com":` + auth + `}}`, false},
		"not ours":      {secret(`"app.kubernetes.io/managed-by":"Helm"`, ""), "r.example.com", "Secret/pull: exists in namespace n and was not made by us; delete it, or choose another name for pull_secret", true},
		"no label":      {secret("", ""), "r.example.com", "was not made by us", true},
		"of a manifest": {secret(ours+`,"shipmate.dev/app":"web"`, ""), "r.example.com", "was not made by us", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, live := "", test.live
			a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost && name == "made just now":
					live = secret(ours, `{"auths":{"a.example.com":{}}}`)
					writeStatus(w, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "secrets"}, "pull"))
				case r.Method == http.MethodPatch, r.Method == http.MethodPost:
					var put struct {
						Metadata struct{ ResourceVersion string }
						Type     string
						Data     map[string][]byte
					}
					if err := json.NewDecoder(r.Body).Decode(&put); err != nil || put.Type != "kubernetes.io/dockerconfigjson" {
						t.Errorf("%v, type %q", err, put.Type)
					}
					got = put.Metadata.ResourceVersion + " " + string(put.Data[".dockerconfigjson"])
					fmt.Fprint(w, secret(ours, ""))
				case live == "":
					writeStatus(w, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, "pull"))
				default:
					fmt.Fprint(w, live)
				}
			})
			err := c.EnsurePullSecret(t.Context(), "n", "pull", test.host, "bot", "sesame")
			switch {
			case test.wrong && (err == nil || !strings.Contains(err.Error(), test.want) || len(a.asked) != 1):
				t.Errorf("%v, asked %q", err, a.asked)
			case !test.wrong && (err != nil || got != test.want):
				t.Errorf("%v, put %s, want %s", err, got, test.want)
			}
		})
	}
}

// TestList reads a kind in a namespace, and explains what is refused.
func TestList(t *testing.T) {
	refused := false
	_, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if refused {
			writeStatus(w, apierrors.NewForbidden(schema.GroupResource{Group: "example.com", Resource: "things"}, "", errors.New("no")))
			return
		}
		if r.URL.Path != "/apis/example.com/v1/namespaces/n/things" {
			t.Errorf("asks for %s", r.URL.Path)
		}
		fmt.Fprint(w, list(thing("True"), strings.Replace(thing("False"), `"name":"a"`, `"name":"b"`, 1)))
	})
	of := RefOf(wantedThing()[0])
	all, err := c.List(t.Context(), of)
	if err != nil || len(all) != 2 || all[0].GetName() != "a" || all[1].GetName() != "b" {
		t.Errorf("%v, %v", all, err)
	}
	refused = true
	if _, err := c.List(t.Context(), of); !errors.As(err, new(*Error)) || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("refused: %v", err)
	}
}

func TestProxy(t *testing.T) {
	const prefix = "/api/v1/namespaces/n/services/web:5000/proxy"
	a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token-1" {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		switch strings.TrimPrefix(r.URL.Path, prefix) {
		case "/away":
			http.Redirect(w, r, "/api/v1/secrets", http.StatusFound)
		case "/large":
			w.Write(make([]byte, 2*maxProxyBody))
		case "/none":
			writeStatus(w, apierrors.NewServiceUnavailable(`no endpoints available for service "web"`))
		case "/sick":
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, "sick")
		default:
			fmt.Fprint(w, r.URL.RequestURI())
		}
	})
	for _, test := range []struct {
		path   string
		status int
		body   string // what was asked for, below the service
	}{
		{"/healthz", 200, "/healthz"},
		{"healthz", 200, "/healthz"},
		{"", 200, "/"},
		{"/a/b/?x=1&y=%2F", 200, "/a/b/?x=1&y=%2F"},
		{"/a b", 200, "/a%20b"},
		{"/../../../../secrets", 200, "/secrets"},
		{"/..%2f..%2f..%2fsecrets", 200, "/secrets"},
		{"/%2e%2e/%2e%2e/secrets", 200, "/secrets"},
		{"/%252e%252e/secrets", 200, "/%252e%252e/secrets"},
		{"//evil.example.com/x", 200, "/evil.example.com/x"},
		{"https://evil.example.com/x", 200, "/https:/evil.example.com/x"},
	} {
		status, body, err := c.Proxy(t.Context(), "n", "web", "5000", test.path)
		if err != nil || status != test.status || string(body) != prefix+test.body {
			t.Errorf("%q: %d %q %v", test.path, status, body, err)
		}
	}
	if status, _, err := c.Proxy(t.Context(), "n", "web", "5000", "/away"); err != nil || status != http.StatusFound {
		t.Errorf("redirect: %d %v", status, err)
	}
	if slices.Contains(a.asked, "GET /api/v1/secrets") {
		t.Error("a redirect was followed with our credentials")
	}
	if status, body, err := c.Proxy(t.Context(), "n", "web", "5000", "/large"); err != nil || status != 200 || len(body) != maxProxyBody {
		t.Errorf("large: %d, %d bytes, %v", status, len(body), err)
	}
	if status, body, err := c.Proxy(t.Context(), "n", "web", "5000", "/sick"); err != nil || status != 500 || string(body) != "sick" {
		t.Errorf("sick: %d %q %v", status, body, err)
	}
	if _, _, err := c.Proxy(t.Context(), "n", "web", "5000", "/none"); err == nil || !strings.Contains(err.Error(), "no endpoints available") {
		t.Errorf("no endpoints: %v", err)
	}
	before := len(a.asked)
	for _, bad := range [][3]string{
		{"n/../kube-system", "web", "5000"}, {"", "web", "5000"}, {"n", "web/x", "5000"}, {"n", "web", "5000/proxy"}, {"n", "https:web", "5000"},
		{"n", "..", "5000"}, {"n", "web", ""}, {"n", "web", "%2e%2e"}, {"n", "web?x", "1"},
	} {
		if _, _, err := c.Proxy(t.Context(), bad[0], bad[1], bad[2], "/"); err == nil {
			t.Errorf("%q was reached", bad)
		}
	}
	if _, _, err := c.Proxy(t.Context(), "n", "web", "5000", "/%zz"); err == nil {
		t.Error("a broken path was reached")
	}
	if len(a.asked) != before {
		t.Errorf("asked %q", a.asked[before:])
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	err := os.WriteFile(kubeconfig, []byte(`
apiVersion: v1
kind: Config
current-context: one
clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: secret-token}}]
contexts: [{name: one, context: {cluster: a, user: u}}]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("a: [secret-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	noCurrent := filepath.Join(dir, "no-current")
	if err := os.WriteFile(noCurrent, []byte("{contexts: [{name: one, context: {}}]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		cfg  Config
		want string // empty: no error
	}{
		{"kubeconfig", Config{Kubeconfig: kubeconfig}, ""},
		{"context", Config{Kubeconfig: kubeconfig, Context: "one"}, ""},
		{"unknown context", Config{Kubeconfig: kubeconfig, Context: "two"}, `has no context "two"; it has: one`},
		{"no current context", Config{Kubeconfig: noCurrent}, "has no current context; write which one is meant as context; it has: one"},
		{"missing file", Config{Kubeconfig: filepath.Join(dir, "none")}, "no such file"},
		{"broken file", Config{Kubeconfig: broken}, "kubeconfig " + broken},
		{"server", Config{Server: "https://10.0.0.1:6443", Token: "secret-token"}, ""},
		{"nothing", Config{}, "neither kubeconfig nor server"},
		{"both", Config{Kubeconfig: kubeconfig, Server: "https://a"}, "both kubeconfig and server"},
		{"no URL", Config{Server: "10.0.0.1:6443"}, "is not a URL"},
		{"plain HTTP with a token", Config{Server: "http://10.0.0.1", Token: "secret-token"}, "use https"},
		{"bad CA", Config{Server: "https://a", CA: "ca.pem"}, "certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open(test.cfg)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			case err != nil && strings.Contains(err.Error(), "secret-token"):
				t.Errorf("%q shows the token", err)
			}
		})
	}
}
