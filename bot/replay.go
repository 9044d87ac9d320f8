package bot

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// kindReplay is the kind of an event by which an operator has another event decided again. GitHub sends none of this kind.
const kindReplay = "shipmate_replay"

// replayWithin is how old an order to replay may be when it arrives, so that it cannot be sent again later.
const replayWithin = 5 * time.Minute

// A replayOrder is the body of a kindReplay under its one key, which is the kind again: no body that GitHub ever signed
// passes for one, whatever header it is sent with.
type replayOrder struct {
	Delivery string    `json:"delivery"`
	At       time.Time `json:"at"`
}

func readOrder(body []byte) (o replayOrder, err error) { return o, readOwn(body, kindReplay, &o) }

// readOwn reads the body of an event of a kind of our own, which is an object with the kind as its one key.
func readOwn(body []byte, kind string, into any) error {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(body, &top); err != nil {
		return err
	}
	raw, ok := top[kind]
	if !ok || len(top) != 1 {
		return fmt.Errorf("it must hold %q and nothing else", kind)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// replay decides a stored event again, as if it had come just now: its effects are new ones.
func (b *Bot) replay(ctx context.Context, e store.Event, d *decision) error {
	o, err := readOrder(e.Body)
	if err != nil {
		d.note("this is no order to replay an event, so nothing is done: %v", err)
		return nil
	}
	if age := e.ReceivedAt.Sub(o.At); age > replayWithin || age < -replayWithin {
		d.note("the order to replay %s is of %s, more than %s from when it came, so nothing is done", o.Delivery, o.At.Format(time.RFC3339), replayWithin)
		return nil
	}
	var old *store.Event
	err = b.db.View(ctx, func(tx *store.Tx) (err error) { old, err = store.Optional(tx.Event(o.Delivery)); return err })
	switch {
	case err != nil:
		return err
	case old == nil:
		d.note("no delivery %s is stored, so nothing is done", o.Delivery)
		return nil
	case old.Kind == kindReplay:
		d.note("delivery %s is an order to replay itself, so nothing is done", o.Delivery)
		return nil
	case len(old.Body) == 0:
		d.note("the body of delivery %s is not kept any more, so nothing is done", o.Delivery)
		return nil
	}
	d.note("%s of %s, received %s as delivery %s, is decided again", old.Kind, repoOr(old.Repo), old.ReceivedAt.Format(time.RFC3339), old.ID)
	again := *old
	again.ID, again.Via = e.ID, store.ViaReplay
	if err := b.decide(ctx, again, d); err != nil {
		return err
	}
	d.do(func(tx *store.Tx) error {
		lines := append([]string{fmt.Sprintf("replayed at %s as delivery %s:", tx.Now().Format(time.RFC3339), e.ID)}, d.trace[1:]...)
		return errors.Join(tx.Replayed(old.ID, e.ID, lines), tx.Wake(store.TaskEvent, old.ID)) // should it be buried: it is decided now
	})
	return nil
}

// via tells how an event of a kind came by the webhook.
func via(kind string) string {
	if kind == kindReplay {
		return store.ViaReplay
	}
	return store.ViaWebhook
}

// An Event is a delivery, stored or saved.
type Event = store.Event

// A Replayed is what a replay shows.
type Replayed struct {
	Trace []string // how the event was decided
	Would []string // what would be done, empty for nothing
}

// ReadSaved reads an event from a file that holds the body of a delivery. kind is its X-GitHub-Event; when it is empty it is
// recognised, where it is one that is acted upon.
func ReadSaved(file, kind string) (Event, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return Event{}, err
	}
	var p map[string]json.RawMessage
	if err := json.Unmarshal(body, &p); err != nil {
		return Event{}, fmt.Errorf("%s: it must hold the JSON body of a delivery, as GitHub's page of the App's deliveries shows it: %w", file, err)
	}
	has := func(key string) bool { _, ok := p[key]; return ok }
	switch {
	case kind != "":
		if !word(kind) || kind == kindReplay {
			return Event{}, fmt.Errorf("--event %q: write what X-GitHub-Event was, such as push", kind)
		}
	case has("ref") && has("after") && has("pusher"):
		kind = "push"
	case has("comment") && has("issue"):
		kind = "issue_comment"
	case has("pull_request") && has("number") && has("action"):
		kind = "pull_request"
	default:
		return Event{}, fmt.Errorf("%s: it is neither a push nor a comment nor a pull request: say with --event what X-GitHub-Event was", file)
	}
	return Event{ID: deliveryID(), Kind: kind, Repo: repoName(body), Body: body}, nil
}

// StoredEvent reads a delivery from the database of a bot, which may be running.
func StoredEvent(ctx context.Context, cfg *Config, id string) (e Event, err error) {
	db, err := openReader(ctx, cfg)
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(ctx, func(tx *store.Tx) (err error) { e, err = tx.Event(id); return err })
	if errors.Is(err, store.ErrNotFound) {
		return e, fmt.Errorf("no delivery %s is stored, and there is no such file: GitHub's page of the App's recent deliveries lists the ids", id)
	}
	if err == nil && len(e.Body) == 0 {
		err = fmt.Errorf("the body of delivery %s is not kept any more", id)
	}
	return e, err
}

func openReader(ctx context.Context, cfg *Config) (*store.DB, error) {
	return store.OpenRead(ctx, cfg.database(), []byte(cfg.DataKey.Value()))
}

// Replay shows how an event would be decided if it came now. It does nothing: the database is only read, what deciding
// needs is asked of GitHub by requests that only read, and what follows from it is written to a copy that is thrown away.
// Clusters are not asked.
func Replay(ctx context.Context, cfg *Config, e Event) (_ *Replayed, err error) {
	dir, err := os.MkdirTemp("", "shipmate-replay-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := store.Open(ctx, filepath.Join(dir, "copy.db"), []byte(cfg.DataKey.Value()))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := os.Stat(cfg.database()); err == nil && e.Repo != nil {
		if err := db.Import(ctx, cfg.database(), *e.Repo); err != nil {
			return nil, err
		}
	}
	e.ID, e.Via = deliveryID(), store.ViaReplay // a replay is an event of its own
	if _, err := db.Accept(ctx, e); err != nil {
		return nil, err
	}
	base := &readOnly{to: http.DefaultTransport}
	hub, err := newHubOver(base, cfg.GitHub.APIURL, cfg.GitHub.AppID, []byte(cfg.GitHub.PrivateKey.Value()))
	if err != nil {
		return nil, err
	}
	b := &Bot{cfg: cfg, log: slog.New(slog.DiscardHandler), db: db, hub: hub, lang: text.En, statuses: statuses{said: map[string]clusterSaid{}},
		access: &access{now: db.Now, known: map[string]known{}}, engine: &pipeline.Engine{DB: db, Server: cfg}}
	b.name = sync.OnceValue(b.askName)
	if _, err := b.event(ctx, e.ID, 0); err != nil {
		return nil, fmt.Errorf("it cannot be decided now: %w", err)
	}
	var r Replayed
	err = db.View(ctx, func(tx *store.Tx) error {
		decided, err := tx.Event(e.ID)
		if err != nil {
			return err
		}
		for _, line := range decided.Trace.V {
			r.Trace = append(r.Trace, b.engine.Mask(line))
		}
		would, err := wouldDo(tx, e.ID)
		for _, line := range would {
			r.Would = append(r.Would, b.engine.Mask(line))
		}
		return err
	})
	return &r, err
}

// wouldDo says what an event led to in a copy.
func wouldDo(tx *store.Tx, event string) (would []string, err error) {
	runs, deployments, err := tx.MadeBy(event)
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		would = append(would, strings.TrimSpace(fmt.Sprintf("a run of %s at %.7s, %s %s", r.App, r.SHA, r.State, r.Reason)))
		for _, q := range r.Deploys.V {
			would = append(would, fmt.Sprintf("when it succeeds, its release to %s", q.Environment))
		}
	}
	for _, d := range deployments {
		would = append(would, fmt.Sprintf("a deployment (%s) of release %d of %s to %s", d.Cause, d.Release, d.App, d.Environment))
	}
	if err := tx.EachEntry(func(e store.Entry) error {
		would = append(would, fmt.Sprintf("in the audit: %s by %s: %s", e.Action, e.Actor, e.Detail))
		return nil
	}); err != nil {
		return nil, err
	}
	answers, err := tx.AnswersTo(event)
	if err != nil {
		return nil, err
	}
	for _, a := range answers {
		would = append(would, "in the comment of its release: "+text.Markdown(a.Body))
	}
	reply, err := store.Optional(tx.Reply(event))
	if reply != nil && err == nil {
		if reply.Reaction != "" {
			would = append(would, fmt.Sprintf("the reaction %s on the comment", reply.Reaction))
		}
		if reply.Body != "" {
			would = append(would, "the reply: "+reply.Body)
		}
	}
	return would, err
}

