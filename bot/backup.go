package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// Backup writes a consistent copy of the database to the file dest, which must not exist, also while a bot serves, and
// tells out what is in it. The data key is not in it, nor are build logs.
func Backup(ctx context.Context, cfg *Config, dest string, out io.Writer) error {
	c, err := store.Backup(ctx, cfg.database(), dest)
	if err != nil {
		return err
	}
	return sayAll(out, "wrote "+dest+": "+describe(c), "keep a copy of data_key elsewhere: without it the backup cannot be used")
}

// Restore puts a backup in the place of the database, which must not exist, and tells out what it changed in it so that
// nothing is done twice (ARCHITECTURE.md, "After a restore"). No bot may be serving.
func Restore(ctx context.Context, cfg *Config, src string, out io.Writer) (err error) {
	if cfg.DataKey.Value() == "" {
		return cfg.noDataKey()
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	unlock, err := lockDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	c, r, err := store.Restore(ctx, src, cfg.database(), []byte(cfg.DataKey.Value()), time.Now, afterRestore)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return sayAll(out, "restored "+cfg.database()+": "+describe(c),
		fmt.Sprintf("runs, releases and deployments are numbered from %d on, since lower numbers may have been given after the backup", r.NumbersAbove+1),
		fmt.Sprintf("cancelled what was unfinished: runs %d, deployments %d", len(r.Runs), len(r.Deployments)),
		fmt.Sprintf("held environments that take automatic deployments, until somebody comments /unlock: %d", r.Held),
		fmt.Sprintf("took back links of chat users, who say /link again: %d", r.Links),
		"what chats were subscribed to is as it was at the time of the backup: /subscribe in each of them lists it")
}

// afterRestore marks what may have been said since the backup, so that it is looked for before it is said again.
func afterRestore(tx *store.Tx, r store.Restored) error {
	for _, id := range r.Unlinked {
		if err := tx.PutMessage(store.Message{Subject: "deployment/" + id, Surface: surfaceDeployment, Moment: createMoment, Said: "asked"}); err != nil {
			return err
		}
	}
	for _, run := range r.Runs {
		m, err := tx.Message("run/"+run.ID, surfaceRun, "")
		if err == nil && m.Ref == "" {
			m.Said = asked
			err = tx.PutMessage(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// VerifyAudit checks the audit from its first line to its last. The error names the first line that was changed, removed or moved.
func VerifyAudit(ctx context.Context, cfg *Config, out io.Writer) error {
	return readDatabase(ctx, cfg, func(tx *store.Tx) error {
		n, err := tx.VerifyAudit()
		if err != nil {
			return err
		}
		return sayAll(out, fmt.Sprintf("the audit is whole, lines: %d", n))
	})
}

// ExportAudit writes the audit as JSON lines, the oldest first.
func ExportAudit(ctx context.Context, cfg *Config, out io.Writer) error {
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	return readDatabase(ctx, cfg, func(tx *store.Tx) error {
		return tx.EachEntry(func(e store.Entry) error { return lines.Encode(e) })
	})
}

// readDatabase runs fn on the stored data, also while a bot serves.
func readDatabase(ctx context.Context, cfg *Config, fn func(*store.Tx) error) error {
	db, err := store.OpenRead(ctx, cfg.database(), []byte(cfg.DataKey.Value()))
	if errors.Is(err, store.ErrKey) && cfg.DataKey.Value() == "" {
		return cfg.noDataKey()
	}
	if err != nil {
		return err
	}
	return errors.Join(db.View(ctx, fn), db.Close())
}

// describe tells what is in a copy of the database.
func describe(c store.Copy) string {
	var rows []string
	for _, r := range c.Rows {
		rows = append(rows, fmt.Sprintf("%s %d", r.Table, r.Rows))
	}
	until := "nothing yet"
	if !c.Newest.IsZero() {
		until = "until " + c.Newest.Format(time.RFC3339)
	}
	return fmt.Sprintf("%.1f MiB, schema %d, %s; rows: %s", float64(c.Bytes)/(1<<20), c.Version, until, strings.Join(rows, ", "))
}

func sayAll(out io.Writer, lines ...string) error {
	_, err := io.WriteString(out, strings.Join(lines, "\n")+"\n")
	return err
}
