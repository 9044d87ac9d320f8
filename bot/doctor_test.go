package bot

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	control "github.com/moby/buildkit/api/services/control"
	types "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// A ward is a server's file with all that it leads to, in good health.
type ward struct {
	dir, text string
	gh        *sim.GitHub
	repo      *sim.Repo
	slack     *sim.Slack
	wecom     *sim.WeCom
	daemon    *fakeDaemon
	registry  atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool] // answers itself, and says so
	kube      atomic.Pointer[func(a authorizationv1.ResourceAttributes) bool]   // what is allowed
	gone      atomic.Bool                                                       // the namespace
	hook      atomic.Int32                                                      // what deliveries are answered with
	now       func() time.Time
}

// fakeDaemon is a BuildKit daemon that knows its workers, and nothing else.
type fakeDaemon struct {
	control.UnimplementedControlServer
	none atomic.Bool
}

func (d *fakeDaemon) ListWorkers(context.Context, *control.ListWorkersRequest) (*control.ListWorkersResponse, error) {
	if d.none.Load() {
		return &control.ListWorkersResponse{}, nil
	}
	return &control.ListWorkersResponse{Record: []*types.WorkerRecord{{ID: "a", Platforms: []*pb.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm", Variant: "v7"}}}}}, nil
}

func newWard(t *testing.T) *ward {
	t.Helper()
	w := &ward{dir: t.TempDir(), daemon: &fakeDaemon{}, slack: sim.NewSlack(slackToken, "C1"), wecom: sim.NewWeCom(robotKey), now: time.Now}
	m, err := appManifest()
	must(t, err)
	w.gh, err = sim.NewGitHub(sim.GitHubConfig{Dir: filepath.Join(w.dir, "github"), Secret: hookSecret, Permissions: m.Permissions, Events: m.Events, CallbackURL: publicURL + "/auth/callback"})
	must(t, err)
	must(t, w.gh.Start("127.0.0.1:0"))
	t.Cleanup(func() {
		for _, v := range w.gh.Violations() {
			t.Errorf("GitHub's description forbids: %s", v)
		}
		_ = w.gh.Close() // nothing hangs on it
	})
	w.repo, err = w.gh.CreateRepo("acme/web", sim.RepoOptions{})
	must(t, err)
	w.wecom.SetApp("ww1", corpSecret, 7)
	w.gh.AddUser("alice")
	w.gh.SetClientSecret("client-secret-31")
	w.hook.Store(http.StatusAccepted)
	hook := w.serve(t, func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(int(w.hook.Load())) })
	w.gh.SetHook(hook+"/webhooks/github", hookSecret)
	w.push(t)

	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	host := strings.TrimPrefix(w.serve(t, func(rw http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "pusher" && user != "puller" || password != dockerToken {
			rw.Header().Set("WWW-Authenticate", "Basic realm=x")
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		if answers := w.registry.Load(); answers == nil || !(*answers)(rw, r) {
			images.ServeHTTP(rw, r)
		}
	}), "http://")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	builder := grpc.NewServer()
	control.RegisterControlServer(builder, w.daemon)
	go builder.Serve(l) //nolint:errcheck // until Stop
	t.Cleanup(builder.Stop)

	cluster := httptest.NewUnstartedServer(http.HandlerFunc(w.api))
	cluster.Config.ErrorLog = log.New(io.Discard, "", 0)
	cluster.StartTLS()
	t.Cleanup(cluster.Close)

	for name, content := range map[string]string{"app.pem": string(w.gh.PrivateKeyPEM()), "hook": hookSecret, "client": "client-secret-31", "pusher": "pusher", "puller": "puller", "password": dockerToken,
		"robot": robotKey, "corp": corpSecret, "aes": callbackKey, "slack": slackToken, "app": appToken, "api": apiToken, "read": readToken, "kube": "kube-token-55", "wrong": "wrong-secret-99",
		"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw}))} {
		must(t, os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600))
	}
	w.text = fmt.Sprintf(`public_url: https://ship.example.com
github:
  api_url: %s
  app_id: %d
  private_key: file:app.pem
  webhook_secrets: [file:hook]
  client_id: %s
  client_secret: file:client
  allow: ["acme/*"]
builder: {buildkit: ["tcp://%s"]}
registries:
  %q: {username: file:pusher, password: file:password, plain_http: true, pull: {username: file:puller, password: file:password}, allow: [{repositories: ["acme/web"], paths: [team, team/web]}]}
clusters:
  prod: {server: %q, ca: file:ca.pem, token: file:kube, allow: [{repositories: ["acme/web"], namespaces: [production]}]}
chat:
  wecom: {ops: {robot_keys: [file:robot], base_url: %[7]q}, desk: {corp_id: ww1, agent_id: 7, secret: file:corp, token: file:corp, aes_key: file:aes, base_url: %[7]q}, helper: {token: file:corp, aes_key: file:aes}}
  slack: {team: {bot_token: file:slack, base_url: %[8]q}}
api_tokens:
  - {name: ci, github: alice, token: file:api, may: [trigger]}
`, w.gh.APIURL(), w.gh.AppID(), w.gh.ClientID(), l.Addr(), host, cluster.URL, w.serve(t, w.wecom.ServeHTTP), w.serve(t, w.slack.ServeHTTP)+"/api/")
	return w
}

func (w *ward) serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// push has GitHub deliver something, and then send to public_url: there is nobody.
func (w *ward) push(t *testing.T) {
	t.Helper()
	_, err := w.repo.Commit("master", "alice", "Ship", map[string]string{"a": time.Now().String()})
	must(t, err)
	must(t, w.gh.Flush(t.Context()))
	w.gh.SetHook(publicURL+"/webhooks/github", hookSecret)
}

// api is the API server of a cluster.
// kindsOfAPI is what the API server tells of kinds.
var kindsOfAPI = map[string]string{
	"/api":                          `{"kind":"APIVersions","versions":["v1"]}`,
	"/api/v1":                       `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["get"]}]}`,
	"/apis":                         `{"kind":"APIGroupList","groups":[{"name":"apiextensions.k8s.io","versions":[{"groupVersion":"apiextensions.k8s.io/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apiextensions.k8s.io/v1","version":"v1"}}]}`,
	"/apis/apiextensions.k8s.io/v1": `{"kind":"APIResourceList","groupVersion":"apiextensions.k8s.io/v1","resources":[{"name":"customresourcedefinitions","kind":"CustomResourceDefinition","verbs":["get"]},{"name":"customresourcedefinitions/status","kind":"CustomResourceDefinition","verbs":["get"]}]}`,
}

func (w *ward) api(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	switch {
	case r.Header.Get("Authorization") != "Bearer kube-token-55":
		rw.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(rw, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`)
	case r.Method == http.MethodGet && kindsOfAPI[r.URL.Path] != "":
		fmt.Fprint(rw, kindsOfAPI[r.URL.Path])
	case r.Method == http.MethodGet && w.gone.Load():
		rw.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodGet: // it may not look
		rw.WriteHeader(http.StatusForbidden)
	default:
		var review authorizationv1.SelfSubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || r.URL.Path != "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" || review.Spec.ResourceAttributes.Namespace != "production" && !strings.HasPrefix(review.Spec.ResourceAttributes.Resource, "c") {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		allowed := w.kube.Load()
		review.Status.Allowed = allowed == nil || (*allowed)(*review.Spec.ResourceAttributes)
		rw.WriteHeader(http.StatusCreated)
		json.NewEncoder(rw).Encode(review) //nolint:errcheck // the client has gone
	}
}

// examine is what the doctor says.
func (w *ward) examine(t *testing.T, send bool) (said string, err error) {
	t.Helper()
	file := filepath.Join(w.dir, "shipmate.yaml")
	must(t, os.WriteFile(file, []byte(w.text), 0o600))
	cfg, err := LoadConfig(file)
	must(t, err)
	var out strings.Builder
	err = Doctor(t.Context(), cfg, send, &out)
	for _, secret := range append(cfg.Secrets(), "PRIVATE KEY") {
		if strings.Contains(strings.ReplaceAll(out.String(), "pusher", ""), secret) && secret != "puller" && secret != "pusher" {
			t.Errorf("it tells the secret %q: %s", secret, out.String())
		}
	}
	return out.String(), err
}

func (w *ward) change(t *testing.T, old, new string) {
	t.Helper()
	if !strings.Contains(w.text, old) {
		t.Fatalf("the file has no %q", old)
	}
	w.text = strings.Replace(w.text, old, new, 1)
}

// sentence is what a line of the doctor's looks like.
var sentence = regexp.MustCompile(`^(ok  |warn|FAIL)  [a-z]\S*.*: \S.*$`)

func TestDoctorAllGreen(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.slack.SetScopes("chat:write,channels:history")
	said, err := w.examine(t, true)
	must(t, err)
	var begin []string
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "ok    ") || !sentence.MatchString(strings.TrimSpace(line)) {
			t.Errorf("%s", line)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "ok    "), " ")
		begin = append(begin, name)
	}
	if want := strings.Fields("public_url: data_dir: github github github github github github builder registry registry registry registry cluster chat.wecom.desk: chat.wecom.helper: chat.wecom.ops: chat.slack.team: api_tokens:"); !slices.Equal(begin, want) {
		t.Errorf("the order is %v, want %v\n%s", begin, want, said)
	}
	for _, want := range []string{"linux/amd64, linux/arm/v7", "pushed, pulled and deleted", "clusters can pull", "Slack knows us as shipmate in acme", "the last 1 arrived"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	if n := len(w.wecom.Messages(robotKey)); n != 1 {
		t.Errorf("%d messages were sent", n)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "data")); err == nil {
		t.Error("it made the data directory")
	}
	again, err := w.examine(t, true)
	must(t, err)
	if digits := regexp.MustCompile(`[\d.]+ GiB`); digits.ReplaceAllString(again, "") != digits.ReplaceAllString(said, "") {
		t.Errorf("it says something else each time:\n%s%s", said, again)
	}
}

// TestDoctorFinds: each thing that can be wrong is told on its line with what to do, and nothing else fails by it.
func TestDoctorFinds(t *testing.T) {
	t.Parallel()
	permissions := func(edit func(map[string]string)) map[string]string {
		m, err := appManifest()
		must(t, err)
		edit(m.Permissions)
		return m.Permissions
	}
	for name, test := range map[string]struct {
		sick func(t *testing.T, w *ward)
		want []string // regular expressions of lines, each of another one
		also int      // failures besides those
	}{
		"an address of this machine": {func(t *testing.T, w *ward) {
			w.change(t, publicURL, "http://127.0.0.1:8080")
		}, []string{`^warn  public_url: .* this machine alone.*; write public_url`, `^FAIL  github webhook: GitHub sends to "https://ship.example.com/webhooks/github", .*; write the latter`, `^FAIL  github sign-in: .*; make public_url one that begins with https`}, 0},
		"in the clear":        {func(t *testing.T, w *ward) { w.change(t, "https://ship", "http://ship") }, []string{`^warn  public_url: .*in the clear.*; put a proxy`}, 2},
		"a private address":   {func(t *testing.T, w *ward) { w.change(t, "https://ship.example.com", "https://10.1.2.3") }, []string{`^warn  public_url: .*private network.*; let /webhooks/github`}, 1},
		"everywhere":          {func(t *testing.T, w *ward) { w.change(t, "https://ship.example.com", "https://0.0.0.0") }, []string{`^FAIL  public_url: .*leads nowhere; write public_url`}, 1},
		"no folder":           {func(t *testing.T, w *ward) { w.text += "data_dir: ./app.pem\ndata_key: file:api\n" }, []string{`^FAIL  data_dir: .*; (choose|let)`}, 0},
		"a folder made ready": {func(t *testing.T, w *ward) { must(t, os.Mkdir(filepath.Join(w.dir, "data"), 0o700)) }, []string{`^ok    data_dir: .*/data can be written; .* GiB are free`}, 0},
		"another key":         {func(t *testing.T, w *ward) { w.change(t, "private_key: file:app.pem", "private_key: file:wrong") }, []string{`^FAIL  github: .*not an RSA key.*; make a new key`, `^warn  api_tokens: ci acts as alice, whom GitHub could not be asked about; mend`}, 0},
		"another app": {func(t *testing.T, w *ward) { w.change(t, "app_id: ", "app_id: 9") }, []string{`^FAIL  github app: .*; check github.app_id`, `^FAIL  github installations: .*; check`, `^FAIL  github webhook: `,
			`^FAIL  github deliveries: `, `^ok    github sign-in: `}, 0},
		"no GitHub": {func(t *testing.T, w *ward) { w.change(t, w.gh.APIURL(), "http://127.0.0.1:1/") }, []string{`^FAIL  github app: .*connection refused; check github.api_url`, `^FAIL  github sign-in: .*; let this machine reach`}, 3},
		"a slow GitHub": {func(t *testing.T, w *ward) { w.gh.SlowDown(examTime + 2*time.Second) },
			[]string{`^FAIL  github app: no answer within 10s; check`, `^FAIL  github deliveries: no answer within 10s`, `^ok    builder`}, 3},
		"a permission of the App": {func(t *testing.T, w *ward) {
			w.register(t, func(m *manifest) { delete(m.Permissions, "packages"); m.Permissions["checks"] = "read" })
		}, []string{`^FAIL  github app: shipmate lacks the permissions checks: write, packages: read; give it them in the App's settings, http`}, 0},
		"too much": {func(t *testing.T, w *ward) { w.register(t, func(m *manifest) { m.Permissions["contents"] = "write" }) }, []string{`^warn  github app: it has more permissions than it needs: contents: write; take them away`}, 0},
		"an event": {func(t *testing.T, w *ward) { w.register(t, func(m *manifest) { m.Events = m.Events[1:] }) }, []string{`^FAIL  github app: shipmate does not get the events push; subscribe`}, 0},
		"not accepted": {func(t *testing.T, w *ward) {
			w.gh.SetInstallation("acme", permissions(func(p map[string]string) { delete(p, "checks"); p["issues"] = "read" }), false)
		}, []string{`^FAIL  github installations: the one of acme lacks checks: write, issues: write; an owner of acme accepts .* http`}, 0},
		"suspended": {func(t *testing.T, w *ward) {
			w.gh.SetInstallation("acme", permissions(func(map[string]string) {}), true)
		}, []string{`^FAIL  github installations: the one of acme is suspended; an owner of acme unsuspends`, `^warn  api_tokens: `}, 0},
		"installed nowhere": {func(t *testing.T, w *ward) { w.gh.Uninstall("acme") }, []string{`^FAIL  github installations: the App is installed nowhere; install it`, `^warn  api_tokens: `}, 0},
		"nobody allowed":    {func(t *testing.T, w *ward) { w.change(t, "  allow: [\"acme/*\"]\n", "") }, []string{`^FAIL  github installations: no repository may use this server; write which, as in allow: \["acme/\*"\]`, `^warn  github installations: acme has the App, .*; add "acme/\*" to github.allow`}, 0},
		"allowed in vain": {func(t *testing.T, w *ward) {
			w.change(t, "  allow: [\"acme/*\"]\n", "  allow: [\"acme/*\", \"other/x\"]\n")
		}, []string{`^warn  github installations: github.allow names other, .*; install it there`}, 0},
		"not among them": {func(t *testing.T, w *ward) {
			w.change(t, "  allow: [\"acme/*\"]\n", "  allow: [\"acme/web\", \"Acme/none\"]\n")
		}, []string{`^warn  github installations: github.allow names Acme/none, which is not among .*; add it`, `^ok    github installations: acme has accepted`}, 0},
		"another hook":   {func(t *testing.T, w *ward) { w.gh.SetHook("https://old.example.com/webhooks/github", hookSecret) }, []string{`^FAIL  github webhook: GitHub sends to "https://old.example.com/webhooks/github", .*https://ship.example.com/webhooks/github; write the latter`}, 0},
		"another secret": {func(t *testing.T, w *ward) { w.answer(t, http.StatusUnauthorized) }, []string{`^FAIL  github deliveries: the newest delivery \(push of .*\) did not arrive: 401 .*; write the App's webhook secret`}, 0},
		"another path":   {func(t *testing.T, w *ward) { w.answer(t, http.StatusNotFound) }, []string{`^FAIL  github deliveries: .*: 404 .*; have the proxy hand`}, 0},
		"cannot store":   {func(t *testing.T, w *ward) { w.answer(t, http.StatusServiceUnavailable) }, []string{`^FAIL  github deliveries: .*: 503 .*; look at /readyz`}, 0},
		"a redirect":     {func(t *testing.T, w *ward) { w.answer(t, http.StatusMovedPermanently) }, []string{`^FAIL  github deliveries: .*: 301 .*; write the address to which`}, 0},
		"out of reach": {func(t *testing.T, w *ward) {
			w.gh.SetHook("http://127.0.0.1:1/", hookSecret)
			w.push(t)
		}, []string{`^FAIL  github deliveries: .*: 502 .*; let GitHub reach /webhooks/github`}, 0},
		"one was lost": {func(t *testing.T, w *ward) { w.answer(t, http.StatusBadGateway); w.answer(t, http.StatusAccepted) }, []string{`^ok    github deliveries: the newest one arrived .* 1 of the last 3 did not, and are found`}, 0},
		"lost for good": {func(t *testing.T, w *ward) {
			w.change(t, "  app_id", "  recover_every: 0\n  app_id")
			w.answer(t, http.StatusBadGateway)
			w.answer(t, http.StatusAccepted)
		}, []string{`^warn  github deliveries: .* 1 of the last 3 did not; set github.recover_every`}, 0},
		"no sign-in": {func(t *testing.T, w *ward) {
			w.text = regexp.MustCompile(`(?m)^  client_.*\n`).ReplaceAllString(w.text, "")
		}, []string{`^warn  github sign-in: nobody can.*; write client_id and client_secret`}, 0},
		"a client's secret": {func(t *testing.T, w *ward) { w.change(t, "file:client", "file:wrong") }, []string{`^FAIL  github sign-in: GitHub does not know client_id with client_secret; copy`}, 0},
		"no builder": {func(t *testing.T, w *ward) {
			w.text = regexp.MustCompile(`(?m)^builder: .*\n`).ReplaceAllString(w.text, "")
		}, []string{`^FAIL  builder: there is none, .*; add one to builder.buildkit`}, 0},
		"a builder away": {func(t *testing.T, w *ward) {
			w.change(t, `buildkit: ["tcp://`, `buildkit: ["tcp://127.0.0.1:1", "tcp://`)
		}, []string{`^FAIL  builder tcp://127.0.0.1:1: .*refused.*; see that buildkitd runs there`, `^ok    builder tcp://127`}, 0},
		"no worker": {func(t *testing.T, w *ward) { w.daemon.none.Store(true) }, []string{`^FAIL  builder .*it has no worker; see that`}, 0},
		"a password": {func(t *testing.T, w *ward) {
			w.change(t, "username: file:pusher, password: file:password", "username: file:pusher, password: file:wrong")
		},
			[]string{`^FAIL  registry 127.*/team: .*does not accept the credentials.*; check username, password`, `^FAIL  registry 127.*/team/web: `}, 0},
		"a password to pull": {func(t *testing.T, w *ward) {
			w.change(t, "username: file:puller, password: file:password", "username: file:puller, password: file:wrong")
		},
			[]string{`^ok    registry 127.*/team: a probe was`, `^FAIL  registry 127.*/team: clusters cannot pull: .*; check pull.username`, `^FAIL  registry 127.*/team/web: clusters cannot pull`}, 0},
		"a host to pull from": {func(t *testing.T, w *ward) { w.change(t, "pull: {", "pull: {host: \"127.0.0.1:1\", ") }, []string{`^warn  registry 127.*/team: whether clusters can pull from 127.0.0.1:1 cannot be told from here: .*; look from inside a cluster`}, 0},
		"read only": {func(t *testing.T, w *ward) {
			w.refuse(func(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }, http.StatusForbidden)
		}, []string{`^FAIL  registry 127.*/team: .*does not allow this.*; check`}, 1},
		"not read": {func(t *testing.T, w *ward) {
			w.refuse(func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Path != "/v2/" }, http.StatusForbidden)
		}, []string{`^FAIL  registry 127.*/team: .*pull from .*; check`}, 1},
		"not deleted": {func(t *testing.T, w *ward) {
			w.refuse(func(r *http.Request) bool { return r.Method == http.MethodDelete }, http.StatusMethodNotAllowed)
		}, []string{`^ok    registry 127.*/team: .*does not let it be deleted, so`}, 0},
		"no path":         {func(t *testing.T, w *ward) { w.change(t, "paths: [team, team/web]", "paths: []") }, []string{`^warn  registry 127\S+: no repository may use it.*; write which under registries`}, 0},
		"another cluster": {func(t *testing.T, w *ward) { w.change(t, "token: file:kube", "token: file:wrong") }, []string{`^FAIL  cluster prod, namespace production: the API server refuses our credentials; renew the token in the file of clusters.prod.token`}, 0},
		"a cluster's CA":  {func(t *testing.T, w *ward) { w.change(t, "ca: file:ca.pem, ", "") }, []string{`^FAIL  cluster prod, namespace production: the API server's certificate is signed by an authority that we don't know; write the certificate of that authority .* clusters.prod.ca: file:./ca.pem`}, 0},
		"no namespace":    {func(t *testing.T, w *ward) { w.gone.Store(true) }, []string{`^FAIL  cluster prod, namespace production: .*does not exist; create it`}, 0},
		"no namespaces":   {func(t *testing.T, w *ward) { w.change(t, "namespaces: [production]", "namespaces: []") }, []string{`^warn  cluster prod: .*; write which under clusters.prod.allow`}, 0},
		"kinds": {func(t *testing.T, w *ward) {
			w.change(t, "namespaces: [production]", "namespaces: [production], kinds: [CustomResourceDefinition, ConfigMap]")
		}, []string{`^ok    cluster prod, kinds of the whole cluster: every verb`, `^warn  cluster prod, kinds of the whole cluster: the cluster has no kind ConfigMap of the whole cluster; see that`, `^ok    cluster prod, namespace production: every`}, 0},
		"kinds, no rights": {func(t *testing.T, w *ward) {
			w.change(t, "namespaces: [production]", "namespaces: [production], kinds: [CustomResourceDefinition]")
			w.allow(func(a authorizationv1.ResourceAttributes) bool {
				return a.Resource != "customresourcedefinitions" || a.Verb == "get"
			})
		}, []string{`^FAIL  cluster prod, kinds of the whole cluster: not allowed: create, patch, list, watch of customresourcedefinitions.apiextensions.k8s.io; grant it to our account by a ClusterRole`, `^ok    cluster prod, namespace production: every`}, 0},
		"no kubeconfig": {func(t *testing.T, w *ward) {
			must(t, os.WriteFile(filepath.Join(w.dir, "kubeconfig"), []byte("apiVersion: v1\nkind: Config\n"), 0o600))
			w.change(t, "clusters:\n", "clusters:\n  test: {kubeconfig: ./kubeconfig, context: none, allow: [{repositories: [\"acme/web\"], namespaces: [x]}]}\n")
		}, []string{`^FAIL  cluster test: .*none.*; mend the kubeconfig`}, 0},
		"verbs": {func(t *testing.T, w *ward) {
			w.allow(func(a authorizationv1.ResourceAttributes) bool {
				return a.Resource != "ingresses" && !(a.Resource == "jobs" && a.Verb == "delete") && !(a.Resource == "pods" && a.Subresource == "log")
			})
		}, []string{`^FAIL  cluster prod, namespace production: not allowed: get of pods/log; delete of jobs.batch; grant it`, `^warn  cluster prod, namespace production: nothing is allowed of ingresses.networking.k8s.io; grant`}, 0},
		"no rights":  {func(t *testing.T, w *ward) { w.allow(func(authorizationv1.ResourceAttributes) bool { return false }) }, []string{`^FAIL  cluster prod.*get, create, patch, delete, list, watch of deployments.apps.*; grant it`, `^warn  cluster prod.*secrets`}, 0},
		"a robot":    {func(t *testing.T, w *ward) { w.change(t, "[file:robot]", "[file:robot, file:wrong]") }, []string{`^ok    chat.wecom.ops: robot_keys\[0\]`, `^FAIL  chat.wecom.ops: robot_keys\[1\]: .*; copy the key`}, 0},
		"an app":     {func(t *testing.T, w *ward) { w.change(t, "secret: file:corp", "secret: file:wrong") }, []string{`^FAIL  chat.wecom.desk: .*gettoken: errcode 40001: secret is not that of the app; copy it from the app's page again$`, `^ok    chat.wecom.helper: `}, 0},
		"an address": {func(t *testing.T, w *ward) { w.wecom.FailNextApp(60020, 2) }, []string{`^FAIL  chat.wecom.desk: .*60020: this server's address is not trusted; add it to the app's trusted addresses`}, 0},
		"no WeCom":   {func(t *testing.T, w *ward) { w.wecom.Down(true) }, []string{`^FAIL  chat.wecom.ops: robot_keys\[0\]: .*502; copy`, `^FAIL  chat.wecom.desk: .*502; see that this machine reaches base_url$`}, 0},
		"a webhook": {func(t *testing.T, w *ward) {
			w.change(t, "  slack: {team", "  webhook: {audit: {url: '"+w.serve(t, func(http.ResponseWriter, *http.Request) {})+"', secret: file:wrong, private: true}}\n  slack: {team")
		}, []string{`^ok    chat.webhook.audit: a ping arrived`}, 0},
		"a webhook inside": {func(t *testing.T, w *ward) {
			w.change(t, "  slack: {team", "  webhook: {audit: {url: 'http://127.0.0.1:1/', secret: file:wrong}}\n  slack: {team")
		}, []string{`^FAIL  chat.webhook.audit: .*private network.*; see that url is right, .*private: true`}, 0},
		"a Slack token": {func(t *testing.T, w *ward) { w.change(t, "bot_token: file:slack", "bot_token: file:wrong") }, []string{`^FAIL  chat.slack.team: .*invalid_auth.*copy bot_token.*; mend`}, 0},
		"a Slack scope": {func(t *testing.T, w *ward) { w.slack.SetScopes("channels:history") }, []string{`^FAIL  chat.slack.team: .*missing_scope.*add chat:write.*`}, 0},
		"a Slack scope less": {func(t *testing.T, w *ward) {
			w.slack.SetScopes("chat:write,commands")
			w.slack.SetSocketMode(appToken)
			w.change(t, "bot_token: file:slack", "bot_token: file:slack, app_token: file:app")
		}, []string{`^ok    chat.slack.team: Slack knows us`, `^warn  chat.slack.team: .*channels:history: .*; app_mentions:read: .*; add them`, `^ok    chat.slack.team: a socket can be opened`}, 0},
		"a Slack socket": {func(t *testing.T, w *ward) {
			w.change(t, "bot_token: file:slack", "bot_token: file:slack, app_token: file:slack")
		}, []string{`^FAIL  chat.slack.team: .*not_allowed_token_type.*xapp-.*; mend app_token`}, 0},
		"a login":       {func(t *testing.T, w *ward) { w.change(t, "github: alice", "github: nobody-such") }, []string{`^FAIL  api_tokens: ci acts as nobody-such, whom GitHub does not know; write the login`}, 0},
		"a token twice": {func(t *testing.T, w *ward) { w.text += "  - {name: cd, github: alice, token: file:api, may: [read]}\n" }, []string{`^FAIL  api_tokens: cd has the same token as ci; make another`, `^ok    api_tokens: ci`}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t)
			test.sick(t, w)
			began := time.Now()
			said, err := w.examine(t, true)
			if took := time.Since(began); took > examTime+5*time.Second {
				t.Errorf("it takes %s", took)
			}
			fails := test.also
			for _, want := range test.want {
				if !regexp.MustCompile("(?m)" + want).MatchString(said) {
					t.Errorf("it does not say %q", want)
				}
				if strings.HasPrefix(want, "^FAIL") {
					fails++
				}
			}
			if n := strings.Count("\n"+said, "\nFAIL"); n != fails || (err != nil) != (fails > 0) || err != nil && !strings.HasPrefix(err.Error(), fmt.Sprintf("%d of ", fails)) {
				t.Errorf("%d failed, want %d; %v", n, fails, err)
			}
			for line := range strings.Lines(said) {
				if line = strings.TrimSpace(line); !sentence.MatchString(line) || !strings.HasPrefix(line, "ok") && !strings.Contains(line, "; ") {
					t.Errorf("no remedy: %s", line)
				}
			}
			if t.Failed() {
				t.Logf("it says\n%s", said)
			}
		})
	}
}