// readOnly lets nothing pass that writes: only requests that read, and that for a token of an installation.
type readOnly struct{ to http.RoundTripper }

// RoundTrip implements http.RoundTripper. What would write is answered as GitHub answers what is not allowed, so that
// deciding goes on where it goes on there.
func (t *readOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	token := r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/app/installations/") && strings.HasSuffix(r.URL.Path, "/access_tokens")
	if r.Method == http.MethodGet || r.Method == http.MethodHead || token {
		return t.to.RoundTrip(r)
	}
	if r.Body != nil {
		_ = r.Body.Close() // a RoundTripper must
	}
	return &http.Response{Status: "403 Forbidden", StatusCode: http.StatusForbidden, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(`{"message": "a replay writes nothing"}`))}, nil
}

// deliveryID makes the id of a delivery of our own, in the form of GitHub's: a random UUID (RFC 9562, version 4).
func deliveryID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails, see crypto/rand
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// ReplayStored has the running bot decide a stored delivery again, for real. It returns the id of the order.
func ReplayStored(ctx context.Context, cfg *Config, delivery string) (string, error) {
	body, err := json.Marshal(map[string]replayOrder{kindReplay: {delivery, time.Now().UTC().Truncate(time.Second)}})
	if err != nil {
		return "", err
	}
	return Deliver(ctx, cfg, store.Event{ID: deliveryID(), Kind: kindReplay, Body: body})
}

