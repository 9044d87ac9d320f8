package web

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// checked makes a run with a check that failed and kept files.
func checked(s *site, private bool) store.Run {
	s.t.Helper()
	run := s.newRun(store.Run{})
	s.update(func(tx *store.Tx) error {
		r := store.Run{Repo: run.Repo, App: run.App, SHA: run.SHA, Ref: run.Ref, Cause: store.CausePush}
		r.Config.V = []byte("{}")
		err := errors.Join(tx.PutRepo(store.Repo{Name: r.Repo, Private: private, DefaultBranch: "master"}), tx.NewRun(&r, "fetch", "check/unit", "check/later"), tx.StartRun(r.ID))
		_, started := tx.StartStep(r.ID, "check/unit")
		run = r
		return errors.Join(err, started)
	})
	s.now = s.now.Add(3 * time.Second)
	s.update(func(tx *store.Tx) error {
		return tx.EndPart(run.ID, "check/unit", store.StepFailed, store.StepResult{
			Failure:   &store.Failure{Step: "check/unit", Reason: "2 of 5 tests failed"},
			Tests:     &store.Tests{Total: 5, Failed: 2, Skipped: 1, Failing: []store.FailedTest{{Suite: "calc", Name: "Test<Add>", Message: "calc.go:1:\n\x1b[31mwant 4\x1b[0m"}}},
			Artifacts: []store.File{{Path: "out/index.html", Size: 6}, {Path: "50%? #1/报告.txt", Size: 2_500_000}, {Path: "gone", Size: 1}},
			Left:      []string{"link: a symbolic link"},
		})
	})
	return run
}

func TestChecks(t *testing.T) {
	s := newSite(t)
	run := checked(s, true)
	page := s.page("/runs/" + run.ID)
	wants(t, page, "Check unit", "Check later", "2 of 5 tests failed, 1 skipped", "Test&lt;Add&gt;", `<span class="c1">want 4</span>`, "and 1 more", "3 files",
		`href="/runs/`+run.ID+`/artifacts/unit/out/index.html"`, "<bdi>out/index.html</bdi></a> <span class=\"muted\">6 bytes", "50%25%3F%20%231/%E6%8A%A5%E5%91%8A.txt", "2.5 MB", "Not kept: <bdi>link: a symbolic link")

	// Files are sent to be saved, whatever they are.
	w := s.do("GET", "/runs/"+run.ID+"/artifacts/unit/out/index.html")
	if h := w.Header(); w.Code != http.StatusOK || w.Body.String() != "<html>" || h.Get("Content-Type") != "application/octet-stream" ||
		h.Get("Content-Disposition") != "attachment; filename=index.html" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	w = s.do("GET", "/runs/"+run.ID+"/artifacts/unit/50%25%3F%20%231/%E6%8A%A5%E5%91%8A.txt")
	if w.Code != http.StatusOK || w.Header().Get("Content-Disposition") != "attachment; filename*=utf-8''%E6%8A%A5%E5%91%8A.txt" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, path := range []string{"unit/gone", "unit/secret", "unit/out", "unit/..%2F..%2Fsecret", "unit/out%2F..%2F..%2Fsecret", "later/out/index.html", "unit/"} {
		if w := s.do("GET", "/runs/"+run.ID+"/artifacts/"+path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := s.do("GET", "/runs/none/artifacts/unit/out/index.html"); w.Code != http.StatusNotFound {
		t.Errorf("a run that is not: %d", w.Code)
	}
}

// Of a public repository's run, names and counts are shown, and nothing that a program wrote or left behind.
func TestChecksOfAPublicRepository(t *testing.T) {
	s := newSite(t)
	run := checked(s, false)
	page := s.page("/runs/" + run.ID)
	wants(t, page, "2 of 5 tests failed, 1 skipped", "Test&lt;Add&gt;")
	lacks(t, page, "want 4", "index.html", "symbolic link")
	if w := s.do("GET", "/runs/"+run.ID+"/artifacts/unit/out/index.html"); w.Code != http.StatusNotFound {
		t.Errorf("a file: %d", w.Code)
	}
}

// artifact opens what the site's checks kept; its folder has a secret beside them.
func artifact(t *testing.T) func(run, check, path string) (io.ReadSeekCloser, error) {
	dir := t.TempDir()
	for name, content := range map[string]string{"out/index.html": "<html>", "50%? #1/报告.txt": "x", "secret": "s"} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return func(_, check, path string) (io.ReadSeekCloser, error) {
		if check != "unit" || strings.Contains(path, "..") {
			t.Errorf("%s of %s was opened", path, check)
		}
		return os.Open(filepath.Join(dir, path))
	}
}
