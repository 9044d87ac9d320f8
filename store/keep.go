package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// TaskKeep is the kind of the task that ages out what is not kept for ever; its key is empty.
const TaskKeep = "keep"

// ageBatch is how many rows one transaction ages out: others write in between.
const ageBatch = 200

// AgeEvents drops what was received before the given time and is decided: the body of an event, its answer, and the event
// itself unless a run or a deployment names it, whose trace is then still told. What is still to be said stays.
// It takes a batch and returns how many it found; the caller goes on while that is not 0.
func (tx *Tx) AgeEvents(before time.Time) (int, error) {
	ids, err := list[string](tx, `SELECT id FROM events WHERE received_at < ? AND decided_at IS NOT NULL AND aged_at IS NULL
		AND NOT EXISTS (SELECT 1 FROM tasks WHERE kind IN (?, ?) AND key = events.id) ORDER BY received_at LIMIT ?`, stamp(before), TaskEvent, TaskReply, ageBatch)
	if err != nil {
		return 0, err
	}
	batch, err := json.Marshal(ids)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	for _, statement := range []string{
		"DELETE FROM replies WHERE event IN (SELECT value FROM json_each(?1))",
		"DELETE FROM answers WHERE event IN (SELECT value FROM json_each(?1))",
		`DELETE FROM events WHERE id IN (SELECT value FROM json_each(?1))
			AND NOT EXISTS (SELECT 1 FROM runs WHERE event = events.id AND event <> '')
			AND NOT EXISTS (SELECT 1 FROM deployments WHERE event = events.id AND event <> '')`,
		"UPDATE events SET body = x'', aged_at = ?2 WHERE id IN (SELECT value FROM json_each(?1))",
	} {
		if _, err := tx.exec(statement, string(batch), stamp(tx.now)); err != nil {
			return 0, fmt.Errorf("age out events: %w", err)
		}
	}
	return len(ids), nil
}

// AgeObjects drops what was rendered for deployments that ended before the given time without having succeeded: only one
// that succeeded is ever gone back to. It takes a batch, as AgeEvents does.
func (tx *Tx) AgeObjects(before time.Time) (int, error) {
	n, err := tx.exec(`UPDATE deployments SET objects = NULL WHERE id IN (SELECT id FROM deployments WHERE finished_at < ? AND objects IS NOT NULL
		AND state IN ('rejected','expired','failed','cancelled','superseded') ORDER BY finished_at LIMIT ?)`, stamp(before), ageBatch)
	return int(n), err
}

// AgeJobLogs drops what Jobs wrote that ended before the given time. It takes a batch, as AgeEvents does.
func (tx *Tx) AgeJobLogs(before time.Time) (int, error) {
	n, err := tx.exec(`UPDATE steps SET result = json_remove(result, '$.logs') WHERE rowid IN (SELECT rowid FROM steps
		WHERE json_extract(result, '$.logs') IS NOT NULL AND finished_at < ? ORDER BY finished_at LIMIT ?)`, stamp(before), ageBatch)
	return int(n), err
}

// EndedBefore tells whether a run ended before the given time, or is not known (any more).
func (tx *Tx) EndedBefore(run string, before time.Time) (bool, error) {
	r, err := Optional(tx.Run(run))
	return r == nil || Final(r.State) && r.FinishedAt.Before(before), err
}

// vacuumBatch is how many free pages (of 4 KiB) one transaction gives back.
const vacuumBatch = 256

// Shrink gives back to the file system what was freed in the file, in small transactions, and empties the log of writes.
func (db *DB) Shrink(ctx context.Context) error {
	for {
		var free int
		err := db.Update(ctx, func(tx *Tx) (err error) {
			if free, err = get[int](tx, "free pages", "PRAGMA freelist_count"); err != nil || free == 0 {
				return err
			}
			rows, err := tx.q.QueryContext(tx.ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumBatch))
			if err != nil {
				return err
			}
			for rows.Next() { // each gives back one page
			}
			return errors.Join(rows.Err(), rows.Close())
		})
		if err != nil {
			return fmt.Errorf("shrink the database: %w", err)
		}
		if free <= vacuumBatch {
			break
		}
	}
	for _, mode := range []string{"PASSIVE", "TRUNCATE"} {
		if _, err := db.copyLog(ctx, mode); err != nil {
			return fmt.Errorf("shrink the database's log: %w", err)
		}
	}
	return nil
}