func (w *ward) manifest(t *testing.T) manifest {
	t.Helper()
	m, err := appManifest()
	must(t, err)
	return m
}

// register has GitHub's App be another one.
func (w *ward) register(t *testing.T, edit func(*manifest)) {
	t.Helper()
	m := w.manifest(t)
	all := w.manifest(t)
	edit(&m)
	w.gh.SetApp(m.Permissions, m.Events)
	w.gh.SetInstallation("acme", all.Permissions, false)
}

// answer has a delivery be answered with a status.
func (w *ward) answer(t *testing.T, status int) {
	t.Helper()
	hook := w.serve(t, func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(status) })
	w.gh.SetHook(hook, hookSecret)
	w.push(t)
}

// refuse has the registry refuse some requests.
func (w *ward) refuse(which func(*http.Request) bool, status int) {
	f := func(rw http.ResponseWriter, r *http.Request) bool {
		if which(r) {
			rw.WriteHeader(status)
			return true
		}
		return false
	}
	w.registry.Store(&f)
}

func (w *ward) allow(f func(authorizationv1.ResourceAttributes) bool) { w.kube.Store(&f) }

// TestDoctorClock: a clock that is off is told, and which way.
func TestDoctorClock(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for off, want := range map[time.Duration]string{0: "ok", 20 * time.Second: "ok", -29 * time.Second: "ok", 3 * time.Minute: "FAIL 3m0s ahead", -time.Hour: "FAIL 1h0m0s behind"} {
		d := &doctor{now: func() time.Time { return at.Add(off) }}
		var f findings
		d.clock(&f, at.Format(http.TimeFormat))
		level, words, _ := strings.Cut(want, " ")
		if len(f) != 1 || f[0].level != level || !strings.Contains(f[0].says, words) || (level == failed) != (f[0].remedy != "") {
			t.Errorf("%s: %v", off, f)
		}
	}
	var f findings
	if (&doctor{now: time.Now}).clock(&f, "yesterday"); len(f) > 0 {
		t.Errorf("without a date: %v", f)
	}
}

