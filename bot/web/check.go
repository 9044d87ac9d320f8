package web

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// stepCheck is before a check's name in the kind of its step (pipeline.CheckStep).
const stepCheck = "check/"

// A checkView is what the page of a run shows of one of its checks.
type checkView struct {
	Name      string
	Step      store.Step
	Result    store.StepResult
	Artifacts []artifactView
}

type artifactView struct {
	URL, Path, Size string
}

// Count is what became of the check's tests; empty where nothing is known of them.
func (c checkView) Count(l lang) string {
	t := c.Result.Tests
	if t == nil {
		return ""
	}
	said := l.say("%d tests passed", t.Total-t.Skipped)
	if t.Failed > 0 {
		said = l.say("%d of %d tests failed", t.Failed, t.Total)
	}
	if t.Skipped > 0 {
		said += l.say(", %d skipped", t.Skipped)
	}
	return said
}

// Reason is why it failed, unless its tests say so.
func (c checkView) Reason() string {
	if f, t := c.Result.Failure, c.Result.Tests; f != nil && (t == nil || t.Failed == 0) {
		return f.Reason
	}
	return ""
}

// More is how many of the failed tests are not listed.
func (c checkView) More() int { return c.Result.Tests.Failed - len(c.Result.Tests.Failing) }

// checksOf picks the checks out of a run's steps. Of what not everybody may see, it leaves what tests wrote and what a check kept.
func checksOf(steps []store.Step, hidden bool) (checks []checkView) {
	for _, s := range steps {
		name, ok := strings.CutPrefix(s.Kind, stepCheck)
		if !ok {
			continue
		}
		c := checkView{Name: name, Step: s}
		if s.Result.V != nil {
			c.Result = *s.Result.V
		}
		if hidden {
			c.Result.Artifacts, c.Result.Left = nil, nil
			if c.Result.Tests != nil {
				for i := range c.Result.Tests.Failing {
					c.Result.Tests.Failing[i].Message = ""
				}
			}
		}
		for _, f := range c.Result.Artifacts {
			parts := strings.Split(f.Path, "/")
			for i, p := range parts {
				parts[i] = url.PathEscape(p)
			}
			c.Artifacts = append(c.Artifacts, artifactView{"/runs/" + s.Owner + "/artifacts/" + name + "/" + strings.Join(parts, "/"), f.Path, sized(f.Size)})
		}
		checks = append(checks, c)
	}
	return checks
}

func sized(n int64) string {
	switch {
	case n < 1e3:
		return fmt.Sprintf("%d bytes", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// artifact sends a file that a check kept, to be saved and never to be shown: what is in it is a stranger's.
func (s *server) artifact(w http.ResponseWriter, r *http.Request, who seer) {
	id, check, name := r.PathValue("id"), r.PathValue("check"), r.PathValue("path")
	var v *runView
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) { v, err = readRun(tx, who, id); return err })
	if err == nil {
		err = store.ErrNotFound
		for _, c := range v.Checks {
			for _, f := range c.Artifacts {
				if c.Name == check && f.Path == name {
					err = nil
				}
			}
		}
	}
	var f io.ReadSeekCloser
	if err == nil {
		f, err = s.Artifact(id, check, name)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer func() { _ = f.Close() }() // it was only read
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(name)}))
	http.ServeContent(patient{w}, r, "", time.Time{}, f)
}
