package bot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/shipmate-dev/shipmate/store"
)

// tracer tells by OpenTelemetry what came of each event: one trace from its delivery to the last report. Its ids follow from those of
// the event, the run and the deployment, and its times from what is stored, so that a trace goes on in the next process.
// A span is made when what it is about has ended. What a crash takes with it is a span, never work.
//
//	push                          of the event: from its arrival to its decision
//	├─ accept                     until the delivery was on disk
//	├─ decide
//	└─ run
//	   ├─ step fetch, step build …
//	   ├─ report github/status …  what was said of it
//	   └─ deploy staging          by itself; what somebody asked for is in the trace of their command, with a link to the run
//	      ├─ wait                 until it began: approvals, locks, its turn
//	      ├─ step apply …
//	      └─ report github/deployment …
//
// A nil tracer does nothing.
type tracer struct {
	bot      *Bot
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	began    sync.Map         // when an event's decision began, by its id
	ended    chan store.Ended // to be told
}

// closeTracer bounds how long the last spans may take at shutdown.
const closeTracer = 5 * time.Second

// traces tells whether the environment asks for traces (OpenTelemetry, "OpenTelemetry Protocol Exporter").
func traces() (bool, error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" ||
		strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false, nil
	}
	var wrong []error
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"} {
		if v := os.Getenv(prefix + "ENDPOINT"); v != "" {
			if u, err := url.Parse(v); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				wrong = append(wrong, errors.New(prefix+"ENDPOINT is no address; write one such as http://collector:4318"))
			}
		}
		for header := range strings.SplitSeq(os.Getenv(prefix+"HEADERS"), ",") {
			name, value, ok := strings.Cut(header, "=")
			// The exporter prints one that it cannot read, with the secret that is in it.
			if _, err := url.PathUnescape(value); header != "" && (!ok || err != nil || !headerName.MatchString(strings.TrimSpace(name))) {
				wrong = append(wrong, errors.New(prefix+"HEADERS cannot be read; write NAME=VALUE, several with a comma between, and in a value %25 for a percent sign"))
				break
			}
		}
	}
	protocol := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	if protocol != "http/protobuf" {
		wrong = append(wrong, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %s is not spoken here; write http/protobuf, also for OTEL_EXPORTER_OTLP_TRACES_PROTOCOL where that is set, and the endpoint's port for that (4318)", protocol))
	}
	if err := errors.Join(wrong...); err != nil {
		return false, err
	}
	return true, nil
}

// newTracer is nil where nobody asked for traces. Where they go, and with what, the standard variables of the environment say.
func newTracer(ctx context.Context, b *Bot, version string) (*tracer, error) {
	if wanted, err := traces(); err != nil || !wanted {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OpenTelemetry: %w", err)
	}
	of, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "shipmate"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OpenTelemetry: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(&toldExporter{SpanExporter: exporter, log: b.log, mask: b.engine.Mask}), sdktrace.WithResource(of), sdktrace.WithIDGenerator(givenIDs{}))
	return &tracer{bot: b, provider: provider, tracer: provider.Tracer("github.com/shipmate-dev/shipmate"), ended: make(chan store.Ended, 4096)}, nil
}

// A toldExporter says in the log when spans begin and cease to be lost, instead of with each.
type toldExporter struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	mask func(string) string

	mu      sync.Mutex
	failing bool
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *toldExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	e.mu.Lock()
	defer e.mu.Unlock()
	if failing := err != nil; failing != e.failing {
		if e.failing = failing; failing {
			e.log.Warn("traces cannot be sent and are lost", "err", e.mask(err.Error()))
		} else {
			e.log.Info("traces are sent again")
		}
	}
	return nil
}

// ids are those that the next span has.
type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

type idsKey struct{}

// givenIDs gives a span the ids that its context names.
type givenIDs struct{}

// NewIDs implements sdktrace.IDGenerator.
func (givenIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	given, _ := ctx.Value(idsKey{}).(ids)
	return given.trace, given.span
}

// NewSpanID implements sdktrace.IDGenerator.
func (givenIDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	given, _ := ctx.Value(idsKey{}).(ids)
	return given.span
}

// traceOf is the trace of an event. Its id is no secret, but that of a page's may be: a hash tells nothing of it.
func traceOf(event string) (id trace.TraceID) {
	sum := sha256.Sum256([]byte("trace " + event))
	copy(id[:], sum[:])
	return id
}

// spanOf is the span of a thing.
func spanOf(kind, of string) (id trace.SpanID) {
	sum := sha256.Sum256([]byte("span " + kind + " " + of))
	copy(id[:], sum[:])
	return id
}

// A spot is where spans belong: a trace, and the span above them.
type spot struct {
	event  string
	parent trace.SpanID
}

