package bot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// maxQueued is how many tasks that are neither buried nor tried again Queue shows.
const maxQueued = 100

// Queue prints the work that is to be done: what was given up first, then what failed and is tried again, then the rest by
// when it is due. It only reads; the bot may be running.
func Queue(ctx context.Context, cfg *Config, to io.Writer) (err error) {
	db, err := openReader(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	n, quiet, buried := 0, 0, 0
	err = db.View(ctx, func(tx *store.Tx) error {
		return tx.Queue(func(t store.QueuedTask) error {
			n++
			if n == 1 {
				fmt.Fprintln(w, "STATE\tKIND\tABOUT\tATTEMPTS\tNEXT\tREASON")
			}
			state, next := "waiting", t.DueAt.Format(time.RFC3339)
			switch {
			case !t.BuriedAt.IsZero():
				state, next = "given up", "-"
				buried++
			case t.LeaseUntil.After(tx.Now()):
				state, next = "working", "now"
			case t.Attempts > 0:
				state = "retrying"
			case !t.DueAt.After(tx.Now()):
				next = "now"
			}
			if t.BuriedAt.IsZero() && t.Attempts == 0 {
				if quiet++; quiet > maxQueued {
					return nil
				}
			}
			about, err := taskWords(tx, t.Task)
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", state, t.Kind, oneLine(about), strconv.Itoa(t.Attempts), next, oneLine(t.Reason))
			return nil
		})
	})
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	switch {
	case n == 0:
		_, err = fmt.Fprintln(to, "nothing waits")
	case quiet > maxQueued:
		_, err = fmt.Fprintf(to, "… and %d more\n", quiet-maxQueued)
	}
	return err
}

// oneLine keeps a cell of a table in its cell.
func oneLine(s string) string { return text.Fit(s, maxWhyLine) }
