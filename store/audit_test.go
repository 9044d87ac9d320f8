package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever can write to the file, but has not the data key, is found out, and the line is named.
func TestAuditFindsTampering(t *testing.T) {
	cases := []struct {
		name   string
		attack []string
		want   string // "" for nothing wrong
	}{
		{"nothing", nil, ""},
		{"a changed first line", []string{"UPDATE audit SET actor = 'bob' WHERE seq = 1"}, "line 1 was changed or moved"},
		{"a changed line", []string{"UPDATE audit SET actor = 'bob' WHERE seq = 3"}, "line 3 was changed or moved"},
		{"a changed last line", []string{"UPDATE audit SET detail = 'x' WHERE seq = 5"}, "line 5 was changed or moved"},
		{"a changed time", []string{"UPDATE audit SET at = '2020-01-01T00:00:00.000Z' WHERE seq = 4"}, "line 4 was changed or moved"},
		{"a changed mac", []string{"UPDATE audit SET mac = x'00' WHERE seq = 4"}, "line 4 was changed or moved"},
		{"a removed first line", []string{"DELETE FROM audit WHERE seq = 1"}, "line 1 is missing"},
		{"a removed line", []string{"DELETE FROM audit WHERE seq = 2"}, "line 2 is missing"},
		{"two removed lines", []string{"DELETE FROM audit WHERE seq IN (2, 3)"}, "lines 2 to 3 are missing"},
		{"a removed last line", []string{"DELETE FROM audit WHERE seq = 5"}, "line 5 is missing"},
		{"an emptied audit", []string{"DELETE FROM audit"}, "lines 1 to 5 are missing"},
		{"a removed line whose place was closed", []string{"DELETE FROM audit WHERE seq = 3", "UPDATE audit SET seq = 3 WHERE seq = 4", "UPDATE audit SET seq = 4 WHERE seq = 5"},
			"line 3 was changed or moved"},
		{"swapped lines", []string{"UPDATE audit SET seq = 99 WHERE seq = 2", "UPDATE audit SET seq = 2 WHERE seq = 4", "UPDATE audit SET seq = 4 WHERE seq = 99"},
			"line 2 was changed or moved"},
		{"an added line", []string{"INSERT INTO audit SELECT 6, at, actor, via, action, repo, subject, detail, mac FROM audit WHERE seq = 5"}, "line 6 was changed or moved"},
		{"a line before the first", []string{"INSERT INTO audit SELECT 0, at, actor, via, action, repo, subject, detail, mac FROM audit WHERE seq = 1"}, "line 0 was changed or moved"},
		{"a cut end with a head to match", []string{"DELETE FROM audit WHERE seq = 5", "UPDATE audit_head SET seq = 4, mac = (SELECT mac FROM audit WHERE seq = 4)"}, "the head was changed"},
		{"an emptied audit with a head to match", []string{"DELETE FROM audit", "UPDATE audit_head SET seq = 0"}, "the head was changed"},
		{"a head that is behind", []string{"UPDATE audit_head SET seq = 4"}, "the head was changed: it says that line 4 is the last of 5"},
		{"no head", []string{"DELETE FROM audit_head"}, "head: not found: it was removed"},
		{"another key", []string{"UPDATE audit_head SET key = x'00'"}, "data_key is not the one"},
	}
	for _, c := range cases {
		for _, goOn := range []bool{false, true} { // what comes after must not hide it
			if goOn && (c.name == "an added line" || c.want == "") {
				continue
			}
			t.Run(fmt.Sprint(c.name, ", went on: ", goOn), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "shipmate.db")
				db, err := Open(t.Context(), file, []byte("key"))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = db.Close() }() // what counts was read
				for i := range 5 {
					update(t, db, func(tx *Tx) error { return tx.Audit(Entry{Actor: "alice", Action: "promote", Subject: fmt.Sprint(i)}) })
				}
				q := raw(t, file)
				for _, trigger := range []string{"audit_no_update", "audit_no_delete"} {
					q.MustExec("DROP TRIGGER " + trigger)
				}
				for _, statement := range c.attack {
					q.MustExec(statement)
				}
				if goOn {
					update(t, db, func(tx *Tx) error { return tx.Audit(Entry{Actor: "alice", Action: "approve"}) })
				}
				err = db.View(t.Context(), func(tx *Tx) error { _, err := tx.VerifyAudit(); return err })
				want := c.want
				if goOn && strings.Contains(want, "the head was changed") {
					want = "" // any of its lines
				}
				switch {
				case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), want)):
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		}
	}
}

func TestAuditIsAppendOnly(t *testing.T) {
	db, _ := open(t)
	update(t, db, func(tx *Tx) error { return tx.Audit(Entry{Actor: "alice", Action: "promote"}) })
	for _, statement := range []string{"UPDATE audit SET actor = 'bob'", "DELETE FROM audit"} {
		if _, err := db.write.Exec(statement); err == nil {
			t.Errorf("%s: went through", statement)
		}
	}
}

// A line that was rolled back leaves no trace, in the head neither.
func TestAuditOfAFailedTransaction(t *testing.T) {
	db, _ := open(t)
	update(t, db, func(tx *Tx) error { return tx.Audit(Entry{Actor: "alice", Action: "promote"}) })
	failed := errors.New("failed")
	if err := db.Update(t.Context(), func(tx *Tx) error { return errors.Join(tx.Audit(Entry{Actor: "bob"}), failed) }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	update(t, db, func(tx *Tx) error {
		n, err := tx.VerifyAudit()
		if n != 1 {
			t.Errorf("%d lines", n)
		}
		return err
	})
}

func TestAnotherKeyIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shipmate.db")
	db, err := Open(t.Context(), file, []byte("key"))
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), file, []byte("another")); !errors.Is(err, ErrKey) {
		t.Errorf("Open: %v", err)
	}
	if _, err := OpenRead(t.Context(), file, []byte("another")); !errors.Is(err, ErrKey) {
		t.Errorf("OpenRead: %v", err)
	}
}
