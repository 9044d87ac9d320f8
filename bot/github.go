package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// requestTimeout bounds one request to GitHub.
const requestTimeout = 20 * time.Second

// hub makes clients for GitHub: one for each installation, which share the App's key.
type hub struct {
	api  *url.URL
	app  *ghinstallation.AppsTransport
	log  *slog.Logger
	now  func() time.Time
	pace *pace

	figures *figures // may be nil

	mu      sync.Mutex
	clients map[int64]*github.Client
	git     map[string]*ghinstallation.Transport // credentials for one repository each, by installation and name
}

func newHub(apiURL string, appID int64, key []byte) (*hub, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = 16
	return newHubOver(base, apiURL, appID, key)
}

// newHubOver is newHub whose every request goes by base.
func newHubOver(base http.RoundTripper, apiURL string, appID int64, key []byte) (*hub, error) {
	api, err := url.Parse(strings.TrimSuffix(apiURL, "/") + "/")
	if err != nil {
		return nil, err
	}
	app, err := ghinstallation.NewAppsTransport(base, appID, key)
	if err != nil {
		return nil, fmt.Errorf("github.private_key is not an RSA key in PEM: %w", err)
	}
	app.BaseURL = strings.TrimSuffix(api.String(), "/")
	h := &hub{api: api, app: app, log: slog.New(slog.DiscardHandler), now: time.Now, clients: map[int64]*github.Client{}, git: map[string]*ghinstallation.Transport{}}
	h.pace = &pace{now: func() time.Time { return h.now() }, of: map[int64]*budget{}}
	return h, nil
}

// client acts as an installation.
func (h *hub) client(installation int64) *github.Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.clients[installation]
	if !ok {
		c = github.NewClient(&http.Client{Transport: h.newGate(installation), Timeout: requestTimeout})
		c.BaseURL = h.api
		h.clients[installation] = c
	}
	return c
}

// asApp acts as the App itself. Each client is new: it remembers no rate limit, which the queue does better.
func (h *hub) asApp() *github.Client {
	c := github.NewClient(&http.Client{Transport: h.app, Timeout: requestTimeout})
	c.BaseURL = h.api
	return c
}

// transport makes one with an installation's token. It has the App's transport to itself, since ghinstallation writes to that
// when it gets a token.
func (h *hub) transport(installation int64) *ghinstallation.Transport {
	app := *h.app
	return ghinstallation.NewFromAppsTransport(&app, installation)
}

// web is where GitHub serves pages and git: api.github.com belongs to github.com, a GHES serves both on one host.
func (h *hub) web() string { return webOf(h.api.String()) }

// remote is where a repository is fetched from. The address is made from the server's file, never taken from an event, and
// the credential is minted for this repository alone, with contents:read.
func (h *hub) remote(repo store.Repo) source.Remote {
	key := gitKey(repo)
	h.mu.Lock()
	defer h.mu.Unlock()
	tr, ok := h.git[key]
	if !ok {
		tr = h.transport(repo.Installation)
		tr.InstallationTokenOptions = &github.InstallationTokenOptions{
			Repositories: []string{path.Base(repo.Name)},
			Permissions:  &github.InstallationPermissions{Contents: github.String("read")},
		}
		h.git[key] = tr // it keeps its token until shortly before that expires
	}
	return source.Remote{URL: h.web() + "/" + repo.Name + ".git", Token: tr.Token}
}

func gitKey(repo store.Repo) string {
	return fmt.Sprintf("%d %s", repo.Installation, strings.ToLower(repo.Name))
}

// forget has the next fetch of a repository begin with a credential that is new.
func (h *hub) forget(repo store.Repo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.git, gitKey(repo))
}

// owner and name of a repository.
func split(repo string) (owner, name string) {
	owner, name, _ = strings.Cut(repo, "/")
	return owner, name
}

// A repoFile is one file that declares an app.
type repoFile struct {
	Name string
	Data []byte
}

