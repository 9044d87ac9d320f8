package bot

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// turnedOff is a key in the template that is a comment.
var turnedOff = regexp.MustCompile(`(?m)^( *)#(\S)`)

// TestServerTemplate: the template is a server's file as it is, and with every key turned on; and it has every key.
func TestServerTemplate(t *testing.T) {
	dir := filepath.Dir(writeConfig(t, "x: y\n"))
	s := &setUp{file: filepath.Join(dir, "shipmate.yaml")}
	must(t, os.WriteFile(s.file, serverTemplate, 0o600))
	if c, err := s.unregistered(); err != nil || c == nil {
		t.Errorf("as it is: %v %v", c, err)
	}
	for _, name := range []string{"kubeconfig", "webhook-secret", "client-secret", "prod.token", "prod-ca.pem", "app.pem"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	ca, cert, key := selfSigned(t)
	for name, content := range map[string]string{"ca.pem": ca, "cert.pem": cert, "key.pem": key} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	for _, name := range []string{"REGISTRY_USER", "REGISTRY_PASSWORD", "TCR_EVENT_SECRET", "API_TOKEN", "SLACK_SIGNING_SECRET", "WECOM_SECRET", "WECOM_TOKEN", "AUDIT_SECRET", "SLACK_APP_TOKEN"} {
		t.Setenv(name, strings.Repeat("x", minToken))
	}
	t.Setenv("WECOM_AES_KEY", callbackKey)
	on := turnedOff.ReplaceAllString(string(serverTemplate), "$1$2")
	must(t, os.WriteFile(s.file, []byte(on), 0o600))
	if _, err := LoadConfig(s.file); err != nil {
		t.Errorf("with every key: %v\n%s", err, on)
	}
	for _, key := range keysOf(reflect.TypeFor[Config](), map[reflect.Type]bool{}) {
		if !regexp.MustCompile(`(?m)[ {#]` + key + `:|^` + key + `:`).MatchString(string(serverTemplate)) {
			t.Errorf("the template lacks %s", key)
		}
	}
}

// keysOf lists the keys of a type of the configuration, and of what is in it.
func keysOf(t reflect.Type, seen map[reflect.Type]bool) (keys []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return nil
	}
	seen[t] = true
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("yaml"); key != "" {
			keys = append(append(keys, key), keysOf(t.Field(i).Type, seen)...)
		}
	}
	return keys
}

func TestInitServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shipmate.yaml")
	var out strings.Builder
	must(t, InitServer(file, &out))
	if text, err := os.ReadFile(file); err != nil || string(text) != string(serverTemplate) || !strings.Contains(out.String(), "bot serve --config "+file) {
		t.Errorf("%v, said %s", err, out.String())
	}
	must(t, os.WriteFile(file, []byte("mine: 1\n"), 0o600))
	if err := InitServer(file, &out); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("over a file that is there: %v", err)
	}
}

