package bot

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // for serverTemplate
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-github/v60/github"
	"go.yaml.in/yaml/v3"

	"github.com/shipmate-dev/shipmate"
	"github.com/shipmate-dev/shipmate/bot/web"
)

// serverTemplate is a server's file with every key explained. It is read as it is, and also with every key turned on: those
// stand behind a # without a space.
//
//go:embed template.yaml
var serverTemplate []byte

// InitServer writes a server's file to begin with, where there is none.
func InitServer(path string, out io.Writer) error {
	if err := writeOnce(path, serverTemplate); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s is written, with every key explained. Now: bot serve --config %s, and open the address that its log names, to register the GitHub App.\n", path, path)
	return err
}

// What the set-up writes beside the server's file.
const (
	keyFile          = "app.pem"
	hookSecretFile   = "webhook-secret"
	clientSecretFile = "client-secret"
	// journalFile holds all that GitHub told, until it is where it belongs. It is what makes the set-up all or nothing.
	journalFile = ".shipmate-setup.json"
	// halfWritten is what a file is called before it is whole.
	halfWritten = ".shipmate-*.tmp"
)

// setUp registers the GitHub App from app.yaml (docs.github.com, "Registering a GitHub App from a manifest"): the person who
// has the one-time code says for whom, GitHub asks them, and sends them back with a code for the App's id and secrets.
type setUp struct {
	file  string // the server's file, which need not be there
	cfg   *Config
	code  string // 128 random bits, and in no file
	pages *web.Setup
	log   *slog.Logger
	over  chan struct{} // closed when it is done

	mu      sync.Mutex
	choices []choice    // that were sent to GitHub
	app     *registered // what GitHub told and is not on disk yet
	done    bool
}

// A choice is what the person said.
type choice struct {
	Name, Organization, GitHub, PublicURL string
	api                                   string // GitHub's
	state                                 string
}

// registered is what GitHub told of the new App, with where it is and where it finds us.
type registered struct {
	ID                                         int64
	Name, Owner, Page                          string
	ClientID, ClientSecret, WebhookSecret, Key string
	APIURL, PublicURL                          string
}

// SetUp registers a GitHub App where the server's file names none, or is not there: it serves /setup to whoever has the address
// that it logs, and returns nil once everything is written, or ctx ends. Where there is an App it returns at once. A set-up
// that was cut off after GitHub's answer is brought to its end.
func SetUp(ctx context.Context, path, version string, log *slog.Logger) error {
	s, err := newSetUp(path, version, log)
	if err != nil || s == nil {
		return err
	}
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return s.serve(ctx, l)
}

// newSetUp is nil where nothing is left to do.
func newSetUp(path, version string, log *slog.Logger) (*setUp, error) {
	file, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := nothingThere(file, log); err != nil {
		return nil, err
	}
	s := &setUp{file: file, code: rand.Text(), pages: web.NewSetup(version, log), log: log, over: make(chan struct{})}
	if err := s.resume(); err != nil {
		return nil, fmt.Errorf("finish the set-up: %w", err)
	}
	if s.cfg, err = s.unregistered(); err != nil || s.cfg == nil {
		return nil, err
	}
	return s, nil
}

// serverKey begins a line of a server's file.
var serverKey = regexp.MustCompile(`(?m)^(listen|data_dir|github):`)

// nothingThere says what a path that leads nowhere may be a slip of: a folder that is not there is an error, and another file that looks like a
// server's is told, since without its file a bot begins anew.
func nothingThere(file string, log *slog.Logger) error {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	dir := filepath.Dir(file)
	others, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no folder %s, so %s cannot be its server's file: name another by --config, or make the folder; bot init --server writes a file into the current one", dir, file)
	}
	for _, other := range others { // none, where the folder cannot be read
		ext := filepath.Ext(other.Name())
		if !other.Type().IsRegular() || ext != ".yaml" && ext != ".yml" {
			continue
		}
		if text, err := readSmall(filepath.Join(dir, other.Name())); err == nil && serverKey.Match(text) {
			log.Warn("this file does not exist, but another beside it looks like a server's file: if that is meant, stop this bot and name it by --config", "config", file, "other", filepath.Join(dir, other.Name()))
		}
	}
	return nil
}

