package bot

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/bot/web"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	// pageSize and maxPageSize are how many entries a list of the API has, unless ?limit= says otherwise, and at most.
	pageSize    = 30
	maxPageSize = 100
	// maxScan is how many rows one call looks through for those that are asked for; then the page ends, and the next goes on.
	maxScan = 5000
	// asksAtOnce is how many repositories GitHub is asked about at once for one call.
	asksAtOnce = 8
)

// openAPI describes the API (OpenAPI 3.1). A test holds it against apiRoutes.
//
//go:embed openapi.json
var openAPI []byte

// An apiRoute is one operation of the API.
type apiRoute struct {
	method, path string
	query        []string // the parameters that it knows; any other is refused
	handle       http.HandlerFunc
}

// apiRoutes is all of the API.
func (b *Bot) apiRoutes() []apiRoute {
	paged := []string{"limit", "cursor", "repository"}
	return []apiRoute{
		{"GET", "/api/v1/openapi.json", nil, b.apiDescription},
		{"GET", "/api/v1/apps", paged, b.lists((*reader).apps)},
		{"GET", "/api/v1/apps/{app}", []string{"repository"}, b.tells((*reader).app)},
		{"GET", "/api/v1/apps/{app}/plan", []string{"ref", "repository"}, b.tells((*reader).plan)},
		{"GET", "/api/v1/apps/{app}/figures", []string{"repository"}, b.tells((*reader).figures)},
		{"GET", "/api/v1/runs", append(paged, "app", "state", "ref"), b.lists((*reader).runs)},
		{"GET", "/api/v1/runs/{id}", nil, b.tells((*reader).run)},
		{"GET", "/api/v1/runs/{id}/log", []string{"follow"}, b.apiLog},
		{"GET", "/api/v1/deployments", append(paged, "app", "environment", "state"), b.lists((*reader).deployments)},
		{"GET", "/api/v1/deployments/{id}", nil, b.tells((*reader).deployment)},
		{"GET", "/api/v1/orders", append(paged, "environment", "state"), b.lists((*reader).orders)},
		{"GET", "/api/v1/orders/{id}", nil, b.tells((*reader).order)},
		{"GET", "/api/v1/audit", paged, b.lists((*reader).audit)},
		{"POST", "/api/v1/apps/{app}/trigger", nil, b.apiTrigger},
		{"POST", "/api/v1/command", nil, b.apiCommand},
	}
}

// api serves /api/. Whatever is wrong is told as problem+json, also what the router would refuse.
func (b *Bot) api(routes []apiRoute) http.Handler {
	mux := http.NewServeMux()
	var methods []string
	for _, route := range routes {
		if !slices.Contains(methods, route.method) {
			methods = append(methods, route.method)
		}
		mux.HandleFunc(route.method+" "+route.path, func(w http.ResponseWriter, r *http.Request) {
			query, err := url.ParseQuery(r.URL.RawQuery)
			if err != nil { // what of it cannot be read would be no filter
				b.answer(w, 0, nil, refusal(http.StatusBadRequest, "the parameters cannot be read: %v", err))
				return
			}
			for name := range query {
				if !slices.Contains(route.query, name) {
					known := "none"
					if len(route.query) > 0 {
						known = strings.Join(route.query, ", ")
					}
					b.answer(w, 0, nil, refusal(http.StatusBadRequest, "there is no parameter %q here; there are: %s", name, known))
					return
				}
			}
			route.handle(w, r)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range methods {
			probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
			if _, pattern := mux.Handler(probe); pattern != "/" {
				allowed = append(allowed, method)
				if method == http.MethodGet { // Go serves it along
					allowed = append(allowed, http.MethodHead)
				}
			}
		}
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			b.answer(w, 0, nil, refusal(http.StatusMethodNotAllowed, "only %s is possible here", strings.Join(allowed, ", ")))
			return
		}
		b.answer(w, 0, nil, refusal(http.StatusNotFound, "there is nothing at this address; /api/v1/openapi.json tells what there is"))
	})
	return http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		w := &statusWriter{to, 0}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			b.log.Error("panic", "route", r.Method+" "+r.URL.Path, "err", b.engine.Mask(fmt.Sprint(p)), "stack", string(debug.Stack()))
			if w.status != 0 { // an answer has begun: it is cut off, so that nobody takes it for whole
				panic(http.ErrAbortHandler)
			}
			b.answer(w, 0, nil, refusal(http.StatusInternalServerError, "this is a mistake of ours; the server's log tells more"))
		}()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

