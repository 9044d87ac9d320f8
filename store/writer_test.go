package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
)

// busy has one update hold the writer until n others wait behind it, and then lets all of them go. Each of fns runs in an
// update of its own; what became of it is at its place.
func busy(t *testing.T, db *DB, fns ...func(ctx context.Context) error) []error {
	t.Helper()
	outcomes := make([]error, len(fns))
	holds, release := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.Update(context.Background(), func(*Tx) error { close(holds); <-release; return nil })
		if err != nil && !Unavailable(err) {
			t.Errorf("the first: %v", err)
		}
	})
	<-holds
	for i, fn := range fns {
		wg.Go(func() { outcomes[i] = fn(t.Context()) })
		waits(t, db, i+1)
	}
	close(release)
	wg.Wait()
	return outcomes
}

// waits waits until n updates are in the queue behind one that leads.
func waits(t *testing.T, db *DB, n int) {
	t.Helper()
	until(t, fmt.Sprintf("%d updates wait", n), func() bool {
		db.writer.mu.Lock()
		defer db.writer.mu.Unlock()
		return db.writer.leading && len(db.writer.queue) == n
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to this: %s", what)
		}
	}
}

// cursor reads a cursor as another process would.
func cursor(t *testing.T, db *DB, name string) (v string) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *Tx) (err error) { v, err = tx.Cursor(name); return err }); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestUpdatesShareACommit(t *testing.T) {
	db, _ := open(t)
	no := errors.New("no")
	var shared []*sqlx.Conn
	var fns []func(context.Context) error
	for i := range 5 {
		fns = append(fns, func(ctx context.Context) error {
			return db.Update(ctx, func(tx *Tx) error {
				shared = append(shared, tx.q)
				if err := tx.SetCursor(fmt.Sprint(i), "set"); err != nil || i != 2 {
					return err
				}
				return no
			})
		})
	}
	fns = append(fns, func(ctx context.Context) error {
		_, err := db.Accept(ctx, Event{ID: "d", Kind: "push", Body: []byte("{}")})
		return err
	})
	for i, err := range busy(t, db, fns...) {
		if (i == 2) != errors.Is(err, no) || i != 2 && err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	for i := range 5 {
		if got := cursor(t, db, fmt.Sprint(i)); (got == "set") != (i != 2) {
			t.Errorf("%d is %q", i, got)
		}
		if shared[i] != shared[0] {
			t.Errorf("%d had a transaction of its own", i)
		}
	}
}

// What one of a group does to itself is no matter of the others.
func TestOneOfAGroup(t *testing.T) {
	fine := func(db *DB, name string) func(context.Context) error {
		return func(ctx context.Context) error {
			return db.Update(ctx, func(tx *Tx) error { return tx.SetCursor(name, "set") })
		}
	}
	for name, test := range map[string]struct {
		odd func(t *testing.T, db *DB, ctx context.Context) error
		set bool // whether what it wrote stays
	}{
		"panics": {func(t *testing.T, db *DB, ctx context.Context) (err error) {
			defer func() {
				p, _ := recover().(*Panic)
				if p == nil || p.Value != "odd" || !strings.Contains(string(p.Stack), "TestOneOfAGroup") {
					t.Errorf("it panicked with %v", p)
				}
			}()
			return db.Update(ctx, func(tx *Tx) error { _ = tx.SetCursor("odd", "set"); panic("odd") })
		}, false},
		"gives up while it runs": {func(t *testing.T, db *DB, ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			return db.Update(ctx, func(tx *Tx) error { cancel(); return tx.SetCursor("odd", "set") })
		}, true},
		"breaks a rule of the schema": {func(t *testing.T, db *DB, ctx context.Context) error {
			err := db.Update(ctx, func(tx *Tx) error {
				_ = tx.SetCursor("odd", "set")
				_, err := tx.exec("INSERT INTO approvals (deployment, login, vote, bound, via, at) VALUES ('none', 'a', 'approve', '', '', '')")
				return err
			})
			if err == nil {
				t.Error("it went through")
			}
			return nil
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			db, _ := open(t)
			odd := func(ctx context.Context) error { return test.odd(t, db, ctx) }
			for i, err := range busy(t, db, fine(db, "before"), odd, fine(db, "after")) {
				if err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
			if cursor(t, db, "before") != "set" || cursor(t, db, "after") != "set" || (cursor(t, db, "odd") == "set") != test.set {
				t.Errorf("before %q, odd %q, after %q", cursor(t, db, "before"), cursor(t, db, "odd"), cursor(t, db, "after"))
			}
		})
	}
}

func TestUpdateGivesUpWhileItWaits(t *testing.T) {
	db, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	after := func(ctx context.Context) error {
		return db.Update(ctx, func(tx *Tx) error { return tx.SetCursor("after", "set") })
	}
	late := make(chan error, 1)
	var outcomes []error
	err := db.Update(t.Context(), func(*Tx) error {
		go func() { late <- db.Update(ctx, func(*Tx) error { t.Error("it ran"); return nil }) }()
		waits(t, db, 1)
		go func() { outcomes = append(outcomes, after(t.Context())); close(late) }()
		waits(t, db, 2)
		cancel()
		if err := <-late; !errors.Is(err, context.Canceled) {
			t.Errorf("it gave up with %v", err)
		}
		return nil
	})
	<-late
	if err != nil || outcomes[0] != nil || cursor(t, db, "after") != "set" {
		t.Errorf("the one before: %v, the one after: %v, %q", err, outcomes, cursor(t, db, "after"))
	}
	if err := db.Update(ctx, func(*Tx) error { t.Error("it ran"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("one that came too late: %v", err)
	}
}

// An update that ends its goroutine, as a test does that fails in it, leaves a writer that works.
func TestGoexitInAnUpdate(t *testing.T) {
	db, _ := open(t)
	gone := make(chan bool)
	go func() {
		defer close(gone)
		_ = db.Update(context.Background(), func(tx *Tx) error { _ = tx.SetCursor("odd", "set"); runtime.Goexit(); return nil })
	}()
	<-gone
	update(t, db, func(tx *Tx) error { return tx.SetCursor("after", "set") })
	if cursor(t, db, "odd") != "" {
		t.Error("what it wrote stayed")
	}
}

// TestUpdatesAgainstTheFile: whatever becomes of many updates at once, what was acknowledged is there after reopening, and
// what was not is not.
func TestUpdatesAgainstTheFile(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	file := filepath.Join(t.TempDir(), "test.db")
	db, err := Open(t.Context(), file, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	const writers, each = 16, 40
	acknowledged := make([]map[string]bool, writers)
	var wg sync.WaitGroup
	for w := range writers {
		acknowledged[w] = map[string]bool{}
		rnd := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("%d/%d", w, i)
				ctx, cancel := context.WithCancel(context.Background())
				act, delay := rnd.IntN(8), time.Duration(rnd.IntN(2000))*time.Microsecond
				if act < 3 {
					time.AfterFunc(delay, cancel)
				}
				fn := func(tx *Tx) error {
					if err := tx.SetCursor(name, "set"); err != nil {
						return err
					}
					switch act {
					case 3:
						return no
					case 4:
						panic(no)
					case 5:
						return tx.Nested(func() error { return tx.SetCursor(name+"/nested", "set") })
					}
					return nil
				}
				err := func() (err error) {
					defer func() {
						if p := recover(); p != nil {
							err = p.(*Panic)
						}
					}()
					if act == 6 {
						_, err = db.Accept(ctx, Event{ID: name, Kind: "push", Body: []byte("{}")})
						return err
					}
					return db.Update(ctx, fn)
				}()
				cancel()
				acknowledged[w][name] = err == nil
				if err != nil && act > 4 {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(t.Context(), file, []byte("key")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	there := map[string]bool{}
	err = db.View(t.Context(), func(tx *Tx) error {
		names, err := list[string](tx, "SELECT name FROM cursors UNION ALL SELECT id FROM events")
		for _, name := range names {
			there[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, all := range acknowledged {
		for name, ok := range all {
			if there[name] != ok {
				t.Errorf("%s: acknowledged %v, stored %v", name, ok, there[name])
			}
		}
	}
}

func TestFullDatabase(t *testing.T) {
	db, _ := open(t)
	var file string
	if err := db.read.Get(&file, "SELECT file FROM pragma_database_list WHERE name = 'main'"); err != nil {
		t.Fatal(err)
	}
	limit := func(pages int) {
		t.Helper()
		limited, err := openPool(fileURI(file), fmt.Sprintf("PRAGMA max_page_count = %d", pages), 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.write.Close(); err != nil {
			t.Error(err)
		}
		db.write = limited
	}
	accept := func(id string) error {
		_, err := db.Accept(t.Context(), Event{ID: id, Kind: "push", Body: make([]byte, 1<<20)})
		return err
	}
	var pages int
	if err := db.write.Get(&pages, "PRAGMA page_count"); err != nil {
		t.Fatal(err)
	}
	limit(pages + 10)
	for i := range 3 {
		err := accept(fmt.Sprintf("full-%d", i))
		if !Unavailable(err) || !strings.Contains(Remedy(err), "room") {
			t.Errorf("full: %v; remedy %q", err, Remedy(err))
		}
		// Each of a group learns of it.
		for _, err := range busy(t, db, func(context.Context) error { return accept("full-a") }, func(context.Context) error { return accept("full-b") }) {
			if !Unavailable(err) {
				t.Errorf("full, with others: %v", err)
			}
		}
	}
	update(t, db, func(tx *Tx) error { return tx.SetCursor("small", "set") }) // there is room for this
	limit(1 << 30)
	if err := accept("room"); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	var ids []string
	if err := db.read.Select(&ids, "SELECT id FROM events"); err != nil || fmt.Sprint(ids) != "[room]" {
		t.Errorf("%v are stored, %v", ids, err)
	}
}

func TestDatabaseHeldByAnother(t *testing.T) {
	db, _ := open(t)
	db.patience = 50 * time.Millisecond
	var file string
	if err := db.read.Get(&file, "SELECT file FROM pragma_database_list WHERE name = 'main'"); err != nil {
		t.Fatal(err)
	}
	other, err := sqlx.Open("sqlite", fileURI(file)+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	held, err := other.Beginx()
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string) error {
		return db.Update(t.Context(), func(tx *Tx) error { return tx.SetCursor(name, "set") })
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if err := set(fmt.Sprint(i)); !Unavailable(err) || !strings.Contains(Remedy(err), "process") {
				t.Errorf("%d: %v; remedy %q", i, err, Remedy(err))
			}
		})
	}
	wg.Wait()
	// One that does not wait so long does not make others give up.
	db.patience = time.Minute
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	long := make(chan error, 1)
	go func() {
		waits(t, db, 0)
		go func() { waits(t, db, 1); <-short.Done(); _ = held.Rollback() }()
		long <- set("long")
	}()
	err = db.Update(short, func(*Tx) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) || Remedy(err) == "" {
		t.Errorf("the one that gives up: %v; remedy %q", err, Remedy(err))
	}
	if err := <-long; err != nil {
		t.Errorf("the one that waits: %v", err)
	}
}

// The log does not grow with what is written, however fast, and is short when nobody writes.
func TestLogIsBounded(t *testing.T) {
	db, _ := open(t)
	var file string
	if err := db.read.Get(&file, "SELECT file FROM pragma_database_list WHERE name = 'main'"); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(file + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	const page, rounds = 4 << 10, 24
	body := make([]byte, 1<<20)
	var most int64
	for round := range rounds {
		for i := range maxLog * page / len(body) {
			if _, err := db.Accept(t.Context(), Event{ID: fmt.Sprintf("%d-%d", round, i), Kind: "push", Body: body}); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, size())
	}
	if most > rounds*maxLog*page/2 { // a fast writer writes a lot between two looks
		t.Errorf("%d MiB were written, and the log had %d", rounds*maxLog*page>>20, most>>20)
	}
	until(t, "the log is emptied", func() bool { return size() <= keepLog })
}
