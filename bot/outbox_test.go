package bot

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/store"
)

// TestRation: who is told next, by what waits and how much room there is.
func TestRation(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	more := now.Add(40 * time.Second)
	const decide, failure, end, progress, omitted = store.RankApproval, store.RankFailure, store.RankEnd, store.RankProgress, store.RankOmitted
	ago := func(rank int, seconds int) store.Outgoing {
		return store.Outgoing{Rank: rank, At: store.Time{Time: now.Add(-time.Duration(seconds) * time.Second)}}
	}
	many := func(n, rank int) (all []store.Outgoing) {
		for range n {
			all = append(all, ago(rank, 0))
		}
		return all
	}
	for name, tt := range map[string]struct {
		free    int
		waiting []store.Outgoing // in the order of the turns
		next    int              // how many
		rank    int              // of the first
		omit    int
		again   time.Duration // from now; 0: never
	}{
		"nothing":                      {20, nil, 0, 0, 0, 0},
		"progress, and room":           {11, many(3, progress), 1, progress, 0, 0},
		"progress, and half the room":  {10, many(3, progress), 0, 0, 0, 40 * time.Second},
		"progress that waited":         {10, []store.Outgoing{ago(progress, 50)}, 0, 0, 0, 10 * time.Second},
		"progress that is stale":       {20, []store.Outgoing{ago(progress, 60), ago(progress, 0)}, 0, 0, 1, 0},
		"an end, and room":             {6, []store.Outgoing{ago(end, 0), ago(progress, 0)}, 1, end, 0, 0},
		"a failure and an end":         {20, []store.Outgoing{ago(failure, 0), ago(end, 9)}, 1, failure, 0, 0},
		"an end, and a quarter":        {5, many(1, end), 0, 0, 0, 15 * time.Second},
		"more ends than room":          {20, many(16, end), 0, 0, 0, 15 * time.Second},
		"as many ends as room":         {20, many(15, end), 1, end, 0, 0},
		"ends that have gathered":      {3, []store.Outgoing{ago(failure, 2), ago(end, 15), ago(end, 1)}, 3, failure, 0, 0},
		"ends, and the decisions' own": {2, []store.Outgoing{ago(end, 15)}, 0, 0, 0, 40 * time.Second},
		"ends that are late":           {1, []store.Outgoing{ago(decide, 0), ago(end, 60), ago(end, 1)}, 2, end, 0, 0},
		"a decision before all":        {1, []store.Outgoing{ago(decide, 0), ago(decide, 0), ago(failure, 59)}, 1, decide, 0, 0},
		"no room at all":               {0, []store.Outgoing{ago(decide, 0), ago(end, 90)}, 0, 0, 0, 40 * time.Second},
		"what was left out waits":      {20, []store.Outgoing{ago(omitted, 100)}, 0, 0, 0, 20 * time.Second},
		"what was left out is said":    {20, []store.Outgoing{ago(omitted, 120), ago(omitted, 0)}, 2, omitted, 0, 0},
	} {
		next, omit, again := ration(tt.waiting, chat.Room{Free: tt.free, Of: 20, More: more}, now)
		if len(next) != tt.next || len(omit) != tt.omit || len(next) > 0 && next[0].Rank != tt.rank {
			t.Errorf("%s: next %v, omit %v", name, next, omit)
		}
		if want := now.Add(tt.again); tt.again > 0 && !again.Equal(want) || tt.again == 0 && !again.IsZero() {
			t.Errorf("%s: again at %s", name, again)
		}
	}
}

