package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/bot/web"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	// looksAtOnce is how many questions of the pages clusters and registries are asked at the same time.
	looksAtOnce = 4
	// maxAsks is how many may wait for that; the rest is asked when the page is looked at again.
	maxAsks = 400
	// askTimeout is how long one answer is waited for.
	askTimeout = 10 * time.Second
)

// looks asks, for the pages, what they show when they are looked at the next time. No page waits for it.
type looks struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	room chan struct{} // looksAtOnce

	mu     sync.Mutex
	asking map[string]bool
	parts  map[string]partSaid // by kind and name
}

// A partSaid is how it went when a cluster or a registry was last asked.
type partSaid struct {
	err error
	at  time.Time
}

func newLooks() *looks {
	l := &looks{room: make(chan struct{}, looksAtOnce), asking: map[string]bool{}, parts: map[string]partSaid{}}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// close lets no question be asked any more, and waits for those that are.
func (l *looks) close() error {
	l.mu.Lock()
	l.stop()
	l.mu.Unlock()
	l.wg.Wait()
	return nil
}

// ask asks one question, unless it is being asked.
func (l *looks) ask(question string, fn func(context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking[question] || len(l.asking) == maxAsks || l.ctx.Err() != nil {
		return
	}
	l.asking[question] = true
	l.wg.Go(func() {
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.asking, question)
		}()
		select {
		case l.room <- struct{}{}:
			defer func() { <-l.room }()
		case <-l.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, askTimeout)
		defer cancel()
		fn(ctx)
	})
}

// said remembers how it went when a cluster or a registry was asked.
func (l *looks) said(key string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts[key] = partSaid{err, time.Now()}
}

// pages is what the pages are made from.
func (b *Bot) pages(version string) web.Config {
	c := web.Config{DB: b.db, Version: version, Stop: b.stopping, Logger: b.log, Mask: b.engine.Mask, Typed: b.typed, Health: b.health, System: b.system, Frozen: frozen(),
		LogFile: func(run string) string { return pipeline.LogFile(b.cfg.DataDir, run) },
		Artifact: func(run, check, path string) (io.ReadSeekCloser, error) {
			return pipeline.OpenArtifact(b.cfg.DataDir, run, check, path)
		},
		About: func(e store.Event) string { return b.engine.Mask(aboutOf(e).words) },
		Member: func(ctx context.Context, repo store.Repo, list []string, login string) (bool, error) {
			return b.access.oneOf(ctx, b.hub.client(repo.Installation), repo.Name, login, list)
		}}
	if b.signIn != nil {
		c.Viewer = b.signIn.viewer
	}
	return c
}

// frozen reads windows as they stand in a file. Each text is read once: the files have few.
func frozen() func(windows []string, now time.Time) (string, time.Time) {
	var known sync.Map // *pipeline.Window by its text
	return func(windows []string, now time.Time) (string, time.Time) {
		var all []pipeline.Window
		for _, text := range windows {
			w, ok := known.Load(text)
			if !ok {
				read := new(pipeline.Window)
				if read.UnmarshalText([]byte(text)) != nil {
					continue // an earlier version wrote it
				}
				w, _ = known.LoadOrStore(text, read)
			}
			all = append(all, *w.(*pipeline.Window))
		}
		window, until, _ := pipeline.Frozen(all, now)
		return window, until
	}
}

// health tells what clusters last said of deployments. What is old is asked for again.
func (b *Bot) health(ids []string) map[string]web.Health {
	all := map[string]web.Health{}
	for _, id := range ids {
		b.statuses.mu.Lock()
		said, ok := b.statuses.said[id]
		b.statuses.mu.Unlock()
		if ok {
			all[id] = b.healthOf(said)
		}
		if !ok || said.old() {
			b.looks.ask(id, func(ctx context.Context) { b.look(ctx, id) })
		}
	}
	return all
}

func (b *Bot) look(ctx context.Context, id string) {
	var d store.Deployment
	err := b.db.View(ctx, func(tx *store.Tx) (err error) { d, err = tx.Deployment(id); return err })
	if err == nil {
		var spec pipeline.Spec
		if err = json.Unmarshal(d.Spec.V, &spec); err == nil {
			err = b.lookIn(ctx, d, spec.Environment.Cluster)
		}
	}
	if err != nil {
		b.log.Debug("what a cluster runs could not be read", "deployment", id, "err", b.engine.Mask(err.Error()))
	}
}

