package bot

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.yaml.in/yaml/v3"

	"github.com/shipmate-dev/shipmate/store"
)

// scrape reads the figures.
func (l *lab) scrape(t testing.TB) string {
	t.Helper()
	w := httptest.NewRecorder()
	l.bot.figures.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestFigures: what happened is told, by names that Prometheus' own conventions allow.
func TestFigures(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	must(t, l.Redeliver())
	for _, header := range []string{"X-GitHub-Delivery", ""} {
		r := got(http.NewRequest("POST", l.url+"/webhooks/github", strings.NewReader("{}")))(t)
		if header != "" {
			r.Header.Set(header, "x")
			r.Header.Set("X-GitHub-Event", "push")
		}
		_ = got(http.DefaultClient.Do(r))(t).Body.Close()
	}
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error { return tx.WakeAt(taskSay, "x\nwecom/ops", tx.Now().Add(time.Hour)) }))
	text := l.scrape(t)
	for _, want := range []string{
		`shipmate_build_info{goversion="go1\.[^"]+",version="test"} 1`,
		`shipmate_deliveries_total{result="accepted",source="github"} [1-9]`,
		`shipmate_deliveries_total{result="malformed",source="github"} 1`,
		`shipmate_deliveries_total{result="unsigned",source="github"} 1`,
		`shipmate_queue_tasks{kind="say",state="scheduled"} 1`,
		`shipmate_queue_oldest_age_seconds{kind="run"} 0`,
		`shipmate_reports_outstanding 1`,
		`shipmate_task_duration_seconds_count{kind="event",outcome="done"} [1-9]`,
		`shipmate_task_duration_seconds_count{kind="run",outcome="done"} 1`,
		`shipmate_github_requests_total{outcome="ok"} [1-9]`,
		`shipmate_build_duration_seconds_count{outcome="succeeded"} 1`,
		`shipmate_build_duration_seconds_count{outcome="failed"} 0`,
		`shipmate_deliveries_total{result="unavailable",source="github"} 0`,
		`shipmate_deployments_total{environment="staging",outcome="failed"} 0`,
		`shipmate_runs_total{outcome="succeeded"} 1`,
		`shipmate_deployments_total{environment="staging",outcome="succeeded"} 1`,
		`shipmate_deployment_duration_seconds_count{outcome="succeeded"} 1`,
		`shipmate_sessions 0`,
		`shipmate_database_size_bytes [1-9]`,
		`shipmate_log_followers 0`,
		`shipmate_builders{state="answering"} 2`,
		`go_goroutines [1-9]`,
		`process_open_fds [1-9]`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(text) {
			t.Errorf("not told: %s", want)
		}
	}
	if found := regexp.MustCompile(`acme|alice|web`).FindString(strings.ReplaceAll(text, "webhook", "")); found != "" {
		t.Errorf("a name is told: %s", found)
	}
	problems := got(testutil.GatherAndLint(l.bot.figures.registry))(t)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestFiguresOfLimits: what GitHub said of an installation's limit is told, and forgotten when its hour is over.
func TestFiguresOfLimits(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := &pace{now: func() time.Time { return now }, of: map[int64]*budget{}}
	p.learn(7, signals{quota: quota{12, 5000, now.Add(time.Minute)}})
	p.learn(7, signals{})
	p.learn(8, signals{})
	if q := p.quotas(); len(q) != 1 || q[7].left != 12 || q[7].most != 5000 {
		t.Errorf("%v", q)
	}
	now = now.Add(time.Minute)
	if q := p.quotas(); q[7].left != 5000 {
		t.Errorf("an hour later: %v", q)
	}
}

// TestFiguresBounded: however many environments there are, the figures stay small.
func TestFiguresBounded(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for i := range maxEnvironments + 20 {
		l.bot.figures.ended(store.Ended{Deployment: "x", Environment: fmt.Sprintf("env-%d", i), State: store.Failed})
	}
	l.bot.figures.ended(store.Ended{Deployment: "x", Environment: "env-0", State: store.Failed})
	text := l.scrape(t)
	if n := len(regexp.MustCompile(`shipmate_deployments_total{.*outcome="failed"`).FindAllString(text, -1)); n != maxEnvironments+1 {
		t.Errorf("%d environments are told", n)
	}
	for _, want := range []string{`{environment="other",outcome="failed"} 20`, `{environment="env-0",outcome="failed"} 2`} {
		if !strings.Contains(text, want) {
			t.Errorf("not told: %s", want)
		}
	}
}

