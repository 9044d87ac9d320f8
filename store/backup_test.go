package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A backup that is made while others write has everything that was there when it began.
func TestBackupWhileWriting(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "shipmate.db")
	db, err := Open(t.Context(), file, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // the copy counts
	var acknowledged atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	written := make(chan error, 1)
	go func() {
		var err error
		for i := 0; ctx.Err() == nil && err == nil; i++ {
			_, err = db.Accept(context.Background(), Event{ID: fmt.Sprint(i), Kind: "push", Body: make([]byte, 7000)})
			acknowledged.Store(int64(i + 1))
		}
		written <- err
	}()
	deadline := time.Now().Add(20 * time.Second)
	for acknowledged.Load() < 200 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	before := acknowledged.Load()
	dest := filepath.Join(dir, "copy.db")
	c, err := Backup(t.Context(), file, dest)
	after := acknowledged.Load()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-written; err != nil {
		t.Errorf("the writer: %v", err)
	}
	if after == before {
		t.Error("nothing was written while the backup was made")
	}

	rows := map[string]int64{}
	for _, r := range c.Rows {
		rows[r.Table] = r.Rows
	}
	if rows["events"] < before || rows["tasks"] != rows["events"] {
		t.Errorf("%d events and %d tasks, %d were acknowledged before", rows["events"], rows["tasks"], before)
	}
	names, err := migrationNames()
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(dest)
	if err != nil || fi.Mode().Perm() != 0o600 || fi.Size() != c.Bytes || c.Version != len(names) {
		t.Errorf("%v, %v, %+v", fi, err, c)
	}
	copied, err := OpenRead(t.Context(), dest, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = copied.Close() }()
	if err := copied.View(t.Context(), func(tx *Tx) error {
		for i := range before {
			if _, err := tx.Event(fmt.Sprint(i)); err != nil {
				return err
			}
		}
		_, err := tx.VerifyAudit()
		return err
	}); err != nil {
		t.Error(err)
	}
	if _, err := Backup(t.Context(), file, dest); err == nil || !strings.Contains(err.Error(), "is not overwritten") {
		t.Errorf("over another file: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v stayed behind", left, err)
	}
}

func fileOf(t *testing.T, db *DB) (file string) {
	t.Helper()
	if err := db.read.Get(&file, "SELECT file FROM pragma_database_list WHERE name = 'main'"); err != nil {
		t.Fatal(err)
	}
	return file
}

// restore backs db up and restores the copy, a while later.
func restore(t *testing.T, db *DB, later time.Duration) (*DB, Restored) {
	t.Helper()
	dir := t.TempDir()
	backup, dest := filepath.Join(dir, "backup.db"), filepath.Join(dir, "shipmate.db")
	if _, err := Backup(t.Context(), fileOf(t, db), backup); err != nil {
		t.Fatal(err)
	}
	now := db.Now().Add(later)
	_, r, err := Restore(t.Context(), backup, dest, []byte("key"), func() time.Time { return now }, func(*Tx, Restored) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(dest); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v stayed behind", left, err)
	}
	looked, err := OpenRead(t.Context(), dest, []byte("key")) // before any program had it open
	if err == nil {
		err = errors.Join(looked.View(t.Context(), func(tx *Tx) error { _, err := tx.VerifyAudit(); return err }), looked.Close())
	}
	if err != nil {
		t.Error(err)
	}
	restored, err := Open(t.Context(), dest, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = restored.Close() }) // what counts was read
	restored.Now = func() time.Time { return now }
	return restored, r
}

