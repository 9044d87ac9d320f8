package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/store"
)

// GitHub gives a delivery up after ten seconds and never sends it again by itself, but it keeps a log of what it sent (REST
// "List deliveries for an app webhook"). What is in that log and not in our database never arrived, or was lost with a
// disk: it is stored and decided as if it had come in time, the oldest first.

// taskRecover is the kind of the task that reads the log. Its one key is deliveryLog, which is also the name of the cursor:
// the time since which the log is still to be read.
const (
	taskRecover = "recover"
	deliveryLog = "deliveries"
)

const (
	// logKept is how long GitHub keeps its log.
	logKept = 72 * time.Hour
	// overlap is how much of the log is read again each time: a delivery gets there when it was answered or given up, with
	// the time at which it began.
	overlap = 5 * time.Minute
	// ownTurn is when a delivery that was found is left to a task of its own, if it is still undecided.
	ownTurn = 30 * time.Minute

	fetchBatch    = 16 // deliveries that are read and stored together
	fetchParallel = 4  // requests at a time
	failingInARow = 3  // deliveries that cannot be decided one after the other: then it is not they that are the trouble
)

// kindGap is the kind of the events, one for each repository, that stand for what GitHub's log has lost.
const kindGap = "gap"

// A gap is the body of such an event: deliveries between the two times may never have arrived.
type gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// missed is a delivery that GitHub's log has and we have not.
type missed struct {
	guid, kind string
	at         time.Time // of the first attempt
	first      int64     // that attempt's id
	attempt    int64     // the newest one's
	status     string    // as GitHub noted it; of an attempt that it took for a success, if there is one
	arrived    bool      // there is one
}

// recoverDeliveries finds what never arrived, and decides it in the order in which it was sent. No trouble ends it: it is
// called again after a while, or when GitHub says.
func (b *Bot) recoverDeliveries(ctx context.Context, _ string, _ int) (time.Time, error) {
	var unread error
	every := b.cfg.GitHub.RecoverEvery
	if every > 0 {
		unread = b.findMissed(ctx)
		b.logUnread(ctx, unread)
	}
	stuck := b.decideFound(ctx) // also what was found before the sweep was turned off, or before a crash
	if stuck != nil && ctx.Err() == nil {
		b.log.Warn("deliveries that were found wait to be decided", "err", b.engine.Mask(stuck.Error()))
	}
	err := errors.Join(unread, stuck)
	if _, asked := retryAfter(err); asked || ctx.Err() != nil {
		return time.Time{}, err
	}
	if every == 0 && stuck == nil {
		return time.Time{}, nil
	}
	return b.db.Now().Add(cmp.Or(every, time.Minute)), nil
}

// logUnread tells once that the log cannot be read, and once that it can again.
func (b *Bot) logUnread(ctx context.Context, err error) {
	why, hint := "", "what never arrives is found once it can be read"
	var answer *github.ErrorResponse
	_, limited := retryAfter(err)
	switch {
	case ctx.Err() != nil:
		return // we are stopping
	case err == nil:
	case limited:
		why = "GitHub asks us to wait"
	case errors.As(err, &answer):
		why = answer.Response.Status
		if answer.Response.StatusCode == http.StatusUnauthorized {
			hint = "check github.app_id and github.private_key, and this machine's clock"
		}
	case errors.As(err, new(*url.Error)):
		why = "there is no answer"
	default:
		why = err.Error()
	}
	before, _ := b.unread.Swap(why).(string)
	switch {
	case why == before:
	case why == "":
		b.log.Info("GitHub's delivery log can be read again")
	default:
		b.log.Error("GitHub's delivery log cannot be read: "+hint, "reason", why, "err", err)
	}
}

// findMissed stores what the log has and we have not, the oldest first. The cursor moves on once everything before it is
// stored.
func (b *Bot) findMissed(ctx context.Context) error {
	since, err := b.unreadSince(ctx)
	if err != nil {
		return err
	}
	c := b.hub.asApp()
	found, now, err := b.listMissed(ctx, c, since)
	if since.IsZero() { // the first start: what was before is nobody's loss
		now = cmp.Or(now, b.db.Now())
		b.log.Info("there are no deliveries here yet: what GitHub sends from now on is found, also when it does not arrive; what it sent before is not", "since", now)
		return errors.Join(err, b.db.Update(ctx, func(tx *store.Tx) error { return tx.SetCursor(deliveryLog, now.Format(time.RFC3339)) }))
	}
	if err != nil {
		return err
	}
	next := now.Add(-overlap)
	var failed error
	for batch := range slices.Chunk(found, fetchBatch) {
		got := fetch(ctx, c, batch)
		if !slices.ContainsFunc(got, func(p fetched) bool { return p.err == nil }) {
			return got[0].err // it is not the deliveries that are the trouble
		}
		if err := b.db.Update(ctx, func(tx *store.Tx) error { return putMissed(tx, batch, got) }); err != nil {
			return err
		}
		for i, p := range got {
			if p.err == nil {
				continue
			}
			failed = p.err // it is asked for again, and does not hold up the others
			if batch[i].at.Before(next) {
				next = batch[i].at
			}
		}
	}
	if len(found) > 0 {
		b.log.Info("deliveries that were not here are taken from GitHub's log", "count", len(found), "first", found[0].at, "last", found[len(found)-1].at)
	}
	if next.Before(since) {
		next = since
	}
	lost := gap{since, now.Add(-logKept)}
	if lost.From.Before(lost.To) {
		b.log.Error(lost.String())
	}
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(putGap(tx, lost), tx.SetCursor(deliveryLog, next.Format(time.RFC3339)))
	})
	return errors.Join(failed, err)
}