// span tells of one span. Times that are stored have milliseconds.
func (t *tracer) span(at spot, id trace.SpanID, name string, from, to time.Time, failed bool, links []trace.Link, attributes ...attribute.KeyValue) {
	ctx := context.WithValue(context.Background(), idsKey{}, ids{traceOf(at.event), id})
	if at.parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, t.spanContext(at.event, at.parent))
	}
	for i, a := range attributes {
		if a.Value.Type() == attribute.STRING {
			attributes[i] = attribute.String(string(a.Key), t.bot.engine.Mask(a.Value.AsString()))
		}
	}
	if from.After(to) {
		from = to
	}
	_, s := t.tracer.Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(attributes...), trace.WithLinks(links...))
	if failed {
		s.SetStatus(codes.Error, "")
	}
	s.End(trace.WithTimestamp(to))
}

// spanContext refers to a span of an event's trace. It is sampled where that trace is (OTEL_TRACES_SAMPLER): what does not depend
// on the trace's id is decided for all, so that a root, which nobody sends, is decided on as the real one is.
func (t *tracer) spanContext(event string, span trace.SpanID) trace.SpanContext {
	_, root := t.tracer.Start(context.WithValue(context.Background(), idsKey{}, ids{traceOf(event), span}), "")
	return root.SpanContext().WithRemote(true)
}

// now is when a delivery began to arrive.
func (t *tracer) now() time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.bot.db.Now()
}

// accepted tells of a delivery that was stored.
func (t *tracer) accepted(event string, from time.Time) {
	if t == nil {
		return
	}
	t.span(spot{event, spanOf("event", event)}, spanOf("accept", event), "accept", from, t.bot.db.Now(), false, nil)
}

// deciding notes when the decision of an event begins.
func (t *tracer) deciding(event string) {
	if t != nil {
		t.began.Store(event, t.bot.db.Now())
	}
}

// end takes what ended; see store.DB.Ended. Where more ends than can be told, some is not.
func (t *tracer) end(e store.Ended) {
	if t == nil {
		return
	}
	select {
	case t.ended <- e:
	default:
		t.began.Delete(e.Event)
	}
}

// start has what ends told, until stop is called and all of it is.
func (t *tracer) start() (stop func()) {
	if t == nil {
		return func() {}
	}
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case e := <-t.ended:
				t.tell(e)
			case <-stopping:
				for {
					select {
					case e := <-t.ended:
						t.tell(e)
					default:
						return
					}
				}
			}
		}
	}()
	return func() { close(stopping); <-stopped }
}

func (t *tracer) tell(e store.Ended) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTracer)
	defer cancel()
	err := t.bot.db.View(ctx, func(tx *store.Tx) error {
		switch {
		case e.Event != "":
			return t.event(tx, e.Event)
		case e.Run != "":
			return t.ofRun(tx, e.Run)
		}
		return t.deployment(tx, e.Deployment)
	})
	if err != nil {
		t.bot.log.Warn("a trace lacks something", "err", err)
	}
}

func (t *tracer) event(tx *store.Tx, id string) error {
	e, err := tx.Event(id)
	if err != nil {
		return err
	}
	root := spanOf("event", id)
	from := e.ReceivedAt.Time
	if began, ok := t.began.LoadAndDelete(id); ok {
		t.span(spot{id, root}, spanOf("decide", id), "decide", began.(time.Time), e.DecidedAt.Time, false, nil, attribute.Int("shipmate.steps", len(e.Trace.V)))
	}
	attributes := []attribute.KeyValue{attribute.String("shipmate.event", e.Kind), attribute.String("shipmate.via", e.Via)}
	if e.Repo != nil {
		attributes = append(attributes, attribute.String("shipmate.repository", *e.Repo))
	}
	t.span(spot{id, trace.SpanID{}}, root, e.Kind, from, e.DecidedAt.Time, false, nil, attributes...)
	return nil
}

func (t *tracer) ofRun(tx *store.Tx, id string) error {
	r, err := tx.Run(id)
	if err != nil || r.Event == "" {
		return err
	}
	span := spanOf("run", id)
	if err := t.steps(tx, spot{r.Event, span}, id); err != nil {
		return err
	}
	t.span(spot{r.Event, spanOf("event", r.Event)}, span, "run", r.CreatedAt.Time, r.FinishedAt.Time, r.State == store.RunFailed, nil,
		attribute.String("shipmate.repository", r.Repo), attribute.String("shipmate.app", r.App), attribute.Int("shipmate.run", r.Number), attribute.String("shipmate.commit", r.SHA),
		attribute.String("shipmate.ref", r.Ref), attribute.String("shipmate.cause", r.Cause), attribute.String("shipmate.state", r.State), attribute.Int("shipmate.release", r.Release))
	return nil
}

