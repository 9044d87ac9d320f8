package bot

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A receiver takes traces by OTLP over HTTP.
type receiver struct {
	*httptest.Server

	mu    sync.Mutex
	spans []*otlp.Span
	raw   strings.Builder
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var sent collector.ExportTraceServiceRequest
		if err != nil || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, &sent) != nil {
			t.Errorf("%s %v: %v", req.URL, req.Header, err)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.raw.Write(body)
		for _, of := range sent.ResourceSpans {
			for _, in := range of.ScopeSpans {
				r.spans = append(r.spans, in.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// tree draws the spans of an event's trace, each below its parent; children by their names, and each name once.
func (r *receiver) tree(event string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	trace := traceOf(event)
	var lines []string
	var draw func(parent []byte, indent string)
	draw = func(parent []byte, indent string) {
		var below []*otlp.Span
		for _, s := range r.spans {
			if string(s.TraceId) == string(trace[:]) && string(s.ParentSpanId) == string(parent) {
				below = append(below, s)
			}
		}
		slices.SortFunc(below, func(a, b *otlp.Span) int { return strings.Compare(a.Name, b.Name) })
		for i, s := range below {
			if i == 0 || below[i-1].Name != s.Name {
				lines = append(lines, indent+s.Name)
			}
			draw(s.SpanId, indent+"  ")
		}
	}
	draw(nil, "")
	return strings.Join(lines, "\n")
}

// wrong tells of spans that are twice there, end before they begin, or stand below what is not there.
func (r *receiver) wrong() (wrong []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	for _, s := range r.spans {
		id := hex.EncodeToString(s.TraceId) + hex.EncodeToString(s.SpanId)
		if seen[id] {
			wrong = append(wrong, s.Name+" is there twice")
		}
		seen[id] = true
		if s.EndTimeUnixNano < s.StartTimeUnixNano || s.StartTimeUnixNano == 0 {
			wrong = append(wrong, s.Name+" ends before it begins")
		}
	}
	for _, s := range r.spans {
		if p := hex.EncodeToString(s.ParentSpanId); p != "" && !seen[hex.EncodeToString(s.TraceId)+p] {
			wrong = append(wrong, s.Name+" stands below nothing")
		}
	}
	return wrong
}

// TestTraces: one push is one trace, also when another process goes on with it; a promotion is one of its own, with a link. It sets the
// environment, so that no other test may run beside it.
func TestTraces(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", slowBuild))(t)
	must(t, l.building(1))
	must(t, l.Stop()) // what it told is sent
	accepted := func() string { return r.tree(got(l.lookup("SELECT event FROM runs WHERE sha = ?", sha))(t)) }
	if tree := accepted(); !strings.HasPrefix(tree, "push\n  accept\n  decide") || strings.Contains(tree, "run") {
		t.Errorf("so far: %s", tree)
	}
	must(t, l.Start())
	must(t, l.building(1))
	l.builder.Release()
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	issue := l.repo.OpenIssue("alice", "Go on")
	if ok, said, err := l.Say(issue, "alice", "/promote web production"); err != nil || !ok {
		t.Fatalf("%v %s", err, said)
	}
	if ok, said, err := l.Say(issue, "bob", "/approve 2"); err != nil || !ok {
		t.Fatalf("%v %s", err, said)
	}
	got(l.Status(sha, "shipmate/deploy/production", "success", ""))(t)
	must(t, l.Settle())
	promotion := got(l.lookup("SELECT event FROM deployments WHERE environment = 'production'"))(t)
	must(t, l.Stop())
	steps := func(indent string) string {
		return strings.Join([]string{indent + "step apply", indent + "step observe", indent + "step render", indent + "step verify", indent + "wait"}, "\n")
	}
	tree := accepted()
	for _, want := range []string{"push\n  accept\n  decide\n  run\n", "\n    deploy staging\n", "\n      report github/deployment\n", "\n      report github/status\n", steps("      "), "\n    report github/run\n", "\n    report github/status\n", "\n    report wecom/ops\n",
		"\n    step build\n    step fetch"} {
		if !strings.Contains(tree+"\n", want) {
			t.Errorf("the push lacks %q:\n%s", want, tree)
		}
	}
	if strings.Contains(tree, "production") {
		t.Errorf("the promotion is in the trace of the push:\n%s", tree)
	}
	tree = r.tree(promotion)
	for _, want := range []string{"issue_comment\n  accept\n  decide\n  deploy production\n", steps("    ")} {
		if !strings.Contains(tree+"\n", want) {
			t.Errorf("the promotion lacks %q:\n%s", want, tree)
		}
	}
	for _, wrong := range r.wrong() {
		t.Error(wrong)
	}
	linked := false
	run := spanOf("run", got(l.lookup("SELECT id FROM runs WHERE sha = ?", sha))(t))
	for _, s := range r.spans {
		linked = linked || s.Name == "deploy production" && len(s.Links) == 1 && string(s.Links[0].SpanId) == string(run[:])
	}
	if !linked {
		t.Error("the promotion has no link to the run")
	}
	raw := r.raw.String()
	for _, secret := range []string{hookSecret, robotKey, slackToken, npmToken, pullSecret, dockerToken, apiToken, got(l.lookup("SELECT id FROM runs"))(t)} {
		if strings.Contains(raw, secret) {
			t.Errorf("%s is told", secret)
		}
	}
	must(t, l.Start())
}

// TestTracesSampled: a trace is told as a whole or not at all, whatever share of them is asked for.
func TestTracesSampled(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
	l := newLab(t, nil)
	at := time.Now()
	for i := range 40 {
		event := fmt.Sprint("event ", i)
		l.bot.tracer.span(spot{event: event}, spanOf("event", event), "root", at, at, false, nil)
		l.bot.tracer.span(spot{event, spanOf("event", event)}, spanOf("run", event), "child", at, at, false, []trace.Link{{SpanContext: l.bot.tracer.spanContext("event 0", spanOf("event", "event 0"))}})
	}
	must(t, l.Stop())
	for _, wrong := range r.wrong() {
		t.Error(wrong)
	}
	if n := len(r.spans); n == 0 || n == 80 || n%2 != 0 {
		t.Errorf("%d spans of 80", n)
	}
	must(t, l.Start())
}

// TestTracesOff: without the variables nothing is set up, and what cannot be spoken is refused at the start.
func TestTracesOff(t *testing.T) {
	l := newLab(t, nil)
	if l.bot.tracer != nil {
		t.Error("there is a tracer")
	}
	for _, test := range []struct {
		env    string
		wanted bool
		err    string
	}{
		{"", false, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4318", true, ""},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://x:4318/v1/traces", true, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4318 OTEL_SDK_DISABLED=true", false, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4318 OTEL_TRACES_EXPORTER=none", false, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc", false, "http/protobuf"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf", true, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", false, "OTEL_EXPORTER_OTLP_ENDPOINT is no address"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4318 OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20a,x-y=z,", true, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4318 OTEL_EXPORTER_OTLP_TRACES_HEADERS=authorization:secret", false, "OTEL_EXPORTER_OTLP_TRACES_HEADERS cannot be read"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4318 OTEL_EXPORTER_OTLP_HEADERS=x:secret=1", false, "OTEL_EXPORTER_OTLP_HEADERS cannot be read"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4318 OTEL_EXPORTER_OTLP_HEADERS=x=secret%zz", false, "OTEL_EXPORTER_OTLP_HEADERS cannot be read"},
	} {
		t.Run(test.env, func(t *testing.T) {
			for _, one := range strings.Fields(test.env) {
				name, value, _ := strings.Cut(one, "=")
				t.Setenv(name, value)
			}
			wanted, err := traces()
			if wanted != test.wanted || (err == nil) != (test.err == "") || err != nil && (!strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%v %v", wanted, err)
			}
		})
	}
}

// TestTracesLost: whoever takes traces may be away; the work goes on, and the log says it once.
func TestTracesLost(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	begin := time.Now()
	must(t, l.Stop())
	if took := time.Since(begin); took > 2*closeTracer {
		t.Errorf("it takes %s to stop", took)
	}
	if n := strings.Count(fmt.Sprint(l.log.String()), "traces cannot be sent"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	must(t, l.Start())
}
