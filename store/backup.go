package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// OpenRead opens a database for reading alone, also while another process works on it. It must have this program's schema.
func OpenRead(ctx context.Context, file string, auditKey []byte) (*DB, error) {
	if err := present(file); err != nil {
		return nil, err
	}
	r, err := sqlx.Open("sqlite", readURI(file))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", file, err)
	}
	db := &DB{write: r, read: r, checkpoints: r, Now: time.Now, key: auditKey, stop: func() {}, writer: writer{closed: true},
		changed: make(chan struct{}), arrived: make(chan struct{})}
	names, err := migrationNames()
	if err == nil {
		var version int
		if version, err = knownVersion(ctx, r, len(names)); err == nil && version < len(names) {
			err = fmt.Errorf("it has schema %d, this program reads %d: start this version of the bot once, which brings it forward", version, len(names))
		}
	}
	if err == nil {
		err = db.View(ctx, (*Tx).checkKey)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", file, err), r.Close())
	}
	return db, nil
}

func fileURI(file string) string {
	u := url.URL{Scheme: "file", Opaque: strings.ReplaceAll(url.PathEscape(file), "%2F", "/")}
	return u.String()
}

// readURI opens a file that others may be working on for reading.
func readURI(file string) string { return fileURI(file) + "?mode=ro&_pragma=busy_timeout(10000)" }

func migrationNames() ([]string, error) { return fs.Glob(migrations, "migrations/*.sql") }

// knownVersion reads a database's schema version (how many migrations it has seen) and refuses one of the future.
func knownVersion(ctx context.Context, q *sqlx.DB, known int) (version int, err error) {
	if err := q.GetContext(ctx, &version, "PRAGMA user_version"); err != nil {
		return 0, err
	}
	if version > known {
		return 0, fmt.Errorf("it has schema %d, this program knows up to %d: run the newer program again, or restore a backup", version, known)
	}
	return version, nil
}

// A Copy is what Backup wrote or Restore put in place.
type Copy struct {
	Bytes   int64
	Version int     // of the schema
	Newest  Time    // of the newest row that says when it was made
	Rows    []Count // by table
}

// Count is how many rows a table has.
type Count struct {
	Table string `db:"name"`
	Rows  int64
}

// Backup writes a copy of a database to a new file: everything that was committed before it began. Nobody is kept from
// reading or writing meanwhile. The file appears whole, checked and on disk, with mode 0600, or not at all.
func Backup(ctx context.Context, src, dest string) (c Copy, err error) {
	if err := present(src); err != nil {
		return c, err
	}
	if err := vacant(dest); err != nil {
		return c, fmt.Errorf("backup: %w", err)
	}
	tmp, err := newTemp(dest, nil)
	if err != nil {
		return c, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, removeDatabase(tmp)) }()
	q, err := sqlx.Open("sqlite", readURI(src))
	if err != nil {
		return c, fmt.Errorf("backup: %w", err)
	}
	_, err = q.ExecContext(ctx, "VACUUM INTO ?", tmp)
	if err := errors.Join(err, q.Close()); err != nil {
		return c, fmt.Errorf("backup: %w", err)
	}
	if c, err = inspect(ctx, tmp); err != nil {
		return c, fmt.Errorf("backup: the copy: %w", err)
	}
	return c, place(tmp, dest)
}

// Restore puts a copy that Backup wrote in the place of dest, a database that is not there: checked, brought to this
// program's schema, and changed by Restored and then by after, in one transaction. The caller holds the data directory's lock.
func Restore(ctx context.Context, src, dest string, auditKey []byte, now func() time.Time, after func(*Tx, Restored) error) (c Copy, r Restored, err error) {
	for _, file := range []string{dest, dest + "-wal", dest + "-shm"} {
		if err := vacant(file); err != nil {
			return c, r, fmt.Errorf("%w: move it away first, if what it holds may go", err)
		}
	}
	if fi, err := os.Stat(src + "-wal"); err == nil && fi.Size() > 0 {
		return c, r, fmt.Errorf("%s has a log of its own beside it (%s-wal), so it is a database in use and no backup: make one with bot backup", src, src)
	}
	from, err := os.Open(src)
	if err != nil {
		return c, r, err
	}
	defer func() { _ = from.Close() }() // it was only read
	tmp, err := newTemp(dest, from)
	if err != nil {
		return c, r, fmt.Errorf("copy %s: %w", src, err)
	}
	defer func() { err = errors.Join(err, removeDatabase(tmp)) }()
	if c, err = inspect(ctx, tmp); err != nil {
		return c, r, fmt.Errorf("%s: %w", src, err)
	}
	db, err := Open(ctx, tmp, auditKey)
	if err != nil {
		return c, r, fmt.Errorf("%s: %w", src, err)
	}
	db.Now = now
	err = db.Update(ctx, func(tx *Tx) (err error) {
		if _, err = tx.VerifyAudit(); err != nil {
			return err
		}
		if r, err = tx.restored(c.Newest.Time); err != nil {
			return err
		}
		return after(tx, r)
	})
	if err := errors.Join(err, db.Close()); err != nil { // closing leaves one file
		return c, r, fmt.Errorf("%s: %w", src, err)
	}
	return c, r, place(tmp, dest)
}