// TestDoctorInterrupted: who interrupts it reads of no failures that are none, and nothing that was pushed is left.
func TestDoctorInterrupted(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.change(t, "paths: [team, team/web]", "paths: [team/web]") // one probe, which has arrived when it is pulled
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	left := map[string]bool{} // what was pushed and not deleted
	f := func(rw http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(r.URL.Path, "/manifests/") {
			switch r.Method {
			case http.MethodPut:
				left[r.URL.Path] = true
			case http.MethodDelete:
				delete(left, r.URL.Path)
			case http.MethodGet:
				cancel()
				rw.WriteHeader(http.StatusInternalServerError)
				return true
			}
		}
		return false
	}
	w.registry.Store(&f)
	file := filepath.Join(w.dir, "shipmate.yaml")
	must(t, os.WriteFile(file, []byte(w.text), 0o600))
	cfg, err := LoadConfig(file)
	must(t, err)
	var out strings.Builder
	if err := Doctor(ctx, cfg, false, &out); err == nil || err.Error() != "interrupted before the end" || strings.Contains(out.String(), failed) {
		t.Errorf("%v\n%s", err, out.String())
	}
	mu.Lock()
	defer mu.Unlock()
	if len(left) > 0 {
		t.Errorf("it left %v", slices.Collect(maps.Keys(left)))
	}
}

