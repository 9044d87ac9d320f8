package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// Outgoing webhooks: programs are told of each change of a state and each line of the audit. What a file's notify asks for is theirs.

const (
	kindWebhook = "webhook"
	hookTimeout = 10 * time.Second
	// hookPatience is how long a delivery is tried: a receiver that is mended within a day misses nothing.
	hookPatience = 24 * time.Hour
	newsBatch    = 100
)

// A webhook is an outgoing webhook. While it can't be reached, one delivery after the other finds that out: all of them would keep those
// of other receivers waiting.
type webhook struct {
	*chat.Webhook

	mu     sync.Mutex
	failed int       // attempts in a row that reached nobody
	until  time.Time // it is not tried before
}

// rests is until when the receiver is not tried; it has passed where it may be.
func (r *webhook) rests() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until
}

// tried counts an attempt; reached tells whether there was an answer.
func (r *webhook) tried(reached bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case reached:
		r.failed, r.until = 0, now
	case !now.Before(r.until): // else one that began earlier
		r.until = now.Add(backoff(r.failed))
		r.failed++
	}
}

// A hookEvent is the body of a delivery; openapi.json describes it (webhooks).
type hookEvent struct {
	ID         string         `json:"id"`
	Event      string         `json:"event"`
	Sequence   int64          `json:"sequence"`
	At         time.Time      `json:"at"`
	Repository string         `json:"repository"`
	Run        *apiRun        `json:"run,omitempty"`
	Deployment *apiDeployment `json:"deployment,omitempty"`
	Order      *apiOrder      `json:"order,omitempty"`
	Audit      *apiEntry      `json:"audit,omitempty"`
}

// makeHookDeliveries is the work of store.TaskNews: it makes of the news what each webhook is told, in batches.
func (b *Bot) makeHookDeliveries(ctx context.Context, _ string, _ int) (time.Time, error) {
	for n := newsBatch; n == newsBatch; {
		err := b.db.Update(ctx, func(tx *store.Tx) error {
			news, err := tx.Untold(newsBatch)
			n = len(news)
			if err != nil || n == 0 {
				return err
			}
			for _, one := range news {
				if err := b.makeDeliveriesOf(tx, one); err != nil {
					return err
				}
			}
			return tx.DropNews(news[n-1].Seq)
		})
		if err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, nil
}

func (b *Bot) makeDeliveriesOf(tx *store.Tx, one store.News) error {
	e := hookEvent{Event: one.Kind + "." + one.State, Sequence: one.Seq, At: one.At.Time}
	notify, err := b.describe(tx, one, &e)
	switch {
	case err != nil && (store.Unavailable(err) || errors.Is(err, context.Canceled)):
		return err
	case err != nil: // it would hold up everything that happens after it
		b.log.Error("webhooks are not told what happened", "event", e.Event, "subject", one.Subject, "err", b.engine.Mask(err.Error()))
		return nil
	}
	var names []string
	for _, n := range notify {
		if !slices.Contains(names, n) && b.hooks[n] != nil && b.cfg.MayUseServer(e.Repository) == nil && b.cfg.MayUseChat(kindWebhook, n, e.Repository) == nil {
			names = append(names, n)
		}
	}
	for _, name := range names {
		e.ID = store.NewID()
		body, err := b.maskedJSON(e)
		if err != nil {
			return err
		}
		d := store.HookDelivery{ID: e.ID, Hook: name, Repo: e.Repository, Event: e.Event, Body: body}
		if err := tx.PutHookDelivery(d); err != nil {
			return err
		}
	}
	return nil
}

// maskedJSON is v as JSON without secrets. They are looked for in its texts one by one: in JSON a quote in them is written otherwise, and a
// secret of digits would be found in numbers.
func (b *Bot) maskedJSON(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	var masked func(any) any
	masked = func(v any) any {
		switch v := v.(type) {
		case string:
			return b.engine.Mask(v)
		case []any:
			for i := range v {
				v[i] = masked(v[i])
			}
		case map[string]any:
			for name := range v {
				v[name] = masked(v[name])
			}
		}
		return v
	}
	return json.Marshal(masked(v))
}

// describe fills in what the news is of, and returns the webhooks whose entries want it. An entry that lists notices (on) is told of
// those alone, and of no line of the audit.
func (b *Bot) describe(tx *store.Tx, one store.News, e *hookEvent) (wanted []string, err error) {
	want := func(all []pipeline.Notify, notice, environment string) {
		for _, n := range all {
			if n.Webhook != "" && n.Wants(notice, environment) {
				wanted = append(wanted, n.Webhook)
			}
		}
	}
	whole := func(all []pipeline.Notify, environment string) {
		for _, n := range all {
			if n.Webhook != "" && len(n.On) == 0 && n.Wants("", environment) {
				wanted = append(wanted, n.Webhook)
			}
		}
	}
	switch one.Kind {
	case "run":
		r, err := tx.Run(one.Subject)
		if err != nil {
			return nil, err
		}
		repo, err := tx.Repo(r.Repo)
		if err != nil {
			return nil, err
		}
		var cfg pipeline.Config
		if err := json.Unmarshal(r.Config.V, &cfg); err != nil {
			return nil, err
		}
		r.State = one.State
		run := b.apiRun(r, !repo.Private)
		e.Repository, e.Run = r.Repo, &run
		want(cfg.Notify, moment(subject{run: r}), "")
	case "deployment":
		d, err := tx.Deployment(one.Subject)
		if err != nil {
			return nil, err
		}
		repo, err := tx.Repo(d.Repo)
		if err != nil {
			return nil, err
		}
		var spec pipeline.Spec
		if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
			return nil, err
		}
		d.State = one.State
		deployment, err := b.apiDeployment(tx, d, !repo.Private)
		if err != nil {
			return nil, err
		}
		e.Repository, e.Deployment = d.Repo, &deployment
		want(spec.Notify, moment(subject{d: &d}), d.Environment)
	case "order":
		o, err := tx.Order(one.Subject)
		if err != nil {
			return nil, err
		}
		parts, err := tx.OrderParts(o.ID)
		if err != nil {
			return nil, err
		}
		o.State = one.State
		order := b.apiOrder(o)
		e.Repository, e.Order = o.Repo, &order
		for _, d := range parts {
			var spec pipeline.Spec
			if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
				return nil, err
			}
			whole(spec.Notify, o.Environment)
		}
	case "audit":
		seq, err := strconv.ParseInt(one.Subject, 10, 64)
		if err != nil {
			return nil, err
		}
		entry, err := tx.Entry(seq)
		if err != nil {
			return nil, err
		}
		line := apiEntry{entry.Seq, entry.At, entry.Actor, entry.Via, entry.Action, entry.Repo, entry.Subject, entry.Detail}
		e.Event, e.Repository, e.Audit = "audit", entry.Repo, &line
		apps, err := tx.Apps(entry.Repo)
		if err != nil {
			return nil, err
		}
		for _, app := range apps {
			r, err := tx.NewestRun(entry.Repo, app)
			if err != nil {
				return nil, err
			}
			var cfg pipeline.Config
			if err := json.Unmarshal(r.Config.V, &cfg); err != nil {
				return nil, err
			}
			whole(cfg.Notify, "")
		}
	}
	return wanted, nil
}

