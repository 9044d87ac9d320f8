package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

const (
	// checkpointAfter is how long after a commit what it wrote is copied from the log of writes into the file.
	checkpointAfter = 100 * time.Millisecond
	// maxLog is the length of the log, in pages (of 4 KiB), from which on writers wait until all of it is copied, so that the
	// next one writes at its beginning again.
	maxLog = 4 << 10
	// keepLog is the size, in bytes, up to which the log's file stays while nobody writes: writing over what is there takes
	// half the time of making a file longer.
	keepLog = 16 << 20
)

// checkpoint copies what was written from the log into the file until ctx ends, beside the writer: SQLite's own way has
// every so many commits do it, which then take that much longer. What fails is tried again after the next commit; until
// then all is in the log, where readers find it.
func (db *DB) checkpoint(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-db.written:
		}
		for more := true; more; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(checkpointAfter):
			}
			select {
			case <-db.written:
			default:
				more = false
			}
			length, _ := db.copyLog(ctx, "PASSIVE")
			if length > maxLog { // it never was copied whole, because there was always more
				_ = db.do(&call{ctx: ctx, alone: true, turn: make(chan bool, 1), fn: func(*Tx) error {
					_, err := db.copyLog(ctx, "PASSIVE")
					return err
				}})
			}
			if info, err := os.Stat(db.log); !more && err == nil && info.Size() > keepLog {
				_, _ = db.copyLog(ctx, "TRUNCATE")
			}
		}
	}
}

// copyLog copies the log into the file: PASSIVE what no reader holds up, beside a writer; TRUNCATE all of it, and empties the
// log, unless somebody reads or writes. length is that of the log before, in pages.
func (db *DB) copyLog(ctx context.Context, mode string) (length int, err error) {
	var busy, copied int
	if err := db.checkpoints.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &length, &copied); err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	return length, nil
}

// Sizes are those of the database's file and of SQLite's write-ahead log beside it, in bytes.
func (db *DB) Sizes() (file, log int64, err error) {
	f, err := os.Stat(strings.TrimSuffix(db.log, "-wal"))
	if err != nil {
		return 0, 0, err
	}
	l, err := os.Stat(db.log)
	if errors.Is(err, fs.ErrNotExist) { // nothing was written
		return f.Size(), 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	return f.Size(), l.Size(), nil
}
