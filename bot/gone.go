package bot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// taskGone is the kind of the task that tells one chat that an environment can't be gone back in; its key is that of taskRemind.
const taskGone = "gone"

// askImage is how long a registry is waited for when it is asked whether it has an image.
const askImage = 10 * time.Second

// checkImages is the work of store.TaskImages: it asks the registry whether it has what a rollback of an environment would need, and
// warns once where it has not. A registry that can't tell leaves things as they were.
func (b *Bot) checkImages(ctx context.Context, key string, _ int) (next time.Time, err error) {
	part := strings.Split(key, "\n")
	if len(part) != 3 {
		return next, giveUp{fmt.Errorf("environment key %q", key)}
	}
	repo, app, environment := part[0], part[1], part[2]
	var to store.Deployment
	err = b.db.View(ctx, func(tx *store.Tx) (err error) {
		_, to, err = tx.WayBack(repo, app, environment)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return next, b.db.Update(ctx, func(tx *store.Tx) error { return tx.EndGone(repo, app, environment) })
	}
	if err != nil {
		return next, err
	}
	image, unknown := b.goneImage(ctx, to)
	if ctx.Err() != nil {
		return next, ctx.Err()
	}
	if unknown != nil {
		b.log.Info("whether an environment can be rolled back is not known", "repository", repo, "app", app, "environment", environment, "error", b.engine.Mask(unknown.Error()))
	}
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		next = tx.NextImages(key)
		_, now, err := tx.WayBack(repo, app, environment)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if now.ID != to.ID { // what began or ended meanwhile
			next = tx.Now()
			return nil
		}
		return b.tellGone(tx, to, image, unknown != nil)
	})
	return next, err
}

// tellGone records which image is gone that a rollback to d would need ("": none), and has it told where that is news.
func (b *Bot) tellGone(tx *store.Tx, d store.Deployment, image string, unknown bool) error {
	old, err := store.Optional(tx.Gone(d.Repo, d.App, d.Environment))
	if err != nil {
		return err
	}
	e := store.Entry{Actor: "shipmate", Via: "engine", Repo: d.Repo, Subject: "deployment/" + d.ID}
	switch {
	case image != "":
		rel, err := tx.Release(d.Repo, d.App, d.Release)
		if err != nil {
			return err
		}
		known, err := tx.PutGone(store.Gone{Repo: d.Repo, App: d.App, Environment: d.Environment, Deployment: d.ID, Release: d.Release, SHA: rel.SHA, Image: image})
		if err != nil || known {
			return err
		}
		e.Action, e.Detail = "image gone", fmt.Sprintf("%s can't be rolled back to release %d: %s is not in the registry any more", d.Environment, d.Release, image)
		return errors.Join(tx.Audit(e), b.remindChats(tx, taskGone, d.Repo, d.App, d.Environment))
	case old == nil || unknown && old.Deployment == d.ID:
		return nil
	case old.Deployment == d.ID:
		e.Action, e.Detail = "image back", fmt.Sprintf("%s can be rolled back to release %d again: %s is in the registry", d.Environment, d.Release, old.Image)
		return errors.Join(tx.Audit(e), tx.EndGone(d.Repo, d.App, d.Environment))
	}
	return tx.EndGone(d.Repo, d.App, d.Environment) // a rollback goes to another release by now
}

// goneImage asks whether a deployment could be applied again. An error means that the registry can't tell.
func (b *Bot) goneImage(ctx context.Context, d store.Deployment) (image string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askImage)
	defer cancel()
	return b.engine.GoneImage(ctx, d)
}

func remindOfGone(tx *store.Tx, repo, app, environment string) (*reminder, error) {
	g, err := store.Optional(tx.Gone(repo, app, environment))
	if err != nil || g == nil {
		return nil, err
	}
	rel, err := tx.Release(repo, app, g.Release)
	if err != nil {
		return nil, err
	}
	run, err := tx.Run(rel.Run)
	return &reminder{g.Since.Format(time.RFC3339Nano), run.Author, func(b *Bot, s subject, where string, l text.Lang) chat.Message {
		return b.goneMessage(s, *g, where, l)
	}}, err
}

// goneMessage tells that an environment can't be gone back in.
func (b *Bot) goneMessage(s subject, g store.Gone, where string, l text.Lang) chat.Message {
	return chat.Message{Title: l.Say(text.GoneTitle, g.App, g.Environment, g.Release), State: chat.Waiting, Status: l.Say(text.GoneStatus),
		Fields: []chat.Field{{Name: l.Field(text.Project), Value: s.repo.Name, URL: s.repo.HTMLURL}, {Name: l.Field(text.Environment), Value: g.Environment},
			{Name: l.Field(text.Image), Value: g.Image}, {Name: l.Field(text.Note), Value: l.Say(text.GoneRemedy, s.typed("/rollback "+where+" to N"))}},
		Link: chat.Link{Text: l.Say(text.Details), URL: b.page("deployments", g.Deployment)}}
}

func (c *call) goneRemedy(where string) string {
	return c.lang().Say(text.GoneRemedy, code(c.typed("/rollback "+where+" to N")))
}

// rollbackTarget finds what a rollback applies again; to is the release that it names, 0 for the one before.
func (c *call) rollbackTarget(tx *store.Tx, a app, env *pipeline.Environment, to int) (store.Deployment, error) {
	if to > 0 {
		return tx.LiveRelease(c.repo.Name, a.name, env.Name, to)
	}
	_, target, err := tx.WayBack(c.repo.Name, a.name, env.Name)
	return target, err
}

// imageGone refuses a rollback to what no registry has any more; nil where it may be tried, also since the registry can't tell.
func (c *call) imageGone(ctx context.Context, a app, env *pipeline.Environment, to int) (outcome, error) {
	var target store.Deployment
	err := c.bot.db.View(ctx, func(tx *store.Tx) (err error) { target, err = c.rollbackTarget(tx, a, env, to); return err })
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil // which is told with what there is
	}
	if err != nil {
		return nil, err
	}
	image, unknown := c.bot.goneImage(ctx, target)
	if unknown != nil {
		c.d.note("whether the registry has release %d is not known: %s", target.Release, c.bot.engine.Mask(unknown.Error()))
		return nil, ctx.Err()
	}
	if image == "" {
		return nil, nil
	}
	return c.no(text.NoImageToRollBackTo, code(env.Name), target.Release, code(image), c.goneRemedy(c.place(a, env))), nil
}

// partsGone asks the same of what the parts of an order would be taken back to.
func (c *call) partsGone(ctx context.Context, parts []store.Deployment) (gone map[string]string, err error) {
	var targets []store.Deployment
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		for _, p := range parts {
			target, _, err := c.wayBack(tx, p)
			if err != nil {
				return err
			}
			if target != nil {
				targets = append(targets, *target)
			}
		}
		return nil
	})
	gone = map[string]string{}
	for _, t := range targets {
		image, unknown := c.bot.goneImage(ctx, t)
		if unknown == nil && image != "" {
			gone[t.ID] = image
		}
	}
	return gone, errors.Join(err, ctx.Err())
}
