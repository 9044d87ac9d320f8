package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A backup that is made while others write has everything that was there when it began.
func TestBackupWhileWriting(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "shipmate.db")
	db, err := Open(t.Context(), file, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // the copy counts
	var acknowledged atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	written := make(chan error, 1)
	go func() {
		var err error
		for i := 0; ctx.Err() == nil && err == nil; i++ {
			_, err = db.Accept(context.Background(), Event{ID: fmt.Sprint(i), Kind: "push", Body: make([]byte, 7000)})
			acknowledged.Store(int64(i + 1))
		}
		written <- err
	}()
	deadline := time.Now().Add(20 * time.Second)
	for acknowledged.Load() < 200 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	other, err := OpenRead(t.Context(), file, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	before := acknowledged.Load()
	dest := filepath.Join(dir, "copy.db")
	c, err := other.Backup(t.Context(), dest)
	after := acknowledged.Load()
	if err := errors.Join(err, other.Close()); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-written; err != nil {
		t.Errorf("the writer: %v", err)
	}
	if after == before {
		t.Error("nothing was written while the backup was made")
	}

	rows := map[string]int64{}
	for _, r := range c.Rows {
		rows[r.Table] = r.Rows
	}
	if rows["events"] < before || rows["tasks"] != rows["events"] {
		t.Errorf("%d events and %d tasks, %d were acknowledged before", rows["events"], rows["tasks"], before)
	}
	fi, err := os.Stat(dest)
	if err != nil || fi.Mode().Perm() != 0o600 || fi.Size() != c.Bytes || c.Version != 2 {
		t.Errorf("%v, %v, %+v", fi, err, c)
	}
	copied, err := OpenRead(t.Context(), dest, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = copied.Close() }()
	if err := copied.View(t.Context(), func(tx *Tx) error {
		for i := range before {
			if _, err := tx.Event(fmt.Sprint(i)); err != nil {
				return err
			}
		}
		_, err := tx.VerifyAudit()
		return err
	}); err != nil {
		t.Error(err)
	}
	if _, err := db.Backup(t.Context(), dest); err == nil || !strings.Contains(err.Error(), "is not overwritten") {
		t.Errorf("over another file: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v stayed behind", left, err)
	}
}