// TestFiguresListener: the figures have a listener of their own, where the server's file names one.
func TestFiguresListener(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(text string) string { return "metrics: 127.0.0.1:0\n" + text })
	var address string
	for begin := time.Now(); address == ""; time.Sleep(time.Millisecond) {
		if m := regexp.MustCompile(`msg="serving figures" address=(\S+)`).FindStringSubmatch(l.log.String()); m != nil {
			address = m[1]
		} else if time.Since(begin) > patience {
			t.Fatal("nothing is said of the listener")
		}
	}
	for target, want := range map[string]int{"http://" + address + "/metrics": 200, "http://" + address + "/": 404, "http://" + address + "/healthz": 404, l.url + "/metrics": 404} {
		resp := got(http.Get(target))(t)
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != want || want == 200 && !strings.Contains(string(body), "shipmate_build_info") {
			t.Errorf("%s: %d", target, resp.StatusCode)
		}
	}
	must(t, l.Stop())
	if resp, err := http.Get("http://" + address + "/metrics"); err == nil {
		_ = resp.Body.Close()
		t.Error("it goes on after the bot has ended")
	}
	must(t, l.Start())
}

// BenchmarkScrape has a hundred thousand tasks in the queue, as many of them due as not.
func BenchmarkScrape(b *testing.B) {
	l := newLab(b, nil)
	must(b, l.bot.db.Update(b.Context(), func(tx *store.Tx) error {
		for i := range 100_000 {
			if err := tx.WakeAt(store.TaskEnv, fmt.Sprintf("acme/web\nweb\n%d", i), tx.Now().Add(time.Duration(i%2*100-1)*time.Hour)); err != nil {
				return err
			}
		}
		return nil
	}))
	for b.Loop() {
		l.scrape(b)
	}
}

// TestMonitoring: the example dashboard and the example alerts speak of figures that there are.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	known := []string{"up"}
	descs := make(chan *prometheus.Desc)
	go func() { l.bot.figures.registry.Describe(descs); close(descs) }()
	for d := range descs {
		if m := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String()); m != nil {
			known = append(known, m[1])
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Expr string } }
	}
	must(t, json.Unmarshal(got(os.ReadFile(filepath.Join("..", "deploy", "monitoring", "dashboard.json")))(t), &dashboard))
	var alerts struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	must(t, yaml.Unmarshal(got(os.ReadFile(filepath.Join("..", "deploy", "monitoring", "alerts.yaml")))(t), &alerts))
	expressions := map[string]string{}
	for _, p := range dashboard.Panels {
		for i, target := range p.Targets {
			expressions[fmt.Sprintf("panel %s %d", p.Title, i)] = target.Expr
		}
	}
	for _, a := range dashboard.Annotations.List {
		expressions["annotation"] = a.Expr
	}
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			expressions["alert "+r.Alert] = r.Expr
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["remedy"] == "" {
				t.Errorf("%s lacks a severity, a summary or a remedy", r.Alert)
			}
		}
	}
	used := map[string]bool{}
	for place, expr := range expressions {
		names := regexp.MustCompile(`\b(?:up|(?:shipmate|go|process)_[a-z_]+)\b`).FindAllString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expr, `""`), -1)
		if len(names) == 0 || strings.Count(expr, "(") != strings.Count(expr, ")") {
			t.Errorf("%s: %q asks for nothing", place, expr)
		}
		for _, name := range names {
			of := regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, "")
			used[name], used[of] = true, true
			if !slices.Contains(known, name) && !(name != of && slices.Contains(known, of)) {
				t.Errorf("%s asks for %s, which there is not", place, name)
			}
		}
	}
	for _, name := range known {
		if strings.HasPrefix(name, "shipmate_") && !used[name] && name != "shipmate_build_info" {
			t.Errorf("nothing shows %s", name)
		}
	}
}
