package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

// age ages out by before until nothing is left.
func age(t *testing.T, db *DB, fn func(*Tx) (int, error)) (total int) {
	t.Helper()
	for n := 1; n > 0; total += n {
		update(t, db, func(tx *Tx) (err error) { n, err = fn(tx); return err })
	}
	return total
}

func TestAgeEvents(t *testing.T) {
	db, now := open(t)
	old, before := *now, now.Add(24*time.Hour)
	cases := map[string]struct {
		at        time.Time
		undecided bool
		also      func(*Tx, string) error
		row, body bool // what stays
	}{
		"nothing came of it":      {at: old},
		"a run came of it":        {at: old, row: true, also: func(tx *Tx, id string) error { return tx.NewRun(runOf(id)) }},
		"a deployment came of it": {at: old, row: true, also: func(tx *Tx, id string) error { return tx.NewDeployment(deploymentOf(id)) }},
		"it was answered": {at: old, also: func(tx *Tx, id string) error {
			return errors.Join(tx.PutReply(Reply{Event: id, Issue: 1}), removeTask(tx, TaskReply, id))
		}},
		"its answer is to be said": {at: old, row: true, body: true, also: func(tx *Tx, id string) error { return tx.PutReply(Reply{Event: id, Issue: 1}) }},
		"it is worked":             {at: old, row: true, body: true, also: func(tx *Tx, id string) error { return tx.Add(TaskEvent, id) }},
		"it is not decided":        {at: old, undecided: true, row: true, body: true},
		"it is young":              {at: before, row: true, body: true},
	}
	for id, c := range cases {
		*now = c.at
		update(t, db, func(tx *Tx) error {
			_, err := tx.PutEvent(Event{ID: id, Kind: "push", Body: []byte("{}")})
			if err == nil && !c.undecided {
				err = tx.Decide(id, []string{"decided"})
			}
			if err == nil && c.also != nil {
				err = c.also(tx, id)
			}
			return err
		})
	}
	*now = before.Add(time.Hour)
	for round, want := range []int{4, 0} { // what was aged out is not found again
		if n := age(t, db, func(tx *Tx) (int, error) { return tx.AgeEvents(before) }); n != want {
			t.Errorf("round %d: %d events aged out, want %d", round, n, want)
		}
	}
	update(t, db, func(tx *Tx) error {
		for id, c := range cases {
			e, err := Optional(tx.Event(id))
			if err != nil {
				return err
			}
			if (e != nil) != c.row {
				t.Errorf("%s: the event is there: %v", id, e != nil)
			} else if e != nil && (len(e.Body) > 0 != c.body || !c.undecided && len(e.Trace.V) != 1) {
				t.Errorf("%s: %q, %q", id, e.Body, e.Trace.V)
			}
		}
		if _, err := tx.Reply("it was answered"); !errors.Is(err, ErrNotFound) {
			t.Errorf("its answer: %v", err)
		}
		return nil
	})
}

func runOf(event string) *Run {
	return &Run{Repo: "acme/web", App: "web", Ref: "refs/heads/x", SHA: "aaaaaaaa", Cause: CauseCommand, Event: event, Config: JSON[json.RawMessage]{json.RawMessage("{}")}}
}

func deploymentOf(event string) *Deployment {
	return &Deployment{Repo: "acme/web", App: "web", Environment: "prod", Cause: CauseDeploy, Event: event, Spec: JSON[json.RawMessage]{json.RawMessage("{}")}}
}

func removeTask(tx *Tx, kind, key string) error {
	_, err := tx.exec("DELETE FROM tasks WHERE kind = ? AND key = ?", kind, key)
	return err
}

func TestAgeObjects(t *testing.T) {
	db, now := open(t)
	r := run(t, db, "refs/heads/x", "aaaaaaaa")
	made := map[string]Deployment{}
	for _, state := range []string{Succeeded, Failed, Cancelled} {
		d := deploy(t, db, r, CauseDeploy, "", 1)
		update(t, db, func(tx *Tx) error { return tx.Prepared(d, []byte("objects"), "hash", json.RawMessage("[]"), "changes") })
		finish(t, db, d, state)
		made[state] = d
	}
	*now = now.Add(48 * time.Hour)
	young := deploy(t, db, r, CauseDeploy, "", 1)
	update(t, db, func(tx *Tx) error { return tx.Prepared(young, []byte("objects"), "hash", json.RawMessage("[]"), "") })
	finish(t, db, young, Failed)
	open := deploy(t, db, r, CauseDeploy, "", 1)
	update(t, db, func(tx *Tx) error { return tx.Prepared(open, []byte("objects"), "hash", json.RawMessage("[]"), "") })
	made["young"], made["open"] = young, open

	if n := age(t, db, func(tx *Tx) (int, error) { return tx.AgeObjects(now.Add(-24 * time.Hour)) }); n != 2 {
		t.Errorf("%d aged out", n)
	}
	update(t, db, func(tx *Tx) error {
		for name, d := range made {
			d, err := tx.Deployment(d.ID)
			if want := name != Failed && name != Cancelled; err != nil || (d.Objects != nil) != want || d.ObjectsHash != "hash" {
				t.Errorf("%s: %q, %v", name, d.Objects, err)
			}
		}
		return nil
	})
}