// What came after the backup is not known: no number is given twice, and nothing of then goes on by itself.
func TestRestore(t *testing.T) {
	db, _ := open(t)
	done := run(t, db, "refs/heads/x", "aaaaaaaa")
	update(t, db, func(tx *Tx) error {
		if err := tx.StartRun(done.ID); err != nil {
			return err
		}
		_, err := tx.SucceedRun(done, []Image{{Repository: "r/x", Digest: "sha256:1"}})
		return err
	})
	live := deploy(t, db, done, CauseAutomatic, "", 1)
	finish(t, db, live, Succeeded)
	waits := deploy(t, db, done, CausePromote, "", 1)
	queued := run(t, db, "refs/heads/x", "bbbbbbbb")
	if _, err := db.Accept(t.Context(), Event{ID: "undecided", Kind: "push", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	update(t, db, func(tx *Tx) error {
		return errors.Join(tx.Audit(Entry{Actor: "alice", Action: "promote"}), tx.Wake("buried", "x"), tx.Wake("say", "run/"+done.ID))
	})
	update(t, db, func(tx *Tx) error {
		task, _, err := tx.Claim([]string{"buried"}, time.Minute)
		return errors.Join(err, tx.Bury(task, "poison"))
	})

	db, r := restore(t, db, 49*time.Hour)
	if r.NumbersAbove != 3002 || r.Held != 1 || len(r.Runs) != 1 || r.Runs[0].ID != queued.ID || len(r.Deployments) != 1 || r.Deployments[0].ID != waits.ID {
		t.Errorf("%+v", r)
	}
	next := run(t, db, "refs/heads/x", "cccccccc")
	if next.Number != 3003 {
		t.Errorf("the next run is %d", next.Number)
	}
	var rel Release
	update(t, db, func(tx *Tx) (err error) {
		if err := tx.StartRun(next.ID); err != nil {
			return err
		}
		rel, err = tx.SucceedRun(next, []Image{{Repository: "r/x", Digest: "sha256:2"}})
		return err
	})
	if d := deploy(t, db, next, CauseAutomatic, "", rel.Number); rel.Number != 3003 || d.Number != 3003 {
		t.Errorf("the next release is %d, the next deployment %d", rel.Number, d.Number)
	}
	update(t, db, func(tx *Tx) error {
		for id, want := range map[string]string{done.ID: RunSucceeded, queued.ID: RunCancelled} {
			if run, err := tx.Run(id); err != nil || run.State != want {
				t.Errorf("run %d is %s, %v", run.Number, run.State, err)
			}
		}
		for id, want := range map[string]string{live.ID: Succeeded, waits.ID: Cancelled} {
			if d, err := tx.Deployment(id); err != nil || d.State != want {
				t.Errorf("deployment %d is %s, %v", d.Number, d.State, err)
			}
		}
		if h, err := tx.Hold("acme/web", "web", "prod"); err != nil || h.By != "" {
			t.Errorf("%+v, %v", h, err)
		}
		var kinds []string
		for {
			task, ok, err := tx.Claim([]string{TaskEvent, TaskRun, TaskPrepare, "say", "buried"}, time.Minute)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			kinds = append(kinds, task.Kind+" "+task.Key)
		}
		if got := strings.Join(kinds, ", "); !strings.HasPrefix(got, "event undecided") || strings.Contains(got, done.ID) || strings.Contains(got, queued.ID) || strings.Contains(got, waits.ID) {
			t.Errorf("these go on: %s", got)
		}
		if b, err := tx.Buried(); err != nil || len(b) != 1 {
			t.Errorf("%v, %v", b, err)
		}
		n, err := tx.VerifyAudit()
		if n != 2 {
			t.Errorf("the audit has %d lines", n)
		}
		return err
	})
	if again, r := restore(t, db, 0); r.NumbersAbove != 4003 {
		t.Errorf("restored again: %+v", r)
	} else if n := run(t, again, "refs/heads/x", "dddddddd").Number; n != 4004 {
		t.Errorf("the next run is then %d", n)
	}
}

// Nobody acts by a link that may have been taken back, and what webhooks are told goes on above what they may have been told since.
func TestRestoreOfChats(t *testing.T) {
	db, _ := open(t)
	db.Hooked = true
	r := run(t, db, "refs/heads/x", "aaaaaaaa") // which is news
	var told []News
	update(t, db, func(tx *Tx) (err error) {
		told, err = tx.Untold(9)
		return errors.Join(err, tx.PutLink(Link{Scope: "slack/team", User: "U1", Login: "root", Chat: "slack/team"}),
			tx.PutLinkRequest(LinkRequest{ID: "1", Scope: "slack/team", User: "U2", Chat: "slack/team", ExpiresAt: Time{tx.now.Add(time.Hour)}}),
			tx.PutSubscription(Subscription{Chat: "slack/team", Channel: "C1", Repo: r.Repo, App: r.App, By: "root"}),
			tx.PutHookDelivery(HookDelivery{ID: "d", Hook: "audit", Repo: r.Repo, Event: "run.queued", Body: []byte("{}")}))
	})
	db, done := restore(t, db, 49*time.Hour)
	if done.Links != 1 || len(told) != 1 {
		t.Errorf("%+v, %+v", done, told)
	}
	db.Hooked = true
	run(t, db, "refs/heads/x", "bbbbbbbb")
	update(t, db, func(tx *Tx) error {
		if n, err := get[int](tx, "links", "SELECT (SELECT count(*) FROM links) + (SELECT count(*) FROM link_requests)"); n != 0 || err != nil {
			t.Errorf("%d links and requests for them, %v", n, err)
		}
		if all, err := tx.SubscriptionsTo(r.Repo, r.App); len(all) != 1 || err != nil {
			t.Errorf("subscriptions: %v, %v", all, err)
		}
		if d, err := tx.HookDelivery("d"); !d.DoneAt.IsZero() || d.Error != ReasonRestored || err != nil {
			t.Errorf("a delivery that was not made: %+v, %v", d, err)
		}
		news, err := tx.Untold(9)
		if len(news) != 1 || news[0].Seq != told[0].Seq+3*spareNews+1 {
			t.Errorf("news: %+v", news)
		}
		return err
	})
}

func TestRestoreOfAnOlderSchema(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "shipmate.db")
	c, _, err := Restore(t.Context(), older(t, 1), dest, []byte(v1Key), time.Now, func(*Tx, Restored) error { return nil })
	if err != nil || c.Version != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	db, err := Open(t.Context(), dest, []byte(v1Key))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.View(t.Context(), func(tx *Tx) error { _, err := tx.VerifyAudit(); return err }), db.Close()); err != nil {
		t.Error(err)
	}
}

