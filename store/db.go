package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"embed"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrNotFound is returned (wrapped) where a row that was asked for by its key is not there.
var ErrNotFound = errors.New("not found")

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the database. Its methods may be called from any goroutine.
type DB struct {
	write, read *sqlx.DB
	checkpoints *sqlx.DB
	log         string // SQLite's write-ahead log, a file
	// Now is the clock of every transaction; set before use (tests inject one).
	Now func() time.Time
	// Ended is told of each run and deployment that ended and each event that was decided, after the commit; set before use. It does no slow work. Nil: nobody is.
	Ended func(Ended)
	// Hooked has what changes noted for outgoing webhooks (Tx.Untold); set before use.
	Hooked bool
	key    []byte // chains the audit

	stop    context.CancelFunc
	stopped sync.WaitGroup

	writer   writer
	patience time.Duration // see patience
	written  chan struct{} // holds one while there is something to checkpoint

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a commit made tasks due or changed a row that somebody waits on
	arrived chan struct{} // closed and replaced when a commit stored deliveries
}

// Open opens (and creates, and migrates) the database file. auditKey chains the audit and is not stored.
func Open(ctx context.Context, file string, auditKey []byte) (*DB, error) {
	// As Linux distributions build SQLite: a commit is as durable and waits for less. Where there is no fdatasync, fsync it is.
	_, _ = sqlite.Fdatasync(true)
	dsn := fileURI(file) + "?_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(0)"
	// It waits in beginWrite. auto_vacuum only takes effect on an empty file, and before WAL is switched on.
	w, err := openPool(dsn+"&_pragma=auto_vacuum(INCREMENTAL)&_pragma=journal_mode(WAL)&_pragma=cache_size(-4000)", "PRAGMA busy_timeout = 0", 1)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", file, err)
	}
	r, err := openPool(dsn+"&_pragma=cache_size(-1000)", "PRAGMA query_only = 1", max(4, runtime.NumCPU()))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", file, err), w.Close())
	}
	// It copies from the log what it can: while it waited for one, it would hold up others.
	c, err := openPool(dsn, "PRAGMA busy_timeout = 0", 1)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", file, err), w.Close(), r.Close())
	}
	ctx2, stop := context.WithCancel(context.Background())
	db := &DB{write: w, read: r, checkpoints: c, log: file + "-wal", Now: time.Now, key: auditKey, stop: stop, patience: patience,
		written: make(chan struct{}, 1), changed: make(chan struct{}), arrived: make(chan struct{})}
	if err := db.migrate(ctx); err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("migrate database %s: %w", file, err), w.Close(), r.Close(), c.Close())
	}
	db.stopped.Go(func() { db.checkpoint(ctx2) })
	return db, nil
}

// Close lets no further update begin and closes the file.
func (db *DB) Close() error {
	db.writer.close()
	db.stop()
	db.stopped.Wait()
	return errors.Join(db.checkpoints.Close(), db.read.Close(), db.write.Close())
}

// migrate applies the files of migrations/ that are newer than user_version, each in a transaction of its own.
func (db *DB) migrate(ctx context.Context) error {
	names, err := migrationNames()
	if err != nil {
		return err
	}
	version, err := knownVersion(ctx, db.write, len(names))
	if err != nil {
		return err
	}
	for i := version; i < len(names); i++ {
		script, err := migrations.ReadFile(names[i])
		if err != nil {
			return err
		}
		q, err := db.beginWrite(ctx)
		if err != nil {
			return err
		}
		tx := &Tx{ctx: ctx, q: q, now: db.Now().UTC(), db: db}
		_, err = tx.exec(string(script) + fmt.Sprintf("\n;PRAGMA user_version = %d", i+1))
		if err == nil && names[i] == "migrations/0002_spine.sql" {
			err = tx.putAuditHead() // which needs the key
		}
		if err = end(q, err); err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
	}
	return db.View(ctx, (*Tx).checkKey)
}

// Tx is one transaction. It is valid only inside the function it was given to.
type Tx struct {
	ctx     context.Context
	q       *sqlx.Conn
	now     time.Time
	db      *DB
	wakes   bool // Changed
	arrives bool // Arrived
	ended   []Ended
}

// An Ended is a run or a deployment that reached a final state, or an event that was decided.
type Ended struct {
	Event, Run, Deployment string        // the id of one of them
	State                  string        // not of an event
	Environment            string        // of the deployment
	Took                   time.Duration // of the deployment, since it began to change its environment; 0 where it did not
}

// Now is the transaction's one timestamp, in UTC.
func (tx *Tx) Now() time.Time { return tx.now }

// View runs fn on one consistent snapshot.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	q, err := begin(ctx, db.read, "BEGIN")
	if err != nil {
		return err
	}
	defer func() { _ = end(q, errView) }()
	return fn(&Tx{ctx: ctx, q: q, now: db.Now().UTC(), db: db})
}

// errView has a transaction rolled back that wrote nothing.
var errView = errors.New("it only reads")

