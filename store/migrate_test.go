package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
)

// v1Key is the data key of testdata/v1.sql.
const v1Key = "a data key of 32 characters or so"

// older makes a database of an earlier schema, with the rows that its program left in it (testdata/v<version>.sql).
func older(t *testing.T, version int) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "shipmate.db")
	q, err := sqlx.Open("sqlite", fileURI(file)+"?_pragma=auto_vacuum(INCREMENTAL)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	names, err := migrationNames()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names[:version] {
		script, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Exec(string(script)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	rows, err := os.ReadFile(fmt.Sprintf("testdata/v%d.sql", version))
	if err != nil {
		t.Fatalf("%v: write what that version leaves in each table", err)
	}
	if _, err := q.Exec(string(rows)); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Exec(fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// Every earlier schema comes forward with all that was in it.
func TestMigrate(t *testing.T) {
	names, err := migrationNames()
	if err != nil {
		t.Fatal(err)
	}
	for version := 1; version < len(names); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			file := older(t, version)
			before := tables(t, file)
			if _, err := OpenRead(t.Context(), file, []byte(v1Key)); err == nil || !strings.Contains(err.Error(), "start this version of the bot once") {
				t.Errorf("read before it is migrated: %v", err)
			}
			migrated, err := Open(t.Context(), file, []byte(v1Key))
			if err != nil {
				t.Fatal(err)
			}
			if err := migrated.Close(); err != nil {
				t.Fatal(err)
			}
			after := tables(t, file)
			for _, b := range before {
				if b.Rows == 0 {
					t.Errorf("testdata/v%d.sql has nothing in %s", version, b.Table)
				}
				if b.Table == "tasks" && version < 3 {
					b.Rows += count(before, "repos") // whose files are read once
				}
				if !slices.Contains(after, b) {
					t.Errorf("%d rows of %s became %v", b.Rows, b.Table, after)
				}
			}
			db, err := Open(t.Context(), file, []byte(v1Key))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }() // what counts was read
			everythingReads(t, db)
		})
	}
}

func count(tables []Count, name string) int64 {
	return tables[slices.IndexFunc(tables, func(c Count) bool { return c.Table == name })].Rows
}

func tables(t *testing.T, file string) []Count {
	t.Helper()
	c, err := inspect(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	return c.Rows
}

// everythingReads reads what testdata/v1.sql holds by every method that reads, and goes on with it.
func everythingReads(t *testing.T, db *DB) {
	t.Helper()
	update(t, db, func(tx *Tx) error {
		if n, err := tx.VerifyAudit(); n != 3 || err != nil {
			t.Errorf("the audit: %d lines, %v", n, err)
		}
		repo, err := tx.Repo("acme/web")
		if err != nil {
			return err
		}
		e, err := tx.Event("aaaa0001-push")
		if err != nil || e.Via != ViaWebhook || len(e.Trace.V) != 2 || string(e.Body) != `{"ref":"refs/heads/master"}` {
			t.Errorf("%+v, %v", e, err)
		}
		rel, err := tx.Release(repo.Name, "web", 2)
		if err != nil {
			return err
		}
		if r, err := tx.Run(rel.Run); err != nil || r.State != RunSucceeded || r.Release != 2 {
			t.Errorf("%+v, %v", r, err)
		}
		if s, err := tx.Steps(rel.Run); err != nil || len(s) != 3 {
			t.Errorf("%+v, %v", s, err)
		}
		live, err := tx.Live(repo.Name, "web", "staging")
		if err != nil || live.Release != 1 || live.Cause != CauseRollback || string(live.Objects) != "sealed objects" {
			t.Errorf("%+v, %v", live, err)
		}
		if m, err := tx.Message("deployment/"+live.Restores, "github/deployment", ""); err != nil || m.Ref != "5" {
			t.Errorf("%+v, %v", m, err)
		}
		if h, err := tx.Hold(repo.Name, "web", "staging"); err != nil || h.By != "alice" {
			t.Errorf("%+v, %v", h, err)
		}
		waiting, err := tx.Waiting(repo.Name)
		if err != nil || len(waiting) != 1 {
			t.Fatalf("%+v, %v", waiting, err)
		}
		if votes, err := tx.Approvals(waiting[0].ID); err != nil || len(votes) != 1 {
			t.Errorf("%+v, %v", votes, err)
		}
		if r, err := tx.Reply("aaaa0003-comment"); err != nil || r.Comment != 99 {
			t.Errorf("%+v, %v", r, err)
		}
		if b, err := tx.Buried(); err != nil || len(b) != 1 {
			t.Errorf("%+v, %v", b, err)
		}
		return errors.Join(
			tx.Recover(),
			tx.EndDeployment(waiting[0], Cancelled, "", nil),
			tx.Audit(Entry{Actor: "alice", Action: "go on"}),
		)
	})
	r := run(t, db, "refs/heads/master", "44444444")
	if r.Number != 4 {
		t.Errorf("the next run is %d", r.Number)
	}
	if err := db.View(t.Context(), func(tx *Tx) error {
		n, err := tx.VerifyAudit()
		if n != 4 {
			t.Errorf("the audit has %d lines", n)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	file := older(t, 1)
	q := raw(t, file)
	q.MustExec("PRAGMA user_version = 99")
	for name, open := range map[string]func() (*DB, error){
		"Open":     func() (*DB, error) { return Open(t.Context(), file, []byte(v1Key)) },
		"OpenRead": func() (*DB, error) { return OpenRead(t.Context(), file, []byte(v1Key)) },
	} {
		if _, err := open(); err == nil || !strings.Contains(err.Error(), "it has schema 99, this program knows up to") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(tables(t, older(t, 1))); n != 12 {
		t.Errorf("version 1 had %d tables", n)
	}
}

// raw is a connection that may do what the program does not.
func raw(t *testing.T, file string) *sqlx.DB {
	t.Helper()
	q, err := sqlx.Open("sqlite", fileURI(file)+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	q.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = q.Close() })
	return q
}
