package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	// maxEnvironments is how many environments have a name of their own in the figures, those that came first; all others
	// are "other". Repositories choose the names, and none may make the figures grow without end.
	maxEnvironments = 50
	// readFigures bounds what one scrape may take to read the database.
	readFigures = 5 * time.Second
)

// figures are what Prometheus is told: GET /metrics (text format 0.0.4 or OpenMetrics, as the scraper asks). No label is the name
// of a repository, an app or a person.
type figures struct {
	bot      *Bot
	log      *slog.Logger
	registry *prometheus.Registry

	deliveries  *prometheus.CounterVec   // source, result
	tasks       *prometheus.HistogramVec // kind, outcome
	requests    *prometheus.CounterVec   // outcome
	builds      *prometheus.HistogramVec // outcome
	runs        *prometheus.CounterVec   // outcome
	deployments *prometheus.CounterVec   // environment, outcome
	rollouts    *prometheus.HistogramVec // outcome

	mu           sync.Mutex
	environments map[string]bool // that have a name of their own
}

func newFigures(b *Bot, version string) *figures {
	f := &figures{bot: b, log: b.log, registry: prometheus.NewRegistry(), environments: map[string]bool{}}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		f.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		f.registry.MustRegister(v)
		return v
	}
	minutes := []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200}
	f.deliveries = counter("shipmate_deliveries_total", "Deliveries received, by how they were answered.", "source", "result")
	f.tasks = histogram("shipmate_task_duration_seconds", "What one attempt at a task took, by what came of it.", []float64{.005, .025, .1, .5, 1, 5, 15, 60, 300, 1800}, "kind", "outcome")
	f.requests = counter("shipmate_github_requests_total", "Requests to GitHub as an installation, by what came of them.", "outcome")
	f.builds = histogram("shipmate_build_duration_seconds", "What the build of an image or a check took.", minutes, "outcome")
	f.runs = counter("shipmate_runs_total", "Runs that ended.", "outcome")
	f.deployments = counter("shipmate_deployments_total", "Deployments that ended. Environments beyond the first 50 names are other.", "environment", "outcome")
	f.rollouts = histogram("shipmate_deployment_duration_seconds", "What a deployment took from its begin to its end, without its waits before.", minutes, "outcome")
	// What is known beforehand begins with 0: of a counter that begins with 1 Prometheus sees no increase.
	for _, source := range []string{sourceGitHub, sourceRegistry, sourceChat} {
		for _, result := range results {
			f.deliveries.WithLabelValues(source, result)
		}
		f.deliveries.WithLabelValues(source, "other")
	}
	for _, outcome := range []string{"ok", "limited", "unreachable", "failed", "refused"} {
		f.requests.WithLabelValues(outcome)
	}
	for _, outcome := range []string{"succeeded", "cancelled", "builder_away", "failed"} {
		f.builds.WithLabelValues(outcome)
	}
	for _, state := range runStates {
		if store.Final(state) {
			f.runs.WithLabelValues(state)
		}
	}
	f.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &gauges{f, version})
	return f
}

// Where deliveries come from.
const (
	sourceGitHub   = "github"
	sourceRegistry = "registry"
	sourceChat     = "chat"
)

// results are how deliveries are answered, by the status.
var results = map[int]string{http.StatusAccepted: "accepted", http.StatusOK: "known", http.StatusBadRequest: "malformed", http.StatusUnauthorized: "unsigned",
	http.StatusNotFound: "unknown", http.StatusRequestTimeout: "slow", http.StatusRequestEntityTooLarge: "too_large", http.StatusServiceUnavailable: "unavailable"}

// delivered counts how deliveries are answered.
func (f *figures) delivered(source string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := &statusWriter{w, http.StatusOK}
		h(s, r)
		result, ok := results[s.status]
		if !ok {
			result = "other"
		}
		f.deliveries.WithLabelValues(source, result).Inc()
	}
}

// A statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// worked counts an attempt at a task; stopped tells that the program ends.
func (f *figures) worked(kind string, stopped bool, err error, took time.Duration) {
	if f == nil {
		return
	}
	outcome := "done"
	switch {
	case err == nil:
	case stopped, errors.Is(err, build.ErrNoRoom), errors.As(err, new(*limited)):
		outcome = "put_back"
	case away(err):
		outcome = "far_end_away"
	default:
		outcome = "failed"
	}
	f.tasks.WithLabelValues(kind, outcome).Observe(took.Seconds())
}

// asked counts a request to GitHub.
func (f *figures) asked(resp *http.Response, err error) {
	if f == nil {
		return
	}
	outcome := "ok"
	switch {
	case errors.As(err, new(*limited)):
		outcome = "limited"
	case err != nil:
		outcome = "unreachable"
	case resp.StatusCode >= 500:
		outcome = "failed"
	case resp.StatusCode >= 400:
		outcome = "refused"
	}
	f.requests.WithLabelValues(outcome).Inc()
}

// built counts a build; one that found no room is none.
func (f *figures) built(ctx context.Context, err error, took time.Duration) {
	if f == nil || errors.Is(err, build.ErrNoRoom) {
		return
	}
	outcome := "succeeded"
	switch {
	case err == nil:
	case ctx.Err() != nil:
		outcome = "cancelled"
	case errors.Is(err, build.ErrUnavailable):
		outcome = "builder_away"
	default:
		outcome = "failed"
	}
	f.builds.WithLabelValues(outcome).Observe(took.Seconds())
}