// TestSetUpCompletesFile: whatever the server's file looks like, it gets the App and keeps what it had.
func TestSetUpCompletesFile(t *testing.T) {
	app := &registered{ID: 4711, Name: "Shipmate", Owner: "acme", Page: "https://github.com/apps/shipmate", ClientID: "Iv23.abc", ClientSecret: "cs", WebhookSecret: "ws", Key: "pem",
		APIURL: "https://api.github.com/", PublicURL: "https://ship.example.com"}
	ghes := *app
	ghes.APIURL = "https://git.example.com/api/v3/"
	section := "  app_id: 4711\n  private_key: file:./app.pem\n  webhook_secrets: [file:./webhook-secret]\n  client_id: Iv23.abc\n  client_secret: file:./client-secret\n"
	inline := "app_id: 4711, private_key: file:./app.pem, webhook_secrets: [file:./webhook-secret], client_id: Iv23.abc, client_secret: file:./client-secret"
	for name, test := range map[string]struct {
		app          *registered
		before, want string
	}{
		"no section": {app, "# mine\nlisten: 127.0.0.1:1 # here\n", "# mine\nlisten: 127.0.0.1:1 # here\npublic_url: https://ship.example.com\n\ngithub:\n" + section},
		"no newline": {app, "language: zh", "language: zh\npublic_url: https://ship.example.com\n\ngithub:\n" + section},
		"a section": {app, "github: # GitHub\n  # who\n  allow: [\"acme/*\"]\n\n# then\nlanguage: zh\npublic_url: https://ship.example.com\n",
			"github: # GitHub\n" + section + "  # who\n  allow: [\"acme/*\"]\n\n# then\nlanguage: zh\npublic_url: https://ship.example.com\n"},
		"indented by four": {app, "public_url: https://ship.example.com\ngithub:\n    allow: []\n", "public_url: https://ship.example.com\ngithub:\n" + strings.ReplaceAll(section, "  ", "    ") + "    allow: []\n"},
		"inline":           {app, "public_url: https://ship.example.com\ngithub: {allow: [\"acme/*\"]} # 企业\n", "public_url: https://ship.example.com\ngithub: {" + inline + ", allow: [\"acme/*\"]} # 企业\n"},
		"empty":            {app, "public_url: https://ship.example.com\ngithub: {}\n", "public_url: https://ship.example.com\ngithub: {" + inline + "}\n"},
		"all inline":       {app, "{language: zh}\n", "{public_url: https://ship.example.com, github: {" + inline + "}, language: zh}\n"},
		"GHES":             {&ghes, "public_url: https://ship.example.com\n", "public_url: https://ship.example.com\n\ngithub:\n" + section + "  api_url: https://git.example.com/api/v3/\n"},
		"turned off": {app, "#public_url: https://x\ngithub:\n  #client_id: no\n  allow: []\n  #app_id: 1 # no\nbuilder: {concurrency: 1}\n  #app_id: not here\n",
			"public_url: https://ship.example.com\ngithub:\n  private_key: file:./app.pem\n  webhook_secrets: [file:./webhook-secret]\n  client_secret: file:./client-secret\n  client_id: Iv23.abc\n  allow: []\n  app_id: 4711\nbuilder: {concurrency: 1}\n  #app_id: not here\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := &setUp{file: filepath.Join(dir, "shipmate.yaml"), log: slog.New(slog.DiscardHandler)}
			must(t, os.WriteFile(s.file, []byte(test.before), 0o640))
			must(t, s.save(test.app))
			text, err := os.ReadFile(s.file)
			if err != nil || string(text) != test.want {
				t.Errorf("%v, it is\n%s\nwant\n%s", err, text, test.want)
			}
			if info, err := os.Stat(s.file); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("its mode: %v %v", info.Mode(), err)
			}
			c, err := LoadConfig(s.file)
			must(t, err)
			if c.GitHub.AppID != 4711 || c.GitHub.PrivateKey.Value() != "pem" || c.GitHub.WebhookSecrets[0].Value() != "ws" || c.GitHub.ClientSecret.Value() != "cs" || c.GitHub.APIURL != test.app.APIURL {
				t.Errorf("it says %+v", c.GitHub)
			}
			must(t, s.save(test.app)) // again changes nothing
		})
	}
}

// TestSetUpLinked: a server's file that is a link stays one, and what belongs to the App is where the link is.
func TestSetUpLinked(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "real.yaml")
	must(t, os.WriteFile(elsewhere, []byte("language: zh\n"), 0o600))
	file := filepath.Join(dir, "shipmate.yaml")
	must(t, os.Symlink(elsewhere, file))
	s, err := newSetUp(file, "test", slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, s.save(&registered{ID: 7, Owner: "acme", ClientID: "Iv1.x", ClientSecret: "client", WebhookSecret: "hook", Key: "key", APIURL: "https://api.github.com/", PublicURL: publicURL}))
	if c, err := LoadConfig(file); err != nil || c.GitHub.AppID != 7 || c.GitHub.PrivateKey.Value() != "key" {
		t.Errorf("%v %v", c, err)
	}
	if info, err := os.Lstat(file); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("it is no link any more: %v %v", info, err)
	}
}

