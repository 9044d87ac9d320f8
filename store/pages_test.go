package store

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A task is about the repository of what it works on; of what is gone, none.
func TestTaskRepo(t *testing.T) {
	db, _ := open(t)
	r := run(t, db, "refs/heads/master", "11111111")
	repo := r.Repo
	update(t, db, func(tx *Tx) error {
		if _, err := tx.PutEvent(Event{ID: "e", Kind: "push", Repo: &repo, Body: []byte("{}")}); err != nil {
			return err
		}
		if _, err := tx.PutEvent(Event{ID: "nobodys", Kind: "ping", Body: []byte("{}")}); err != nil {
			return err
		}
		o := Order{Repo: repo, Environment: "production", Requester: "alice"}
		if err := errors.Join(tx.NewOrder(&o), tx.PutRepo(Repo{Name: repo, DefaultBranch: "master", HTMLURL: "https://github.example"})); err != nil {
			return err
		}
		for _, c := range []struct{ kind, key, want string }{
			{TaskEvent, "e", repo}, {TaskReply, "e", repo}, {TaskEvent, "nobodys", ""}, {TaskEvent, "gone", ""},
			{TaskRun, r.ID, repo}, {TaskForkRun, r.ID, repo}, {TaskRun, "gone", ""}, {TaskPrepare, "gone", ""},
			{TaskOrder, o.ID, repo}, {TaskReport, "run/" + r.ID, repo}, {TaskReport, "order/" + o.ID, repo}, {TaskReport, "run/gone", ""},
			{TaskSay, "run/" + r.ID + "\nwecom/ops", repo}, {TaskSay, "command/e\nslack/x", repo}, {TaskEnv, EnvKey(repo, r.App, "staging"), repo},
			{TaskEnv, EnvKey("acme/gone", "web", "staging"), ""}, {"declare", repo, repo}, {TaskKeep, "", ""}, {TaskLocks, "", ""}, {"recover", "deliveries", ""},
		} {
			if got, err := tx.TaskRepo(Task{Kind: c.kind, Key: c.key}); got != c.want || err != nil {
				t.Errorf("%s %q is about %q, want %q; %v", c.kind, c.key, got, c.want, err)
			}
		}
		return nil
	})
}

func TestRevive(t *testing.T) {
	db, _ := open(t)
	update(t, db, func(tx *Tx) error {
		return errors.Join(tx.Recover(), tx.Wake("work", "key"))
	})
	update(t, db, func(tx *Tx) error {
		task, ok, err := tx.Claim([]string{"work"}, time.Minute)
		if err != nil || !ok {
			return errors.Join(err, ErrNotFound)
		}
		return tx.Bury(task, "no luck")
	})
	var buried []QueuedTask
	update(t, db, func(tx *Tx) (err error) { buried, err = tx.GivenUp(10); return err })
	if len(buried) != 1 || buried[0].Reason != "no luck" {
		t.Fatalf("%+v", buried)
	}
	changed := db.Changed()
	update(t, db, func(tx *Tx) error { return tx.Revive(buried[0], "acme/web", "alice", "page") })
	select {
	case <-changed:
	default:
		t.Error("nobody is told that there is work")
	}
	update(t, db, func(tx *Tx) error {
		if err := tx.Nested(func() error { return tx.Revive(buried[0], "acme/web", "alice", "page") }); !errors.Is(err, ErrState) {
			t.Errorf("what is not given up: %v", err)
		}
		task, ok, err := tx.Claim([]string{"work"}, time.Minute)
		if !ok || task.Attempts != 0 {
			t.Errorf("%+v %v", task, ok)
		}
		lines, err2 := tx.AuditOf("acme/web", "", 1<<62, 10)
		if len(lines) != 1 || lines[0].Actor != "alice" || lines[0].Action != "retry" {
			t.Errorf("%+v", lines)
		}
		n, err3 := tx.VerifyAudit()
		if n != 1 {
			t.Errorf("the audit has %d lines", n)
		}
		return errors.Join(err, err2, err3)
	})
}

// A list of events holds no large body, and goes on where it ended, also where many came at once.
func TestEventsOf(t *testing.T) {
	const largeBody = 256 << 10
	db, _ := open(t)
	repo := "acme/web"
	update(t, db, func(tx *Tx) (err error) {
		for i := range 7 {
			_, e := tx.PutEvent(Event{ID: fmt.Sprint("e", i), Kind: "push", Repo: &repo, Body: bytes.Repeat([]byte("x"), largeBody+i-5)})
			err = errors.Join(err, e)
		}
		return err
	})
	var ids []string
	var before Event
	for {
		update(t, db, func(tx *Tx) error {
			events, err := tx.EventsOf(repo, before, 2)
			for _, e := range events {
				ids = append(ids, e.ID)
				if i := int(e.ID[1] - '0'); len(e.Body) != largeBody+i-5 && (i <= 5 || len(e.Body) != 0) {
					t.Errorf("%s has %d bytes", e.ID, len(e.Body))
				}
				before = e
			}
			if len(events) == 0 {
				before.ID = ""
			}
			return err
		})
		if before.ID == "" {
			break
		}
	}
	if got := strings.Join(ids, " "); got != "e6 e5 e4 e3 e2 e1 e0" {
		t.Errorf("%s", got)
	}
}
