package sim

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/internal/sim/openapi"
)

// GitHubConfig says what the simulated GitHub is. Only Dir has no default.
type GitHubConfig struct {
	Dir            string            // an empty folder, for the bare git repositories
	AppID          int64             // default 12345
	CallbackURL    string            // where people come back to who sign in; empty: any address will do
	Slug           string            // the app's name in addresses and, with "[bot]", its login; default "shipmate"
	PrivateKey     *rsa.PrivateKey   // the app's; default: one made once for the process
	Permissions    map[string]string // the app's, "read", "write" or "admin"; default DefaultPermissions
	Events         []string          // what the app subscribes to; default DefaultEvents
	HookURL        string            // where webhooks go; none are sent while it is empty
	Secret         string            // signs webhooks; unsigned while it is empty
	HookForm       bool              // webhooks are form-encoded instead of JSON
	PushCommits    int               // how many commits a push event lists at most, the newest; default 2048, as GitHub's
	HookTimeout    time.Duration     // after which a delivery is given up; default 10 s, as GitHub's
	RateLimit      int               // requests in an hour for each token; default 5000
	SecondaryLimit bool              // at most 80 content-creating requests a minute and 500 an hour

	// Now gives GitHub's time, for everything that it dates. Default time.Now. It is
	// called from several goroutines, and must not call the simulator.
	Now func() time.Time
	// AuthNow gives the time that JWTs and tokens expire by. Default time.Now, not
	// Now, because client libraries sign and renew by the wall clock.
	AuthNow func() time.Time

	// OnWrite is told what the app wrote, once it is written. It may call the
	// simulator.
	OnWrite func(Write)
}

// Write is something that the app wrote through the API.
type Write struct {
	Kind        string // status, check_run, deployment, deployment_status, comment or reaction
	Repository  string // owner/name
	Name        string // a status's context, a check run's name, an environment, a login (of a comment or reaction)
	SHA         string // of a status, check run or deployment
	Number      int    // of the pull request of a comment or reaction
	State       string // a state, or a check run's conclusion (its status before), or a reaction's content
	Description string // a description, or a comment's body, or a check run's title
	URL         string // target_url, details_url or log_url
	Updated     bool   // an existing comment or check run was changed
}

// DefaultPermissions are those that Shipmate asks for.
func DefaultPermissions() map[string]string {
	return map[string]string{
		"checks": "write", "contents": "read", "deployments": "write", "issues": "write", "members": "read",
		"metadata": "read", "pull_requests": "write", "statuses": "write",
	}
}

// DefaultEvents are those that Shipmate subscribes to.
func DefaultEvents() []string {
	return []string{
		"check_run", "check_suite", "create", "delete", "issue_comment", "member", "membership", "organization", "pull_request", "push", "repository", "status", "team", "team_add",
	}
}

// GitHub is a simulated GitHub. It is an [http.Handler] that serves the REST API
// under / and /api/v3/, and git over HTTP at /OWNER/NAME.git. Its methods may be
// called at any time from any goroutine.
type GitHub struct {
	cfg         GitHubConfig
	description *openapi.Description
	routes      []route
	hooks       *hooks
	server      *http.Server

	mu            sync.Mutex
	url           string // without a slash at its end
	lastID        int64
	accounts      map[string]*account // by lower-case login
	installations []*Installation
	repos         map[string]*Repo // by lower-case owner/name
	apps          map[int64]string // other Apps' slugs
	tokens        map[string]*token
	userTokens    map[string]*account
	clientSecret  string
	grants        map[string]*grant     // codes of people who signed in, not used yet
	people        map[string]*userToken // what they were changed for
	manifests     map[string]*manifest  // codes of apps that were registered from a manifest
	requests      []Request
	violations    []string
	faults        []*fault
	delay         time.Duration
	down          bool
	vague         int         // see SetVagueMerges
	stale         int         // see SetStaleMerges
	created       []time.Time // content-creating requests of the last hour
	events        []Write     // for OnWrite, once mu is free
	telling       bool
}

// account is a person, an organization or a bot.
type account struct {
	ID          int64
	Login, Type string // Type is User, Organization or Bot
	Created     time.Time
	teams       map[string]*team // of an organization, by slug
}