// TestSetUpLinkedFar: so does one that is a link into another file system, over whose border no file can be moved.
func TestSetUpLinkedFar(t *testing.T) {
	device := func(name string) uint64 {
		var stat unix.Stat_t
		must(t, unix.Stat(name, &stat))
		return stat.Dev
	}
	dir, far := t.TempDir(), ""
	for _, other := range []string{"/dev/shm", "/var/tmp", "."} {
		if device(other) != device(dir) {
			far = got(os.MkdirTemp(other, "setup-test-"))(t)
			t.Cleanup(func() { must(t, os.RemoveAll(far)) })
			break
		}
	}
	if far == "" {
		t.Skip("this machine has one file system alone")
	}
	elsewhere, file := filepath.Join(far, "real.yaml"), filepath.Join(dir, "shipmate.yaml")
	must(t, os.WriteFile(elsewhere, []byte("language: zh\n"), 0o600))
	must(t, os.Symlink(elsewhere, file))
	s, err := newSetUp(file, "test", slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, s.save(&registered{ID: 7, Owner: "acme", ClientID: "Iv1.x", ClientSecret: "client", WebhookSecret: "hook", Key: "key", APIURL: "https://api.github.com/", PublicURL: publicURL}))
	if c, err := LoadConfig(file); err != nil || c.GitHub.AppID != 7 {
		t.Errorf("%v %v", c, err)
	}
	if left := gotFiles(t, far); len(left) != 1 {
		t.Errorf("it left %v", left)
	}
}

// TestSetUpBrokenJournal: what cannot be brought to its end is named, with what to do.
func TestSetUpBrokenJournal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shipmate.yaml")
	journal := filepath.Join(filepath.Dir(file), journalFile)
	must(t, os.WriteFile(journal, []byte(`{"ID":`), 0o600))
	if _, err := newSetUp(file, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), journal+" cannot be read") || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("%v", err)
	}
}

// TestSetUpEverywhere: an address that is listened on everywhere is none to open.
func TestSetUpEverywhere(t *testing.T) {
	for listen, want := range map[string]string{"0.0.0.0:0": "http://127.0.0.1:0/setup", "\":0\"": "http://127.0.0.1:0/setup", "127.0.0.1:0\npublic_url: " + publicURL: publicURL + "/setup"} {
		file := filepath.Join(t.TempDir(), "shipmate.yaml")
		must(t, os.WriteFile(file, []byte("listen: "+listen+"\n"), 0o600))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		log := &buffer{}
		must(t, SetUp(ctx, file, "test", slog.New(slog.NewTextHandler(log, nil))))
		if !strings.Contains(log.String(), `address="`+want+"?code=") {
			t.Errorf("%s: %s", listen, log.String())
		}
	}
}

// A setUpLab is a set-up that is served, with a GitHub to register at.
type setUpLab struct {
	*setUp
	gh   *sim.GitHub
	url  string
	log  *buffer
	end  context.CancelFunc
	over chan error
}

