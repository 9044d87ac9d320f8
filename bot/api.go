package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	// maxCall is the most that a body of the API may hold, in bytes: CheckVariables' limit, with room for JSON's escapes.
	maxCall = 256 << 10
	// callsMinute is how many calls each token may make in a minute.
	callsMinute = 60
	// maxCallers is how many are remembered before those are forgotten that have made no call for a minute.
	maxCallers = 1000
	// decideTimeout is how long a call waits for its decision.
	decideTimeout = 20 * time.Second
)

// calls are those of the last minute, by the token's name.
type calls struct {
	mu sync.Mutex
	at map[string][]time.Time
}

// take counts a call, unless there were callsMinute in the last minute: then it says how long to wait.
func (c *calls) take(token string, now time.Time) (wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	recent := slices.DeleteFunc(c.at[token], func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	if len(recent) >= callsMinute {
		wait = recent[0].Add(time.Minute).Sub(now)
	} else {
		recent = append(recent, now)
	}
	if c.at == nil {
		c.at = map[string][]time.Time{}
	}
	c.at[token] = recent
	if len(c.at) > maxCallers { // whoever has an account of GitHub's can sign in
		maps.DeleteFunc(c.at, func(_ string, at []time.Time) bool { return now.Sub(at[len(at)-1]) >= time.Minute })
	}
	return wait
}

// A problem is a refusal of the API, and the body that says so (RFC 9457, of the type about:blank).
type problem struct {
	Title  string `json:"title"` // what the status is called
	Status int    `json:"status"`
	Detail string `json:"detail"` // what is wrong and what to do

	wait time.Duration // when it may be tried again, where that is known
}

func (p *problem) Error() string { return p.Detail }

func refusal(status int, format string, args ...any) error {
	return &problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// answer writes a result of the API as JSON, or what went wrong.
func (b *Bot) answer(w http.ResponseWriter, status int, result any, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		var p *problem
		if !errors.As(err, &p) { // a far end or the disk: nothing that the caller could mend
			if !errors.Is(err, context.Canceled) { // else the caller is gone
				b.log.Warn("a call of the API could not be answered", "err", b.engine.Mask(err.Error()))
			}
			p = &problem{Title: http.StatusText(http.StatusServiceUnavailable), Status: http.StatusServiceUnavailable, Detail: "it cannot be decided now; try again", wait: 10 * time.Second}
			var l *limited
			if wait, ok := retryAfter(err); ok {
				p.wait = wait
			} else if errors.As(err, &l) {
				p.wait = max(l.until.Sub(b.db.Now()), time.Second)
			}
		}
		if p.wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.wait.Seconds()))))
		}
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="shipmate"`)
		}
		w.Header().Set("Content-Type", "application/problem+json")
		p.Detail = b.engine.Mask(p.Detail)
		status, result = p.Status, p
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(result) // who does not read it is gone
}

// caller is the token that a request is made with, where it may do what is asked.
func (b *Bot) caller(r *http.Request, what string) (*APIToken, error) {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || given == "" {
		return nil, refusal(http.StatusUnauthorized, "send one of api_tokens: Authorization: Bearer …")
	}
	t := b.cfg.token(strings.TrimSpace(given))
	if t == nil {
		return nil, refusal(http.StatusUnauthorized, "the token is none of api_tokens")
	}
	if wait := b.calls.take(t.Name, b.db.Now()); wait > 0 {
		return nil, &problem{Title: http.StatusText(http.StatusTooManyRequests), Status: http.StatusTooManyRequests, wait: wait,
			Detail: fmt.Sprintf("the token %s has made %d calls within a minute; wait as Retry-After says", t.Name, callsMinute)}
	}
	if !slices.Contains(t.May, what) {
		return nil, refusal(http.StatusForbidden, "the token %s may not %s; add it to its may in api_tokens", t.Name, what)
	}
	return t, nil
}

// A triggerCall is the body of a call for a run.
type triggerCall struct {
	Ref        string            `json:"ref"`        // a branch or tag, short or in full
	Variables  map[string]string `json:"variables"`  // build arguments
	Repository string            `json:"repository"` // owner/name; needed where several repositories have an app of that name
}

// A triggered is the answer to it.
type triggered struct {
	ID         string `json:"id"`
	Number     int    `json:"number"`
	Repository string `json:"repository"`
	App        string `json:"app"`
	Ref        string `json:"ref"`
	SHA        string `json:"sha"`
	Page       string `json:"page"`
	Delivery   string `json:"delivery"` // what /why and bot replay know it by
}

// apiTrigger starts a run: POST /api/v1/apps/{app}/trigger. It answers 202 once the run is stored. Idempotency-Key
// (draft-ietf-httpapi-idempotency-key-header), where given, makes a repeated call the same call, for as long as events are kept.
func (b *Bot) apiTrigger(w http.ResponseWriter, r *http.Request) {
	result, err := b.triggerRun(w, r)
	b.answer(w, http.StatusAccepted, result, err)
}

func (b *Bot) triggerRun(w http.ResponseWriter, r *http.Request) (*triggered, error) {
	token, err := b.caller(r, mayTrigger)
	if err != nil {
		return nil, err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return nil, err
	}
	var call triggerCall
	if err := readCall(w, r, &call); err != nil {
		return nil, err
	}
	if err := pipeline.CheckVariables(call.Variables); err != nil {
		return nil, refusal(http.StatusBadRequest, "variables: %v", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), decideTimeout)
	defer cancel()
	repo, err := b.repoOf(ctx, r.PathValue("app"), call.Repository, b.may(token.GitHub))
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]triggerOrder{kindTrigger: {token.Name, token.GitHub, r.PathValue("app"), call.Ref, call.Variables}})
	if err != nil {
		return nil, err
	}
	e := store.Event{ID: "api/" + token.Name + "/" + key, Kind: kindTrigger, Repo: &repo.Name, Body: body}
	var known *store.Event
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { known, err = store.Optional(tx.Event(e.ID)); return err }); err != nil {
		return nil, err
	}
	if known == nil {
		if err := b.mayTrigger(ctx, repo, token.GitHub, call.Ref); err != nil {
			return nil, err
		}
		fresh, err := b.db.Accept(ctx, e)
		if err != nil {
			return nil, err
		}
		if !fresh { // the same key came twice at the same time
			err = b.db.View(ctx, func(tx *store.Tx) (err error) { known, err = store.Optional(tx.Event(e.ID)); return err })
			if err != nil {
				return nil, err
			}
		}
	}
	if known != nil && (known.Repo == nil || !strings.EqualFold(*known.Repo, repo.Name) || len(known.Body) > 0 && !bytes.Equal(known.Body, body)) {
		return nil, refusal(http.StatusUnprocessableEntity, "this Idempotency-Key was used for another call; choose a new one")
	}
	return b.triggered(ctx, e.ID)
}

// idempotencyKey is what a call is known by when it is repeated, a new one where the caller gave none.
func idempotencyKey(r *http.Request) (string, error) {
	key := r.Header.Get("Idempotency-Key")
	if unquoted, err := strconv.Unquote(key); err == nil { // the draft has it quoted, most clients don't
		key = unquoted
	}
	switch {
	case len(r.Header.Values("Idempotency-Key")) == 0:
		return deliveryID(), nil
	case !word(key):
		return "", refusal(http.StatusBadRequest, "Idempotency-Key must be 1 to 100 letters, digits, - and _")
	}
	return key, nil
}

// readCall reads a body of the API, an object with known keys.
func readCall(w http.ResponseWriter, r *http.Request, into any) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCall))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return refusal(http.StatusRequestEntityTooLarge, "a call has at most %d bytes", maxCall)
	case err != nil:
		return refusal(http.StatusBadRequest, "the body could not be read")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return refusal(http.StatusBadRequest, `the body must be JSON such as {"ref": "master"} or {"text": "status web"}: %v`, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return refusal(http.StatusBadRequest, "the body must be one JSON object, and something follows it")
	}
	return nil
}

// A mayIn tells what somebody may do in a repository.
type mayIn func(context.Context, store.Repo) (permission, error)

// may tells what a login may do in repositories. What GitHub will not tell is nothing.
func (b *Bot) may(login string) mayIn {
	return func(ctx context.Context, repo store.Repo) (permission, error) {
		has, err := b.access.permission(ctx, b.hub.client(repo.Installation), repo.Name, login)
		if declined(err) {
			return none, nil
		}
		return has, err
	}
}

// repoOf finds the repository of an app among those that the caller may read: which others there are is not for everybody. Names
// of repositories are not told.
func (b *Bot) repoOf(ctx context.Context, name, in string, may mayIn) (store.Repo, error) {
	var have, found []store.Repo
	err := b.db.View(ctx, func(tx *store.Tx) error {
		apps, err := tx.DeclaredApps(name)
		for _, a := range apps {
			if in != "" && !strings.EqualFold(a.Repo, in) || b.cfg.MayUseServer(a.Repo) != nil {
				continue
			}
			repo, err := tx.Repo(a.Repo)
			if err != nil {
				return err
			}
			have = append(have, repo)
		}
		return err
	})
	if err != nil {
		return store.Repo{}, err
	}
	for _, repo := range have {
		has, err := may(ctx, repo)
		if err != nil {
			return store.Repo{}, err
		}
		if has >= read {
			found = append(found, repo)
		}
	}
	switch len(found) {
	case 0:
		return store.Repo{}, noApp(name)
	case 1:
		return found[0], nil
	}
	return store.Repo{}, refusal(http.StatusConflict, `several repositories have an app %s; say which one is meant: "repository": "owner/name"`, name)
}

func noApp(name string) error {
	return refusal(http.StatusNotFound, "there is no app %q; an app is known once the file that declares it was pushed to the default branch", name)
}

// mayTrigger asks what the decision will ask again, so that who may not, or names no ref, is told so.
func (b *Bot) mayTrigger(ctx context.Context, repo store.Repo, login, ref string) error {
	c := b.hub.client(repo.Installation)
	has, err := b.may(login)(ctx, repo)
	switch {
	case err != nil:
		return err
	case has < write:
		return refusal(http.StatusForbidden, "%s has the permission %s on the app's repository, and %s is needed", login, has, write)
	}
	if ref == "" {
		return refusal(http.StatusBadRequest, `ref is missing; write a branch or tag, as in {"ref": "master"}`)
	}
	_, no, err := refOf(ctx, c, repo.Name, ref)
	if err == nil && no != "" {
		err = refusal(http.StatusBadRequest, "%s", no)
	}
	return err
}

// triggered waits until the event is decided, and tells of the run that came of it.
func (b *Bot) triggered(ctx context.Context, event string) (*triggered, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var e store.Event
		var runs []store.Run
		err := b.db.View(ctx, func(tx *store.Tx) (err error) {
			if e, err = tx.Event(event); err != nil {
				return err
			}
			runs, _, err = tx.MadeBy(event)
			return err
		})
		switch {
		case err != nil:
			return nil, err
		case len(runs) > 0:
			r := runs[0]
			return &triggered{r.ID, r.Number, r.Repo, r.App, r.Ref, r.SHA, b.page("runs", r.ID), event}, nil
		case !e.DecidedAt.IsZero():
			return nil, refusal(http.StatusUnprocessableEntity, "no run came of it: %s", strings.TrimPrefix(e.Trace.V[len(e.Trace.V)-1], "refused: "))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, notDecided(event)
		}
	}
}

// notDecided answers a call whose event takes longer to decide than a call waits.
func notDecided(event string) error {
	key := event[strings.LastIndex(event, "/")+1:]
	return &problem{Title: http.StatusText(http.StatusServiceUnavailable), Status: http.StatusServiceUnavailable, wait: 10 * time.Second,
		Detail: fmt.Sprintf("it is stored, and not decided yet; ask for the outcome by the same call with Idempotency-Key: %s", key)}
}
