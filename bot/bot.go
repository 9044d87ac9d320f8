// Package bot is the GitHub App: webhooks in, commands, access rules, reports out, HTTP, the worker, and the wiring of it all.
package bot

import (
	"context"
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
	"sync/atomic"
	"time"

	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/bot/web"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/internal/egress"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// Bot is one running Shipmate.
type Bot struct {
	cfg      *Config
	log      *slog.Logger
	db       *store.DB
	hub      *hub
	access   *access
	engine   *pipeline.Engine
	builders *builders
	chats    map[string]chat.Service // wecom/name, slack/name
	hooks    map[string]*webhook
	lang     text.Lang
	web      *web.Pages
	signIn   *signIn // nil: nobody can
	live     liveness
	statuses statuses
	looks    *looks
	merging  merging
	name     func() string // the App's slug
	unread   atomic.Value  // a string: why the delivery log could not be read the last time
	worker   *worker
	bodies   sync.Pool // of *bytes.Buffer, see body
	storing  storing
	calls    calls // of the API
	figures  *figures
	tracer   *tracer  // nil: nobody asked for traces
	appIDs   sync.Map // of GitHub Apps, by their slugs

	acceptTimeout time.Duration // see acceptTimeout
	large         chan struct{} // see maxLarge
	stopping      chan struct{} // closed when the server stops

	close []func() error // in the order of opening
}

// New wires a bot from its configuration. It holds the data directory's lock until Close.
func New(ctx context.Context, cfg *Config, version string, log *slog.Logger) (*Bot, error) {
	w, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	return open(ctx, cfg, w, version, log)
}

// A world is what a bot changes besides GitHub and chats, and the clock by which it does.
type world struct {
	builders *builders
	images   pipeline.Images
	clusters map[string]pipeline.Cluster
	now      func() time.Time
}

// connect is the world that the server's file describes. It makes clients, and reaches nothing yet.
func connect(cfg *Config) (world, error) {
	w := world{clusters: map[string]pipeline.Cluster{}, now: time.Now}
	w.images = image.New(cfg.registries())
	var err error
	clusters := map[string]*kube.Cluster{}
	for name, c := range cfg.Clusters {
		if clusters[name], err = kube.Open(c.config(name)); err != nil {
			return w, fmt.Errorf("clusters.%s: %w", name, err)
		}
		w.clusters[name] = clusters[name]
	}
	w.builders, err = newBuilders(cfg, clusters)
	return w, err
}

// registries is how each registry is reached.
func (c *Config) registries() map[string]image.Registry {
	registries := map[string]image.Registry{}
	for host, r := range c.Registries {
		registries[host] = image.Registry{Username: r.Username.Value(), Password: r.Password.Value(),
			Puller: r.Pull.Username.Value(), PullPassword: r.Pull.Password.Value(), PlainHTTP: r.PlainHTTP}
	}
	return registries
}

// config is how the cluster of that name is reached. A token that stands in a file is read there again when it is used.
func (c *ClusterConfig) config(name string) kube.Config {
	k := kube.Config{Name: name, Kubeconfig: c.Kubeconfig, Context: c.Context, Server: c.Server, CA: c.CA.Value(), TokenFile: c.Token.file}
	if c.tokens == nil {
		c.tokens = &tokens{}
	}
	k.Read = c.tokens.add
	if k.TokenFile == "" {
		k.Token = c.Token.Value()
	}
	return k
}

func open(ctx context.Context, cfg *Config, w world, version string, log *slog.Logger) (_ *Bot, err error) {
	b := &Bot{cfg: cfg, log: log, lang: text.Lang(cfg.Language), chats: map[string]chat.Service{},
		access: &access{now: w.now, known: map[string]known{}}, statuses: statuses{said: map[string]clusterSaid{}}, looks: newLooks(),
		merging:       merging{now: w.now, known: map[string]mergeChecks{}},
		acceptTimeout: acceptTimeout, large: make(chan struct{}, maxLarge), stopping: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	unlock, err := lockDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	b.close = append(b.close, unlock)
	if err := cfg.EnsureDataKey(); err != nil {
		return nil, err
	}
	key := []byte(cfg.DataKey.Value())
	sealer, err := pipeline.NewSealer(key)
	if err != nil {
		return nil, err
	}
	// What a crash left behind is of no use to anybody.
	if err := os.RemoveAll(filepath.Join(cfg.DataDir, "work")); err != nil {
		return nil, err
	}
	if b.db, err = store.Open(ctx, cfg.database(), key); err != nil {
		return nil, err
	}
	b.close = append(b.close, b.db.Close, b.looks.close)
	b.db.Now, b.db.Hooked = w.now, len(cfg.Chat.Webhook) > 0
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(tx.Recover(), tx.WakeOpen(), tx.WakePulls(), tx.WakeImages(), tx.Wake(store.TaskKeep, ""), tx.Wake(taskRecover, deliveryLog),
			tx.Wake(taskHeal, healStart), tx.Wake(taskHeal, healSweep), tx.Wake(taskSchedule, ""),
			tx.Wake(store.TaskLocks, ""), tx.Wake(store.TaskHolds, ""))
	})
	if err != nil {
		return nil, err
	}
	if b.hub, err = newHub(cfg.GitHub.APIURL, cfg.GitHub.AppID, []byte(cfg.GitHub.PrivateKey.Value())); err != nil {
		return nil, err
	}
	b.hub.now, b.hub.log = w.now, log
	client := &http.Client{Timeout: 15 * time.Second}
	for name, c := range cfg.Chat.WeCom {
		if b.chats["wecom/"+name], err = c.open(client, w.now); err != nil {
			return nil, fmt.Errorf("chat.wecom.%s: %w", name, err)
		}
	}
	for name, c := range cfg.Chat.Slack {
		if b.chats["slack/"+name], err = chat.NewSlack(c.Workspace(), client, w.now); err != nil {
			return nil, fmt.Errorf("chat.slack.%s: %w", name, err)
		}
	}
	b.hooks = map[string]*webhook{}
	for name, c := range cfg.Chat.Webhook {
		hook, err := chat.NewWebhook(c.Receiver(), egress.Client(c.Private, hookTimeout))
		if err != nil {
			return nil, fmt.Errorf("chat.webhook.%s: %w", name, err)
		}
		b.hooks[name] = &webhook{Webhook: hook}
	}
	b.engine = &pipeline.Engine{DB: b.db, Server: cfg, Builder: w.builders, Images: w.images, Clusters: w.clusters, Sealer: sealer, DataDir: cfg.DataDir,
		Outside: outside(cfg),
		Source:  hubSource{cfg, b.hub, &source.Fetcher{Dir: filepath.Join(cfg.DataDir, "git")}}}
	b.signIn = newSignIn(b)
	b.web = web.New(b.pages(version))
	b.name = sync.OnceValue(b.askName)
	b.builders = w.builders
	b.builders.log = log
	b.figures = newFigures(b, version)
	b.hub.figures, b.builders.figures = b.figures, b.figures
	if b.tracer, err = newTracer(ctx, b, version); err != nil {
		return nil, err
	}
	if b.tracer != nil {
		b.close = append(b.close, b.tracer.Close)
	}
	b.db.Ended = func(e store.Ended) { b.figures.ended(e); b.tracer.end(e) }
	b.worker = &worker{figures: b.figures, db: b.db, log: log, works: b.works(), mask: b.engine.Mask, lease: lease, grace: grace, grown: w.builders.grown}
	return b, nil
}