// A reader is who reads the API, and what of it they may.
type reader struct {
	bot    *Bot
	ctx    context.Context
	r      *http.Request
	login  string
	viewer *web.Viewer     // of a session; nil for a token
	known  map[string]seen // by lower-case owner/name
}

// seen is what somebody may see of a repository.
type seen struct {
	can    permission
	hidden bool // what a build or a cluster said is withheld, as on the pages
}

// reader tells who makes a call: the token that it is made with, or else the session of the pages.
func (b *Bot) reader(r *http.Request) (*reader, error) {
	q := &reader{bot: b, ctx: r.Context(), r: r, known: map[string]seen{}}
	if r.Header.Get("Authorization") != "" || b.signIn == nil {
		token, err := b.caller(r, mayRead)
		if err != nil {
			return nil, err
		}
		q.login = token.GitHub
		return q, nil
	}
	viewer, err := b.signIn.viewer(r)
	switch {
	case err != nil:
		return nil, err
	case viewer == nil:
		return nil, refusal(http.StatusUnauthorized, "send one of api_tokens: Authorization: Bearer …, or sign in on the pages")
	}
	if wait := b.calls.take("session "+strings.ToLower(viewer.Login), b.db.Now()); wait > 0 {
		return nil, &problem{Title: http.StatusText(http.StatusTooManyRequests), Status: http.StatusTooManyRequests, wait: wait,
			Detail: fmt.Sprintf("%s has made %d calls within a minute; wait as Retry-After says", viewer.Login, callsMinute)}
	}
	q.login, q.viewer = viewer.Login, viewer
	return q, nil
}