// resume ends a set-up that was cut off.
func (s *setUp) resume() error {
	data, err := readSmall(s.beside(journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	app := &registered{}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, app); err != nil {
		return fmt.Errorf("%s cannot be read (%w): it holds what GitHub told of the App; move it away to begin again, and delete that App at GitHub", s.beside(journalFile), err)
	}
	if err := s.save(app); err != nil {
		return err
	}
	s.tell(app)
	return nil
}

func (s *setUp) tell(app *registered) {
	s.log.Info("the set-up is over: the GitHub App is registered", "app", app.Name, "install", app.install(), "next", app.allow(), "config", s.file)
}

// install is where the App is installed.
func (a *registered) install() string { return a.Page + "/installations/new" }

// allow is the line that lets the owner's repositories use the server.
func (a *registered) allow() string { return fmt.Sprintf("allow: [%q]", a.Owner+"/*") }

// text is what the server's file has, or will begin with.
func (s *setUp) text() ([]byte, error) {
	data, err := readSmall(s.file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(data)) == "" {
		return serverTemplate, nil
	}
	return data, err
}

// unregistered is the server's file as far as it goes, or nil where it names an App, or what belongs to one.
func (s *setUp) unregistered() (*Config, error) {
	data, err := s.text()
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(s.file, data, true, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"app_id", "private_key", "webhook_secrets", "client_id", "client_secret"} {
		if c.doc.Has("github." + key) {
			return nil, nil
		}
	}
	return c, c.doc.Err()
}

func (s *setUp) beside(name string) string { return filepath.Join(filepath.Dir(s.file), name) }

func (s *setUp) serve(ctx context.Context, l net.Listener) error {
	server := httpServer(s.handler(), s.log)
	address := s.cfg.PublicURL
	if host, port, err := net.SplitHostPort(s.cfg.Listen); err == nil && !s.cfg.doc.Has("public_url") && (host == "" || net.ParseIP(host).IsUnspecified()) {
		address = "http://" + net.JoinHostPort("127.0.0.1", port)
	}
	s.log.Warn("no GitHub App is configured: open this address to register one, also by another name of this machine; it is good until that is done, or this process ends",
		"address", address+"/setup?code="+s.code, "config", s.file)
	if problem := s.inTheWay(); problem != nil {
		s.log.Error("the set-up cannot write what it has to", "err", problem.String())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }() // until Shutdown or Close
	var err error
	select {
	case err = <-served:
		return err
	case <-ctx.Done():
	case <-s.over:
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if server.Shutdown(stop) != nil {
		err = server.Close() // whoever is still sending gets no answer
	}
	<-served
	return err
}

func (s *setUp) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "the set-up is not done: open the address that the log names", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("GET /setup", s.ask)
	mux.HandleFunc("GET /setup/callback", s.callback)
	mux.Handle("/", s.pages) // a style sheet; the rest is not there
	return mux
}

// inTheWay says what keeps the set-up from writing its files, and what to do; it is asked before GitHub is.
func (s *setUp) inTheWay() *web.Saying {
	for _, name := range []string{keyFile, hookSecretFile, clientSecretFile} {
		if _, err := os.Lstat(s.beside(name)); err == nil {
			return web.Say("%s is there already, and is not overwritten: move it away.", s.beside(name))
		}
	}
	// As the files will be written: some file systems lack what that needs.
	probe := s.beside(strings.Replace(halfWritten, "*", rand.Text(), 1))
	if err := writeOnce(probe, nil); err != nil {
		return web.Say("%s: let the bot's user write to this folder.", err)
	}
	if err := os.Remove(probe); err != nil {
		return web.Say("The folder of the server's file cannot be written to: %s", err)
	}
	if c, err := s.unregistered(); err == nil && c == nil {
		return web.Say("%s names an App by now: start the bot again.", s.file)
	}
	example := &registered{ID: 1, ClientID: "Iv1.x", PublicURL: s.cfg.PublicURL, APIURL: s.cfg.GitHub.APIURL}
	if _, err := s.completed(example, func(string) bool { return false }); err != nil {
		return web.Say("The App could not be put into the server's file: %s", err)
	}
	return nil
}

// ask is GET /setup: it asks for whom the App is, and then has the browser take the manifest to GitHub. It changes nothing.
func (s *setUp) ask(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	if s.done || !hmac.Equal([]byte(q.Get("code")), []byte(s.code)) {
		s.pages.NotFound(w, r)
		return
	}
	if s.app != nil {
		s.finish(w, r)
		return
	}
	if problem := s.inTheWay(); problem != nil {
		s.pages.Show(w, r, http.StatusConflict, web.SetupPage{Problem: problem, Remedy: web.Say("Then load this page again.")})
		return
	}
	form := &web.SetupForm{Code: s.code, Name: "Shipmate", GitHub: webOf(s.cfg.GitHub.APIURL), PublicURL: s.cfg.PublicURL,
		FixedGitHub: s.cfg.doc.Has("github.api_url"), FixedPublicURL: s.cfg.doc.Has("public_url")}
	if !q.Has("name") {
		at, err := url.Parse("https://" + r.Host)
		if err == nil && !form.FixedPublicURL && net.ParseIP(at.Hostname()) == nil && at.Hostname() != "localhost" && webOrigin.MatchString("https://"+r.Host) {
			form.PublicURL = "https://" + r.Host // by a proxy, most likely
		}
		s.pages.Show(w, r, http.StatusOK, web.SetupPage{Form: form})
		return
	}
	form.Name, form.Organization = strings.TrimSpace(q.Get("name")), strings.TrimSpace(q.Get("organization"))
	if !form.FixedGitHub {
		form.GitHub = strings.TrimRight(strings.TrimSpace(q.Get("github")), "/")
	}
	if !form.FixedPublicURL {
		form.PublicURL = strings.TrimRight(strings.TrimSpace(q.Get("public_url")), "/")
	}
	c := choice{Name: form.Name, Organization: form.Organization, GitHub: form.GitHub, PublicURL: form.PublicURL, api: apiOf(form.GitHub)}
	if form.FixedGitHub {
		c.api = s.cfg.GitHub.APIURL
	}
	if form.Wrong = c.wrong(); form.Wrong != nil {
		s.pages.Show(w, r, http.StatusBadRequest, web.SetupPage{Form: form})
		return
	}
	c.state = s.state(c)
	manifest, err := c.manifest(r.Host)
	if err != nil {
		s.log.Error("the manifest could not be made", "err", err)
		s.pages.Show(w, r, http.StatusInternalServerError, web.SetupPage{Problem: web.Say("The manifest of the App could not be made: %s", err)})
		return
	}
	s.choices = append(s.choices, c)
	target := c.GitHub + "/settings/apps/new"
	if c.Organization != "" {
		target = c.GitHub + "/organizations/" + c.Organization + "/settings/apps/new"
	}
	s.pages.Show(w, r, http.StatusOK, web.SetupPage{Register: &web.SetupRegister{Form: form, Target: target + "?state=" + url.QueryEscape(c.state), Manifest: manifest}})
}

// webOf is where GitHub's pages are, by the address of its API; apiOf is the other way round.
func webOf(api string) string {
	u, err := url.Parse(api)
	if err != nil || u.Host == "api.github.com" {
		return "https://github.com"
	}
	return u.Scheme + "://" + u.Host
}

func apiOf(pages string) string {
	if strings.EqualFold(pages, "https://github.com") {
		return "https://api.github.com/"
	}
	return pages + "/api/v3/"
}

var (
	accountName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
	webOrigin   = regexp.MustCompile(`^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$`)
)

// wrong says what of a choice cannot be; nil: nothing.
func (c choice) wrong() *web.Saying {
	switch {
	case c.Name == "" || len([]rune(c.Name)) > 34: // GitHub's limit
		return web.Say("The App needs a name of at most 34 characters.")
	case c.Organization != "" && !accountName.MatchString(c.Organization):
		return web.Say("That is no organization's name: write it as it stands in its address on GitHub, or nothing.")
	case !webOrigin.MatchString(c.GitHub):
		return web.Say("GitHub's address is no web address: write https:// and its host alone, such as https://github.com.")
	case strings.HasPrefix(c.GitHub, "http:") && !loopback(c.GitHub) && c.api == apiOf(c.GitHub):
		return web.Say("GitHub's address begins with http://, by which others could read the App's key: write https://.")
	case !webOrigin.MatchString(c.PublicURL):
		return web.Say("The public address is no web address: write https:// and a host, such as https://ship.example.com.")
	}
	return nil
}

// loopback tells whether an address leads to this machine.
func loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// state is what GitHub sends back with the person: only who has the code can have it.
func (s *setUp) state(c choice) string {
	mac := hmac.New(sha256.New, []byte(s.code))
	fmt.Fprintf(mac, "%q", []string{c.Name, c.Organization, c.GitHub, c.PublicURL})
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// manifest is app.yaml with our addresses, as GitHub wants it. Who came by an address of this machine is sent back there: it may
// be that nothing else leads here yet.
func (c choice) manifest(host string) (string, error) {
	var m map[string]any
	if err := yaml.Unmarshal(shipmate.AppManifest, &m); err != nil {
		return "", err
	}
	back := c.PublicURL
	if loopback("http://" + host) {
		back = "http://" + host
	}
	m["name"] = c.Name
	m["hook_attributes"] = map[string]any{"url": c.PublicURL + "/webhooks/github", "active": true}
	m["redirect_url"] = back + "/setup/callback"
	m["callback_urls"] = []string{c.PublicURL + "/auth/callback"}
	text, err := json.Marshal(m)
	return string(text), err
}

// manifestCode is what GitHub's code for the App looks like.
var manifestCode = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// callback is GET /setup/callback: GitHub has registered the App, and sends the person back.
func (s *setUp) callback(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock() // also while GitHub is asked: its code is good once
	defer s.mu.Unlock()
	q := r.URL.Query()
	var of *choice
	for i, c := range s.choices {
		if hmac.Equal([]byte(q.Get("state")), []byte(c.state)) {
			of = &s.choices[i]
		}
	}
	if s.done || of == nil || !manifestCode.MatchString(q.Get("code")) {
		s.pages.NotFound(w, r)
		return
	}
	if s.app == nil {
		if problem := s.inTheWay(); problem != nil {
			s.pages.Show(w, r, http.StatusConflict, web.SetupPage{Problem: problem, Remedy: web.Say("Then load this page again, within an hour: so long GitHub keeps the new App's secrets for us.")})
			return
		}
		app, err := of.complete(r.Context(), q.Get("code"))
		if err != nil {
			why := strings.ReplaceAll(err.Error(), q.Get("code"), masked)
			s.log.Error("GitHub did not tell of the new App", "err", why)
			s.pages.Show(w, r, http.StatusBadGateway, web.SetupPage{Problem: web.Say("GitHub did not tell the new App's id and secrets: %s", why),
				Remedy: web.Say("Load this page again in a moment. If that does not help, the code was used or is older than an hour: delete the App in its settings on GitHub, and begin again with the address that the log names.")})
			return
		}
		s.app = app
	}
	s.finish(w, r)
}

// complete changes GitHub's code for what belongs to the App. It can be done once.
func (c choice) complete(ctx context.Context, code string) (*registered, error) {
	api, err := url.Parse(strings.TrimSuffix(c.api, "/") + "/")
	if err != nil {
		return nil, err
	}
	client := github.NewClient(&http.Client{Timeout: requestTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }})
	client.BaseURL = api
	// The answer comes once: a browser that goes away does not lose it.
	got, _, err := client.Apps.CompleteAppManifest(context.WithoutCancel(ctx), code)
	if err != nil {
		return nil, err
	}
	app := &registered{ID: got.GetID(), Name: got.GetName(), Owner: got.GetOwner().GetLogin(), Page: strings.TrimRight(got.GetHTMLURL(), "/"),
		ClientID: got.GetClientID(), ClientSecret: got.GetClientSecret(), WebhookSecret: got.GetWebhookSecret(), Key: got.GetPEM(),
		APIURL: api.String(), PublicURL: c.PublicURL}
	if app.ID <= 0 || app.Key == "" || app.WebhookSecret == "" || app.ClientSecret == "" || !plainYAML.MatchString(app.ClientID) {
		return nil, errors.New("its answer lacks the id, the key or a secret")
	}
	return app, nil
}

// finish writes what GitHub told, and shows what is left to do. mu is held.
func (s *setUp) finish(w http.ResponseWriter, r *http.Request) {
	if err := s.save(s.app); err != nil {
		s.log.Error("the App is registered, but its secrets could not be written; they are in this process alone", "err", err, "config", s.file)
		s.pages.Show(w, r, http.StatusInternalServerError, web.SetupPage{
			Problem: web.Say("The App is registered at GitHub, but what belongs to it could not be written: %s", err),
			Remedy:  web.Say("Mend that, and load this page again; do not stop the bot, which alone has the App's secrets now. If it was stopped: make a new private key and a new client secret and set a new webhook secret on the App's page, put each into its file, and write these lines into %s:", s.file),
			Lines:   "public_url: " + inYAML(s.app.PublicURL) + "\ngithub:\n" + block("  ", s.app.entries()), Link: s.app.Page})
		return
	}
	s.tell(s.app)
	s.done = true
	close(s.over)
	s.pages.Show(w, r, http.StatusOK, web.SetupPage{Done: &web.SetupDone{Name: s.app.Name, Install: s.app.install(), Allow: s.app.allow(), File: s.file}})
	s.app = nil
}

// save writes what GitHub told: first all of it into the journal, so that what is cut off here goes on from there.
func (s *setUp) save(app *registered) error {
	for _, step := range s.steps(app) {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// steps are what save does. Each may be repeated, and is done whole or not at all.
func (s *setUp) steps(app *registered) []func() error {
	once := func(name, content string) func() error {
		return func() error { return writeOnce(s.beside(name), []byte(content)) }
	}
	return []func() error{
		func() error {
			text, err := json.Marshal(app)
			if err != nil {
				return err
			}
			return writeOnce(s.beside(journalFile), text)
		},
		once(keyFile, app.Key),
		once(hookSecretFile, app.WebhookSecret+"\n"),
		once(clientSecretFile, app.ClientSecret+"\n"),
		func() error { return s.writeConfig(app) },
		func() error {
			left, _ := filepath.Glob(s.beside(halfWritten)) // the pattern is a good one
			for _, name := range left {
				if err := os.Remove(name); err != nil {
					return err
				}
			}
			return os.Remove(s.beside(journalFile))
		},
	}
}

// writeOnce writes a file of mode 0600 that appears whole or not at all, and only where there is none; one with the same content
// is left as it is.
func writeOnce(name string, content []byte) error {
	temp, err := writeTemp(name, content, 0o600)
	if err != nil {
		return err
	}
	err = os.Link(temp, name)
	if errors.Is(err, fs.ErrExist) {
		if there, readErr := readSmall(name); readErr == nil && string(there) == string(content) {
			err = nil
		} else {
			err = fmt.Errorf("%s is there already, and is not overwritten: move it away", name)
		}
	}
	return errors.Join(err, os.Remove(temp), syncDir(name))
}

// writeTemp writes a file beside name, and has it on disk.
func writeTemp(name string, content []byte, mode fs.FileMode) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), halfWritten)
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// syncDir has on disk what a file is called.
func syncDir(name string) error {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// completed is the server's file with the App in it, and all else that it has; nil where the App is in it already.
func (s *setUp) completed(app *registered, wanted func(secret string) bool) ([]byte, error) {
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	before, err := parseConfig(s.file, text, true, func(string) bool { return false })
	if err == nil {
		err = before.doc.Err()
	}
	if err != nil {
		return nil, err
	}
	if before.doc.Has("github.app_id") {
		if before.GitHub.AppID == app.ID {
			return nil, nil
		}
		return nil, fmt.Errorf("%s names the App %d, and %s what belongs to the App %d: remove the latter, if that is not wanted", s.file, before.GitHub.AppID, s.beside(journalFile), app.ID)
	}
	if text, err = withApp(text, before, app); err != nil {
		return nil, err
	}
	after, err := parseConfig(s.file, text, false, wanted)
	if err == nil {
		err = after.doc.Err()
	}
	if err == nil && (after.GitHub.AppID != app.ID || after.PublicURL != app.PublicURL || after.GitHub.ClientID != app.ClientID) {
		err = errors.New("it does not come out as meant")
	}
	if err != nil {
		return nil, fmt.Errorf("with the App in it: %w", err)
	}
	return text, nil
}

// writeConfig puts the App into the server's file.
func (s *setUp) writeConfig(app *registered) error {
	text, err := s.completed(app, func(string) bool { return true })
	if err != nil {
		return fmt.Errorf("complete %s: %w; mend that, or write this into it yourself, as github: {%s}", s.file, err, flow(app.entries()))
	}
	if text == nil {
		return nil
	}
	target, mode := s.file, fs.FileMode(0o600)
	if real, err := filepath.EvalSymlinks(s.file); err == nil {
		target = real // a link stays one
	}
	if info, err := os.Stat(target); err == nil {
		mode = info.Mode().Perm()
	}
	temp, err := writeTemp(target, text, mode) // where it is, which may be another file system than the link's
	if err != nil {
		return err
	}
	if err := os.Rename(temp, target); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(target)
}

// An entry is a key of the server's file and its value, in YAML.
type entry struct{ key, value string }

func (a *registered) entries() []entry {
	return []entry{{"app_id", fmt.Sprint(a.ID)}, {"private_key", "file:./" + keyFile}, {"webhook_secrets", "[file:./" + hookSecretFile + "]"},
		{"client_id", a.ClientID}, {"client_secret", "file:./" + clientSecretFile}, {"api_url", inYAML(a.APIURL)}}
}

// plainYAML is what means itself in YAML, whatever stands around it.
var plainYAML = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]*[A-Za-z0-9/]$`)

func inYAML(s string) string {
	if plainYAML.MatchString(s) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// withApp is a server's file with the App in it: a key that stands there turned off (#key: …) is turned on in its place; what is
// left comes at the top of the section github, or at the end of the file.
func withApp(text []byte, before *Config, app *registered) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	root := document.Content[0]
	lines := strings.SplitAfter(string(text), "\n")
	if last := len(lines) - 1; lines[last] != "" {
		lines[last] += "\n"
		lines = append(lines, "")
	}
	var top, section []entry
	if !before.doc.Has("public_url") {
		top = []entry{{"public_url", inYAML(app.PublicURL)}}
	}
	for _, e := range app.entries() {
		if e.key != "api_url" || !before.doc.Has("github.api_url") && app.APIURL != before.GitHub.APIURL {
			section = append(section, e)
		}
	}
	end := len(lines) - 1
	github := -1
	for i := 0; i < len(root.Content); i += 2 {
		if root.Content[i].Value == "github" {
			github = i
		}
	}
	switch {
	case github < 0 && root.Style&yaml.FlowStyle != 0:
		top = append(top, entry{"github", "{" + flow(section) + "}"})
	case github < 0:
		indent := strings.Repeat(" ", root.Column-1)
		lines[end] += "\n" + indent + "github:\n" + block(indent+"  ", section)
	default:
		from, to := root.Content[github].Line, end // counted from 0, the lines of the section
		if github+2 < len(root.Content) {
			to = root.Content[github+2].Line - 1
		}
		insert(lines, root.Content[github+1], from, to, from, section)
	}
	insert(lines, root, 0, end, end, top)
	return []byte(strings.Join(lines, "")), nil
}

// flow is the inside of a mapping on one line, block one with a line for each entry.
func flow(entries []entry) string {
	var parts []string
	for _, e := range entries {
		parts = append(parts, e.key+": "+e.value)
	}
	return strings.Join(parts, ", ")
}

func block(indent string, entries []entry) (text string) {
	for _, e := range entries {
		text += indent + e.key + ": " + e.value + "\n"
	}
	return text
}

// insert puts entries into a mapping: in the place of keys that are turned off in lines[from:to], the others before lines[at].
func insert(lines []string, mapping *yaml.Node, from, to, at int, entries []entry) {
	if len(entries) == 0 {
		return
	}
	if mapping.Style&yaml.FlowStyle != 0 {
		line := []rune(lines[mapping.Line-1])
		inner := flow(entries)
		if len(mapping.Content) > 0 {
			inner += ", "
		}
		lines[mapping.Line-1] = string(line[:mapping.Column]) + inner + string(line[mapping.Column:])
		return
	}
	indent := strings.Repeat(" ", mapping.Column-1)
	var added []entry
	for _, e := range entries {
		i := slices.IndexFunc(lines[from:to], func(line string) bool { return strings.HasPrefix(line, indent+"#"+e.key+": ") })
		if i < 0 {
			added = append(added, e)
			continue
		}
		lines[from+i] = block(indent, []entry{e})
	}
	lines[at] = block(indent, added) + lines[at]
}