// Restored is what was changed in a restored database, because nobody can say what happened since the backup.
type Restored struct {
	Since        time.Time    // when the copy ends, as far as its rows tell
	NumbersAbove int          // runs, releases and deployments are numbered from above it
	Runs         []Run        // unfinished ones, which were cancelled
	Deployments  []Deployment // unfinished ones, which were cancelled
	Unlinked     []string     // ids of all deployments whose GitHub deployment is not known
	Held         int          // environments that take automatic deployments again only when somebody ends their hold
	Links        int          // users of chats who have to say again who they are
}

// ReasonRestored stands with everything that was cancelled because a backup was restored.
const ReasonRestored = "a backup was restored"

// spareNumbers is how many numbers are left out for each day since the backup.
const spareNumbers = 1000

// numbersAbove is the cursor that every new number is above.
const numbersAbove = "numbers above"

// restored makes a database that was brought back from a backup safe to go on with. The world has gone on: numbers were
// given that it does not know, what it has unfinished was finished, and people went back from releases.
//   - Every number from now on is above what can have been given since, so that none names a second thing.
//   - What is unfinished is cancelled, and with it the tasks that would do it or tell of it. Events stay: those that are
//     not decided yet, and those that are found in GitHub's delivery log, are decided by what GitHub says now.
//   - Environments that take automatic deployments are held, since a hold may have been lost.
//   - Nobody is a user of a chat but by the server's file: a link may have been taken back.
func (tx *Tx) restored(since time.Time) (Restored, error) {
	r := Restored{Since: since}
	highest, err := get[int](tx, "numbers", `SELECT max(n) FROM (SELECT coalesce(max(number), 0) AS n FROM runs UNION ALL SELECT max(number) FROM releases
		UNION ALL SELECT max(number) FROM deployments UNION ALL SELECT max(number) FROM orders UNION ALL SELECT CAST(value AS INTEGER) FROM cursors WHERE name = ?)`, numbersAbove)
	if err != nil {
		return r, err
	}
	days := 0
	if !since.IsZero() {
		days = max(0, int(tx.now.Sub(since).Hours()/24))
	}
	r.NumbersAbove = highest + spareNumbers*(1+days)
	if err := tx.SetCursor(numbersAbove, fmt.Sprint(r.NumbersAbove)); err != nil {
		return r, err
	}
	if err := tx.restoredChats(&r, days); err != nil {
		return r, err
	}
	if _, err := tx.exec("DELETE FROM tasks WHERE kind <> ? AND buried_at IS NULL", TaskEvent); err != nil {
		return r, err
	}
	if r.Runs, err = list[Run](tx, "SELECT * FROM runs WHERE state IN ('queued','running') ORDER BY created_at, id"); err != nil {
		return r, err
	}
	for _, run := range r.Runs {
		if err := tx.EndRun(run.ID, RunCancelled, ReasonRestored, nil); err != nil {
			return r, err
		}
	}
	if r.Deployments, err = list[Deployment](tx, "SELECT * FROM deployments WHERE state NOT IN "+ended+" ORDER BY created_at, id"); err != nil {
		return r, err
	}
	for _, d := range r.Deployments {
		if err := tx.EndDeployment(d, Cancelled, ReasonRestored, nil); err != nil {
			return r, err
		}
	}
	orders, err := list[Order](tx, "SELECT * FROM orders WHERE state IN ('draft','waiting','approved','running') ORDER BY created_at, id")
	if err != nil {
		return r, err
	}
	for _, o := range orders {
		if err := tx.EndOrder(o, Cancelled, ReasonRestored); err != nil {
			return r, err
		}
	}
	if r.Unlinked, err = list[string](tx, "SELECT id FROM deployments WHERE github_id = 0 ORDER BY created_at, id"); err != nil {
		return r, err
	}
	late, err := list[Deployment](tx, "SELECT * FROM deployments INDEXED BY deployments_unratified WHERE ratify_by IS NOT NULL AND ratified_by = ''")
	if err != nil {
		return r, err
	}
	for _, d := range late {
		if err := tx.WakeAt(TaskRatify, d.ID, d.RatifyBy.Time); err != nil {
			return r, err
		}
	}
	if _, err := tx.exec("DELETE FROM mentions"); err != nil { // they may have been posted since
		return r, err
	}
	held, err := tx.exec(`INSERT INTO holds (repo, app, environment, by, reason, since)
		SELECT DISTINCT repo, app, environment, '', ?, ? FROM deployments WHERE cause = ? ON CONFLICT DO NOTHING`, ReasonRestored, stamp(tx.now), CauseAutomatic)
	if err != nil {
		return r, err
	}
	r.Held = int(held)
	newest := "an empty backup"
	if !since.IsZero() {
		newest = "a backup whose newest row is of " + stamp(since)
	}
	return r, tx.Audit(Entry{Actor: "shipmate", Via: "restore", Action: "restore", Subject: "database",
		Detail: fmt.Sprintf("%s; numbers go on above %d", newest, r.NumbersAbove)})
}