// unreadSince is the time since which the log is to be read; the zero time when this database is new.
func (b *Bot) unreadSince(ctx context.Context) (since time.Time, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		at, err := tx.Cursor(deliveryLog)
		if err != nil {
			return err
		}
		if at != "" {
			since, err = time.Parse(time.RFC3339, at)
			return err
		}
		// A version that did not read the log has left its events.
		if since, err = tx.LastReceived(); !since.IsZero() {
			since = since.Add(-overlap)
		}
		return err
	})
	return since, err
}

// listMissed reads the log back to a time, and returns what we do not have, the oldest first. now is GitHub's time, which
// is the one that the log goes by. With no time to go back to, it only asks for that.
func (b *Bot) listMissed(ctx context.Context, c *github.Client, since time.Time) (found []missed, now time.Time, err error) {
	at := map[string]int{} // in found, by guid: a delivery that was sent again is one delivery
	opt := &github.ListCursorOptions{PerPage: 100}
	for {
		page, resp, err := c.Apps.ListHookDeliveries(ctx, opt)
		if err != nil {
			return nil, now, fmt.Errorf("list deliveries: %w", err)
		}
		if now.IsZero() {
			if now, err = http.ParseTime(resp.Header.Get("Date")); err != nil {
				now = b.db.Now()
			}
			if since.IsZero() {
				return nil, now, nil
			}
			if oldest := now.Add(-logKept); since.Before(oldest) {
				since = oldest // how long we remember what we had is not endless either
			}
		}
		end := slices.IndexFunc(page, func(d *github.HookDelivery) bool { return d.GetDeliveredAt().Before(since) })
		if end >= 0 {
			page = page[:end]
		}
		var guids []string
		for _, d := range page {
			guids = append(guids, d.GetGUID())
		}
		var unknown []string
		if err := b.db.View(ctx, func(tx *store.Tx) (err error) { unknown, err = tx.Unknown(guids); return err }); err != nil {
			return nil, now, err
		}
		for _, d := range page {
			if !slices.Contains(unknown, d.GetGUID()) || !word(d.GetGUID()) || !word(d.GetEvent()) {
				continue
			}
			i, ok := at[d.GetGUID()]
			if !ok {
				i = len(found)
				at[d.GetGUID()] = i
				found = append(found, missed{guid: d.GetGUID(), kind: d.GetEvent(), attempt: d.GetID()})
			}
			m := &found[i]
			m.at, m.first = d.GetDeliveredAt().Time, d.GetID() // the newest attempts come first
			if ok := d.GetStatusCode()/100 == 2; ok || m.status == "" {
				m.status, m.arrived = fmt.Sprintf("%d %s", d.GetStatusCode(), d.GetStatus()), ok
			}
		}
		if end >= 0 || resp.Cursor == "" {
			break
		}
		opt.Cursor = resp.Cursor
	}
	slices.SortFunc(found, func(a, b missed) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.first, b.first)) })
	return found, now, nil
}

// A fetched is what GitHub's log has of one delivery.
type fetched struct {
	body []byte
	none string // why there is no body, and never will be
	err  error  // why it could not be read this time
}