// Close releases what New opened, the newest first.
func (b *Bot) Close() error {
	var err error
	for i := len(b.close) - 1; i >= 0; i-- {
		err = errors.Join(err, b.close[i]())
	}
	b.close = nil
	return err
}

// Run serves until ctx ends; then it stops taking work and lets what is running reach a safe point.
func (b *Bot) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", b.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return b.serve(ctx, l)
}

func (b *Bot) serve(ctx context.Context, l net.Listener) error {
	server := httpServer(b.handler(), b.log)
	server.RegisterOnShutdown(func() { close(b.stopping) })
	b.log.Info("serving", "address", l.Addr().String(), "public_url", b.cfg.PublicURL)
	g, ctx := errgroup.WithContext(ctx)
	if b.cfg.Metrics != "" {
		figures, err := b.figures.listen(b.cfg.Metrics)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		g.Go(func() error { return figures(ctx) })
	}
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		b.live.set(true)
		defer b.live.set(false)
		return b.worker.Run(ctx)
	})
	g.Go(func() error { b.builders.watch(ctx); return nil })
	for in, service := range b.chats {
		if from, ok := service.(chat.Fetcher); ok && from.Fetches() {
			kind, name, _ := strings.Cut(in, "/")
			g.Go(func() error { b.fetch(ctx, kind, name, from); return nil })
		}
	}
	defer b.tracer.start()() // after all that can end something
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if server.Shutdown(stop) != nil {
			return server.Close() // whoever is still sending gets no answer, and sends again
		}
		return nil
	})
	err := g.Wait()
	b.log.Info("stopped")
	return err
}