// spareNews is how many events of outgoing webhooks are left out for each day since the backup: their receivers order by them.
const spareNews = 1_000_000

// restoredChats is restored for what chats and outgoing webhooks were told, or are to be.
func (tx *Tx) restoredChats(r *Restored, days int) error {
	links, err := tx.exec("DELETE FROM links")
	r.Links = int(links)
	for _, statement := range []string{"DELETE FROM link_requests", "DELETE FROM outbox", "DELETE FROM news"} {
		_, failed := tx.exec(statement)
		err = errors.Join(err, failed)
	}
	_, more := tx.exec("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'news'", spareNews*(1+days))
	_, given := tx.exec("UPDATE hook_deliveries SET error = ? WHERE done_at IS NULL", ReasonRestored)
	return errors.Join(err, more, given)
}

// present fails where there is no database.
func present(file string) error {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no database at %s: is data_dir the right one?", file)
	}
	return err
}

// vacant fails where there is something.
func vacant(file string) error {
	_, err := os.Lstat(file)
	if err == nil {
		return fmt.Errorf("%s exists and is not overwritten", file)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// newTemp makes a file beside dest, of mode 0600, and fills it from what is to be copied, if anything.
func newTemp(dest string, from io.Reader) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(dest), "."+filepath.Base(dest)+"-*")
	if err != nil {
		return "", err
	}
	if from != nil {
		_, err = io.Copy(f, from)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// removeDatabase removes a database and what SQLite put beside it, as far as they are there.
func removeDatabase(file string) error {
	var errs []error
	for _, name := range []string{file, file + "-wal", file + "-shm", file + "-journal"} {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// place gives a finished file its name, on disk.
func place(tmp, dest string) error {
	f, err := os.Open(tmp)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := vacant(dest); err != nil { // it may have appeared meanwhile
		return err
	}
	if err := os.Rename(tmp, dest); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(dest))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// inspect checks a database that nobody writes to, whole, and tells what is in it.
func inspect(ctx context.Context, file string) (c Copy, err error) {
	q, err := sqlx.Open("sqlite", fileURI(file)+"?immutable=1&_pragma=query_only(1)")
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	var wrong []string
	if err := q.SelectContext(ctx, &wrong, "PRAGMA integrity_check(3)"); err != nil {
		return c, fmt.Errorf("it cannot be read as a database: %w", err)
	}
	if !slices.Equal(wrong, []string{"ok"}) {
		return c, fmt.Errorf("it is damaged: %s", strings.Join(wrong, "; "))
	}
	names, err := migrationNames()
	if err != nil {
		return c, err
	}
	if c.Version, err = knownVersion(ctx, q, len(names)); err != nil {
		return c, err
	}
	if c.Version == 0 {
		return c, errors.New("it is no database of Shipmate's")
	}
	if err := q.SelectContext(ctx, &c.Rows, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"); err != nil {
		return c, err
	}
	for i := range c.Rows {
		if err := q.GetContext(ctx, &c.Rows[i].Rows, "SELECT count(*) FROM "+c.Rows[i].Table); err != nil {
			return c, err
		}
	}
	if err := q.GetContext(ctx, &c.Newest, `SELECT max(at) FROM (SELECT max(received_at) AS at FROM events UNION ALL SELECT max(created_at) FROM runs
		UNION ALL SELECT max(created_at) FROM deployments UNION ALL SELECT max(at) FROM audit)`); err != nil {
		return c, err
	}
	fi, err := os.Stat(file)
	if err == nil {
		c.Bytes = fi.Size()
	}
	return c, err
}