// begin begins a transaction on a connection of the pool; ctx bounds the wait for one. Not sql.Tx: that has a goroutine of
// its own for each, and compiles its statements anew.
func begin(ctx context.Context, pool *sqlx.DB, statement string) (*sqlx.Conn, error) {
	q, err := pool.Connx(ctx)
	if err == nil {
		if _, err = q.ExecContext(context.WithoutCancel(ctx), statement); err != nil {
			giveBack(q, resultCode(err) != sqlite3.SQLITE_BUSY)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return q, nil
}

// end commits a transaction, or undoes it because of an error, which it returns then, and gives the connection back.
func end(q *sqlx.Conn, err error) error {
	how := "COMMIT"
	if err != nil {
		how = "ROLLBACK"
	}
	_, e := q.ExecContext(context.Background(), how)
	giveBack(q, e != nil)
	if err == nil && e != nil {
		err = fmt.Errorf("commit: %w", e)
	}
	return err
}

// giveBack gives a connection back to its pool. One that may be in the middle of something is closed, which undoes that.
func giveBack(q *sqlx.Conn, broken bool) {
	if broken {
		_ = q.Raw(func(any) error { return driver.ErrBadConn }) // has it closed, see driver.ErrBadConn
	}
	_ = q.Close() // it only goes back
}

// Changed returns a channel that is closed at the next commit that woke a task, deliveries aside.
func (db *DB) Changed() <-chan struct{} {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.changed
}

// Arrived returns a channel that is closed at the next commit that stored deliveries.
func (db *DB) Arrived() <-chan struct{} {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.arrived
}

// notify tells of a commit: the checkpoint, and those who wait for what it changed.
func (db *DB) notify(g *group) {
	select {
	case db.written <- struct{}{}:
	default:
	}
	if db.Ended != nil {
		for _, e := range g.ended {
			db.Ended(e)
		}
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if g.changed {
		close(db.changed)
		db.changed = make(chan struct{})
	}
	if g.arrived {
		close(db.arrived)
		db.arrived = make(chan struct{})
	}
}

func (tx *Tx) exec(query string, args ...any) (int64, error) {
	r, err := tx.q.ExecContext(tx.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// named runs a statement with the fields of row for its :parameters.
func (tx *Tx) named(query string, row any) error {
	query, args, err := sqlx.Named(query, row)
	if err != nil {
		return err
	}
	_, err = tx.exec(query, args...)
	return err
}

// insert writes a row from a struct with db tags; columns is the list of its columns.
func (tx *Tx) insert(table string, columns string, row any) error {
	names := strings.Fields(columns)
	err := tx.named("INSERT INTO "+table+" ("+strings.Join(names, ", ")+") VALUES (:"+strings.Join(names, ", :")+")", row)
	if err != nil {
		return fmt.Errorf("insert into %s: %w", table, err)
	}
	return nil
}

func get[T any](tx *Tx, what, query string, args ...any) (T, error) {
	var v T
	err := tx.q.GetContext(tx.ctx, &v, query, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return v, fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	if err != nil {
		return v, fmt.Errorf("read %s: %w", what, err)
	}
	return v, nil
}

// Optional turns the answer "not found" into nil: what may be missing is no error.
func Optional[T any](v T, err error) (*T, error) {
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return &v, err
}

func list[T any](tx *Tx, query string, args ...any) ([]T, error) {
	var v []T
	if err := tx.q.SelectContext(tx.ctx, &v, query, args...); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	return v, nil
}

// NewID returns 128 random bits in lower-case base32 (26 characters): an address that cannot be guessed.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

const timeFormat = "2006-01-02T15:04:05.000Z"

func stamp(t time.Time) string { return t.UTC().Format(timeFormat) }

// Time is a time as the database keeps it: UTC, milliseconds; the zero time is NULL.
type Time struct{ time.Time }

// Value implements driver.Valuer.
func (t Time) Value() (driver.Value, error) {
	if t.IsZero() {
		return nil, nil
	}
	return stamp(t.Time), nil
}

// Scan implements sql.Scanner.
func (t *Time) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = Time{}
		return nil
	case string:
		p, err := time.Parse(timeFormat, v)
		*t = Time{p}
		return err
	}
	return fmt.Errorf("a time cannot be a %T", v)
}

// JSON is a column that holds V as JSON text.
type JSON[T any] struct{ V T }

// Value implements driver.Valuer.
func (j JSON[T]) Value() (driver.Value, error) {
	b, err := json.Marshal(j.V)
	return string(b), err
}

// Scan implements sql.Scanner.
func (j *JSON[T]) Scan(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("a JSON column cannot be a %T", v)
	}
	return json.Unmarshal([]byte(s), &j.V)
}

// Nested runs fn inside the transaction; when it returns an error, what fn wrote is undone and the transaction goes on.
func (tx *Tx) Nested(fn func() error) error {
	if _, err := tx.exec("SAVEPOINT nested"); err != nil {
		return err
	}
	ended := len(tx.ended)
	if err := fn(); err != nil {
		tx.ended = tx.ended[:ended]
		_, undo := tx.exec("ROLLBACK TO nested")
		return errors.Join(err, undo)
	}
	_, err := tx.exec("RELEASE nested")
	return err
}