// What is no whole backup of this database stays out of its place, and the reason is told.
func TestRestoreRefuses(t *testing.T) {
	source, _ := open(t)
	update(t, source, func(tx *Tx) error { return tx.Audit(Entry{Actor: "alice", Action: "promote"}) })
	for range 50 {
		run(t, source, "refs/heads/x", "aaaaaaaa")
	}
	good := filepath.Join(t.TempDir(), "good.db")
	if _, err := Backup(t.Context(), fileOf(t, source), good); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		key  string
		make func(src, dest string) error
		want string
	}{
		"no file":             {make: func(src, _ string) error { return os.Remove(src) }, want: "no such file"},
		"an empty file":       {make: func(src, _ string) error { return os.Truncate(src, 0) }, want: "it is no database of Shipmate's"},
		"not a database":      {make: func(src, _ string) error { return os.WriteFile(src, []byte(strings.Repeat("text ", 1000)), 0o600) }, want: "it cannot be read as a database"},
		"half of it":          {make: func(src, _ string) error { return os.Truncate(src, int64(len(whole)/2)) }, want: "it "},
		"damaged":             {make: func(src, _ string) error { return os.WriteFile(src, damaged(whole), 0o600) }, want: "it "},
		"another key":         {key: "another", want: "data_key is not the one"},
		"a database is there": {make: func(_, dest string) error { return os.WriteFile(dest, nil, 0o600) }, want: "exists and is not overwritten: move it away first"},
		"a log is there":      {make: func(_, dest string) error { return os.WriteFile(dest+"-wal", nil, 0o600) }, want: "-wal exists and is not overwritten: move it away first"},
		"a database in use":   {make: func(src, _ string) error { return os.WriteFile(src+"-wal", []byte("x"), 0o600) }, want: "is a database in use and no backup"},
		"of another program": {make: func(src, _ string) error {
			if err := os.Remove(src); err != nil {
				return err
			}
			q := raw(t, src)
			_, err := q.Exec("CREATE TABLE x (y)")
			return errors.Join(err, q.Close())
		}, want: "it is no database of Shipmate's"},
		"of a newer program": {make: func(src, _ string) error {
			q := raw(t, src)
			_, err := q.Exec("PRAGMA user_version = 99")
			return errors.Join(err, q.Close())
		}, want: "it has schema 99"},
		"a changed audit": {make: func(src, _ string) error {
			q := raw(t, src)
			_, err := q.Exec("DROP TRIGGER audit_no_update; UPDATE audit SET actor = 'bob'")
			return errors.Join(err, q.Close())
		}, want: "line 1 was changed or moved"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			src, dest := filepath.Join(dir, "src.db"), filepath.Join(dir, "shipmate.db")
			err := os.WriteFile(src, whole, 0o600)
			if err == nil && c.make != nil {
				err = c.make(src, dest)
			}
			if err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(dest)
			_, _, err = Restore(t.Context(), src, dest, []byte(cmp.Or(c.key, "key")), time.Now, func(*Tx, Restored) error { return nil })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if after, _ := os.ReadFile(dest); string(after) != string(before) {
				t.Error("something was put in its place")
			}
			if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
				t.Errorf("%v, %v stayed behind", left, err)
			}
		})
	}
}

// damaged overwrites the middle of a file.
func damaged(whole []byte) []byte {
	b := slices.Clone(whole)
	for i := len(b) / 2; i < len(b)/2+8192; i++ {
		b[i] = 0xff
	}
	return b
}