// repoFiles reads .shipmate.yaml and .shipmate/*.yaml at a commit or branch.
func repoFiles(ctx context.Context, c *github.Client, repo, ref string) ([]repoFile, error) {
	owner, name := split(repo)
	opt := &github.RepositoryContentGetOptions{Ref: ref}
	read := func(ctx context.Context, p string) (*repoFile, error) {
		f, _, _, err := c.Repositories.GetContents(ctx, owner, name, p, opt)
		if err != nil || f == nil {
			return nil, ignoreNotFound(err)
		}
		data, err := f.GetContent()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		return &repoFile{p, []byte(data)}, nil
	}
	var files []*repoFile // in order; nil for what is not there
	var one *repoFile
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { one, err = read(gctx, ".shipmate.yaml"); return err })
	g.Go(func() error {
		_, dir, _, err := c.Repositories.GetContents(gctx, owner, name, ".shipmate", opt)
		if ignoreNotFound(err) != nil {
			return err
		}
		for _, e := range dir {
			if ext := path.Ext(e.GetName()); e.GetType() == "file" && (ext == ".yaml" || ext == ".yml") {
				f, err := read(gctx, e.GetPath())
				if err != nil {
					return err
				}
				files = append(files, f)
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var found []repoFile
	for _, f := range slices.Concat([]*repoFile{one}, files) {
		if f != nil {
			found = append(found, *f)
		}
	}
	return found, nil
}

// headOf is the commit that a ref is at; empty where there is no such ref. (go-github's GetBranch knows neither time limits
// nor GitHub's refusals.)
func headOf(ctx context.Context, c *github.Client, repo, ref string) (sha string, err error) {
	owner, name := split(repo)
	r, _, err := c.Git.GetRef(ctx, owner, name, ref)
	if statusCode(err) == http.StatusConflict { // the repository is empty
		return "", nil
	}
	return r.GetObject().GetSHA(), ignoreNotFound(err)
}

// commitAt is the commit that a branch or a tag is at, given by its full name; nil where there is no such ref, or it is of no
// commit.
func commitAt(ctx context.Context, c *github.Client, repo, ref string) (*github.RepositoryCommit, error) {
	owner, name := split(repo)
	at := strings.Split(strings.TrimPrefix(ref, "refs/"), "/") // GitHub wants heads/… or tags/…
	for i := range at {
		at[i] = url.PathEscape(at[i])
	}
	commit, _, err := c.Repositories.GetCommit(ctx, owner, name, strings.Join(at, "/"), nil)
	switch statusCode(err) {
	case http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
		return nil, nil
	}
	return commit, err
}

// writerOf is the login of a commit's author, or the name that the commit gives where GitHub knows none.
func writerOf(c *github.RepositoryCommit) string {
	return cmp.Or(c.GetAuthor().GetLogin(), c.GetCommit().GetAuthor().GetName())
}

func isNotFound(err error) bool {
	var e *github.ErrorResponse
	return errors.As(err, &e) && e.Response.StatusCode == http.StatusNotFound
}

func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}

// retryAfter tells how long a far end asked us to wait.
func retryAfter(err error) (time.Duration, bool) {
	var primary *github.RateLimitError
	var secondary *github.AbuseRateLimitError
	var other *github.ErrorResponse
	switch {
	case errors.As(err, &primary):
		return min(max(time.Until(primary.Rate.Reset.Time), time.Second), mostWait), true
	case errors.As(err, &secondary):
		if secondary.RetryAfter != nil {
			return min(max(*secondary.RetryAfter, time.Second), mostWait), true
		}
		return time.Minute, true // GitHub: "wait at least one minute"
	case errors.As(err, &other) && other.Response != nil:
		if wait, ok := parseRetryAfter(other.Response.Header.Get("Retry-After"), time.Now()); ok {
			return wait, true
		}
	}
	return chat.RetryDelay(err)
}

// declined tells whether GitHub understood a request (or one for the installation's token) and will not do it: the same
// request again gets the same answer.
func declined(err error) bool {
	if _, wait := retryAfter(err); wait {
		return false
	}
	return slices.Contains([]int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusGone, http.StatusUnprocessableEntity}, statusCode(err))
}

// A push is an entry of a repository's activity: what GitHub's own clock says about a ref.
type push struct {
	Before    string       `json:"before"`
	After     string       `json:"after"`
	Ref       string       `json:"ref"`
	Timestamp time.Time    `json:"timestamp"`
	Type      string       `json:"activity_type"`
	Actor     *github.User `json:"actor"`
}

// activity lists the newest pushes to a ref, or with an empty ref to any, newest first, a hundred at a time (REST "List
// repository activities", not in go-github v60). next is the cursor of the following hundred, empty for none.
func activity(ctx context.Context, c *github.Client, repo, ref, cursor string) (pushes []push, next string, err error) {
	query := url.Values{"per_page": {"100"}}
	if ref != "" {
		query.Set("ref", ref)
	}
	if cursor != "" {
		query.Set("after", cursor)
	}
	req, err := c.NewRequest(http.MethodGet, "repos/"+repo+"/activity?"+query.Encode(), nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := c.Do(ctx, req, &pushes)
	if err != nil {
		return nil, "", err
	}
	return pushes, resp.After, nil
}
