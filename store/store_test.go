package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T) (*DB, *time.Time) {
	t.Helper()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "a b?c.db"), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	db.Now = func() time.Time { return now }
	return db, &now
}

func update(t *testing.T, db *DB, fn func(*Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestPragmas(t *testing.T) {
	db, _ := open(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "auto_vacuum": "2"} {
		var got string
		if err := db.write.Get(&got, "PRAGMA "+pragma); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", pragma, got, err, want)
		}
	}
	if _, err := db.read.Exec("DELETE FROM events"); err == nil {
		t.Error("the readers can write")
	}
}

func TestAcceptOnce(t *testing.T) {
	db, _ := open(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for i := range 100 {
		wg.Go(func() {
			ok, err := db.Accept(t.Context(), Event{ID: fmt.Sprint(i % 50), Kind: "push", Body: []byte("{}")})
			if err != nil {
				t.Error(err)
			}
			if ok {
				mu.Lock()
				fresh++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	var tasks int
	update(t, db, func(tx *Tx) (err error) { tasks, err = tx.Tasks(); return err })
	if fresh != 50 || tasks != 50 {
		t.Errorf("%d fresh deliveries and %d tasks, want 50 and 50", fresh, tasks)
	}
}

func TestAcceptReportsAFailure(t *testing.T) {
	db, _ := open(t)
	if _, err := db.write.Exec("DROP TABLE tasks"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Accept(t.Context(), Event{ID: "1", Kind: "push", Body: []byte("{}")}); err == nil {
		t.Fatal("a delivery that could not be stored was acknowledged")
	}
	var n int
	if err := db.read.Get(&n, "SELECT count(*) FROM events"); err != nil || n != 0 {
		t.Errorf("%d events, %v: half a transaction stayed", n, err)
	}
}

func claim(t *testing.T, db *DB) (task Task, ok bool) {
	t.Helper()
	update(t, db, func(tx *Tx) (err error) { task, ok, err = tx.Claim([]string{"k"}, time.Minute); return err })
	return task, ok
}

func TestQueue(t *testing.T) {
	add := func(tx *Tx) error { return tx.Add("k", "a") }
	wake := func(tx *Tx) error { return tx.Wake("k", "a") }
	none := func(t *testing.T, db *DB) {
		t.Helper()
		if task, ok := claim(t, db); ok {
			t.Fatalf("%+v was handed out", task)
		}
	}
	one := func(t *testing.T, db *DB) Task {
		t.Helper()
		task, ok := claim(t, db)
		if !ok {
			t.Fatal("nothing was handed out")
		}
		return task
	}
	cases := map[string]func(t *testing.T, db *DB, now *time.Time){
		"done is gone": func(t *testing.T, db *DB, now *time.Time) {
			update(t, db, add)
			task := one(t, db)
			none(t, db)
			update(t, db, func(tx *Tx) error { return tx.Done(task) })
			none(t, db)
		},
		"added twice, worked once": func(t *testing.T, db *DB, now *time.Time) {
			update(t, db, add)
			update(t, db, add)
			task := one(t, db)
			update(t, db, add)
			update(t, db, func(tx *Tx) error { return tx.Done(task) })
			none(t, db)
		},
		"woken while worked, worked again, not at the same time": func(t *testing.T, db *DB, now *time.Time) {
			update(t, db, wake)
			task := one(t, db)
			update(t, db, wake)
			none(t, db)
			update(t, db, func(tx *Tx) error { return tx.Done(task) })
			again := one(t, db)
			update(t, db, func(tx *Tx) error { return tx.Done(again) })
			none(t, db)
		},
		"a lost lease cannot finish": func(t *testing.T, db *DB, now *time.Time) {
			update(t, db, add)
			late := one(t, db)
			*now = now.Add(time.Minute)
			task := one(t, db)
			for name, finish := range map[string]func(*Tx) error{
				"Done":  func(tx *Tx) error { return tx.Done(late) },
				"Retry": func(tx *Tx) error { return tx.Retry(late, *now, "x") },
				"Bury":  func(tx *Tx) error { return tx.Bury(late, "x") },
				"Renew": func(tx *Tx) error { return tx.Renew(late, time.Hour) },
			} {
				if err := db.Update(t.Context(), finish); !errors.Is(err, ErrLost) {
					t.Errorf("%s: %v, want ErrLost", name, err)
				}
			}
			update(t, db, func(tx *Tx) error { return tx.Done(task) })
			// The same key again is another row: the old claims do not fit.
			update(t, db, add)
			one(t, db)
			if err := db.Update(t.Context(), func(tx *Tx) error { return tx.Done(late) }); !errors.Is(err, ErrLost) {
				t.Errorf("late Done on a new row: %v, want ErrLost", err)
			}
		},
		"a renewed lease holds": func(t *testing.T, db *DB, now *time.Time) {
			update(t, db, add)
			task := one(t, db)
			*now = now.Add(50 * time.Second)
			update(t, db, func(tx *Tx) error { return tx.Renew(task, time.Minute) })
			*now = now.Add(50 * time.Second)
			none(t, db)
		},
		"a retry waits, also when woken": func(t *testing.T, db *DB, now *time.Time) {
			update(t, db, add)
			task := one(t, db)
			update(t, db, func(tx *Tx) error { return tx.Retry(task, now.Add(time.Second), "far end down") })
			update(t, db, wake)
			none(t, db)
			*now = now.Add(time.Second)
			if task := one(t, db); task.Attempts != 1 || task.Reason != "far end down" {
				t.Errorf("got %+v", task)
			}
		},
		"a sleeper is woken": func(t *testing.T, db *DB, now *time.Time) {
			update(t, db, add)
			task := one(t, db)
			update(t, db, func(tx *Tx) error { return tx.Sleep(task, now.Add(time.Hour)) })
			none(t, db)
			update(t, db, wake)
			one(t, db)
		},
		"buried until woken": func(t *testing.T, db *DB, now *time.Time) {
			update(t, db, add)
			task := one(t, db)
			update(t, db, func(tx *Tx) error { return tx.Bury(task, "poison") })
			*now = now.Add(time.Hour)
			none(t, db)
			update(t, db, add)
			none(t, db)
			update(t, db, wake)
			one(t, db)
		},
		"after a crash leases are free": func(t *testing.T, db *DB, now *time.Time) {
			update(t, db, add)
			late := one(t, db)
			update(t, db, func(tx *Tx) error { return tx.Recover() })
			if err := db.Update(t.Context(), func(tx *Tx) error { return tx.Done(late) }); !errors.Is(err, ErrLost) {
				t.Errorf("late Done: %v, want ErrLost", err)
			}
			one(t, db)
		},
	}
	for name, fn := range cases {
		t.Run(name, func(t *testing.T) {
			db, now := open(t)
			fn(t, db, now)
		})
	}
}

func TestNextDue(t *testing.T) {
	db, now := open(t)
	next := func() (at time.Time, ok bool) {
		update(t, db, func(tx *Tx) (err error) { at, ok, err = tx.NextDue([]string{"k"}); return err })
		return at, ok
	}
	if _, ok := next(); ok {
		t.Error("an empty queue has something due")
	}
	update(t, db, func(tx *Tx) error { return tx.WakeAt("k", "later", now.Add(time.Hour)) })
	if at, ok := next(); !ok || !at.Equal(now.Add(time.Hour)) {
		t.Errorf("got %v %v", at, ok)
	}
}

func run(t *testing.T, db *DB, ref, sha string) Run {
	t.Helper()
	r := Run{Repo: "acme/web", App: "web", Ref: ref, SHA: sha, Cause: "push", Config: JSON[json.RawMessage]{json.RawMessage("{}")}}
	update(t, db, func(tx *Tx) error { return tx.NewRun(&r, "fetch", "build") })
	return r
}

func read(t *testing.T, db *DB, id string) (r Run) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *Tx) (err error) { r, err = tx.Run(id); return err }); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunSupersedesThoseOfItsRef(t *testing.T) {
	db, _ := open(t)
	a, other := run(t, db, "refs/heads/x", "aaaaaaaa"), run(t, db, "refs/heads/y", "bbbbbbbb")
	b := run(t, db, "refs/heads/x", "cccccccc")
	for id, want := range map[string]string{a.ID: RunSuperseded, other.ID: RunQueued, b.ID: RunQueued} {
		if got := read(t, db, id); got.State != want {
			t.Errorf("run %d is %s, want %s", got.Number, got.State, want)
		}
	}
}

func TestNoStateIsReachedFromAWrongOne(t *testing.T) {
	db, _ := open(t)
	r := run(t, db, "refs/heads/x", "aaaaaaaa")
	succeed := func(tx *Tx) error {
		_, err := tx.SucceedRun(r, []Image{{Repository: "r/x", Digest: "sha256:1"}})
		return err
	}
	if err := db.Update(t.Context(), succeed); !errors.Is(err, ErrState) {
		t.Errorf("queued → succeeded: %v, want ErrState", err)
	}
	update(t, db, func(tx *Tx) error { return tx.StartRun(r.ID) })
	update(t, db, succeed)
	for name, fn := range map[string]func(*Tx) error{
		"succeed twice": succeed,
		"fail after":    func(tx *Tx) error { return tx.EndRun(r.ID, RunFailed, "x", nil) },
		"start again":   func(tx *Tx) error { return tx.StartRun(r.ID) },
	} {
		if err := db.Update(t.Context(), fn); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v, want ErrState", name, err)
		}
	}
	if got := read(t, db, r.ID); got.State != RunSucceeded || got.Release != 1 {
		t.Errorf("got %+v", got)
	}
	if _, err := db.write.Exec("UPDATE releases SET images = '[]'"); err == nil || !strings.Contains(err.Error(), "immutable") {
		t.Errorf("a release was changed: %v", err)
	}
	if _, err := db.write.Exec("UPDATE runs SET state = 'odd'"); err == nil {
		t.Error("an unknown state was stored")
	}
}

// A run notes the first release of its app that has the same image in the same repository.
func TestSameImage(t *testing.T) {
	db, _ := open(t)
	for i, tt := range []struct {
		image Image
		want  int
	}{
		{Image{Repository: "r/x", Digest: "sha256:1"}, 0},
		{Image{Repository: "r/x", Digest: "sha256:2"}, 0},
		{Image{Repository: "r/y", Digest: "sha256:1"}, 0},
		{Image{Repository: "r/x", Digest: "sha256:1", Parts: []string{"sha256:3"}}, 1},
		{Image{Repository: "r/x", Digest: "sha256:1"}, 1},
		{Image{Repository: "r/y", Digest: "sha256:1"}, 3},
	} {
		r := run(t, db, "refs/heads/x", fmt.Sprint(i))
		update(t, db, func(tx *Tx) error {
			if err := tx.StartRun(r.ID); err != nil {
				return err
			}
			_, err := tx.SucceedRun(r, []Image{tt.image})
			return err
		})
		if got := read(t, db, r.ID); got.SameAs != tt.want || got.Release != i+1 {
			t.Errorf("release %d has the same image as %d, want %d", got.Release, got.SameAs, tt.want)
		}
	}
}

// Each state of each table in from must be one that its CHECK constraint knows.
func TestTransitionsKnowTheConstraints(t *testing.T) {
	db, _ := open(t)
	for table, states := range from {
		var ddl string
		if err := db.read.Get(&ddl, "SELECT sql FROM sqlite_master WHERE name = ?", table); err != nil {
			t.Fatal(err)
		}
		for to, froms := range states {
			for _, s := range append(slices.Clone(froms), to) {
				if !strings.Contains(ddl, "'"+s+"'") {
					t.Errorf("%s: the constraint does not know %q", table, s)
				}
			}
		}
	}
}

func deploy(t *testing.T, db *DB, r Run, cause, restores string, release int) Deployment {
	t.Helper()
	d := Deployment{Repo: r.Repo, App: r.App, Environment: "prod", Release: release, Cause: cause, Requester: "alice", Run: r.ID, Restores: restores, Spec: JSON[json.RawMessage]{json.RawMessage("{}")}}
	update(t, db, func(tx *Tx) error { return tx.NewDeployment(&d) })
	return d
}

func finish(t *testing.T, db *DB, d Deployment, state string) {
	t.Helper()
	update(t, db, func(tx *Tx) error {
		if state == Succeeded {
			return errors.Join(tx.Begin(d), tx.Advance(d, Progressing), tx.Advance(d, Verifying), tx.EndDeployment(d, Succeeded, "", nil))
		}
		return errors.Join(tx.Begin(d), tx.EndDeployment(d, state, "", nil))
	})
}

func TestBefore(t *testing.T) {
	db, _ := open(t)
	r := run(t, db, "refs/heads/x", "aaaaaaaa")
	before := func(d Deployment) int {
		t.Helper()
		var b Deployment
		err := db.View(t.Context(), func(tx *Tx) error {
			d, err := tx.Deployment(d.ID)
			if err != nil {
				return err
			}
			b, err = tx.Before(d)
			return err
		})
		if errors.Is(err, ErrNotFound) {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.Release
	}
	d1 := deploy(t, db, r, CauseAutomatic, "", 1)
	finish(t, db, d1, Succeeded)
	d2 := deploy(t, db, r, CauseAutomatic, "", 2)
	finish(t, db, d2, Succeeded)
	bad := deploy(t, db, r, CauseAutomatic, "", 3)
	finish(t, db, bad, Failed)
	if got := before(bad); got != 2 {
		t.Errorf("before the failed 3: %d, want 2", got)
	}
	d3 := deploy(t, db, r, CauseAutomatic, "", 3)
	finish(t, db, d3, Succeeded)
	back := deploy(t, db, r, CauseRollback, d2.ID, 2)
	finish(t, db, back, Succeeded)
	if got := before(back); got != 1 {
		t.Errorf("before the rollback to 2: %d, want 1", got)
	}
	back2 := deploy(t, db, r, CauseRollback, d1.ID, 1)
	finish(t, db, back2, Succeeded)
	if got := before(back2); got != 0 {
		t.Errorf("before the first: %d, want none", got)
	}
}

func TestNewDeploymentSupersedesWhatWaits(t *testing.T) {
	db, _ := open(t)
	r := run(t, db, "refs/heads/x", "aaaaaaaa")
	state := func(d Deployment) (s string) {
		if err := db.View(t.Context(), func(tx *Tx) error { d, err := tx.Deployment(d.ID); s = d.State; return err }); err != nil {
			t.Fatal(err)
		}
		return s
	}
	auto := deploy(t, db, r, CauseAutomatic, "", 1)
	asked := deploy(t, db, r, CauseDeploy, "", 2)
	if got := state(auto); got != Superseded {
		t.Errorf("the older automatic one is %s", got)
	}
	deploy(t, db, r, CauseAutomatic, "", 3)
	if got := state(asked); got != Queued {
		t.Errorf("what a person asked for is %s", got)
	}
	deploy(t, db, r, CauseRecovery, "", 1)
	if got := state(asked); got != Queued {
		t.Errorf("what waits behind a recovery is %s", got)
	}
	update(t, db, func(tx *Tx) error { return tx.Begin(asked) })
	deploy(t, db, r, CauseRollback, "", 1)
	if got := state(asked); got != Applying {
		t.Errorf("what is being made is %s", got)
	}
}
