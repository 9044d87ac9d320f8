package web

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

const (
	benchApps     = 500
	benchReleases = 10000 // of the first app; the others have ten
)

// filled makes a database of 500 apps with three environments each, the first app with 10,000 releases. What is rendered of a
// deployment has 6 kB.
func filled(b *testing.B) *Pages {
	b.Helper()
	file := filepath.Join(b.TempDir(), "shipmate.db")
	db, err := store.Open(b.Context(), file, []byte("key"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() }) // it was only read
	raw, err := sql.Open("sqlite", file+"?_pragma=synchronous(OFF)&_pragma=busy_timeout(10000)")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = raw.Close() }() // the same
	raw.SetMaxOpenConns(1)
	const (
		apps   = "WITH RECURSIVE a (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM a WHERE i + 1 < @apps), n (i, k) AS (SELECT i, 1 FROM a UNION ALL SELECT i, k + 1 FROM n WHERE k < iif(i = 0, @releases, 10))"
		repo   = "'acme/repo-' || (i / 5)"
		app    = "printf('app-%03d', i)"
		run    = "printf('%08xrun%08d%07d', (i * 10007 + k) * 2654435761 % 4294967296, i, k)"
		at     = "strftime('%Y-%m-%dT%H:%M:%fZ', 1735689600 + k * 60, 'unixepoch')"
		sha    = "printf('%040x', i * 100000 + k)"
		config = `'{"App":"' || printf('app-%03d', i) || '","Environments":[{"Name":"dev"},{"Name":"staging","After":"dev"},{"Name":"production","After":"staging","Freeze":["Fri 18:00 - Mon 08:00 UTC"]}],"Filler":"' || hex(zeroblob(900)) || '"}'`
	)
	for _, statement := range []string{
		"BEGIN",
		apps + " INSERT INTO repos (name, id, installation, default_branch, private, html_url) SELECT DISTINCT " + repo + ", 1, 1, 'master', 1, 'https://github.example/acme' FROM a",
		apps + " INSERT INTO runs (id, repo, app, number, ref, sha, head_sha, subject, author, sender, cause, config, state, digest, release, created_at, started_at, finished_at) SELECT " +
			run + ", " + repo + ", " + app + ", k, 'refs/heads/master', " + sha + ", " + sha + ", 'Change the number ' || k || ' of what there is to be changed', 'alice', 'alice', 'push', " + config + ", 'succeeded', 'sha256:1', k, " + at + ", " + at + ", " + at + " FROM n",
		apps + " INSERT INTO releases SELECT " + repo + ", " + app + ", k, " + run + ", 'refs/heads/master', " + sha + ", 'Change the number ' || k || ' of what there is to be changed', 'alice', 'alice', '[]', " + at + " FROM n",
		apps + " INSERT INTO deployments (id, repo, app, number, environment, release, cause, requester, run, spec, state, objects, objects_hash, created_at, began_at, finished_at) SELECT " +
			run + " || e, " + repo + ", " + app + ", (i * 10001 + k) * 3 + e, CASE e WHEN 0 THEN 'dev' WHEN 1 THEN 'staging' ELSE 'production' END, k, 'automatic', 'alice', " + run +
			", '{}', iif(e = 2 AND k = 10 AND i % 7 = 0, 'failed', 'succeeded'), zeroblob(6000), 'hash', " + at + ", " + at + ", " + at + " FROM n, (SELECT 0 AS e UNION ALL SELECT 1 UNION ALL SELECT 2)",
		"COMMIT",
	} {
		if _, err := raw.Exec(statement, sql.Named("apps", benchApps), sql.Named("releases", benchReleases)); err != nil {
			b.Fatalf("%s: %v", statement, err)
		}
	}
	repos := map[string]int{}
	for i := range benchApps / 5 {
		repos[fmt.Sprintf("acme/repo-%d", i)] = Write
	}
	return New(Config{DB: db, LogFile: func(string) string { return "" }, Viewer: func(*http.Request) (*Viewer, error) { return &Viewer{Login: "alice", CSRF: "csrf", Repos: repos}, nil },
		Member: func(context.Context, store.Repo, []string, string) (bool, error) { return false, nil }})
}

// BenchmarkPages measures the overview of 500 apps with three environments each, and an app with 10,000 releases: one request after
// the other with everything read anew, and 20 at once.
func BenchmarkPages(b *testing.B) {
	pages := filled(b)
	get := func(path string) time.Duration {
		start := time.Now()
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		took := time.Since(start)
		if body, _ := io.ReadAll(w.Body); w.Code != http.StatusOK || !strings.Contains(string(body), "app-000") {
			b.Errorf("%s: %d", path, w.Code)
		}
		return took
	}
	history := "/apps/app-000?repository=acme%2Frepo-0"
	for _, p := range []struct{ name, path string }{{"overview", "/"}, {"history", history}, {"history older", history + "&before=100"}} {
		b.Run(p.name+"/anew", func(b *testing.B) {
			pages.s.keep(0)
			var all []time.Duration
			before := cpu(b)
			for b.Loop() {
				all = append(all, get(p.path))
			}
			quantiles(b, all, before)
		})
		b.Run(p.name+"/20 at once", func(b *testing.B) {
			pages.s.keep(matrixTTL)
			var mu sync.Mutex
			var all []time.Duration
			var wg sync.WaitGroup
			each := max(1, b.N/20)
			before := cpu(b)
			for range 20 {
				wg.Go(func() {
					for range each {
						took := get(p.path)
						mu.Lock()
						all = append(all, took)
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			quantiles(b, all, before)
		})
	}
}

// cpu is how much time processors have spent on this process.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// quantiles reports how long requests took, and what each cost: of that, other work on the machine changes little.
func quantiles(b *testing.B, all []time.Duration, before time.Duration) {
	b.Helper()
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(len(all)), "ms-cpu")
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "ms-p99")
}