// lookIn reads what runs of a deployment. A cluster that does not answer is not asked for each: once that is known it counts for all
// until statusTTL is over, so that questions to others need not wait behind it.
func (b *Bot) lookIn(ctx context.Context, d store.Deployment, cluster string) error {
	key := "cluster " + cluster
	b.looks.mu.Lock()
	said := b.looks.parts[key]
	b.looks.mu.Unlock()
	if silent(said.err) && time.Since(said.at) < statusTTL {
		b.statuses.put(d.ID, clusterSaid{err: said.err, at: said.at, state: d.State})
		return said.err
	}
	_, err := b.workloads(ctx, d, cluster)
	if silent(err) {
		b.looks.said(key, err)
	}
	return err
}

// silent tells whether an error means that a cluster did not answer, or would not for now, whatever it was asked.
func silent(err error) bool {
	var e *kube.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) && e.Temporary
}

func (b *Bot) healthOf(said clusterSaid) web.Health {
	h := web.Health{At: said.read}
	if !said.read.IsZero() {
		h.Age = time.Since(said.read)
	}
	if said.err != nil {
		h.Unread = b.engine.Mask(said.err.Error())
	}
	for _, w := range said.workloads {
		h.Ready, h.Desired = h.Ready+w.Ready, h.Desired+w.Desired
		see := web.Workload{Object: w.Object, Ready: w.Ready, Desired: w.Desired, Text: w.Text, Problem: b.engine.Mask(w.Problem), Release: w.Release}
		see.Gone, see.Foreign = said.gone(w), said.foreign(w)
		h.Drift = h.Drift || see.Gone || see.Foreign
		h.Workloads = append(h.Workloads, see)
	}
	for _, d := range said.drifts {
		h.Drift = true
		h.Changes = append(h.Changes, web.Change{Object: d.Object, Field: d.Field, Live: b.engine.Mask(d.Live), Released: b.engine.Mask(d.Released), By: d.Manager, At: d.At})
	}
	return h
}

// system lists what the server works with. Builders are watched anyway; clusters and registries are asked again after statusTTL.
func (b *Bot) system() []web.Part {
	parts := b.builders.parts()
	for _, name := range slices.Sorted(maps.Keys(b.cfg.Registries)) {
		parts = append(parts, b.part("registry", name, b.askRegistry))
	}
	for _, name := range slices.Sorted(maps.Keys(b.engine.Clusters)) {
		parts = append(parts, b.part("cluster", name, b.askCluster))
	}
	return parts
}

func (b *Bot) part(kind, name string, ask func(context.Context, string) error) web.Part {
	key := kind + " " + name
	b.looks.mu.Lock()
	said, ok := b.looks.parts[key]
	b.looks.mu.Unlock()
	p := web.Part{Kind: kind, Name: name, State: store.StepPending, At: said.at}
	switch {
	case said.err != nil:
		p.State, p.Detail = store.Failed, said.err.Error()
	case ok:
		p.State = store.Succeeded
	}
	if !ok || time.Since(said.at) >= statusTTL {
		b.looks.ask(key, func(ctx context.Context) {
			err := ask(ctx, name)
			if b.looks.ctx.Err() == nil {
				b.looks.said(key, err)
			}
		})
	}
	return p
}

// askRegistry asks a registry whether it is one (OCI Distribution Specification 1.1, "Determining Support"); it may want to know
// who asks.
func (b *Bot) askRegistry(ctx context.Context, host string) error {
	scheme := "https"
	if b.cfg.Registries[host].PlainHTTP {
		scheme = "http"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+"/v2/", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it is not read
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("it answers %s", answer.Status)
	}
	return nil
}

// askCluster reads a Deployment, which need not be there, from a namespace that the server's file names.
func (b *Bot) askCluster(ctx context.Context, name string) error {
	namespace := "default"
	if c := b.cfg.Clusters[name]; c != nil {
		for _, allow := range c.Allow {
			if len(allow.Namespaces) > 0 {
				namespace = allow.Namespaces[0]
			}
		}
	}
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("apps/v1")
	o.SetKind("Deployment")
	o.SetNamespace(namespace)
	o.SetName("shipmate")
	_, err := b.engine.Clusters[name].Status(ctx, []*unstructured.Unstructured{o})
	return err
}

// parts lists the builders, and whether they are there.
func (b *builders) parts() (all []web.Part) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.all {
		p := web.Part{Kind: "builder", Name: one.name, State: store.Succeeded, Forks: one.forks}
		if one.away {
			p.State, p.Detail = store.Failed, one.why
		}
		all = append(all, p)
	}
	return all
}
