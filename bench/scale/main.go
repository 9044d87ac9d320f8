// Command scale measures how much slower each question to the database and each change of it gets with the years: side by
// side in a small database and in a large one, in one run, taking turns.
//
//	scale -events 1000000 -runs 100000 -waiting 1000
//
// Times are medians in microseconds. Nothing is asserted about them; scale exits 1 only when something did not work.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

func main() {
	var s size
	flag.IntVar(&s.events, "events", 1_000_000, "events in the large database")
	flag.IntVar(&s.runs, "runs", 100_000, "runs in the large database, with as many releases and deployments")
	flag.IntVar(&s.waiting, "waiting", 1_000, "waiting deployments in the large database")
	rounds := flag.Int("rounds", 400, "how often each is measured")
	parent := flag.String("dir", "", "where the databases are made (2 GB) and removed; default: the system's folder for temporary files")
	flag.Parse()
	if s.runs < small.runs || s.events < s.runs || s.waiting < 1 || *rounds < 1 || flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "scale: -runs must be at least %d, -events at least -runs, the others at least 1, and there are no arguments besides flags\n", small.runs)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp(*parent, "scale-")
	if err == nil {
		err = errors.Join(measure(ctx, dir, s, *rounds), os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// small is what counts as empty: just enough that every question has as many answers as in the large database.
var small = size{events: 200, runs: 200, waiting: 1}

// A side is one of the two databases.
type side struct {
	db   *store.DB
	raw  *sql.DB // for lists that no page shows yet
	size size
	took map[string][]time.Duration
	next int // makes what is asked for another one each time
}

func measure(ctx context.Context, dir string, large size, rounds int) error {
	sides := []*side{{size: small}, {size: large}}
	for i, s := range sides {
		begin := time.Now()
		s.took = map[string][]time.Duration{}
		if err := s.create(ctx, dir, fmt.Sprint(i)); err != nil {
			return err
		}
		defer func() { _, _ = s.db.Close(), s.raw.Close() }() // nothing in it is wanted
		fmt.Printf("made a database of %d events, %d runs and %d waiting deployments in %.0f s\n", s.size.events, s.size.runs, s.size.waiting, time.Since(begin).Seconds())
	}
	for range rounds {
		for _, op := range operations {
			for _, s := range sides {
				s.next++
				begin := time.Now()
				if err := op.do(ctx, s); err != nil {
					return fmt.Errorf("%s: %w", op.name, err)
				}
				s.took[op.name] = append(s.took[op.name], time.Since(begin))
			}
		}
	}
	fmt.Printf("\n%-52s %10s %10s %7s\n", "median, µs", "small", "large", "ratio")
	for _, op := range operations {
		a, b := median(sides[0].took[op.name]), median(sides[1].took[op.name])
		fmt.Printf("%-52s %10d %10d %7.2f\n", op.name, a.Microseconds(), b.Microseconds(), float64(b)/float64(a))
	}
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// An operation is what the bot does many times a day.
type operation struct {
	name string
	do   func(context.Context, *side) error
}

var operations = []operation{
	{"accept a delivery of 7 KiB (on disk)", func(ctx context.Context, s *side) error {
		fresh, err := s.db.Accept(ctx, store.Event{ID: store.NewID(), Kind: "push", Body: make([]byte, 7<<10)})
		if err == nil && !fresh {
			err = errors.New("a new delivery was taken for a known one")
		}
		return err
	}},
	{"when is the next task due", view(func(tx *store.Tx, _ *side) error {
		_, _, err := tx.NextDue(kinds)
		return err
	})},
	{"API: 500 runs, to be filtered", view(func(tx *store.Tx, _ *side) error {
		_, err := tx.Heads(store.ListedRuns, 1<<62, 500)
		return err
	})},
	{"the DORA figures of an environment, all of it", view(func(tx *store.Tx, _ *side) error {
		changes, err := tx.Changes(repo0, "web", "production", time.Time{})
		store.FiguresOf(changes, 90, tx.Now())
		return err
	})},
	{"/metrics: how long the queue is", view(func(tx *store.Tx, _ *side) error {
		_, err := tx.QueueLengths(kinds)
		return err
	})},
	{"claim a task and finish it", undone(func(tx *store.Tx, _ *side) error {
		t, ok, err := tx.Claim(kinds, time.Minute)
		if err == nil && !ok {
			err = errors.New("there is no task")
		}
		return errors.Join(err, tx.Done(t))
	})},
	{"read an event", view(func(tx *store.Tx, s *side) error {
		_, err := tx.Event(s.event())
		return err
	})},
	{"start a run, superseding those of its ref", undone(func(tx *store.Tx, s *side) error {
		return tx.NewRun(newRun(s), "fetch", "build", "resolve")
	})},
	{"finish a run: its release, its deployment", undone(func(tx *store.Tx, s *side) error {
		r := newRun(s)
		if err := errors.Join(tx.NewRun(r, "fetch"), tx.StartRun(r.ID)); err != nil {
			return err
		}
		rel, err := tx.SucceedRun(*r, []store.Image{{Repository: "registry.example.com/web", Digest: "sha256:2"}})
		if err != nil {
			return err
		}
		return tx.NewDeployment(&store.Deployment{Repo: rel.Repo, App: rel.App, Environment: "staging", Release: rel.Number, Cause: store.CauseAutomatic, Run: r.ID,
			Spec: store.JSON[json.RawMessage]{V: json.RawMessage("{}")}}, "render", "apply", "observe", "verify")
	})},
	{"advance an environment: what is open, live, voted", view(func(tx *store.Tx, s *side) error {
		if _, err := tx.OpenDeployments(repo0, "web", "staging"); err != nil {
			return err
		}
		_, err := store.Optional(tx.Hold(repo0, "web", "staging"))
		_, err2 := store.Optional(tx.LiveRelease(repo0, "web", "staging", 2_000_000_000)) // not there yet
		_, err3 := tx.Approvals(s.deployment())
		return errors.Join(err, err2, err3)
	})},
	{"/status: what is live, what waits", view(func(tx *store.Tx, _ *side) error {
		d, err := tx.Live(repo0, "web", "staging")
		if err != nil {
			return err
		}
		_, err = tx.Release(repo0, "web", d.Release)
		_, err2 := tx.OpenDeployments(repo0, "web", "staging")
		return errors.Join(err, err2)
	})},
	{"/rollback: what was live before", view(func(tx *store.Tx, _ *side) error {
		d, err := tx.Current(repo0, "web", "staging")
		if err == nil {
			_, err = tx.Before(d)
		}
		return err
	})},
	{"/deploy: the release of a commit, of a branch", view(func(tx *store.Tx, _ *side) error {
		_, err := store.Optional(tx.ReleaseOf(repo0, "web", "none"))
		_, err2 := store.Optional(tx.RunOf(repo0, "web", "none"))
		_, err3 := store.Optional(tx.BuiltOn(repo0, "web", "refs/heads/none"))
		return errors.Join(err, err2, err3)
	})},
	{"/approve: what waits in a repository", view(func(tx *store.Tx, _ *side) error {
		_, err := tx.Waiting("acme/none")
		return err
	})},
	{"report on a run, and its page", view(func(tx *store.Tx, s *side) error {
		r, err := tx.Run(s.run())
		if err != nil {
			return err
		}
		_, err = tx.Steps(r.ID)
		_, err2 := tx.Repo(r.Repo)
		_, err3 := tx.Apps(r.Repo)
		_, err4 := tx.DeploymentsOf(r.ID)
		_, err5 := tx.RunOf(r.Repo, r.App, r.SHA)
		_, err6 := tx.Message("run/"+r.ID, "github/status", "")
		return errors.Join(err, err2, err3, err4, err5, err6)
	})},
	{"report on a deployment, and its page", view(func(tx *store.Tx, s *side) error {
		d, err := tx.Deployment(s.deployment())
		if err != nil {
			return err
		}
		_, err = tx.Release(d.Repo, d.App, d.Release)
		_, err2 := tx.Approvals(d.ID)
		_, err3 := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
		_, err4 := store.Optional(tx.RollbackOf(d.ID))
		_, err5 := tx.DeploymentsOf(d.Run)
		return errors.Join(err, err2, err3, err4, err5)
	})},
	{"the newest 50 runs", list("SELECT id, repo, app, number, sha, state, created_at FROM runs ORDER BY created_at DESC LIMIT 50")},
	{"the newest 20 events of a repository", list("SELECT id, kind, received_at, trace FROM events WHERE repo = '" + repo0 + "' ORDER BY received_at DESC LIMIT 20")},
	{"start after a crash: leases, interrupted steps", undone(func(tx *store.Tx, _ *side) error { return tx.Recover() })},
	{"look for what has aged out, and find nothing", undone(func(tx *store.Tx, _ *side) error {
		_, err := tx.AgeEvents(time.Unix(0, 0))
		_, err2 := tx.AgeObjects(time.Unix(0, 0))
		return errors.Join(err, err2)
	})},
}

var kinds = []string{store.TaskEvent, store.TaskRun, store.TaskForkRun, store.TaskImageRun, store.TaskPrepare, store.TaskEnv, store.TaskReport, store.TaskReply, store.TaskKeep}

// repo0 is the repository that has half of everything.
const repo0 = "acme/app-0"

// view measures what only reads.
func view(fn func(*store.Tx, *side) error) func(context.Context, *side) error {
	return func(ctx context.Context, s *side) error {
		return s.db.View(ctx, func(tx *store.Tx) error { return fn(tx, s) })
	}
}

func list(query string) func(context.Context, *side) error {
	return func(ctx context.Context, s *side) error {
		rows, err := s.raw.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		for rows.Next() { // what is in them is not wanted
		}
		return errors.Join(rows.Err(), rows.Close())
	}
}

var errUndo = errors.New("undo")

// undone measures what writes, without the commit, which waits for the disk and not for what is in the database.
func undone(fn func(*store.Tx, *side) error) func(context.Context, *side) error {
	return func(ctx context.Context, s *side) error {
		err := s.db.Update(ctx, func(tx *store.Tx) error {
			if err := fn(tx, s); err != nil {
				return err
			}
			return errUndo
		})
		if errors.Is(err, errUndo) {
			return nil
		}
		return err
	}
}

func newRun(s *side) *store.Run {
	return &store.Run{Repo: repo0, App: "web", Ref: "refs/heads/master", SHA: fmt.Sprintf("new-%d", s.next), Cause: store.CausePush, Event: "none",
		Config: store.JSON[json.RawMessage]{V: json.RawMessage("{}")}}
}

// scattered is another number up to most each time, the same ones in the same order in every run.
func (s *side) scattered(most int) int { return 1 + s.next*7919%most }

func (s *side) run() string { return id("run", s.scattered(s.size.runs)) }

func (s *side) deployment() string { return id("dep", s.scattered(s.size.runs)) }

func (s *side) event() string {
	i := s.scattered(s.size.events)
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(i*2654435761), i)
}

func id(kind string, i int) string { return fmt.Sprintf("%08x%s%015d", uint32(i*2654435761), kind, i) }
