package bot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// speak has a person say a command on a surface, as it comes from there, and returns the answer.
func (l *lab) speak(via, login, name string, args ...string) (said string, refused bool, err error) {
	var repo store.Repo
	if err := l.bot.db.View(context.Background(), func(tx *store.Tx) (err error) { repo, err = tx.Repo("acme/web"); return err }); err != nil {
		return "", false, err
	}
	c := &call{bot: l.bot, client: l.bot.hub.client(repo.Installation), repo: repo, login: login, via: via, language: text.En, said: l.clock.Now(), d: &decision{}}
	all, err := c.obey(context.Background(), []line{{Name: name, Args: args}})
	if err != nil {
		return "", false, err
	}
	err = l.bot.db.Update(context.Background(), func(tx *store.Tx) error {
		list, no, err := answers(tx, all)
		if err == nil {
			said, refused = text.Plain(list[0].text), no
		}
		return err
	})
	return said, refused, err
}

// TestVotesAtOnce has everybody vote at the same time, each on two surfaces and several times: a person has one vote, and the
// deployment begins once.
func TestVotesAtOnce(t *testing.T) {
	l := newLab(t, func(s string) string {
		return strings.Replace(s, "require: {approvals: 1", "require: {approvals: 3", 1)
	})
	sha := got(l.Push("alice", "master", "Change", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	if said, refused, err := l.speak("github", "alice", "promote", "production"); err != nil || refused {
		t.Fatal(said, err)
	}
	got(l.Status(sha, "shipmate/deploy/production", "pending", "0 of 3"))(t)

	vote := func(logins ...string) (agreed []string) {
		t.Helper()
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, login := range logins {
			for _, via := range []string{"github", "slack", "github", "wecom"} {
				wg.Go(func() {
					said, refused, err := l.speak(via, login, "approve", "2")
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err != nil:
						t.Errorf("%s by %s: %v", login, via, err)
					case !refused:
						agreed = append(agreed, strings.ToLower(login))
					case !strings.Contains(said, "already") && !strings.Contains(said, "does not wait"):
						t.Errorf("%s by %s: %s", login, via, said)
					}
				})
			}
		}
		wg.Wait()
		slices.Sort(agreed)
		return agreed
	}
	if agreed := vote("bob", "BOB", "erin"); !slices.Equal(agreed, []string{"bob", "erin"}) {
		t.Errorf("the votes that counted: %v", agreed)
	}
	got(l.Status(sha, "shipmate/deploy/production", "pending", "2 of 3"))(t)
	if agreed := vote("root"); !slices.Equal(agreed, []string{"root"}) {
		t.Errorf("the votes that counted: %v", agreed)
	}
	got(l.Status(sha, "shipmate/deploy/production", "success", ""))(t)
	must(t, l.Settle())
	if n := got(l.lookup("SELECT count(*) FROM audit WHERE action = 'approve'"))(t); n != "3" {
		t.Errorf("%s votes were audited", n)
	}
}

// TestRejectWins has one person reject while others approve: whichever comes first decides, and there is no way back from
// either.
func TestRejectWins(t *testing.T) {
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Change", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	for n := range 4 {
		said, refused, err := l.speak("github", "alice", "promote", "production")
		if err != nil || refused {
			if strings.Contains(said, "live in") { // an approval was first
				return
			}
			t.Fatal(said, err)
		}
		got(l.Status(sha, "shipmate/deploy/production", "pending", "0 of 1"))(t)
		number := string(rune('2' + n))
		var wg sync.WaitGroup
		results := make([]string, 2)
		for i, who := range []string{"bob", "erin"} {
			wg.Go(func() {
				cmd := []string{"approve", "reject"}[i]
				said, refused, err := l.speak("github", who, cmd, number, "because")
				if err != nil {
					t.Error(err)
				}
				if !refused {
					results[i] = cmd
				} else if !strings.Contains(said, "does not wait") && !strings.Contains(said, "Nothing waits") {
					t.Errorf("%s: %s", who, said)
				}
			})
		}
		wg.Wait()
		must(t, l.Settle())
		var d store.Deployment
		must(t, l.bot.db.View(context.Background(), func(tx *store.Tx) (err error) { d, err = tx.DeploymentNumber("acme/web", n+2); return err }))
		switch {
		case results[0] != "" && results[1] != "":
			t.Fatal("both counted")
		case results[0] != "" && d.State != store.Succeeded, results[1] != "" && d.State != store.Rejected:
			t.Fatalf("%v, but it is %s", results, d.State)
		case results[0] == "" && results[1] == "":
			t.Fatal(errors.New("neither counted"))
		}
	}
}