// Deliver gives an event to the running bot as GitHub would. It returns its id.
func Deliver(ctx context.Context, cfg *Config, e Event) (string, error) {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() { // it listens everywhere
		host = "localhost"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+net.JoinHostPort(host, port)+"/webhooks/github", bytes.NewReader(e.Body))
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, []byte(cfg.GitHub.WebhookSecrets[0].Value()))
	mac.Write(e.Body)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", e.Kind)
	r.Header.Set("X-GitHub-Delivery", e.ID)
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := (&http.Client{Timeout: requestTimeout}).Do(r)
	if err != nil {
		return "", fmt.Errorf("the bot does not answer at %s: is it serving with this file? %w", cfg.Listen, err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusAccepted {
		return "", fmt.Errorf("the bot at %s answers %s: %s", cfg.Listen, resp.Status, strings.TrimSpace(string(answer)))
	}
	return e.ID, nil
}

// Decided waits until the running bot has decided an event, and returns its trace.
func Decided(ctx context.Context, cfg *Config, id string) (trace []string, err error) {
	db, err := openReader(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var e store.Event
		if err := db.View(ctx, func(tx *store.Tx) (err error) { e, err = tx.Event(id); return err }); err != nil {
			return nil, err
		}
		if !e.DecidedAt.IsZero() {
			return e.Trace.V, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("it is accepted as delivery %s, but not decided yet: bot queue shows why", id)
		}
	}
}
