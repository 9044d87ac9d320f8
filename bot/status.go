package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// statusTTL is how long what a cluster said is repeated: it is asked at most once a minute for each environment.
const statusTTL = time.Minute

// movingTTL is the same for a deployment that changes its environment just now.
const movingTTL = 5 * time.Second

// statusKept is how long a page shows what a cluster said, while it is asked again.
const statusKept = 10 * time.Minute

// statuses remembers what clusters said.
type statuses struct {
	mu   sync.Mutex
	said map[string]clusterSaid // by deployment id
}

type clusterSaid struct {
	workloads []kube.WorkloadStatus
	drifts    []kube.Drift // where the deployment is live
	read      time.Time    // when it said that; zero: never
	err       error        // why it could not be asked at last
	at        time.Time    // of that
	state     string       // of the deployment then
}

// old tells whether it is to be asked again.
func (s clusterSaid) old() bool {
	if store.Active(s.state) {
		return time.Since(s.at) >= movingTTL
	}
	return time.Since(s.at) >= statusTTL
}

// gone tells whether a workload that should be there is not. A Job may remove itself.
func (s clusterSaid) gone(w kube.WorkloadStatus) bool {
	return s.state == store.Succeeded && !w.Found && !strings.HasPrefix(w.Object, "Job/") // until then what was there before still is
}

// foreign tells whether somebody put another release's workload there, or one of none.
func (s clusterSaid) foreign(w kube.WorkloadStatus) bool {
	return s.state == store.Succeeded && w.Found && w.Release != w.Released
}

// workloads reads from its cluster what runs of a deployment, and what somebody changed of it. The error is that of what it says.
func (b *Bot) workloads(ctx context.Context, d store.Deployment, cluster string) (clusterSaid, error) {
	b.statuses.mu.Lock()
	known, ok := b.statuses.said[d.ID]
	b.statuses.mu.Unlock()
	if ok && !known.old() {
		return known, known.err
	}
	now := clusterSaid{at: time.Now(), state: d.State}
	if k, ok := b.engine.Clusters[cluster]; !ok {
		now.err = fmt.Errorf("the server knows no cluster %q", cluster)
	} else if objs, _, err := b.engine.Objects(d); err != nil {
		now.err = err
	} else {
		within, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		now.workloads, now.err = k.Status(within, objs)
		if now.err == nil && d.State == store.Succeeded { // else it is not all applied, or that of another
			now.drifts, now.err = k.Drift(within, objs)
		}
		if errors.Is(ctx.Err(), context.Canceled) { // that says nothing about the cluster
			return now, ctx.Err()
		}
	}
	b.statuses.put(d.ID, now)
	return now, now.err
}

// keepPullSecret gives a live deployment's pods what they pull by, as the server's file that was just read has it.
func (b *Bot) keepPullSecret(ctx context.Context, id string, _ int) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := b.engine.KeepPullSecret(ctx, id)
	if silent(err) {
		err = down{err}
	}
	return time.Time{}, err
}

// put remembers what a cluster said of a deployment. Where it said nothing, that is what it said before.
func (s *statuses) put(deployment string, now clusterSaid) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, said := range s.said {
		if time.Since(said.at) >= statusKept {
			delete(s.said, id)
		}
	}
	if now.err == nil {
		now.read = now.at
	} else if before, ok := s.said[deployment]; ok {
		now.workloads, now.drifts, now.read = before.workloads, before.drifts, before.read
	}
	s.said[deployment] = now
}

