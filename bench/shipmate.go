package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/shipmate-dev/shipmate/e2e"
	"github.com/shipmate-dev/shipmate/internal/sim"
)

// shipmate ships by pushing and by commenting on a pull request.
type shipmate struct {
	x       *e2e.Example
	news    news
	pull    int
	files   map[string]string
	sha     string            // what staging runs
	digests map[string]string // by commit
}

func newShipmate(x *e2e.Example) (*shipmate, error) {
	s := &shipmate{x: x, digests: map[string]string{}, news: news{changed: make(chan struct{})}}
	x.Watch(s.news.add, nil, nil)
	var err error
	if s.files, err = x.Files(); err != nil {
		return nil, err
	}
	if _, err := x.Repo.Commit("master", "alice", "Begin", map[string]string{"README.md": s.files["README.md"]}); err != nil {
		return nil, err
	}
	// Where commands are said; it stays open.
	if _, err := x.Repo.Commit("talk", "alice", "Something to talk about", map[string]string{"TALK.md": "Ship it.\n"}); err != nil {
		return nil, err
	}
	s.pull, err = x.Repo.OpenPullRequest("talk", "master", "alice", "Something to talk about")
	return s, err
}

func (s *shipmate) push(ctx context.Context, greeting string) ([]part, error) {
	greeting += ", by Shipmate"
	change := greet(s.files, greeting)
	if s.sha == "" { // the first push brings all
		for name, text := range s.files {
			if _, ok := change[name]; !ok {
				change[name] = text
			}
		}
	}
	mark := s.news.mark()
	sha, err := s.x.Repo.Commit("master", "alice", greeting, change)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	done, err := s.news.wait(ctx, mark, "staging", func(w sim.Write) bool { return w.SHA == sha })
	if err != nil {
		return nil, err
	}
	if err := s.x.Live(ctx, "staging", "/", greeting); err != nil {
		return nil, err
	}
	parts, err := s.parts(ctx, "staging", began, done.at, time.Now())
	if err != nil {
		return nil, err
	}
	s.sha = sha
	s.digests[sha], err = s.x.Digest(ctx, "staging")
	return parts, err
}

func (s *shipmate) promote(ctx context.Context) ([]part, error) {
	mark := s.news.mark()
	if _, err := s.x.Say(ctx, s.pull, "alice", "/promote production", true); err != nil {
		return nil, err
	}
	err := s.news.until(ctx, mark, "production waits for an approval", func(w sim.Write) (bool, error) {
		return w.Kind == "status" && w.Name == "shipmate/deploy/production" && w.SHA == s.sha && strings.Contains(w.Description, "approval"), nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return s.command(ctx, "/approve", func(w sim.Write) bool { return w.SHA == s.sha })
}

func (s *shipmate) rollback(ctx context.Context) ([]part, error) {
	return s.command(ctx, "/rollback production", func(w sim.Write) bool { return w.SHA != s.sha })
}

// command has bob say what changes production, and waits until it is live.
func (s *shipmate) command(ctx context.Context, text string, match func(sim.Write) bool) ([]part, error) {
	mark := s.news.mark()
	if _, err := s.x.Repo.Comment(s.pull, "bob", text); err != nil {
		return nil, err
	}
	began := time.Now()
	done, err := s.news.wait(ctx, mark, "production", match)
	if err != nil {
		return nil, err
	}
	if err := s.x.Runs(ctx, "production", s.digests[done.SHA]); err != nil {
		return nil, err
	}
	return s.parts(ctx, "production", began, done.at, time.Now())
}

// parts divides a step by the times that the bot wrote to its database for the newest deployment to an environment.
func (s *shipmate) parts(ctx context.Context, environment string, began, told, live time.Time) ([]part, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.x.Dir, "data", "shipmate.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // it was only read
	rows, err := db.QueryContext(ctx, `SELECT s.kind, s.started_at, s.finished_at FROM steps s
		JOIN (SELECT id, run FROM deployments WHERE environment = ? ORDER BY number DESC LIMIT 1) d ON s.owner IN (d.id, d.run)
		WHERE s.finished_at IS NOT NULL ORDER BY s.finished_at`, environment)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	w := stopwatch{last: began}
	for rows.Next() {
		var kind, from, to string
		if err := rows.Scan(&kind, &from, &to); err != nil {
			return nil, err
		}
		started, err := time.Parse(time.RFC3339, from)
		if err != nil {
			return nil, err
		}
		finished, err := time.Parse(time.RFC3339, to)
		if err != nil {
			return nil, err
		}
		if started.Before(began.Truncate(time.Millisecond)) {
			continue // was done before, as rendering is before an approval
		}
		if len(w.parts) == 0 {
			w.lap("decide", started)
		}
		w.lap(kind, finished)
	}
	if len(w.parts) == 0 {
		return nil, errors.Join(fmt.Errorf("the database has no steps of the newest deployment to %s", environment), rows.Err())
	}
	w.lap("report", told)
	w.lap("answer", live)
	return w.parts, rows.Err()
}

// news is what the bot wrote to GitHub, and when it did.
type news struct {
	mu      sync.Mutex
	all     []written
	changed chan struct{} // closed and replaced with each
}

type written struct {
	sim.Write
	at time.Time
}

func (n *news) add(w sim.Write) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, written{w, time.Now()})
	close(n.changed)
	n.changed = make(chan struct{})
}

// mark is the place where what comes from now on begins.
func (n *news) mark() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.all)
}

// wait returns the first commit status that says success of an environment's deployment, among what came after mark.
func (n *news) wait(ctx context.Context, mark int, environment string, match func(sim.Write) bool) (done written, err error) {
	err = n.until(ctx, mark, environment+" is told to be live", func(w sim.Write) (bool, error) {
		if w.Kind != "status" || !match(w) {
			return false, nil
		}
		if w.State == "failure" || w.State == "error" {
			return false, fmt.Errorf("%s of %.7s is %s: %s", w.Name, w.SHA, w.State, w.Description)
		}
		return w.State == "success" && w.Name == "shipmate/deploy/"+environment, nil
	}, &done)
	return done, err
}

// timeout bounds one step.
const timeout = 4 * time.Minute

// until waits for something that came after mark. A command that was refused ends the wait.
func (n *news) until(ctx context.Context, mark int, what string, look func(sim.Write) (bool, error), found *written) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		n.mu.Lock()
		fresh, changed := n.all[mark:], n.changed
		n.mu.Unlock()
		for _, w := range fresh {
			mark++
			if w.Kind == "reaction" && w.State == "confused" {
				return fmt.Errorf("%s: the command was refused", what)
			}
			ok, err := look(w.Write)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			if ok {
				if found != nil {
					*found = w
				}
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}