// storm has fifty builds begin and end at once, half of them failing, and an approval asked for among them. It returns the moment at
// which they ended.
func storm(t *testing.T, l *lab) time.Time {
	t.Helper()
	l.bot.builders.mu.Lock()
	l.bot.builders.each = 50
	l.bot.builders.mu.Unlock()
	config := strings.Replace(string(got(os.ReadFile("testdata/repo/.shipmate.yaml"))(t)), "[master, topic]", `["/./"]`, 1)
	config = strings.Replace(config, "deploy: auto", "deploy: auto\n    branches: [default]", 1)
	sha := got(l.Push("root", "master", "Build all", map[string]string{".shipmate.yaml": config}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	must(t, l.Tick(2*time.Minute))
	for n := range 50 {
		end := "true"
		if n%2 == 1 {
			end = "false"
		}
		got(l.repo.Commit(fmt.Sprintf("b%d", n), "dave", "Ship", map[string]string{"Dockerfile": "FROM scratch\nRUN block\nRUN " + end + "\n"}))(t)
	}
	must(t, l.building(50))
	must(t, l.tried()) // the builds go on
	l.builder.Release()
	ended := l.clock.Now()
	got(l.Comment(l.repo.OpenIssue("alice", "Ship"), "alice", "/promote production"))(t)
	return ended
}

// calm lets time pass until everything is told.
func (l *lab) calm(t *testing.T) {
	t.Helper()
	for range 60 {
		must(t, l.Settle())
		if n := got(l.lookup("SELECT count(*) FROM outbox"))(t); n == "0" {
			return
		}
		must(t, l.Tick(5*time.Second))
	}
	t.Fatal("it is not told in five minutes")
}

var (
	endOfBuild = regexp.MustCompile(`Build web, run (\d+)`)
	leftOut    = regexp.MustCompile(`notices of progress that were left out: (\d+)`)
)

// weathered checks what the robots said in a storm, all but repeats that say that they may be some.
func (l *lab) weathered(t *testing.T, ended time.Time, keys ...string) {
	t.Helper()
	ends, begun, omitted, shared := map[int]int{}, 0, 0, 0
	approval := false
	for _, key := range keys {
		var all []sim.RobotMessage
		for _, m := range l.wecom.Messages(key) {
			if all = append(all, m); len(all) > 20 && m.At.Sub(all[len(all)-21].At) < time.Minute {
				t.Errorf("%s sent 21 messages within a minute, at %s", key, m.At)
			}
			text := markup.ReplaceAllString(m.Content, "")
			if strings.Contains(text, "may be a repeat") {
				continue
			}
			if found := leftOut.FindStringSubmatch(text); found != nil {
				n, _ := strconv.Atoi(found[1])
				omitted += n
			}
			title := strings.Split(text, "\n")[0]
			switch {
			case strings.Contains(title, "waiting for approval"):
				approval = m.At.Sub(ended) < 2*time.Minute && strings.Contains(m.Content, "release 1 to production")
			case strings.Contains(title, "running"):
				if strings.Contains(text, "Branch b") {
					begun++
				}
			default:
				if strings.Contains(title, "results in one message") {
					shared++
				} else if !strings.Contains(title, "Build") {
					continue
				}
				for _, found := range endOfBuild.FindAllStringSubmatch(text, -1) {
					n, _ := strconv.Atoi(found[1])
					ends[n]++
					if m.At.Sub(ended) > 2*time.Minute {
						t.Errorf("the end of run %d is told after %s", n, m.At.Sub(ended))
					}
				}
			}
		}
	}
	for n := range 50 {
		if ends[n+2] != 1 {
			t.Errorf("the end of run %d is told %d times", n+2, ends[n+2])
		}
	}
	if !approval {
		t.Error("the approval was not asked for within two minutes")
	}
	if begun+omitted != 50 || omitted == 0 {
		t.Errorf("of 50 that began %d were told, and of %d it is said that they were left out", begun, omitted)
	}
	if shared == 0 {
		t.Error("no message was shared")
	}
	if t.Failed() {
		for _, key := range keys {
			for _, m := range l.wecom.Messages(key) {
				t.Logf("%s %s", m.At.Sub(ended), m.Content)
			}
		}
	}
}

// TestStorm: fifty builds end at once, and one group is told of each within two minutes, by no more than 20 messages a minute.
func TestStorm(t *testing.T) {
	t.Parallel()
	muchOfTheSame(t)
	for name, keys := range map[string][]string{"one robot": {robotKey}, "two robots": {robotKey, otherRobot}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, func(s string) string {
				if len(keys) == 2 {
					s = strings.Replace(s, "ops: {robot_keys: [file:robot]", "ops: {robot_keys: [file:robot, file:robot2]", 1)
				}
				return s
			})
			ended := storm(t, l)
			l.calm(t)
			l.weathered(t, ended, keys...)
			if strings.Contains(l.log.String(), "45009") {
				t.Error("WeCom refused a message for the rate")
			}
		})
	}
	t.Run("crash", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, nil)
		died := make(chan struct{})
		var once sync.Once
		l.wrote.set(func(what string) {
			if strings.Contains(what, "results in one message") { // it arrived, and we do not know
				once.Do(func() {
					_ = l.bot.db.Close()
					close(died)
				})
			}
		})
		ended := storm(t, l)
		must(t, until("results are told", func() error {
			select {
			case <-died:
				return nil
			default:
			}
			open, err := l.lookup("SELECT count(*) FROM tasks WHERE buried_at IS NULL AND (lease_until IS NOT NULL OR due_at <= ?)", l.clock.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
			if err == nil && open == "0" {
				_ = l.Tick(5 * time.Second) // it may die meanwhile
			}
			return errors.Join(err, errors.New("they are not"))
		}))
		must(t, l.Crash())
		must(t, l.Start())
		l.calm(t)
		l.weathered(t, ended, robotKey)
		repeats := 0
		for _, m := range l.wecom.Messages(robotKey) {
			if strings.Contains(m.Content, "may be a repeat") {
				repeats++
			}
		}
		if repeats == 0 || repeats > 3 {
			t.Errorf("%d messages may be repeats", repeats)
		}
	})
}