// status tells what each environment runs, as its cluster says, and what waits and why.
func (c *call) status(ctx context.Context, args []string) (outcome, error) {
	a, args, no, err := c.app(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	envs := a.config.Environments
	if len(args) > 1 {
		return c.usage(), nil
	}
	if len(args) > 0 {
		env, ok := a.config.Environment(strings.ToLower(args[0]))
		if !ok {
			known := a.config.EnvironmentNames()
			return c.near(c.no(text.UnknownEnvironment, code(args[0]), names(known), c.form()), args[0], known), nil
		}
		envs = []pipeline.Environment{*env}
	}
	var lines []string
	for _, env := range envs {
		l, err := c.environmentStatus(ctx, a.name, env)
		if err != nil {
			return nil, err
		}
		lines = append(lines, l...)
	}
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		orders, err := c.openOrders(tx, a.name, envs)
		lines = append(lines, orders...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return func(*store.Tx) (answer, error) { return reply("- "+strings.Join(lines, "\n- "), nil) }, nil
}

// fewDrifts is how many fields that somebody changed in a cluster are told.
const fewDrifts = 5

// driftWords tell what somebody changed in a cluster of what is live.
func (c *call) driftWords(said clusterSaid) (words []string) {
	l, drifts := c.lang(), said.drifts
	for _, w := range said.workloads {
		switch {
		case said.gone(w):
			drifts = append(slices.Clone(drifts), kube.Drift{Object: w.Object})
		case said.foreign(w):
			drifts = append(slices.Clone(drifts), kube.Drift{Object: w.Object, Field: kube.AnnotationRelease, Live: w.Release, Released: w.Released})
		}
	}
	if len(drifts) > 0 && !c.private() {
		return []string{l.Say(text.DriftHidden, len(drifts))}
	}
	for i, d := range drifts {
		if i == fewDrifts {
			return append(words, l.Say(text.DriftMore, len(drifts)-i))
		}
		show := func(s string) string { return code(c.bot.engine.Mask(s)) }
		var one string
		switch field := show(d.Object + " " + d.Field); {
		case d.Field == "":
			one = l.Say(text.DriftGone, show(d.Object))
		case d.Live == "":
			one = l.Say(text.DriftLess, field, show(d.Released))
		default:
			one = l.Say(text.DriftIs, field, show(d.Live), show(d.Released))
		}
		switch {
		case d.Manager == "":
		case d.At.IsZero():
			one = l.Say(text.DriftBy, one, show(d.Manager))
		default:
			one = l.Say(text.DriftAt, one, show(d.Manager), l.Time(d.At.UTC()))
		}
		words = append(words, one)
	}
	return words
}

func (c *call) environmentStatus(ctx context.Context, app string, env pipeline.Environment) ([]string, error) {
	var live store.Deployment
	var rel store.Release
	var run store.Run // that made the release
	var open []subject
	var bars []string
	var kept int               // the release whose pods still run beside what is live
	var gone *store.Gone       // what a rollback would need
	var votes []store.Approval // on what is live
	err := c.bot.db.View(ctx, func(tx *store.Tx) (err error) {
		if live, err = tx.Live(c.repo.Name, app, env.Name); err == nil {
			if rel, err = tx.Release(c.repo.Name, app, live.Release); err == nil {
				run, err = tx.Run(rel.Run)
			}
			if err == nil {
				votes, err = tx.Approvals(live.ID)
			}
			if err == nil {
				kept, err = tx.Kept(live)
			}
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if bars, err = barWords(tx, c.repo.Name, app, env, c.lang()); err != nil {
			return err
		}
		if gone, err = store.Optional(tx.Gone(c.repo.Name, app, env.Name)); err != nil {
			return err
		}
		all, err := tx.OpenDeployments(c.repo.Name, app, env.Name)
		for _, d := range all {
			s := subject{d: &d}
			if s.steps, err = tx.Steps(d.ID); err != nil {
				return err
			}
			open = append(open, s)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var lines []string
	name := code(env.Name)
	if live.ID == "" {
		lines = append(lines, c.lang().Say(text.NothingLive, name))
	} else {
		var spec pipeline.Spec
		if err := json.Unmarshal(live.Spec.V, &spec); err != nil {
			return nil, err
		}
		said, err := c.bot.workloads(ctx, live, spec.Environment.Cluster)
		if err != nil {
			lines = append(lines, c.lang().Say(text.StatusUnread, name, live.Release, code(c.bot.engine.Mask(err.Error()))))
		} else {
			ready, wanted := 0, 0
			for _, w := range said.workloads {
				ready, wanted = ready+w.Ready, wanted+w.Desired
			}
			lines = append(lines, c.lang().Say(text.StatusLive, name, releaseWords(run, c.lang()), code(rel.SHA[:7]), code(rel.Images.V[0].Digest), c.lang().Say(text.PodsReady, ready, c.lang().Count(wanted, text.Pods))))
			moving := slices.ContainsFunc(open, func(s subject) bool { return store.Active(s.d.State) })
			if drifts := c.driftWords(said); len(drifts) > 0 && !moving { // which is putting another there
				lines = append(lines, c.lang().Say(text.StatusDrift, name, c.lang().Join(drifts)))
			}
		}
	}
	place := scope{app, env.Name}.name(c.several)
	if kept > 0 {
		back := code(c.typed(fmt.Sprintf("/rollback %s to %d", place, kept)))
		lines = append(lines, c.lang().Say(text.StatusKept, name, kept, c.lang().Time(live.RetireAt.UTC()), back))
	}
	if gone != nil {
		lines = append(lines, c.lang().Say(text.StatusGone, name, gone.Release, code(gone.Image), c.goneRemedy(place)))
	}
	for _, why := range bars {
		lines = append(lines, c.lang().Say(text.StatusBarred, name, code(why)))
	}
	if without := ratifyWords(subject{d: &live, votes: votes}, c.lang()); without != "" {
		lines = append(lines, name+": "+code(without))
	}
	for _, s := range open {
		lines = append(lines, c.lang().Say(text.StatusWaiting, name, s.d.Release, code(deployWords(s, c.lang()))))
		if how := rollsWords(*s.d, s.steps, c.lang()); how != "" {
			lines[len(lines)-1] += " (" + code(how) + ")"
		}
	}
	return lines, nil
}