// httpServer is a server that waits for nobody for ever.
func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
}

// outside returns which client reaches the addresses that a repository's flows name: private_addresses.
func outside(c *Config) func(repo string) *http.Client {
	public, private := egress.Client(false, outsideTimeout), egress.Client(true, outsideTimeout)
	public.Transport = remedied{public.Transport}
	return func(repo string) *http.Client {
		if matchesAny(c.PrivateAddresses, repo) {
			return private
		}
		return public
	}
}

// remedied says of what must be allowed where.
type remedied struct{ http.RoundTripper }

func (r remedied) RoundTrip(req *http.Request) (*http.Response, error) {
	answer, err := r.RoundTripper.RoundTrip(req)
	if errors.Is(err, egress.ErrPrivate) {
		err = fmt.Errorf("%w: add the repository to private_addresses in the server's file", err)
	}
	return answer, err
}

// outsideTimeout bounds a whole request of a flow.
const outsideTimeout = 30 * time.Second

// works says what is done for each kind of task.
func (b *Bot) works() map[string]work {
	// What fails for good ends a run or a deployment: the engine itself judges its errors, all but a panic.
	judged := func(again time.Time, err error) (time.Time, error) {
		if err != nil {
			err = down{err}
		}
		return again, err
	}
	once := func(fn func(context.Context, string, int) error) func(context.Context, string, int) (time.Time, error) {
		return func(ctx context.Context, key string, attempts int) (time.Time, error) {
			return judged(time.Time{}, fn(ctx, key, attempts))
		}
	}
	return map[string]work{
		store.TaskEvent:    {parallel: 16, settle: b.settle},
		store.TaskRun:      {room: func() int { return b.builders.room(false) }, anytime: true, do: once(b.engine.AdvanceRun)},
		store.TaskForkRun:  {room: func() int { return b.builders.room(true) }, anytime: true, do: once(b.engine.AdvanceRun)},
		store.TaskImageRun: {parallel: 16, anytime: true, do: once(b.engine.AdvanceRun)},
		store.TaskPrepare:  {parallel: 8, anytime: true, do: once(b.engine.Prepare)},
		store.TaskEnv: {parallel: 32, anytime: true, do: func(ctx context.Context, key string, attempts int) (time.Time, error) {
			return judged(b.engine.AdvanceEnv(ctx, key, attempts))
		}},
		store.TaskOrder: {parallel: 4, anytime: true, do: func(ctx context.Context, key string, attempts int) (time.Time, error) {
			return judged(b.engine.AdvanceOrder(ctx, key, attempts))
		}},
		store.TaskReport:  {parallel: 4, do: b.report},
		store.TaskReply:   {parallel: 4, do: b.tracer.reporting(b.reply)},
		taskSay:           {parallel: 8, do: b.tracer.reporting(b.say)},
		store.TaskScope:   {parallel: 4, anytime: true, do: b.readScope},
		store.TaskRatify:  {parallel: 4, anytime: true, do: func(ctx context.Context, id string, _ int) (time.Time, error) { return b.engine.Overdue(ctx, id) }},
		store.TaskPulls:   {parallel: 4, anytime: true, do: b.keepPullSecret},
		store.TaskChecks:  {parallel: 4, anytime: true, do: b.readChecks},
		store.TaskKeep:    {parallel: 1, anytime: true, do: b.keep},
		taskRecover:       {parallel: 1, anytime: true, do: b.recoverDeliveries},
		taskHeal:          {parallel: 1, anytime: true, do: b.heal},
		taskDeclare:       {parallel: 4, anytime: true, do: b.readDeclared},
		taskSchedule:      {parallel: 1, anytime: true, do: b.schedules},
		store.TaskLocks:   {parallel: 1, anytime: true, do: b.locks},
		store.TaskHolds:   {parallel: 1, anytime: true, do: b.holds},
		store.TaskMention: {parallel: 4, do: b.sayMention},
		taskRemind:        {parallel: 4, do: b.remind(taskRemind)},
		taskGone:          {parallel: 4, do: b.remind(taskGone)},
		store.TaskImages:  {parallel: 2, anytime: true, do: b.checkImages},
		store.TaskNews:    {parallel: 1, do: b.makeHookDeliveries},
		store.TaskHook:    {parallel: 4, do: b.tellHook},
		taskLinked:        {parallel: 4, do: b.sayLinked},
		store.TaskOutbox:  {parallel: 4, do: b.drain},
	}
}