func newSetUpLab(t *testing.T, file string) *setUpLab {
	t.Helper()
	gh, err := sim.NewGitHub(sim.GitHubConfig{Dir: filepath.Join(t.TempDir(), "github")})
	must(t, err)
	must(t, gh.Start("127.0.0.1:0"))
	t.Cleanup(func() {
		for _, v := range gh.Violations() {
			t.Errorf("GitHub's description forbids: %s", v)
		}
		_ = gh.Close() // nothing hangs on it
	})
	_, err = gh.CreateRepo("acme/web", sim.RepoOptions{})
	must(t, err)
	l := &setUpLab{gh: gh, log: &buffer{}, over: make(chan error, 1)}
	l.setUp, err = newSetUp(file, "test", slog.New(slog.NewTextHandler(l.log, nil)))
	must(t, err)
	if l.setUp == nil {
		t.Fatal("there is nothing to set up")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.url = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	l.end = cancel
	go func() { l.over <- l.serve(ctx, listener) }()
	t.Cleanup(cancel)
	return l
}

// do sends one request, and follows no redirect.
func do(t *testing.T, method, address string, form url.Values) (status int, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	must(t, err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	must(t, err)
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, resp.Header, string(read)
}

var (
	formAction    = regexp.MustCompile(`<form class="setup" method="post" action="([^"]+)"`)
	manifestField = regexp.MustCompile(`name="manifest" value="([^"]+)"`)
)

// choose says what the App is to be, and gives where GitHub sends the person back to.
func (l *setUpLab) choose(t *testing.T, organization string) (back string) {
	t.Helper()
	status, header, body := do(t, "GET", l.url+"/setup?"+url.Values{"code": {l.code}, "name": {"Acme's <b>ship</b>"}, "organization": {organization}, "github": {l.gh.URL()}, "public_url": {publicURL + "/"}}.Encode(), nil)
	action, manifest := formAction.FindStringSubmatch(body), manifestField.FindStringSubmatch(body)
	if status != http.StatusOK || action == nil || manifest == nil {
		t.Fatalf("the way to GitHub: %d %s", status, body)
	}
	if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' "+l.gh.URL()+" "+publicURL) || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("its policy: %s", policy)
	}
	if strings.Contains(body, "<b>ship") {
		t.Errorf("a name is markup: %s", body)
	}
	address := html.UnescapeString(action[1])
	want := l.gh.URL() + "/settings/apps/new?state="
	if organization != "" {
		want = l.gh.URL() + "/organizations/" + organization + "/settings/apps/new?state="
	}
	if !strings.HasPrefix(address, want) {
		t.Errorf("it goes to %s, want %s", address, want)
	}
	status, header, body = do(t, "POST", address, url.Values{"manifest": {html.UnescapeString(manifest[1])}})
	if back = header.Get("Location"); status != http.StatusFound || !strings.HasPrefix(back, l.url+"/setup/callback?code=") {
		t.Fatalf("GitHub: %d %s %s", status, back, body)
	}
	return back
}

func TestSetUp(t *testing.T) {
	for _, organization := range []string{"", "acme"} {
		t.Run("for "+or(organization, "a person"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "shipmate.yaml")
			l := newSetUpLab(t, file)
			for path, want := range map[string]int{
				"/": 404, "/setup": 404, "/setup?code=": 404, "/setup?code=" + strings.Repeat("A", len(l.code)): 404, "/setup?code=" + l.code[1:]: 404, "/setup/callback": 404,
				"/setup/callback?code=x&state=": 404, "/setup/callback?code=x&state=" + l.code: 404, "/runs/x": 404, "/auth/login": 404, "/assets/none": 404, "/healthz": 200, "/readyz": 503,
			} {
				if status, _, body := do(t, "GET", l.url+path, nil); status != want || strings.Contains(body, l.code) {
					t.Errorf("%s: %d, want %d: %s", path, status, want, body)
				}
			}
			for _, path := range []string{"/webhooks/github", "/setup?code=" + l.code, "/api/v1/command"} {
				if status, _, _ := do(t, "POST", l.url+path, url.Values{}); status != 404 && status != 405 {
					t.Errorf("POST %s: %d", path, status)
				}
			}
			if status, _, body := do(t, "GET", l.url+"/readyz", nil); status != 503 || !strings.Contains(body, "the set-up is not done") {
				t.Errorf("/readyz: %d %s", status, body)
			}
			status, header, body := do(t, "GET", l.url+"/setup?code="+l.code, nil)
			if status != http.StatusOK || header.Get("Cache-Control") != "no-store" || header.Get("Referrer-Policy") != "no-referrer" ||
				!strings.Contains(body, `name="organization"`) || !strings.Contains(body, `value="https://github.com"`) || !strings.Contains(body, `value="http://127.0.0.1:8080"`) {
				t.Fatalf("the form: %d %v %s", status, header, body)
			}
			for host, want := range map[string]string{"[::1]:8080": "http://127.0.0.1:8080", "10.0.0.5:80": "http://127.0.0.1:8080", "localhost": "http://127.0.0.1:8080", "ship.example.com": "https://ship.example.com"} {
				r, w := httptest.NewRequest("GET", "/setup?code="+l.code, nil), httptest.NewRecorder()
				r.Host = host
				if l.ask(w, r); !strings.Contains(w.Body.String(), `value="`+want+`"`) {
					t.Errorf("who comes by %s is offered: %s", host, w.Body.String())
				}
			}
			style := regexp.MustCompile(`href="(/assets/style[^"]+)"`).FindStringSubmatch(body)
			if status, _, _ := do(t, "GET", l.url+style[1], nil); status != http.StatusOK {
				t.Errorf("its style: %d", status)
			}
			if len(l.log.String()) == 0 || !strings.Contains(l.log.String(), "/setup?code="+l.code) {
				t.Errorf("the log does not tell the address: %s", l.log.String())
			}

			back := l.choose(t, organization)
			if status, _, _ := do(t, "GET", strings.Replace(back, "state=", "state=x", 1), nil); status != http.StatusNotFound {
				t.Errorf("another state: %d", status)
			}
			if names := slices.Sorted(maps.Keys(gotFiles(t, dir))); len(names) > 0 {
				t.Errorf("there is something before GitHub answered: %v", names)
			}
			status, _, body = do(t, "GET", back, nil)
			if status != http.StatusOK || !strings.Contains(body, l.gh.URL()+"/apps/shipmate/installations/new") || !strings.Contains(html.UnescapeString(body), "allow: [\""+"acme"+"/*\"]") {
				t.Errorf("the end: %d %s", status, body)
			}
			must(t, <-l.over)
			c, err := LoadConfig(file)
			must(t, err)
			if c.GitHub.AppID != l.gh.AppID() || c.GitHub.ClientID != l.gh.ClientID() || c.GitHub.ClientSecret.Value() != l.gh.ClientSecret() ||
				c.GitHub.PrivateKey.Value() != strings.TrimSpace(string(l.gh.PrivateKeyPEM())) || c.GitHub.APIURL != l.gh.APIURL() || c.PublicURL != publicURL {
				t.Errorf("the file says %+v", c.GitHub)
			}
			for name, content := range gotFiles(t, dir) {
				if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v %v", name, info.Mode(), err)
				}
				if strings.Contains(l.log.String()+body, strings.TrimSpace(content)) {
					t.Errorf("what is in %s is seen", name)
				}
			}
			if names := slices.Sorted(maps.Keys(gotFiles(t, dir))); !slices.Equal(names, []string{"app.pem", "client-secret", "shipmate.yaml", "webhook-secret"}) {
				t.Errorf("there are %v", names)
			}
			if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "# Where the server listens.") || strings.Contains(string(text), c.GitHub.ClientSecret.Value()) {
				t.Errorf("%v, the file is no template: %s", err, text)
			}
			// Once there is an App, there is no set-up.
			if s, err := newSetUp(file, "test", slog.New(slog.DiscardHandler)); err != nil || s != nil {
				t.Errorf("again: %v %v", s, err)
			}
			// What GitHub was told is what app.yaml says, with our addresses.
			b, err := New(t.Context(), c, "test", slog.New(slog.DiscardHandler))
			must(t, err)
			server := httptest.NewServer(b.handler())
			for _, address := range []string{"/setup?code=" + l.code, strings.TrimPrefix(back, l.url)} {
				if status, _, _ := do(t, "GET", server.URL+address, nil); status != http.StatusNotFound {
					t.Errorf("%s of the bot: %d", address, status)
				}
			}
			server.Close()
			must(t, b.Close())
		})
	}
}

func gotFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := readFiles(dir)
	must(t, err)
	return files
}

// TestSetUpWrong: what cannot be is told beside the form, and nothing is sent anywhere.
func TestSetUpWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := newSetUpLab(t, filepath.Join(dir, "shipmate.yaml"))
	for what, test := range map[string]struct{ key, value, want string }{
		"no name":              {"name", " ", "needs a name"},
		"a long name":          {"name", strings.Repeat("x", 35), "needs a name"},
		"a path":               {"organization", "../x", "no organization"},
		"a script":             {"organization", `"><script>alert(1)</script>`, "no organization"},
		"javascript":           {"github", "javascript:alert(1)", "no web address"},
		"a policy":             {"github", "https://x; script-src *", "no web address"},
		"a login":              {"github", "https://a:b@github.com", "no web address"},
		"GitHub in the clear":  {"github", "http://git.example.com", "begins with http://"},
		"no public address":    {"public_url", "ship", "no web address"},
		"a path of it":         {"public_url", "https://www.example.com/ship", "no web address"},
		"a query of it":        {"public_url", "https://ship.example.com/?x=y", "no web address"},
		"a public address, js": {"public_url", "javascript:alert(1)//", "no web address"},
	} {
		form := url.Values{"code": {l.code}, "name": {"Shipmate"}, "organization": {""}, "github": {"https://github.com"}, "public_url": {publicURL}}
		form.Set(test.key, test.value)
		status, header, body := do(t, "GET", l.url+"/setup?"+form.Encode(), nil)
		if status != http.StatusBadRequest || !strings.Contains(html.UnescapeString(body), test.want) || strings.Contains(body, "<script>") || strings.Contains(body, `method="post"`) ||
			!strings.HasSuffix(header.Get("Content-Security-Policy"), "form-action 'self'") {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	l.end()
	must(t, <-l.over) // it stops without a set-up, with nothing written
	if files := gotFiles(t, dir); len(files) > 0 {
		t.Errorf("it left %v", files)
	}
}

// TestSetUpInTheWay: what is there is not overwritten, neither before GitHub is asked nor after.
func TestSetUpInTheWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "shipmate.yaml")
	l := newSetUpLab(t, file)
	mine := filepath.Join(dir, hookSecretFile)
	must(t, os.WriteFile(mine, []byte("mine"), 0o600))
	if status, _, body := do(t, "GET", l.url+"/setup?code="+l.code, nil); status != http.StatusConflict || !strings.Contains(body, mine+" is there already") {
		t.Errorf("before: %d %s", status, body)
	}
	must(t, os.Remove(mine))
	for text, want := range map[string]string{"language: zh\n...\n": "could not be put into the server's file", smallest: "names an App by now"} { // as somebody changed it meanwhile
		must(t, os.WriteFile(file, []byte(text), 0o600))
		if status, _, body := do(t, "GET", l.url+"/setup?code="+l.code, nil); status != http.StatusConflict || !strings.Contains(html.UnescapeString(body), want) || !strings.Contains(body, file) {
			t.Errorf("before, the server's file: %d %s", status, body)
		}
	}
	must(t, os.Remove(file))
	back := l.choose(t, "acme")
	must(t, os.WriteFile(mine, []byte("mine"), 0o600))
	if status, _, body := do(t, "GET", back, nil); status != http.StatusConflict || !strings.Contains(body, mine+" is there already") || !strings.Contains(body, "within an hour") {
		t.Errorf("at the return: %d %s", status, body)
	}
	must(t, os.Remove(mine))
	// A file that comes while GitHub is asked.
	must(t, os.WriteFile(file, []byte("language: zh\n"), 0o600))
	l.mu.Lock()
	l.app = &registered{ID: 7, Name: "x", Owner: "acme", Page: "https://github.com/apps/x", ClientID: "Iv1.x", ClientSecret: "s3cret-client", WebhookSecret: "s3cret-hook", Key: "s3cret-key",
		APIURL: "https://api.github.com/", PublicURL: publicURL}
	l.mu.Unlock()
	must(t, os.WriteFile(mine, []byte("mine"), 0o600))
	status, _, body := do(t, "GET", back, nil)
	for _, want := range []string{mine + " is there already", "load this page again", "app_id: 7", "private_key: file:./app.pem", "https://github.com/apps/x", file} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q: %d %s", want, status, body)
		}
	}
	if status != http.StatusInternalServerError || strings.Contains(body+l.log.String(), "s3cret") {
		t.Errorf("%d %s %s", status, body, l.log.String())
	}
	if text, err := os.ReadFile(mine); err != nil || string(text) != "mine" {
		t.Errorf("it was overwritten: %s %v", text, err)
	}
	// Who stops the bot now finds everything when it starts again.
	if _, err := newSetUp(file, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), mine+" is there already") {
		t.Errorf("a start with the file in the way: %v", err)
	}
	must(t, os.Remove(mine))
	if status, _, body := do(t, "GET", back, nil); status != http.StatusOK || !strings.Contains(body, "Set-up: done") {
		t.Errorf("once it is mended: %d %s", status, body)
	}
	must(t, <-l.over)
	if _, err := LoadConfig(file); err != nil {
		t.Error(err)
	}
}