// tellHook is the work of store.TaskHook: it sends one delivery, and records how that went. What has not arrived for a day is given up.
func (b *Bot) tellHook(ctx context.Context, id string, _ int) (time.Time, error) {
	var d store.HookDelivery
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { d, err = tx.HookDelivery(id); return err }); err != nil {
		return time.Time{}, err
	}
	if !d.DoneAt.IsZero() { // but this could not be told before a crash
		return time.Time{}, nil
	}
	late := b.db.Now().Sub(d.MadeAt.Time) >= hookPatience
	status, failed := 0, errors.Join(b.cfg.MayUseServer(d.Repo), b.cfg.MayUseChat(kindWebhook, d.Hook, d.Repo))
	if failed != nil { // by now, or there is no such webhook any more
		failed = giveUp{failed}
	} else if hook, until := b.hooks[d.Hook], b.hooks[d.Hook].rests(); !until.After(b.db.Now()) {
		status, failed = hook.Post(ctx, d.Event, d.ID, d.Body)
		if failed != nil && ctx.Err() != nil {
			return time.Time{}, failed // told to stop: that says nothing of the receiver
		}
		hook.tried(status != 0, b.db.Now())
	} else if !late {
		return until, nil
	} else {
		failed = errors.New("the receiver can't be reached")
	}
	said := ""
	if failed != nil {
		said = b.engine.Mask(failed.Error())
	}
	if err := b.db.Update(ctx, func(tx *store.Tx) error { return tx.TriedHook(id, status, said) }); err != nil {
		return time.Time{}, errors.Join(failed, err)
	}
	if failed != nil && !chat.IsPermanent(failed) && late {
		failed = giveUp{fmt.Errorf("it has not arrived for %s: %w", hookPatience, failed)}
	}
	return time.Time{}, chatError(failed)
}