func (b *Bot) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhooks/github", b.figures.delivered(sourceGitHub, b.webhook))
	mux.Handle("/api/", b.api(b.apiRoutes()))
	mux.HandleFunc("POST /webhooks/registry/{host}", b.figures.delivered(sourceRegistry, b.registryEvent))
	mux.HandleFunc("POST /webhooks/registry/{host}/{token}", b.figures.delivered(sourceRegistry, b.registryEvent))
	mux.HandleFunc("GET /chat/{kind}/{name}", b.hear) // WeCom asks whether it is the right address
	mux.HandleFunc("POST /chat/{kind}/{name}", b.figures.delivered(sourceChat, b.hear))
	mux.HandleFunc("POST /chat/{kind}/{name}/{what}", b.figures.delivered(sourceChat, b.hear))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", b.ready)
	if s := b.signIn; s != nil {
		mux.HandleFunc("GET /auth/login", s.login)
		mux.HandleFunc("GET /auth/callback", s.callback)
		mux.HandleFunc("POST /auth/logout", s.logout)
		mux.HandleFunc("POST /command", s.command)
		link := b.web.SignedIn(s.linkPage)
		mux.Handle("GET /link/{code}", link)
		mux.Handle("POST /link/{code}", link)
	}
	mux.Handle("/", b.web)
	return mux
}

type liveness struct {
	mu sync.Mutex
	on bool
}

func (l *liveness) set(on bool) { l.mu.Lock(); l.on = on; l.mu.Unlock() }

func (l *liveness) get() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.on }

// page is the address of a page of ours.
func (b *Bot) page(kind, id string) string {
	return strings.TrimSuffix(b.cfg.PublicURL, "/") + "/" + kind + "/" + id
}

// slug is what people type after @ to address the App.
func (b *Bot) slug() string { return b.name() }

func (b *Bot) askName() string {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	c := github.NewClient(&http.Client{Transport: b.hub.app})
	c.BaseURL = b.hub.api
	app, _, err := c.Apps.Get(ctx, "")
	if err != nil || app.GetSlug() == "" {
		b.log.Warn("the App's name is not known: /shipmate works, @name does not", "err", err)
		return "shipmate"
	}
	return app.GetSlug()
}
