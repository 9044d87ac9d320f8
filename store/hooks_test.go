package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNewsOutliveKill: what the disk holds in the moment after a change was committed has its news, and the task that tells it.
func TestNewsOutliveKill(t *testing.T) {
	for _, hooked := range []bool{true, false} {
		db, _ := open(t)
		db.Hooked = hooked
		r := run(t, db, "refs/heads/x", "aaaaaaaa")
		file := filepath.Join(t.TempDir(), "killed.db")
		for _, log := range []string{"", "-wal"} { // of one that is killed nothing else stays
			data, err := os.ReadFile(fileOf(t, db) + log)
			if err == nil {
				err = os.WriteFile(file+log, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		again, err := Open(t.Context(), file, []byte("key"))
		if err != nil {
			t.Fatal(err)
		}
		again.Now = db.Now
		update(t, again, func(tx *Tx) error {
			if err := tx.Recover(); err != nil {
				return err
			}
			if kept, err := tx.Run(r.ID); err != nil || kept.State != RunQueued {
				t.Errorf("the run: %+v, %v", kept, err)
			}
			_, woken, err := tx.Claim([]string{TaskNews}, time.Minute)
			if err != nil {
				return err
			}
			news, err := tx.Untold(9)
			told := []string{}
			for _, n := range news {
				told = append(told, n.Kind+" "+n.Subject+" "+n.State)
			}
			want := ""
			if hooked {
				want = "run " + r.ID + " queued"
			}
			if got := strings.Join(told, ", "); got != want || woken != hooked {
				t.Errorf("hooked %v: %q, a task: %v", hooked, got, woken)
			}
			return err
		})
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAgeHookDeliveries(t *testing.T) {
	db, now := open(t)
	before := now.Add(24 * time.Hour)
	put := func(id string) {
		update(t, db, func(tx *Tx) error {
			return tx.PutHookDelivery(HookDelivery{ID: id, Hook: "audit", Repo: "acme/web", Event: "audit", Body: []byte("{}")})
		})
	}
	for _, id := range []string{"arrived", "given up"} {
		put(id)
		update(t, db, func(tx *Tx) error {
			task, _, err := tx.Claim([]string{TaskHook}, time.Minute)
			switch {
			case err != nil || task.Key != id:
				t.Fatalf("%+v, %v", task, err)
			case id == "arrived":
				return tx.Done(task)
			}
			return tx.Bury(task, "it has not arrived")
		})
	}
	put("is tried")
	*now = before
	put("is young")
	if n := age(t, db, func(tx *Tx) (int, error) { return tx.AgeHookDeliveries(before) }); n != 2 {
		t.Errorf("%d aged out", n)
	}
	update(t, db, func(tx *Tx) error {
		ids, err := list[string](tx, "SELECT id FROM hook_deliveries ORDER BY seq")
		if got := strings.Join(ids, ", "); got != "is tried, is young" {
			t.Errorf("there are %s", got)
		}
		if b, err := tx.Buried(); len(b) > 0 || err != nil {
			t.Errorf("buried: %v, %v", b, err)
		}
		return err
	})
}