// Installation is the app on one account.
type Installation struct {
	ID          int64
	Account     string
	Permissions map[string]string
	Suspended   bool
	account     *account
	created     time.Time
}

// Request is one that the simulator got.
type Request struct {
	Method string
	Path   string // without the /api/v3 prefix, with the query
	Body   string // of a request to the API
	Status int
	At     time.Time
}

var processKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// NewGitHub makes a GitHub without repositories. It answers once it is served:
// by [GitHub.Start], or by a server of the caller's, whose address the caller
// then gives to [GitHub.SetURL].
func NewGitHub(cfg GitHubConfig) (*GitHub, error) {
	if cfg.Dir == "" {
		return nil, errors.New("simulated GitHub: Dir is empty; name a folder for the git repositories")
	}
	description, err := openapi.GitHub()
	if err != nil {
		return nil, err
	}
	if cfg.PrivateKey == nil {
		if cfg.PrivateKey, err = processKey(); err != nil {
			return nil, err
		}
	}
	cfg.AppID = cmp.Or(cfg.AppID, 12345)
	cfg.Slug = cmp.Or(cfg.Slug, "shipmate")
	cfg.PushCommits = cmp.Or(cfg.PushCommits, 2048)
	cfg.HookTimeout = cmp.Or(cfg.HookTimeout, 10*time.Second)
	cfg.RateLimit = cmp.Or(cfg.RateLimit, 5000)
	if cfg.Permissions == nil {
		cfg.Permissions = DefaultPermissions()
	}
	if cfg.Events == nil {
		cfg.Events = DefaultEvents()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.AuthNow == nil {
		cfg.AuthNow = time.Now
	}
	gh := &GitHub{
		cfg: cfg, vague: 1, description: description, routes: githubRoutes(), url: "http://github.invalid", lastID: 1000,
		accounts: map[string]*account{}, repos: map[string]*Repo{}, tokens: map[string]*token{}, userTokens: map[string]*account{},
		clientSecret: randomHex(20), grants: map[string]*grant{}, people: map[string]*userToken{}, manifests: map[string]*manifest{},
	}
	gh.hooks = newHooks(gh)
	gh.addAccount(cfg.Slug+"[bot]", "Bot")
	return gh, nil
}

// Start serves on the address, "127.0.0.1:0" for any free port.
func (gh *GitHub) Start(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("simulated GitHub: %w", err)
	}
	gh.SetURL("http://" + listener.Addr().String())
	gh.server = &http.Server{Handler: gh, ReadHeaderTimeout: 10 * time.Second}
	go gh.server.Serve(listener) //nolint:errcheck // ends with Close
	return nil
}

// Close stops serving and sending; what was not sent yet is dropped.
func (gh *GitHub) Close() error {
	gh.hooks.close()
	if gh.server == nil {
		return nil
	}
	return gh.server.Close()
}

// URL is GitHub's address, without a slash at its end.
func (gh *GitHub) URL() string {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	return gh.url
}

// APIURL is the address for the configuration key github.api_url.
func (gh *GitHub) APIURL() string { return gh.URL() + "/api/v3/" }

// SetURL says at which address this handler is served; links in answers and
// webhooks begin with it.
func (gh *GitHub) SetURL(url string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.url = strings.TrimRight(url, "/")
}

// AppID is the app's id.
func (gh *GitHub) AppID() int64 { return gh.cfg.AppID }

// PrivateKeyPEM is the app's private key as GitHub offers it for download.
func (gh *GitHub) PrivateKeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(gh.cfg.PrivateKey)})
}

// SetHook says where webhooks go from now on, and with which secret.
func (gh *GitHub) SetHook(url, secret string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.cfg.HookURL, gh.cfg.Secret = url, secret
}

// SetHookTransport says by what webhooks are sent from now on: hosts that have no name here can be reached by it.
func (gh *GitHub) SetHookTransport(transport http.RoundTripper) {
	gh.hooks.mu.Lock()
	defer gh.hooks.mu.Unlock()
	client := *gh.hooks.client
	client.Transport = transport
	gh.hooks.client = &client
}

// SetPushCommits changes how many commits a push event lists at most.
func (gh *GitHub) SetPushCommits(n int) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.cfg.PushCommits = n
}