// fetch reads the payloads of deliveries.
func fetch(ctx context.Context, c *github.Client, batch []missed) []fetched {
	got := make([]fetched, len(batch))
	var g errgroup.Group
	g.SetLimit(fetchParallel)
	for i, m := range batch {
		g.Go(func() error {
			d, resp, err := c.Apps.GetHookDelivery(ctx, m.attempt)
			body := d.GetRequest().GetRawPayload()
			switch p := &got[i]; {
			case err == nil && len(body) > 0:
				p.body = body
			case err == nil:
				p.none = "GitHub's log has no payload of it"
			case resp != nil && slices.Contains([]int{http.StatusNotFound, http.StatusGone, http.StatusUnprocessableEntity}, resp.StatusCode),
				errors.As(err, new(*json.SyntaxError)), errors.As(err, new(*json.UnmarshalTypeError)):
				p.none = fmt.Sprintf("its payload cannot be read from GitHub's log: %v", err)
			default:
				p.err = fmt.Errorf("read delivery %s: %w", m.guid, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in got
	return got
}

// putMissed stores those deliveries whose payload came, or never will.
func putMissed(tx *store.Tx, batch []missed, got []fetched) error {
	for i, m := range batch {
		p := got[i]
		if p.err != nil {
			continue
		}
		trace := []string{fmt.Sprintf("found in GitHub's delivery log: sent first at %s, noted there as %s", m.at.UTC().Format(time.RFC3339), m.status)}
		if m.arrived {
			trace = append(trace, "GitHub takes it for delivered, but it is not in this database: that was restored from a backup, or has lost its end")
		}
		e := store.Event{ID: m.guid, Kind: m.kind, Repo: repoName(p.body), Via: store.ViaLog, DeliveredAt: store.Time{Time: m.at}, Body: p.body}
		if p.none == "" {
			if _, err := tx.PutFound(e, trace, tx.Now().Add(ownTurn)); err != nil {
				return err
			}
			continue
		}
		e.Body = []byte{}
		fresh, err := tx.PutEvent(e)
		if err != nil {
			return err
		}
		if fresh {
			if err := tx.Decide(e.ID, append(trace, p.none, "nothing is done; push again or comment again")); err != nil {
				return err
			}
		}
	}
	return nil
}

// decideFound decides what was found, one after the other. What fails is left to its own task.
func (b *Bot) decideFound(ctx context.Context) error {
	var found []string
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { found, err = tx.Found(); return err }); err != nil {
		return err
	}
	failing := 0
	for _, id := range found {
		err := b.decideOne(ctx, id)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			b.log.Warn("a delivery that was found is left to its own task", "delivery", id, "err", b.engine.Mask(err.Error()))
			if err := b.db.Update(ctx, func(tx *store.Tx) error { return tx.Wake(store.TaskEvent, id) }); err != nil {
				return err
			}
		}
		if failing++; err == nil {
			failing = 0
		}
		if failing == failingInARow { // the others wait, and keep their order
			return err
		}
	}
	return nil
}

// decideOne is event for the sweep, which a bug that one event meets must not end.
func (b *Bot) decideOne(ctx context.Context, id string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p) // its own task will meet it, and tells where
		}
	}()
	_, err = b.event(ctx, id, 0)
	return err
}

func (g gap) String() string {
	return fmt.Sprintf("deliveries between %s and %s may be lost: GitHub's log goes back no further; push again or comment again", g.From.UTC().Format(time.RFC3339), g.To.UTC().Format(time.RFC3339))
}

// putGap stores an event for each repository, so that its newest commit is looked at. It does so for a gap only.
func putGap(tx *store.Tx, g gap) error {
	if !g.From.Before(g.To) {
		return nil
	}
	body, err := json.Marshal(g)
	if err != nil {
		return err
	}
	repos, err := tx.Repos()
	if err != nil {
		return err
	}
	for _, r := range repos {
		e := store.Event{ID: fmt.Sprintf("gap-%d-%d", g.From.Unix(), r.ID), Kind: kindGap, Repo: &r.Name, DeliveredAt: store.Time{Time: g.To}, Body: body}
		if _, err := tx.PutFound(e, []string{g.String()}, tx.Now().Add(ownTurn)); err != nil {
			return err
		}
	}
	return nil
}

// gap takes up what a lost push would have: where no run ever was of the default branch's newest commit, it is handled as if
// its push came now.
func (b *Bot) gap(ctx context.Context, e store.Event, d *decision) error {
	if e.Via != store.ViaLog || e.Repo == nil {
		d.note("nothing is done on a %s", e.Kind)
		return nil
	}
	return b.asNow(ctx, e, d, func(c *github.Client, repo store.Repo) error {
		owner, name := split(repo.Name)
		ref := "refs/heads/" + repo.DefaultBranch
		head, err := headOf(ctx, c, repo.Name, ref)
		if err != nil {
			return err
		}
		if head == "" {
			d.note("it has no branch %s", repo.DefaultBranch)
			return nil
		}
		commit, _, err := c.Repositories.GetCommit(ctx, owner, name, head, nil)
		if err != nil {
			return err
		}
		pushes, _, err := activity(ctx, c, repo.Name, ref, "")
		if err != nil {
			return err
		}
		sender := commit.GetAuthor()
		if len(pushes) > 0 && pushes[0].After == head {
			sender = pushes[0].Actor
		}
		return b.push(ctx, e, &github.PushEvent{Ref: &ref, After: &head, Sender: sender, HeadCommit: &github.HeadCommit{Message: commit.GetCommit().Message,
			Author: &github.CommitAuthor{Name: commit.GetCommit().GetAuthor().Name, Login: commit.GetAuthor().Login}}}, repo, d)
	})
}