// TestDoctorEnds: what hangs without looking at its context, as a file system of the network does, is told, and not waited for.
func TestDoctorEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		var out strings.Builder
		began := time.Now()
		err := examine(t.Context(), []exam{{"data_dir", func(context.Context, *findings) { <-hang }}, {"builder", func(_ context.Context, f *findings) { f.ok("it builds") }}}, strings.Clone, &out)
		if took := time.Since(began); err == nil || took > examTime+tidyTime || !strings.HasPrefix(out.String(), "FAIL  data_dir: no end within 15s; look") || !strings.Contains(out.String(), "ok    builder") {
			t.Errorf("%s, %v\n%s", took, err, out.String())
		}
	})
}

// TestDoctorUnsent: without --send no message goes out, and the doctor says so.
func TestDoctorUnsent(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	said, err := w.examine(t, false)
	must(t, err)
	if !strings.Contains(said, "warn  chat.wecom.ops: a robot can be tried only by a message, so it was not; bot doctor --send sends") || len(w.wecom.Messages(robotKey)) > 0 {
		t.Errorf("%s", said)
	}
}

// TestShown: what a far end says is one line without what a terminal would obey.
func TestShown(t *testing.T) {
	if got := shown("a\x1b[31m\r\nb\u202ec\t d"); got != "a[31m bc d" {
		t.Errorf("%q", got)
	}
}
