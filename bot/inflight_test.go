package bot

import (
	"errors"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// TestCreateInFlight: what a bot that was killed had asked GitHub for may be carried out after its successor has looked for
// it in vain. So that it is not made twice, the successor looks again when GitHub must have ended the request.
func TestCreateInFlight(t *testing.T) {
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"Dockerfile": "FROM scratch\n"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	id := got(l.lookup("SELECT id FROM deployments WHERE environment = 'staging'"))(t)
	s := got(l.bot.load(t.Context(), "deployment/"+id))(t)
	s.key, s.d.ID = "deployment/another", "another" // of which GitHub has nothing yet
	made := len(l.repo.Deployments())
	mark := func(said string) {
		must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
			return tx.PutMessage(store.Message{Subject: s.key, Surface: surfaceDeployment, Moment: createMoment, Said: said})
		}))
	}
	mark(asked)
	var wait *limited
	if _, err := l.bot.findOrCreate(t.Context(), s); !errors.As(err, &wait) || len(l.repo.Deployments()) != made {
		t.Fatalf("it does not wait for what may be in flight: %v", err)
	}
	l.clock.Advance(wait.until.Sub(l.clock.Now()))
	l.gh.Fail(http.MethodPost, "*/deployments", http.StatusBadGateway, 1, 0)
	if _, err := l.bot.findOrCreate(t.Context(), s); statusCode(err) != http.StatusBadGateway {
		t.Fatalf("it is not asked for when nothing can be in flight any more: %v", err)
	}
	// GitHub has answered: nothing is in flight, so it is asked for again without a wait.
	if _, err := l.bot.findOrCreate(t.Context(), s); err != nil || len(l.repo.Deployments()) != made+1 {
		t.Fatalf("%d deployments, not %d: %v", len(l.repo.Deployments()), made+1, err)
	}
}

// TestFoundIsBroughtUpToDate: what an attempt made whose answer was lost says what was so then.
func TestFoundIsBroughtUpToDate(t *testing.T) {
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"Dockerfile": "FROM scratch\n"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	if done, reply, err := l.Say(l.repo.OpenIssue("root", "Please"), "alice", "/promote production"); !done {
		t.Fatalf("%s %v", reply, err)
	}
	must(t, l.Settle())
	id := got(l.lookup("SELECT id FROM runs"))(t)
	s := got(l.bot.load(t.Context(), "run/"+id))(t)
	body, runs := got(l.Living(id))(t), l.repo.CheckRuns(sha)
	run := runs[len(runs)-1]
	comment := got(strconv.ParseInt(got(l.lookup("SELECT ref FROM messages WHERE surface = 'github/comment' AND moment = '' AND subject = 'run/'||?", id))(t), 10, 64))(t)
	must(t, l.repo.EditComment(comment, "shipmate[bot]", "what was so then\n\n"+markOf(s.key)))
	c := l.bot.hub.client(s.repo.Installation)
	got(putCheckRun(t.Context(), c, http.MethodPatch, s.repo.Name+"/check-runs/"+strconv.FormatInt(run.ID, 10),
		map[string]any{"output": map[string]string{"title": "what was so then", "summary": "-"}}))(t)
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(tx.PutMessage(store.Message{Subject: s.key, Surface: surfaceComment, Said: asked}), tx.PutMessage(store.Message{Subject: s.key, Surface: surfaceRun, Said: asked}))
	}))
	l.clock.Advance(time.Minute)
	got(l.bot.sayComment(t.Context(), s))(t)
	got(l.bot.sayRun(t.Context(), s))(t)
	if now := got(l.Living(id))(t); now != body {
		t.Errorf("the comment says %q", now)
	}
	if now := l.repo.CheckRuns(sha); len(now) != len(runs) || now[len(now)-1].Title != run.Title {
		t.Errorf("the check run says %+v", now)
	}
}
