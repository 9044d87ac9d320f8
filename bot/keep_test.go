package bot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// shipped pushes a commit and waits until it is live in staging.
func shipped(t *testing.T, l *lab) (sha string) {
	t.Helper()
	sha, err := l.repo.Commit("master", "alice", "Change it", map[string]string{"main.go": "package main\n"})
	if err == nil {
		_, err = l.Status(sha, "shipmate/deploy/staging", "success", "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

// What is large ages out by itself; what was decided, built and deployed is still told.
func TestKeep(t *testing.T) {
	l := newLab(t, func(s string) string { return s + "keep: {events: 7d, logs: 30d}\n" })
	shipped(t, l)
	id, err := l.lookup("SELECT id FROM runs")
	if err != nil {
		t.Fatal(err)
	}
	log := pipeline.LogFile(filepath.Join(l.dir, "data"), id)
	orphan := pipeline.LogFile(filepath.Join(l.dir, "data"), "of-no-run")
	plain := filepath.Join(filepath.Dir(log), "of-an-earlier-version.log")
	other := filepath.Join(filepath.Dir(log), "README")
	if err := l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.Annotate(id, "build", []store.Annotation{{Path: "main.go", Line: 1, Level: store.LevelFailure, Message: "x"}}, 0)
	}); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(pipeline.ArtifactDir(filepath.Join(l.dir, "data"), id), "unit", "cover.out")
	stray := filepath.Join(pipeline.ArtifactDir(filepath.Join(l.dir, "data"), "of-no-run"), "unit", "cover.out")
	for _, file := range []string{orphan, plain, other, kept, stray} {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Settle(); err != nil {
		t.Fatal(err)
	}

	check := func(what, bodies string, logs bool) {
		t.Helper()
		if err := until(what, func() error {
			if err := l.Settle(); err != nil {
				return err
			}
			got, err := l.lookup("SELECT coalesce(sum(length(body) > 0), 0) || ' of ' || count(*) FROM events WHERE kind = 'push'")
			if err == nil && got != bodies {
				err = fmt.Errorf("%s events have a body, want %s", got, bodies)
			}
			annotated, e := l.lookup("SELECT count(*) FROM annotations")
			if err = errors.Join(err, e); err == nil && (annotated == "1") != logs {
				err = fmt.Errorf("%s annotations", annotated)
			}
			if _, e := os.Stat(stray); err == nil && !logs && e == nil {
				err = errors.New("what is kept of no run is there")
			}
			for _, file := range []string{log, orphan, plain, kept} {
				if _, e := os.Stat(file); err == nil && logs != (e == nil) {
					err = fmt.Errorf("%s: %v", file, e)
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	check("nothing is old", "1 of 1", true)
	l.clock.Advance(7*day + time.Hour)
	if err := wakeWorker(l); err != nil {
		t.Fatal(err)
	}
	check("events are old", "0 of 1", true)
	l.clock.Advance(30 * day)
	if err := wakeWorker(l); err != nil {
		t.Fatal(err)
	}
	check("logs are old", "0 of 1", false)
	if _, err := os.Stat(other); err != nil {
		t.Errorf("what is no log: %v", err)
	}
	if page, err := l.Page("runs", "1"); err != nil || !strings.Contains(page, "The log was removed") {
		t.Errorf("%v, %s", err, page)
	}
	trace, err := l.lookup("SELECT trace FROM events")
	if err != nil || trace == "" {
		t.Errorf("%q, %v", trace, err)
	}
}

// wakeWorker has the worker look at the clock, which was moved under it.
func wakeWorker(l *lab) error {
	return l.bot.db.Update(context.Background(), func(tx *store.Tx) error { return tx.WakeAt(store.TaskKeep, "", tx.Now().Add(day)) })
}

// The machine is lost: what a backup holds is brought back on another, says nothing that is not so, and goes on.
func TestBackupAndRestore(t *testing.T) {
	l := newLab(t, nil)
	sha := shipped(t, l)
	pr, err := l.repo.OpenPullRequest("master", "master", "alice", "A change")
	if err != nil {
		t.Fatal(err)
	}
	if done, reply, err := l.Say(pr, "alice", "/promote production"); err != nil || !done {
		t.Fatalf("%v %s %v", done, reply, err)
	}
	if _, err := l.Status(sha, "shipmate/deploy/production", "pending", "approval"); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadDataConfig(filepath.Join(l.dir, "shipmate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(l.dir, "backup.db")
	var out strings.Builder
	if err := Backup(t.Context(), cfg, backup, &out); err != nil || !strings.Contains(out.String(), "deployments 2") {
		t.Fatalf("%v: %s", err, &out)
	}
	out.Reset()
	if err := errors.Join(VerifyAudit(t.Context(), cfg, &out), ExportAudit(t.Context(), cfg, &out)); err != nil || !strings.Contains(out.String(), "the audit is whole, lines: 1\n{\"seq\":1,") {
		t.Errorf("%v: %s", err, &out)
	}
	if err := Restore(t.Context(), cfg, backup, &out); err == nil || !strings.Contains(err.Error(), "is in use by process") {
		t.Errorf("restored under a bot that serves: %v", err)
	}
	// As if it had been made in the moment before what GitHub answered was stored.
	early, err := sql.Open("sqlite", backup)
	if err == nil {
		_, err = early.Exec("UPDATE deployments SET github_id = 0; DELETE FROM messages WHERE surface = 'github/deployment'")
		err = errors.Join(err, early.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	// It goes live after the backup.
	if done, reply, err := l.Say(pr, "bob", "/approve"); err != nil || !done {
		t.Fatalf("%v %s %v", done, reply, err)
	}
	if _, err := l.Status(sha, "shipmate/deploy/production", "success", ""); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Settle(), l.Stop()); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), cfg, backup, &out); err == nil || !strings.Contains(err.Error(), "is not overwritten") {
		t.Errorf("restored over a database: %v", err)
	}
	key := filepath.Join(cfg.DataDir, "data.key")
	for _, file := range []string{cfg.database(), key} {
		if err := os.Rename(file, file+".old"); err != nil {
			t.Fatal(err)
		}
	}
	lost, err := LoadDataConfig(filepath.Join(l.dir, "shipmate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), lost, backup, &out); err == nil || !strings.Contains(err.Error(), "data_key") {
		t.Errorf("restored without the data key: %v", err)
	}
	if _, err := os.Stat(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a data key was made: %v", err)
	}
	if err := os.Rename(key+".old", key); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := Restore(t.Context(), cfg, backup, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"numbered from 1003 on", "runs 0, deployments 1", "/unlock: 1", "say /link again: 0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing is told of %q: %s", want, &out)
		}
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Status(sha, "shipmate/deploy/production", "error", "^cancelled: a backup of the bot was restored"); err != nil {
		t.Error(err)
	}
	next, err := l.repo.Commit("master", "alice", "Change it again", map[string]string{"main.go": "package main // again\n"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Status(next, "shipmate/deploy/staging", "pending", "^held since a backup of the bot was restored"); err != nil {
		t.Error(err)
	}
	if done, reply, err := l.Say(pr, "bob", "/unlock staging"); err != nil || !done || !strings.Contains(reply, "left when a backup was restored") {
		t.Errorf("%v %s %v", done, reply, err)
	}
	if description, err := l.Status(next, "shipmate/deploy/staging", "success", "release 1003"); err != nil {
		t.Error(description, err)
	}
	if err := l.Settle(); err != nil {
		t.Error(err)
	}
	if n := len(l.repo.Deployments()); n != 3 {
		t.Errorf("%d GitHub deployments for 3 of ours", n)
	}
}