func TestAgeJobLogs(t *testing.T) {
	db, now := open(t)
	r := run(t, db, "refs/heads/x", "aaaaaaaa")
	made := []Deployment{}
	for range 2 {
		d := Deployment{Repo: r.Repo, App: r.App, Environment: "staging", Release: 1, Cause: CauseDeploy, Run: r.ID, Spec: JSON[json.RawMessage]{V: json.RawMessage("{}")}}
		update(t, db, func(tx *Tx) error { return tx.NewDeployment(&d, "job/1/a.yaml", "apply") })
		update(t, db, func(tx *Tx) error {
			_, err := tx.StartStep(d.ID, "job/1/a.yaml")
			return errors.Join(err, tx.NoteStep(d.ID, "job/1/a.yaml", StepResult{Object: "Job/a", UID: "1", Logs: []string{"done"}}), tx.EndStep(d.ID, "job/1/a.yaml", StepSucceeded, ""))
		})
		made = append(made, d)
		*now = now.Add(48 * time.Hour)
	}
	if n := age(t, db, func(tx *Tx) (int, error) { return tx.AgeJobLogs(now.Add(-72 * time.Hour)) }); n != 1 {
		t.Errorf("%d aged out", n)
	}
	update(t, db, func(tx *Tx) error {
		for i, d := range made {
			s, err := tx.Step(d.ID, "job/1/a.yaml")
			jobs, also := tx.JobsOf(d.ID) // it ran, all the same
			if err := errors.Join(err, also); err != nil || len(s.Result.V.Logs) != i || len(jobs) != 1 {
				t.Errorf("%d: %+v, %v, %v", i, s.Result.V, jobs, err)
			}
		}
		return nil
	})
}

// However often the file is filled and aged, it does not grow, and what was freed is given back.
func TestShrink(t *testing.T) {
	db, now := open(t)
	file := fileOf(t, db)
	size := func() (total int64) {
		for _, name := range []string{file, file + "-wal"} {
			fi, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			total += fi.Size()
		}
		return total
	}
	body := make([]byte, 7000)
	_, _ = rand.Read(body) // never fails
	var low int64
	for round := range 5 {
		update(t, db, func(tx *Tx) error {
			for i := range 500 {
				id := fmt.Sprint(round, "-", i)
				if _, err := tx.PutEvent(Event{ID: id, Kind: "push", Body: body}); err != nil {
					return err
				}
				if err := tx.Decide(id, nil); err != nil {
					return err
				}
			}
			return nil
		})
		full := size()
		*now = now.Add(time.Hour)
		if n := age(t, db, func(tx *Tx) (int, error) { return tx.AgeEvents(*now) }); n != 500 {
			t.Fatalf("%d aged out", n)
		}
		if err := db.Shrink(t.Context()); err != nil {
			t.Fatal(err)
		}
		left := size()
		t.Logf("round %d: %d KiB full, %d KiB aged", round, full>>10, left>>10)
		if round == 0 {
			low = left
		}
		if left > full/4 || left > low+low/10 {
			t.Errorf("round %d: %d bytes full, %d aged, %d aged in the first round", round, full, left, low)
		}
	}
}

// Somebody who reads for long (a backup) keeps nobody from writing for longer than a moment.
func TestShrinkBesideALongReader(t *testing.T) {
	db, _ := open(t)
	run(t, db, "refs/heads/x", "aaaaaaaa")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // of the 10 that a connection waits for a lock
	defer cancel()
	if err := db.View(ctx, func(tx *Tx) error {
		if _, err := tx.Apps("acme/web"); err != nil { // the snapshot begins
			return err
		}
		run(t, db, "refs/heads/x", "bbbbbbbb")
		return db.Shrink(ctx)
	}); err != nil {
		t.Error(err)
	}
	run(t, db, "refs/heads/x", "cccccccc")
}