// of is where a deployment belongs: what goes by itself below the run of its release, what somebody asked for in the trace of that.
func (t *tracer) of(tx *store.Tx, d store.Deployment) (at spot, links []trace.Link, err error) {
	r, err := tx.Run(d.Run)
	if err != nil {
		return at, nil, err
	}
	if d.Event == "" && d.RollbackOf != "" { // our own, after one that failed
		gone, err := tx.Deployment(d.RollbackOf)
		if err != nil {
			return at, nil, err
		}
		at, links, err = t.of(tx, gone)
		at.parent = spanOf("deployment", gone.ID)
		return at, links, err
	}
	run := spanOf("run", r.ID)
	if d.Event == "" || d.Event == r.Event {
		return spot{r.Event, run}, nil, nil
	}
	if r.Event != "" {
		links = []trace.Link{{SpanContext: t.spanContext(r.Event, run)}}
	}
	return spot{d.Event, spanOf("event", d.Event)}, links, nil
}

func (t *tracer) deployment(tx *store.Tx, id string) error {
	d, err := tx.Deployment(id)
	if err != nil {
		return err
	}
	at, links, err := t.of(tx, d)
	if err != nil || at.event == "" {
		return err
	}
	below := spot{at.event, spanOf("deployment", id)}
	if err := t.steps(tx, below, id); err != nil {
		return err
	}
	began := d.BeganAt.Time
	if began.IsZero() {
		began = d.FinishedAt.Time
	}
	t.span(below, spanOf("wait", id), "wait", d.CreatedAt.Time, began, false, nil)
	t.span(at, below.parent, "deploy "+d.Environment, d.CreatedAt.Time, d.FinishedAt.Time, d.State == store.Failed, links,
		attribute.String("shipmate.repository", d.Repo), attribute.String("shipmate.app", d.App), attribute.String("shipmate.environment", d.Environment), attribute.Int("shipmate.deployment", d.Number),
		attribute.Int("shipmate.release", d.Release), attribute.String("shipmate.cause", d.Cause), attribute.String("shipmate.state", d.State))
	return nil
}

// steps tells of the steps that were done.
func (t *tracer) steps(tx *store.Tx, at spot, owner string) error {
	all, err := tx.Steps(owner)
	for _, s := range all {
		if !s.StartedAt.IsZero() && !s.FinishedAt.IsZero() {
			t.span(at, spanOf("step", owner+" "+s.Kind), "step "+s.Kind, s.StartedAt.Time, s.FinishedAt.Time, s.State == store.StepFailed, nil, attribute.String("shipmate.state", s.State))
		}
	}
	return err
}

// reporting has what is said told as spans: of a task that says a subject's state on one surface, or that replies.
func (t *tracer) reporting(do func(ctx context.Context, key string, attempts int) (time.Time, error)) func(ctx context.Context, key string, attempts int) (time.Time, error) {
	if t == nil {
		return do
	}
	return func(ctx context.Context, key string, attempts int) (time.Time, error) {
		from := t.bot.db.Now()
		again, err := do(ctx, key, attempts)
		if err == nil {
			t.reported(ctx, key, from)
		}
		return again, err
	}
}

// reported tells of a report, unless there was nothing new to say.
func (t *tracer) reported(ctx context.Context, key string, from time.Time) {
	subject, surface, isSay := strings.Cut(key, "\n")
	if !isSay {
		subject, surface = "command/"+key, "github/reply"
	}
	kind, id, _ := strings.Cut(subject, "/")
	err := t.bot.db.View(ctx, func(tx *store.Tx) error {
		if said, err := tx.SaidSince(subject, surface, from); err != nil || !said {
			return err
		}
		at, state := spot{id, spanOf("event", id)}, ""
		switch kind {
		case "run":
			r, err := tx.Run(id)
			if err != nil {
				return err
			}
			at, state = spot{r.Event, spanOf("run", id)}, r.State
		case "deployment":
			d, err := tx.Deployment(id)
			if err != nil {
				return err
			}
			in, _, err := t.of(tx, d)
			if err != nil {
				return err
			}
			at, state = spot{in.event, spanOf("deployment", id)}, d.State
		case "order":
			o, err := tx.Order(id)
			if err != nil {
				return err
			}
			at, state = spot{o.Event, spanOf("event", o.Event)}, o.State
		}
		if at.event == "" {
			return nil
		}
		now := tx.Now()
		t.span(at, spanOf("report", key+" "+now.String()), "report "+surface, from, now, false, nil, attribute.String("shipmate.state", state), attribute.Bool("shipmate.final", store.Final(state)))
		return nil
	})
	if err != nil && ctx.Err() == nil {
		t.bot.log.Warn("a trace lacks something", "err", err)
	}
}

// Close sends what is left.
func (t *tracer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTracer)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.bot.log.Warn("the last traces are lost", "err", t.bot.engine.Mask(err.Error()))
	}
	return nil
}
