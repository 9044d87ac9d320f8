package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/shipmate-dev/shipmate/bot"
	"github.com/shipmate-dev/shipmate/store"
)

// measureRecovery stores events, then starts a bot and waits until all are decided.
func measureRecovery(ctx context.Context, dir, binary string, events int) (err error) {
	key, err := newKey()
	if err != nil {
		return err
	}
	cfg, err := configure(dir, "http://127.0.0.1:1/", 1, key)
	if err != nil {
		return err
	}
	// Pushes of a repository that may not use the server: read and decided as ever, to do nothing, without asking GitHub.
	repo := "other/web"
	body := fmt.Appendf(nil, `{"ref":"refs/heads/master","after":"%040x","repository":{"id":1,"full_name":%q,"default_branch":"master"},"installation":{"id":1},"commits":[{"message":%q}]}`,
		1, repo, strings.Repeat("Developers write text. ", 300))
	err = fill(ctx, cfg, func(db *store.DB) error {
		return db.Update(ctx, func(tx *store.Tx) error {
			for i := range events {
				e := store.Event{ID: fmt.Sprintf("%08x-0000-1000-8000-000000000000", i*0x9e3779b1&0xffffffff), Kind: "push", Repo: &repo, Body: body}
				if _, err := tx.PutEvent(e); err != nil {
					return err
				}
				if err := tx.Add(store.TaskEvent, e.ID); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}

	cmd := exec.CommandContext(ctx, binary, "--log-level", "warn", "serve", "--config", filepath.Join(dir, "shipmate.yaml"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // Wait tells
		err = errors.Join(err, cmd.Wait())
	}()
	if err := decided(ctx, cfg, events); err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Printf("%d events, decided from the start of the process in %.2f s: %.0f a second\n", events, took.Seconds(), float64(events)/took.Seconds())
	return nil
}

// decided waits until nothing is left to decide, and checks that every event was.
func decided(ctx context.Context, cfg *bot.Config, events int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	db, err := readOnly(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read
	for {
		var left int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM tasks WHERE kind = 'event'").Scan(&left); err != nil {
			return fmt.Errorf("wait until all is decided: %w", err)
		}
		if left == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d events are not decided: %w", left, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	var stored, decided int
	if err := db.QueryRowContext(ctx, "SELECT count(*), count(decided_at) FROM events").Scan(&stored, &decided); err != nil {
		return err
	}
	if stored != events || decided != events {
		return fmt.Errorf("of %d events %d are there and %d decided", events, stored, decided)
	}
	return nil
}

// readOnly opens a bot's database beside it.
func readOnly(cfg *bot.Config) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+filepath.Join(cfg.DataDir, "shipmate.db")+"?mode=ro&_pragma=busy_timeout(10000)")
}
