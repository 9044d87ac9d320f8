package bot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/internal/strictyaml"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/store"
)

// kindRegistry is the kind of the events that tell of an image that was pushed. The one that a registry sent names no
// repository of GitHub's; when it is decided, each repository whose apps it concerns gets one of its own, so that what
// goes wrong with one does not touch the others.
const kindRegistry = "registry"

// lateEvent is how long after a run ended without a release its own push may still be told by the registry.
const lateEvent = time.Hour

// EventsConfig says how a registry tells what is pushed to it: POST /webhooks/registry/HOST, with the secret in a header.
// Docker Hub can set no header, and has the secret as one more part of the path.
type EventsConfig struct {
	Kind   string `yaml:"kind"`   // tcr, harbor, distribution or dockerhub
	Header string `yaml:"header"` // whose value is the secret, the whole of it; default Authorization
	Secret Secret `yaml:"secret"`
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110, "token"

func (e *EventsConfig) check(doc *strictyaml.Document, at, host string) {
	switch e.Kind {
	case image.EventsTCR, image.EventsHarbor, image.EventsDistribution:
		if !headerName.MatchString(e.Header) {
			doc.Errorf(at+".header", "%q is no name of a header; write for example X-Shipmate-Token", e.Header)
		}
	case image.EventsDockerHub:
		if e.Header != "" {
			doc.Errorf(at+".header", "is nothing that Docker Hub can set; remove it, and have Docker Hub call /webhooks/registry/%s/ followed by the secret", host)
		}
	case "":
		doc.Errorf(at+".kind", "is missing; write tcr, harbor, distribution or dockerhub")
	default:
		doc.Errorf(at+".kind", "%q is not known here; write tcr, harbor, distribution or dockerhub", e.Kind)
	}
	if !e.Secret.IsSet() {
		doc.Errorf(at+".secret", "is missing; write where the secret is that the registry sends, such as env:REGISTRY_EVENT_SECRET")
	}
}

// admits tells, in constant time, whether a request holds the secret.
func (e *EventsConfig) admits(r *http.Request) bool {
	sent := r.Header.Get(e.Header)
	if e.Kind == image.EventsDockerHub {
		sent = r.PathValue("token")
	} else if r.PathValue("token") != "" {
		return false
	}
	got, want := sha256.Sum256([]byte(sent)), sha256.Sum256([]byte(e.Secret.Value()))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && e.Secret.Value() != ""
}

// registryEvent verifies, stores and answers; what the pushes mean is decided elsewhere. A body without one, as of a
// deletion, is answered with 200, as is one that is known.
func (b *Bot) registryEvent(w http.ResponseWriter, r *http.Request) {
	began, host := b.tracer.now(), r.PathValue("host")
	registry := b.cfg.Registries[host]
	if registry == nil || registry.Events == nil {
		http.Error(w, "this registry has no events in shipmate.yaml", http.StatusNotFound)
		return
	}
	if !registry.Events.admits(r) {
		where := "the header " + registry.Events.Header
		if registry.Events.Header == "" {
			where = "the last part of the path"
		}
		http.Error(w, where+" must be the secret of this registry's events", http.StatusUnauthorized)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), b.acceptTimeout)
	defer cancel()
	body, ok := smallBody(ctx, w, r)
	if !ok {
		return
	}
	pushes, err := image.Pushes(registry.Events.Kind, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var events []store.Event
	for _, p := range pushes {
		e, err := newImagePush(host, p).event()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		return
	}
	fresh, err := b.db.Accept(ctx, events...)
	b.storing.result(b.log, events[0].ID, err)
	switch {
	case err != nil:
		http.Error(w, "the event could not be stored; send it again", http.StatusServiceUnavailable)
	case fresh:
		for _, e := range events {
			b.tracer.accepted(e.ID, began)
		}
		w.WriteHeader(http.StatusAccepted)
	}
}

// An imagePush is the body of an event of kindRegistry, under its one key.
type imagePush struct {
	Repository string    `json:"repository"` // with its host
	Tag        string    `json:"tag"`
	Digest     string    `json:"digest,omitempty"`
	Pusher     string    `json:"pusher,omitempty"`
	Login      bool      `json:"login,omitempty"` // the pusher is a login of GitHub's, by GitHub's word
	At         time.Time `json:"at,omitzero"`
}

func newImagePush(host string, p image.Push) imagePush {
	return imagePush{Repository: host + "/" + p.Path, Tag: p.Tag, Digest: p.Digest, Pusher: p.Pusher, At: p.At.UTC()}
}

func (p imagePush) body() ([]byte, error) {
	return json.Marshal(map[string]imagePush{kindRegistry: p})
}

// event is stored once, however often it is sent: what is sent again has the time of the first.
func (p imagePush) event() (store.Event, error) {
	body, err := p.body()
	if err != nil {
		return store.Event{}, err
	}
	key := sha256.Sum256(body)
	return store.Event{ID: kindRegistry + "-" + hex.EncodeToString(key[:16]), Kind: kindRegistry, Body: body}, nil
}

// readImagePush reads a body of ours. No body that GitHub ever signed passes for one, whatever header it is sent with:
// GitHub sends none that holds this key alone.
func readImagePush(body []byte) (p imagePush, err error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(body, &top); err != nil {
		return p, err
	}
	raw, ok := top[kindRegistry]
	if !ok || len(top) != 1 {
		return p, fmt.Errorf("it must hold %q and nothing else", kindRegistry)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return p, d.Decode(&p)
}

// sender is who stands for the push. What a registry calls its users is no login of GitHub's, and never looks like one:
// a login has neither @ nor dots, so no right and no ban of a person follows from it.
func (p imagePush) sender() string {
	host, _, _ := strings.Cut(p.Repository, "/")
	switch {
	case p.Login:
		return p.Pusher
	case p.Pusher == "":
		return host
	}
	return p.Pusher + "@" + host
}

func (p imagePush) String() string {
	return fmt.Sprintf("%s:%s", p.Repository, p.Tag)
}

// packagePushed decides an event of GitHub's own registry.
func (b *Bot) packagePushed(ctx context.Context, e store.Event, d *decision) error {
	pushes, err := image.Pushes(image.EventsGHCR, e.Body)
	if err != nil {
		d.note("%v, so nothing is done", err)
		return nil
	}
	if len(pushes) == 0 {
		d.note("it tells of no image that was pushed under a tag, so nothing is done")
	}
	for _, p := range pushes {
		push := newImagePush(p.Host, p)
		push.Login = p.Pusher != ""
		if err := b.tellApps(ctx, e, push, d); err != nil {
			return err
		}
	}
	return nil
}

// registryPush decides an event of kindRegistry.
func (b *Bot) registryPush(ctx context.Context, e store.Event, d *decision) error {
	p, err := readImagePush(e.Body)
	if err != nil {
		d.note("this is no image that was pushed, so nothing is done: %v", err)
		return nil
	}
	if e.Repo == nil {
		return b.tellApps(ctx, e, p, d)
	}
	return b.releaseImage(ctx, e, p, d)
}

// tellApps makes an event for each repository that has asked for images of this name.
func (b *Bot) tellApps(ctx context.Context, e store.Event, p imagePush, d *decision) error {
	var repos []store.Repo
	err := b.db.View(ctx, func(tx *store.Tx) error {
		declared, err := tx.DeclaredFor(p.Repository)
		if err != nil {
			return err
		}
		for i, app := range declared {
			if i > 0 && strings.EqualFold(app.Repo, declared[i-1].Repo) {
				continue // another app of it
			}
			repo, err := tx.Repo(app.Repo)
			if err != nil {
				return err
			}
			repos = append(repos, repo)
		}
		return nil
	})
	if err != nil {
		return err
	}
	body, err := p.body()
	if err != nil {
		return err
	}
	d.note("%s was pushed by %s", p, p.sender())
	if len(repos) == 0 {
		d.note("no default branch has a file with trigger.registry.repository: %s, so nothing is done", p.Repository)
	}
	for _, repo := range repos {
		child := store.Event{ID: fmt.Sprintf("%s-%d", e.ID, repo.ID), Kind: kindRegistry, Repo: &repo.Name, Body: body}
		if e.Via == store.ViaReplay {
			child.Via = e.Via
		}
		d.note("%s has asked for it: see delivery %s", repo.Name, child.ID)
		d.do(func(tx *store.Tx) error {
			fresh, err := tx.PutEvent(child)
			if err != nil || !fresh {
				return err
			}
			return tx.Add(store.TaskEvent, child.ID)
		})
	}
	return nil
}

// releaseImage decides what a pushed image becomes in one repository: by the file at the default branch's head, whose
// manifests it is deployed with.
func (b *Bot) releaseImage(ctx context.Context, e store.Event, p imagePush, d *decision) error {
	return b.asNow(ctx, e, d, func(c *github.Client, repo store.Repo) error { return b.releaseIn(ctx, c, e, p, repo, d) })
}

func (b *Bot) releaseIn(ctx context.Context, c *github.Client, e store.Event, p imagePush, repo store.Repo, d *decision) error {
	d.note("%s was pushed by %s", p, p.sender())
	if err := b.cfg.MayUseRegistry(p.Repository, repo.Name); err != nil {
		d.note("refused: %v", err)
		return nil
	}
	ref := "refs/heads/" + repo.DefaultBranch
	head, err := headOf(ctx, c, repo.Name, ref)
	if err != nil {
		return err
	}
	if head == "" {
		d.note("it has no branch %s, so nothing is done", repo.DefaultBranch)
		return nil
	}
	apps, err := b.apps(ctx, c, repo, head, head, d)
	if err != nil {
		return err
	}
	trigger := pipeline.Trigger{Kind: pipeline.TriggerRegistry, Ref: ref, SHA: head, DefaultBranch: repo.DefaultBranch,
		Image: pipeline.Image{Repository: p.Repository, Tag: p.Tag}}
	var takers []app
	for _, app := range apps {
		if app.config == nil || app.config.Trigger.Registry.Repository != p.Repository {
			continue
		}
		if plan := app.config.Plan(trigger); plan.Release {
			takers = append(takers, app)
		} else {
			d.trace = append(d.trace, plan.Trace...)
		}
	}
	if len(takers) == 0 {
		d.note("no app takes it, so nothing is done")
		return nil
	}
	pushed, err := b.lookUp(ctx, p, d)
	if err != nil || pushed == nil {
		return err
	}
	for _, app := range takers {
		run := store.Run{Repo: repo.Name, App: app.name, Ref: ref, SHA: head, Subject: b.lang.Say(text.ImagePushed, p, p.sender()), Author: p.sender(),
			Sender: p.sender(), Cause: store.CauseRegistry, Image: store.JSON[*store.PushedImage]{V: pushed}, Event: e.ID}
		d.do(func(tx *store.Tx) error { return takeImage(tx, run, app.config, trigger, d) })
	}
	return nil
}

// lookUp asks the registry what an event is about: an event is only a hint. It returns nil where nothing is to be done.
func (b *Bot) lookUp(ctx context.Context, p imagePush, d *decision) (*store.PushedImage, error) {
	pushed := &store.PushedImage{Repository: p.Repository, Tag: p.Tag, Pusher: p.Pusher}
	digest, err := b.engine.Images.Find(ctx, p.String())
	switch {
	case errors.Is(err, image.ErrNotFound):
		d.note("%s is not in the registry any more, so nothing is done", p)
		return nil, nil
	case errors.Is(err, image.ErrNoImage):
		d.note("%v, so nothing is done", err)
		return nil, nil
	case err != nil && image.IsPermanent(image.Explain(err, p.String())):
		d.note("the registry does not show it, which the run will tell: %s", b.engine.Mask(err.Error()))
		pushed.Digest = p.Digest
		return pushed, nil
	case err != nil:
		return nil, down{err}
	}
	pushed.Digest = digest
	if p.Digest != "" && p.Digest != digest {
		d.note("the event says %s, but the tag is %s by now, and that is taken", p.Digest, digest)
	}
	return pushed, nil
}

// takeImage queues a run that makes a release of an image, unless there is one, or one is on its way.
func takeImage(tx *store.Tx, run store.Run, cfg *pipeline.Config, trigger pipeline.Trigger, d *decision) error {
	pushed := run.Image.V
	rel, err := store.Optional(tx.ReleaseWith(run.Repo, run.App, store.Image{Repository: pushed.Repository, Digest: pushed.Digest}))
	if err != nil {
		return err
	}
	if rel != nil {
		trigger.Image.Released = rel.Number
	}
	others, err := tx.Unreleased(run.Repo, run.App, tx.Now().Add(-lateEvent))
	if err != nil {
		return err
	}
	for _, other := range others {
		if i := other.Image.V; i != nil && !store.Final(other.State) && i.Digest == pushed.Digest && i.Digest != "" {
			d.note("run %d of %s makes a release of it already", other.Number, run.App)
			return nil
		}
		own, err := pipeline.PushesTag(other, pushed.Repository, pushed.Tag)
		if err != nil {
			return err
		}
		if own {
			d.note("run %d of %s pushes this tag itself, so it is no news", other.Number, run.App)
			return nil
		}
	}
	plan := cfg.Plan(trigger)
	d.trace = append(d.trace, plan.Trace...)
	if !plan.Release {
		return nil
	}
	var requests []store.Request
	for _, name := range plan.Deploys {
		env, _ := cfg.Environment(name) // Plan names those of the file
		q, err := request(cfg, env, store.CauseAutomatic, run.Sender, run.Event)
		if err != nil {
			return err
		}
		requests = append(requests, q)
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	run.Config.V, run.Deploys.V = text, requests
	return tx.NewRun(&run, pipeline.StepResolve)
}

// newestPushed takes to an environment what was pushed, of an app that has no build: the newest release of ref, where no
// commit is named.
func (c *call) newestPushed(tx *store.Tx, cfg *pipeline.Config, env *pipeline.Environment, sha, ref string, any bool, q store.Request) (answer, error) {
	rel, err := tx.ReleaseOn(c.repo.Name, cfg.App, ref)
	if errors.Is(err, store.ErrNotFound) || err == nil && !any {
		return answer{}, c.refuse(text.NothingBuilt, code(sha[:7]), code(cfg.Trigger.Registry.Repository))
	}
	if err != nil {
		return answer{}, err
	}
	return c.start(tx, env, rel, q)
}