// TestOutboxRefused: a message that WeCom does not take, who knows why, holds up what waits behind it for some minutes and no longer.
func TestOutboxRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.wecom.Refuse("Build web")
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	for range 30 {
		must(t, l.Settle())
		if n := got(l.lookup("SELECT count(*) FROM outbox"))(t); n == "0" {
			break
		}
		must(t, l.Tick(time.Minute))
	}
	if m := l.wecom.Messages(robotKey); len(m) == 0 || !strings.Contains(m[len(m)-1].Content, "live") {
		t.Errorf("what came behind is not told: %v", m)
	}
	if gone := got(l.buriedTasks())(t); !strings.Contains(gone, "errcode 99999") {
		t.Errorf("given up: %s", gone)
	}
}

// TestOutboxGivesUp: what can't be told by itself is shown among what was given up, and holds up nothing.
func TestOutboxGivesUp(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(tx.Enqueue(store.Outgoing{Chat: "wecom/ops", Kind: taskSay, Key: "run/gone\nwecom/ops", Rank: store.RankApproval, Said: "x"}),
			tx.Enqueue(store.Outgoing{Chat: "wecom/old", Kind: taskSay, Key: "run/1\nwecom/old", Rank: store.RankEnd, Said: "x"}))
	}))
	l.wecom.FailNext(93000, 1) // the first that is sent
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	if gone := got(l.buriedTasks())(t); !strings.Contains(gone, "say run/gone wecom/ops: ") || !strings.Contains(gone, "say run/1 wecom/old: wecom/old is no group of robots") {
		t.Errorf("given up: %s", gone)
	}
	if n := got(l.lookup("SELECT count(*) FROM outbox"))(t); n != "0" {
		t.Errorf("%s wait", n)
	}
	if !strings.Contains(l.log.String(), "copy the key") { // news brings its task back
		t.Error("the log does not tell of the message that WeCom refused")
	}
	if m := l.wecom.Messages(robotKey); len(m) == 0 || !strings.Contains(m[len(m)-1].Content, "live") {
		t.Errorf("what came behind is not told: %v", m)
	}
}