// id returns the next id; ids of everything come from one row. mu is held.
func (gh *GitHub) id() int64 {
	gh.lastID++
	return gh.lastID
}

func (gh *GitHub) now() time.Time { return gh.cfg.Now().UTC().Truncate(time.Second) }

func (gh *GitHub) addAccount(login, kind string) *account {
	a := gh.accounts[strings.ToLower(login)]
	if a == nil {
		a = &account{ID: gh.id(), Login: login, Type: kind, Created: gh.now(), teams: map[string]*team{}}
		gh.accounts[strings.ToLower(login)] = a
	}
	return a
}

func (gh *GitHub) account(login string) *account { return gh.accounts[strings.ToLower(login)] }

// AddUser makes a person; every control method that names one that does not
// exist does the same. The address LOGIN@users.noreply.github.com is theirs.
func (gh *GitHub) AddUser(login string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.addAccount(login, "User")
}

// UserToken makes a token with which the person can use git over HTTP (as the
// password, with any user name), as far as their permission goes.
func (gh *GitHub) UserToken(login string) string {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	secret := "ghp_" + randomHex(18)
	gh.userTokens[secret] = gh.addAccount(login, "User")
	return secret
}

// RepoOptions are the choices for a new repository.
type RepoOptions struct {
	Public        bool
	DefaultBranch string // default "master"
	PersonalOwner bool   // the owner is a person, not an organization
	NotInstalled  bool   // the app has no access
	Description   string
}

// CreateRepo makes an empty repository, named owner/name, with the app installed.
func (gh *GitHub) CreateRepo(fullName string, options RepoOptions) (*Repo, error) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	return gh.createRepo(fullName, options)
}

func (gh *GitHub) createRepo(fullName string, options RepoOptions) (*Repo, error) {
	owner, name, ok := strings.Cut(fullName, "/")
	if !ok || owner == "" || name == "" || strings.Contains(name, "/") || strings.HasPrefix(name, ".") || strings.HasPrefix(owner, ".") {
		return nil, fmt.Errorf("create repository %q: want owner/name", fullName)
	}
	if gh.repos[strings.ToLower(fullName)] != nil {
		return nil, fmt.Errorf("create repository %s: it exists", fullName)
	}
	kind := "Organization"
	if options.PersonalOwner {
		kind = "User"
	}
	repo := &Repo{
		gh: gh, id: gh.id(), owner: gh.addAccount(owner, kind), name: name, private: !options.Public, description: options.Description,
		defaultBranch: cmp.Or(options.DefaultBranch, "master"), installed: !options.NotInstalled, created: gh.now(),
		dir: gitDir(filepath.Join(gh.cfg.Dir, owner, name+".git")), permissions: map[string]permission{}, required: map[string][]requiredCheck{},
		issues: map[int]*issue{}, refs: map[string]string{},
	}
	if err := initGit(repo.dir, repo.defaultBranch); err != nil {
		return nil, fmt.Errorf("create repository %s: %w", fullName, err)
	}
	if repo.installed && gh.installation(repo.owner) == nil {
		gh.installations = append(gh.installations, &Installation{
			ID: gh.id(), Account: repo.owner.Login, Permissions: maps.Clone(gh.cfg.Permissions), account: repo.owner, created: gh.now(),
		})
	}
	gh.repos[strings.ToLower(fullName)] = repo
	return repo, nil
}

func (gh *GitHub) sortedRepos() []*Repo {
	return slices.SortedFunc(maps.Values(gh.repos), func(a, b *Repo) int { return cmp.Compare(a.id, b.id) })
}

// Repo returns a repository by owner/name, or nil.
func (gh *GitHub) Repo(fullName string) *Repo {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	return gh.repos[strings.ToLower(fullName)]
}

func (gh *GitHub) installation(owner *account) *Installation {
	i := slices.IndexFunc(gh.installations, func(i *Installation) bool { return i.account == owner })
	if i < 0 {
		return nil
	}
	return gh.installations[i]
}

// Installation returns a copy of the app's installation on the account.
func (gh *GitHub) Installation(owner string) (Installation, bool) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	i := gh.installation(gh.account(owner))
	if i == nil {
		return Installation{}, false
	}
	c := *i
	c.Permissions = maps.Clone(i.Permissions)
	return c, true
}