// TestSetUpKilled: after a kill at any moment there is either nothing, or everything comes to its end at the next start.
func TestSetUpKilled(t *testing.T) {
	app := &registered{ID: 7, Name: "x", Owner: "acme", Page: "https://github.com/apps/x", ClientID: "Iv1.x", ClientSecret: "client", WebhookSecret: "hook", Key: "key",
		APIURL: "https://api.github.com/", PublicURL: publicURL}
	steps := len((&setUp{}).steps(app))
	for done := range steps + 1 {
		for _, half := range []bool{false, true} { // also with a file that was half written
			t.Run(fmt.Sprintf("after %d of %d, half %v", done, steps, half), func(t *testing.T) {
				dir := t.TempDir()
				file := filepath.Join(dir, "shipmate.yaml")
				first := &setUp{file: file, log: slog.New(slog.DiscardHandler)}
				for _, step := range first.steps(app)[:done] {
					must(t, step())
				}
				if half {
					must(t, os.WriteFile(filepath.Join(dir, strings.Replace(halfWritten, "*", "1", 1)), []byte("ke"), 0o600))
				}
				second, err := newSetUp(file, "test", slog.New(slog.DiscardHandler))
				must(t, err)
				if done == 0 {
					if second == nil || second.inTheWay() != nil {
						t.Errorf("it does not begin again: %v", second)
					}
					return
				}
				if second != nil {
					t.Fatal("it begins again")
				}
				c, err := LoadConfig(file)
				must(t, err)
				if c.GitHub.AppID != 7 || c.GitHub.PrivateKey.Value() != "key" || c.GitHub.WebhookSecrets[0].Value() != "hook" || c.GitHub.ClientSecret.Value() != "client" {
					t.Errorf("it says %+v", c.GitHub)
				}
				want := []string{"app.pem", "client-secret", "shipmate.yaml", "webhook-secret"}
				if half && done == steps {
					want = append([]string{".shipmate-1.tmp"}, want...) // nothing was left to do
				}
				if names := slices.Sorted(maps.Keys(gotFiles(t, dir))); !slices.Equal(names, want) {
					t.Errorf("there are %v", names)
				}
			})
		}
	}
}