// ask finds out what the reader may see of repositories. What GitHub will not tell is nothing.
func (q *reader) ask(names ...string) error {
	var repos []*store.Repo
	err := q.bot.db.View(q.ctx, func(tx *store.Tx) error {
		for _, name := range names {
			key := strings.ToLower(name)
			if _, ok := q.known[key]; ok {
				continue
			}
			q.known[key] = seen{}
			repo, err := store.Optional(tx.Repo(name))
			if err != nil {
				return err
			}
			if q.viewer != nil {
				q.known[key] = seen{permission(q.viewer.Permission(repo, name)), q.viewer.Repos[key] == web.None}
			} else if repo != nil {
				repos = append(repos, repo)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	may := make([]permission, len(repos))
	g, ctx := errgroup.WithContext(q.ctx)
	g.SetLimit(asksAtOnce)
	for i, repo := range repos {
		g.Go(func() (err error) {
			may[i], err = q.bot.access.permission(ctx, q.bot.hub.client(repo.Installation), repo.Name, q.login)
			if declined(err) {
				may[i], err = none, nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, repo := range repos {
		s := seen{can: may[i]}
		if !repo.Private {
			// GitHub says "read" of everybody then, so that it does not tell whether somebody let them.
			s = seen{max(s.can, read), s.can <= read}
		}
		q.known[strings.ToLower(repo.Name)] = s
	}
	return nil
}

func (q *reader) sees(repo string) seen { return q.known[strings.ToLower(repo)] }

// look is ask for one repository. Where that may not be seen there is nothing: the error is ErrNotFound.
func (q *reader) look(repo string) (hidden bool, err error) {
	if err := q.ask(repo); err != nil {
		return true, err
	}
	s := q.sees(repo)
	if s.can < read {
		return true, fmt.Errorf("%s may not see %s: %w", q.login, repo, store.ErrNotFound)
	}
	return s.hidden, nil
}

// notFound is what is told of what is not there, and of what the caller may not see.
func notFound(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return refusal(http.StatusNotFound, "there is nothing at this address that you may see")
	}
	return err
}

// tells answers with one thing. Whoever has it already, and says so by If-None-Match (RFC 9110, 13.1.2), is told that.
func (b *Bot) tells(read func(*reader) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := b.reader(r)
		if err != nil {
			b.answer(w, 0, nil, err)
			return
		}
		result, err := read(q)
		var body []byte
		if err == nil {
			body, err = json.Marshal(result)
		}
		if err != nil {
			b.answer(w, 0, nil, notFound(err))
			return
		}
		sendTagged(w, r, append(body, '\n'))
	}
}

// sendTagged answers with JSON that a caller may keep, as long as they ask whether it is still so.
func sendTagged(w http.ResponseWriter, r *http.Request, body []byte) {
	sum := sha256.Sum256(body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "private, no-cache")
	w.Header().Set("Vary", "Authorization, Cookie")
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:12])+`"`)
	// Neither a part of it nor a refusal without a body is described.
	r.Header.Del("Range")
	r.Header.Del("If-Match")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

func (b *Bot) apiDescription(w http.ResponseWriter, r *http.Request) { sendTagged(w, r, openAPI) }

// lists answers with a page of a list, and the address of the next in Link (RFC 8288).
func (b *Bot) lists(read func(*reader) (items any, next string, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := b.reader(r)
		if err != nil {
			b.answer(w, 0, nil, err)
			return
		}
		items, next, err := read(q)
		if err == nil && next != "" {
			query := r.URL.Query()
			query.Set("cursor", next)
			w.Header().Set("Link", "<"+b.cfg.PublicURL+r.URL.Path+"?"+query.Encode()+`>; rel="next"`)
		}
		b.answer(w, http.StatusOK, items, notFound(err))
	}
}

// apiLog answers with the log of a run as text; with ?follow it goes on until the run has ended.
func (b *Bot) apiLog(w http.ResponseWriter, r *http.Request) {
	err := func() error {
		q, err := b.reader(r)
		if err != nil {
			return err
		}
		var run store.Run
		if err := b.db.View(q.ctx, func(tx *store.Tx) (err error) { run, err = tx.Run(r.PathValue("id")); return err }); err != nil {
			return err
		}
		hidden, err := q.look(run.Repo)
		if err == nil && hidden {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		r.Header.Set("Accept", "text/plain") // never the events of the page
		err = b.web.Log(w, r, run, func() bool {
			now := *q
			now.known = map[string]seen{}
			if q.viewer != nil {
				if now.viewer, err = b.signIn.viewer(r); err != nil || now.viewer == nil {
					return false
				}
			}
			hidden, err := now.look(run.Repo)
			return err == nil && !hidden
		})
		if errors.Is(err, web.ErrBusy) {
			err = &problem{Title: http.StatusText(http.StatusServiceUnavailable), Status: http.StatusServiceUnavailable, wait: 10 * time.Second, Detail: err.Error()}
		}
		return err
	}()
	if err != nil {
		b.answer(w, 0, nil, notFound(err))
	}
}

// param is a parameter of the call, empty where it is not given.
func (q *reader) param(name string) string { return q.r.URL.Query().Get(name) }

// limit is how many entries are asked for.
func (q *reader) limit() (int, error) {
	given := q.param("limit")
	if given == "" {
		return pageSize, nil
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < 1 || n > maxPageSize {
		return 0, refusal(http.StatusBadRequest, "limit must be a number from 1 to %d", maxPageSize)
	}
	return n, nil
}

// cursor is where a page begins, as the one before told; "" at the begin of the list. of says which list it is: a cursor of
// another is refused.
func (q *reader) cursor(of string) (string, error) {
	given := q.param("cursor")
	if given == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(given)
	if err == nil {
		raw, err = q.bot.engine.Sealer.Open(raw, "cursor of "+of)
	}
	if err != nil {
		return "", refusal(http.StatusBadRequest, "cursor must be one that Link gave, whole, with the same filters")
	}
	return string(raw), nil
}

// row is cursor where that is a number.
func (q *reader) row(of string) (int64, error) {
	at, err := q.cursor(of)
	if err != nil || at == "" {
		return math.MaxInt64, err
	}
	return strconv.ParseInt(at, 10, 64)
}

// cursorAt is sealed: how many rows there are is not for everybody.
func (q *reader) cursorAt(of string, at any) (string, error) {
	sealed, err := q.bot.engine.Sealer.Seal(fmt.Append(nil, at), "cursor of "+of)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

// inState refuses a state that there is none of: a list that is empty for a slip of the pen helps nobody.
func (q *reader) inState(known []string) error {
	if s := q.param("state"); s != "" && !slices.Contains(known, s) {
		return refusal(http.StatusBadRequest, "state %q is none; there are: %s", s, strings.Join(known, ", "))
	}
	return nil
}

// page reads one page of a list: batches, newest first, of which it takes what wanted tells. An entry's row and repository are
// told by at.
func page[T any](q *reader, of string, batch func(tx *store.Tx, before int64, limit int) ([]T, error), at func(T) (row int64, repo string), wanted func(T) bool) (found []T, next string, err error) {
	limit, err := q.limit()
	if err != nil {
		return nil, "", err
	}
	before, err := q.row(of)
	if err != nil {
		return nil, "", err
	}
	// Whoever sees all there is has a page at once, and GitHub is asked about the repositories on it alone.
	size := limit + 1
	for scanned := 0; scanned < maxScan; scanned, size = scanned+size, 500 {
		var some []T
		if err := q.bot.db.View(q.ctx, func(tx *store.Tx) (err error) { some, err = batch(tx, before, size); return err }); err != nil {
			return nil, "", err
		}
		var repos []string
		for _, one := range some {
			if _, repo := at(one); wanted(one) && !slices.Contains(repos, repo) {
				repos = append(repos, repo)
			}
		}
		if err := q.ask(repos...); err != nil {
			return nil, "", err
		}
		for _, one := range some {
			row, repo := at(one)
			if wanted(one) && q.sees(repo).can >= read {
				if len(found) == limit {
					next, err = q.cursorAt(of, before)
					return found, next, err
				}
				found = append(found, one)
			}
			before = row
		}
		if len(some) < size {
			return found, "", nil
		}
		if len(found) == limit { // whether there is one more that may be seen, the next page tells
			break
		}
	}
	next, err = q.cursorAt(of, before)
	return found, next, err
}

// heads reads one page of what is filtered by repository, app, environment, state and ref, as far as the list knows them.
func (q *reader) heads(of store.Listed) ([]store.Head, string, error) {
	repo, app, env, state, ref := q.param("repository"), q.param("app"), q.param("environment"), q.param("state"), q.param("ref")
	name, batch := "all", func(tx *store.Tx, before int64, limit int) ([]store.Head, error) { return tx.Heads(of, before, limit) }
	if repo != "" && (of != store.ListedRuns || app != "") { // by an index
		name, batch = "of", func(tx *store.Tx, before int64, limit int) ([]store.Head, error) {
			return tx.HeadsOf(of, repo, app, before, limit)
		}
	}
	return page(q, string(of)+" "+name, batch,
		func(h store.Head) (int64, string) { return h.Row, h.Repo },
		func(h store.Head) bool {
			return (repo == "" || strings.EqualFold(h.Repo, repo)) && (app == "" || h.App == app) && (env == "" || h.Environment == env) &&
				(state == "" || h.State == state) && (ref == "" || h.Ref == ref || h.Ref == "refs/heads/"+ref || h.Ref == "refs/tags/"+ref)
		})
}

// each makes a page of a list from its heads.
func each[T any](q *reader, of store.Listed, make func(*store.Tx, string) (T, error)) (any, string, error) {
	heads, next, err := q.heads(of)
	if err != nil {
		return nil, "", err
	}
	items := []T{}
	err = q.bot.db.View(q.ctx, func(tx *store.Tx) error {
		for _, h := range heads {
			one, err := make(tx, h.ID)
			if err != nil {
				return err
			}
			items = append(items, one)
		}
		return nil
	})
	return items, next, err
}

var (
	runStates        = []string{store.RunQueued, store.RunRunning, store.RunSucceeded, store.RunFailed, store.RunCancelled, store.RunSuperseded}
	deploymentStates = []string{store.Blocked, store.Queued, store.Applying, store.Progressing, store.Paused, store.Verifying,
		store.Succeeded, store.Rejected, store.Expired, store.Failed, store.Cancelled, store.Superseded}
	orderStates = []string{store.OrderDraft, store.OrderWaiting, store.OrderApproved, store.OrderRunning, store.Succeeded, store.Failed,
		store.Cancelled, store.Rejected, store.Expired}
)

func (q *reader) runs() (any, string, error) {
	if err := q.inState(runStates); err != nil {
		return nil, "", err
	}
	return each(q, store.ListedRuns, func(tx *store.Tx, id string) (apiRun, error) {
		r, err := tx.Run(id)
		return q.bot.apiRun(r, q.sees(r.Repo).hidden), err
	})
}

func (q *reader) deployments() (any, string, error) {
	if err := q.inState(deploymentStates); err != nil {
		return nil, "", err
	}
	return each(q, store.ListedDeployments, func(tx *store.Tx, id string) (apiDeployment, error) {
		d, err := tx.Deployment(id)
		if err != nil {
			return apiDeployment{}, err
		}
		return q.bot.apiDeployment(tx, d, q.sees(d.Repo).hidden)
	})
}

func (q *reader) orders() (any, string, error) {
	if err := q.inState(orderStates); err != nil {
		return nil, "", err
	}
	return each(q, store.ListedOrders, func(tx *store.Tx, id string) (apiOrder, error) {
		o, err := tx.Order(id)
		return q.bot.apiOrder(o), err
	})
}

// audit lists what was done in repositories that the caller administers.
func (q *reader) audit() (any, string, error) {
	repo := q.param("repository")
	entries, next, err := page(q, "audit", (*store.Tx).EntriesBefore,
		func(e store.Entry) (int64, string) { return e.Seq, e.Repo },
		func(e store.Entry) bool {
			s, known := q.known[strings.ToLower(e.Repo)]
			return (repo == "" || strings.EqualFold(e.Repo, repo)) && (!known || s.can >= admin)
		})
	lines := []apiEntry{}
	for _, e := range entries {
		lines = append(lines, apiEntry{e.Seq, e.At, e.Actor, e.Via, e.Action, e.Repo, e.Subject, e.Detail})
	}
	return lines, next, err
}

// apps lists the apps that the default branches declare, by repository and name.
func (q *reader) apps() (any, string, error) {
	limit, err := q.limit()
	if err != nil {
		return nil, "", err
	}
	at, err := q.cursor("apps")
	if err != nil {
		return nil, "", err
	}
	in := q.param("repository")
	afterRepo, afterApp, _ := strings.Cut(cmp.Or(at, in), " ") // those of a repository stand together
	items := []apiApp{}
	for {
		var some []store.Declared
		if err := q.bot.db.View(q.ctx, func(tx *store.Tx) (err error) {
			some, err = tx.DeclaredAfter(afterRepo, afterApp, limit+1)
			return err
		}); err != nil {
			return nil, "", err
		}
		if i := slices.IndexFunc(some, func(a store.Declared) bool { return in != "" && !strings.EqualFold(a.Repo, in) }); i >= 0 {
			some = some[:i]
		}
		var repos []string
		for _, a := range some {
			repos = append(repos, a.Repo)
		}
		if err := q.ask(repos...); err != nil {
			return nil, "", err
		}
		for _, a := range some {
			if q.sees(a.Repo).can >= read {
				if len(items) == limit {
					last := items[limit-1]
					next, err := q.cursorAt("apps", last.Repository+" "+last.App)
					return items, next, err
				}
				items = append(items, apiApp{Repository: a.Repo, App: a.App, URL: q.bot.apiApp(a.Repo, a.App)})
			}
			afterRepo, afterApp = a.Repo, a.App
		}
		if len(some) <= limit {
			return items, "", nil
		}
		if len(items) == limit { // as in page
			next, err := q.cursorAt("apps", afterRepo+" "+afterApp)
			return items, next, err
		}
	}
}

func (b *Bot) apiApp(repo, app string) string {
	return b.cfg.PublicURL + "/api/v1/apps/" + url.PathEscape(app) + "?repository=" + url.QueryEscape(repo)
}