// SetInstallation changes what the installation on the account may do, tokens
// already issued included. It does nothing where the app is not installed.
func (gh *GitHub) SetInstallation(owner string, permissions map[string]string, suspended bool) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	if i := gh.installation(gh.account(owner)); i != nil {
		i.Permissions, i.Suspended = maps.Clone(permissions), suspended
	}
}

// Uninstall removes the app from the account; its tokens end.
func (gh *GitHub) Uninstall(owner string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gone := gh.installation(gh.account(owner))
	gh.installations = slices.DeleteFunc(gh.installations, func(i *Installation) bool { return i == gone })
	maps.DeleteFunc(gh.tokens, func(_ string, t *token) bool { return t.installation == gone })
}

// Requests returns what was asked of the API and of git, oldest first, at most
// the last 20 000.
func (gh *GitHub) Requests() []Request {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	return slices.Clone(gh.requests)
}

// Violations returns each disagreement of a request, an answer or a webhook with
// GitHub's OpenAPI description. Tests expect none.
func (gh *GitHub) Violations() []string {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	return slices.Clone(gh.violations)
}

func (gh *GitHub) record(request Request) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	if len(gh.requests) >= 20_000 {
		gh.requests = gh.requests[1:]
	}
	gh.requests = append(gh.requests, request)
}

func (gh *GitHub) violation(err error) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.violations = append(gh.violations, err.Error())
}

// wrote tells OnWrite about w once mu is free. mu is held.
func (gh *GitHub) wrote(w Write) {
	if gh.cfg.OnWrite != nil {
		gh.events = append(gh.events, w)
	}
}

// tell runs OnWrite for what is not told yet, in order: one caller at a time,
// which takes over what comes meanwhile.
func (gh *GitHub) tell() {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	if gh.telling {
		return
	}
	gh.telling = true
	for len(gh.events) > 0 {
		event := gh.events[0]
		gh.events = gh.events[1:]
		gh.mu.Unlock()
		gh.cfg.OnWrite(event)
		gh.mu.Lock()
	}
	gh.telling = false
}

// Flush waits until every webhook so far has been sent and answered or given up.
func (gh *GitHub) Flush(ctx context.Context) error { return gh.hooks.flush(ctx) }

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) //nolint:errcheck // never fails
	return hex.EncodeToString(b)
}

// uuid returns a random UUID (RFC 9562, version 4).
func uuid() string {
	b := make([]byte, 16)
	rand.Read(b) //nolint:errcheck // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func nodeID(kind string, id int64) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%d", kind, id))
}

// ServeHTTP serves git over HTTP and the REST API.
func (gh *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if trimmed := strings.TrimPrefix(path, "/api/v3"); strings.HasPrefix(trimmed, "/") {
		path = trimmed
	}
	if _, _, git := gitRequest(path); !git && r.Method != http.MethodGet && !strings.HasSuffix(path, "/access_tokens") {
		defer gh.tell() // whoever writes nothing waits for nobody who listens
	}
	answer := &recorder{ResponseWriter: w, status: http.StatusOK}
	request := Request{Method: r.Method, Path: path, At: gh.now()}
	if r.URL.RawQuery != "" {
		request.Path += "?" + r.URL.RawQuery
	}
	defer func() {
		request.Status = answer.status
		gh.record(request)
	}()

	gh.mu.Lock()
	delay, down := gh.delay, gh.down
	gh.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
	}
	if down {
		answer.Header().Set("Content-Type", "text/html")
		answer.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(answer, "<html><body><h1>Unicorn!</h1>GitHub is down.</body></html>")
		return
	}
	if f, ok := gh.fault(r.Method, path); ok {
		gh.answerFault(answer, f)
		return
	}
	if repo, service, ok := gitRequest(path); ok {
		gh.serveGit(answer, r, repo, service)
		return
	}
	if gh.serveLFS(answer, r, path) || gh.servePages(answer, r, path) {
		return
	}
	request.Body = gh.serveAPI(answer, r, path)
}

// recorder keeps the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote = true
	return r.ResponseWriter.Write(b)
}