// ended counts a run or a deployment that ended.
func (f *figures) ended(e store.Ended) {
	if e.Event != "" {
		return
	}
	if e.Run != "" {
		f.runs.WithLabelValues(e.State).Inc()
		return
	}
	f.deployments.WithLabelValues(f.environment(e.Environment), e.State).Inc()
	if e.Took > 0 {
		f.rollouts.WithLabelValues(e.State).Observe(e.Took.Seconds())
	}
}

// environment is the label of an environment.
func (f *figures) environment(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.environments[name] {
		if len(f.environments) >= maxEnvironments {
			return "other"
		}
		f.environments[name] = true
		for _, state := range deploymentStates { // as in newFigures
			if store.Final(state) {
				f.deployments.WithLabelValues(name, state)
			}
		}
	}
	return name
}

// listen opens the listener of /metrics; serve then serves it until ctx ends.
func (f *figures) listen(address string) (serve func(ctx context.Context) error, err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	server := &http.Server{Handler: f.handler(), ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	f.log.Info("serving figures", "address", l.Addr().String())
	return func(ctx context.Context) error {
		end := context.AfterFunc(ctx, func() { _ = server.Close() }) // a scrape is asked for again
		defer end()
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("metrics: %w", err)
		}
		return nil
	}, nil
}

func (f *figures) handler() http.Handler {
	mux := http.NewServeMux()
	// What cannot be read is left out, and the rest is told.
	mux.Handle("GET /metrics", promhttp.HandlerFor(f.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4}))
	return mux
}

// gauges are the figures that are read when they are asked for.
type gauges struct {
	f       *figures
	version string
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	buildInfo     = desc("shipmate_build_info", "1, labelled with what runs.", "version", "goversion")
	queueTasks    = desc("shipmate_queue_tasks", "Tasks: due, scheduled for later, being worked, or given up (buried).", "kind", "state")
	queueAge      = desc("shipmate_queue_oldest_age_seconds", "For how long the task has been due that has been due longest and that nobody works.", "kind")
	outstanding   = desc("shipmate_reports_outstanding", "Tasks that have something to tell on GitHub or in a chat, and have not yet.")
	rateLimit     = desc("shipmate_github_rate_limit", "Requests that GitHub lets an installation make in an hour.", "installation")
	rateLeft      = desc("shipmate_github_rate_limit_remaining", "Requests that are left of them.", "installation")
	sessionCount  = desc("shipmate_sessions", "People's sessions on the pages that have not expired.")
	databaseSize  = desc("shipmate_database_size_bytes", "Size of the database's file.")
	databaseLog   = desc("shipmate_database_log_size_bytes", "Size of the database's write-ahead log.")
	followerCount = desc("shipmate_log_followers", "Who follow the log of a run.")
	builderCount  = desc("shipmate_builders", "Builders, by whether they answer.", "state")
)

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildInfo, queueTasks, queueAge, outstanding, rateLimit, rateLeft, sessionCount, databaseSize, databaseLog, followerCount, builderCount} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	b := g.f.bot
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	tell(buildInfo, 1, g.version, runtime.Version())
	tell(followerCount, float64(b.web.Followers()))
	n, all := b.builders.answering()
	tell(builderCount, float64(n), "answering")
	tell(builderCount, float64(all-n), "away")
	for installation, q := range b.hub.pace.quotas() {
		label := strconv.FormatInt(installation, 10)
		tell(rateLimit, float64(q.most), label)
		tell(rateLeft, float64(q.left), label)
	}
	if file, log, err := b.db.Sizes(); err != nil {
		to <- prometheus.NewInvalidMetric(databaseSize, err)
	} else {
		tell(databaseSize, float64(file))
		tell(databaseLog, float64(log))
	}
	ctx, cancel := context.WithTimeout(context.Background(), readFigures)
	defer cancel()
	var queue []store.QueueLength
	var sessions int
	var now time.Time
	err := b.db.View(ctx, func(tx *store.Tx) (err error) {
		now = tx.Now()
		if queue, err = tx.QueueLengths(slices.Sorted(maps.Keys(b.worker.works))); err != nil {
			return err
		}
		sessions, err = tx.Sessions()
		return err
	})
	if err != nil {
		to <- prometheus.NewInvalidMetric(queueTasks, err)
		return
	}
	tell(sessionCount, float64(sessions))
	telling := 0
	for _, q := range queue {
		tell(queueTasks, float64(q.Due), q.Kind, "due")
		tell(queueTasks, float64(q.Scheduled), q.Kind, "scheduled")
		tell(queueTasks, float64(q.Working), q.Kind, "working")
		tell(queueTasks, float64(q.Buried), q.Kind, "buried")
		age := 0.0
		if !q.Oldest.IsZero() {
			age = max(0, now.Sub(q.Oldest.Time).Seconds())
		}
		tell(queueAge, age, q.Kind)
		if slices.Contains([]string{store.TaskReport, taskSay, store.TaskReply, store.TaskMention, store.TaskOutbox}, q.Kind) {
			telling += q.Due + q.Scheduled + q.Working
		}
	}
	tell(outstanding, float64(telling))
}
