package bot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	day = 24 * time.Hour
	// minKeepEvents is how long the id of a delivery is remembered at least. GitHub's delivery log goes three days back.
	minKeepEvents = 7 * day
	// keepEvery is how often is looked for what has aged out.
	keepEvery = time.Hour
)

// keep ages out what the server's file says is not kept any longer, in small steps between which others write.
func (b *Bot) keep(ctx context.Context, _ string, _ int) (again time.Time, err error) {
	now := b.db.Now()
	for _, age := range []func(*store.Tx) (int, error){
		(*store.Tx).AgeSessions,
		func(tx *store.Tx) (int, error) { return tx.AgeLinkRequests(now.Add(-day)) }, // until then their users are told that they expired
		func(tx *store.Tx) (int, error) { return tx.AgeEvents(now.Add(-b.cfg.Keep.Events)) },
		func(tx *store.Tx) (int, error) { return tx.AgeObjects(now.Add(-b.cfg.Keep.Logs)) },
		func(tx *store.Tx) (int, error) { return tx.AgeJobLogs(now.Add(-b.cfg.Keep.Logs)) },
		func(tx *store.Tx) (int, error) { return tx.AgeAnnotations(now.Add(-b.cfg.Keep.Logs)) },
		func(tx *store.Tx) (int, error) { return tx.AgeHookDeliveries(now.Add(-b.cfg.Keep.Events)) },
	} {
		for n := 1; n > 0; {
			if err := b.db.Update(ctx, func(tx *store.Tx) (err error) { n, err = age(tx); return err }); err != nil {
				return again, err
			}
		}
	}
	if err := b.keepLogs(ctx, now.Add(-b.cfg.Keep.Logs)); err != nil {
		return again, err
	}
	if err := b.keepArtifacts(ctx, now.Add(-b.cfg.Keep.Logs)); err != nil {
		return again, err
	}
	return now.Add(keepEvery), b.db.Shrink(ctx)
}

// keepLogs removes the logs of runs that ended before the given time, and those of no run that is known.
func (b *Bot) keepLogs(ctx context.Context, before time.Time) error {
	dir := filepath.Dir(pipeline.LogFile(b.cfg.DataDir, ""))
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		run, kind, _ := strings.Cut(f.Name(), ".")
		ok := slices.Contains([]string{"log.zst", "log.zst.cut", "log"}, kind) // what is cut by who was killed; of an earlier version
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && (!ok || info.ModTime().After(before)) {
			continue // a log that was written to since is of a run that went on since
		}
		if err != nil {
			return err
		}
		var ended bool
		if err := b.db.View(ctx, func(tx *store.Tx) (err error) { ended, err = tx.EndedBefore(run, before); return err }); err != nil {
			return err
		}
		if ended {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// keepArtifacts removes what the checks of runs kept that ended before the given time, and that of no run that is known.
func (b *Bot) keepArtifacts(ctx context.Context, before time.Time) error {
	dir := filepath.Dir(pipeline.ArtifactDir(b.cfg.DataDir, "run"))
	runs, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, run := range runs {
		var ended bool
		err := b.db.View(ctx, func(tx *store.Tx) (err error) { ended, err = tx.EndedBefore(run.Name(), before); return err })
		if err != nil {
			return err
		}
		if ended {
			if err := os.RemoveAll(filepath.Join(dir, run.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