// TestSetUpNotNeeded: a file with anything of an App is not set up, but read as it is.
func TestSetUpNotNeeded(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "shipmate.yaml")
	for text, want := range map[string]string{
		smallest: "", "github: {private_key: \"file:app.pem\"}\n": "", "github: {client_id: x}\n": "",
		"nonsense: 1\n": "unknown key", "language: xx\n": "is not spoken here", "a: [\n": "is not YAML", "public_url: https://www.example.com/ship\n": "has a path",
	} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		s, err := newSetUp(file, "test", slog.New(slog.DiscardHandler))
		if s != nil || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v", text, s, err)
		}
	}
	must(t, os.WriteFile(file, []byte(" \n"), 0o600))
	if s, err := newSetUp(file, "test", slog.New(slog.DiscardHandler)); s == nil || err != nil {
		t.Errorf("an empty file: %v %v", s, err)
	}
}

// selfSigned is a certificate, as its own authority, and its key, in PEM.
func selfSigned(t *testing.T) (ca, cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// TestSetUpNowhere: a path that is a slip of the pen begins no new bot in silence.
func TestSetUpNowhere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "nowhere", "shipmate.yaml")
	if s, err := newSetUp(file, "test", slog.New(slog.DiscardHandler)); s != nil || err == nil || !strings.Contains(err.Error(), "there is no folder "+filepath.Dir(file)) ||
		!strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "bot init --server") {
		t.Errorf("no folder: %v %v", s, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "ship.yaml"), []byte("# ours\nlisten: :8080\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "values.yaml"), []byte("replicas: 1\n"), 0o600))
	log := &buffer{}
	if s, err := newSetUp(filepath.Join(dir, "shipmate.yaml"), "test", slog.New(slog.NewTextHandler(log, nil))); s == nil || err != nil {
		t.Errorf("beside another file: %v %v", s, err)
	}
	if got := log.String(); !strings.Contains(got, "other="+filepath.Join(dir, "ship.yaml")) || strings.Contains(got, "values.yaml") {
		t.Errorf("it logs %s", got)
	}
}
