package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shipmate-dev/shipmate/bot"
	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// taken is what a bot at rest takes.
type taken struct {
	Goroutines          int
	Heap, Own, Resident int64 // bytes: in use after a collection; resident, without and with what files back, such as the program itself
}

// measureWaiting has two bots look at themselves, each in a process of its own: one without deployments and one for which
// many wait for an approval, each in an environment of its own. GitHub, which is told of them, is simulated in this process.
func measureWaiting(ctx context.Context, dir string, deployments int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	gh, err := sim.NewGitHub(sim.GitHubConfig{Dir: filepath.Join(dir, "github"), Secret: "bench-secret"})
	if err != nil {
		return err
	}
	if err := gh.Start("127.0.0.1:0"); err != nil {
		return err
	}
	defer func() { _ = gh.Close() }() // nothing hangs on it
	repo, err := gh.CreateRepo("acme/web", sim.RepoOptions{})
	if err != nil {
		return err
	}
	sha, err := repo.Commit("master", "alice", "Begin", map[string]string{"README.md": "Hello\n"})
	if err != nil {
		return err
	}
	installation, _ := gh.Installation("acme") // CreateRepo installs the App there
	var took [2]taken
	for i, n := range []int{0, deployments} {
		folder := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
		cfg, err := configure(folder, gh.APIURL(), gh.AppID(), gh.PrivateKeyPEM())
		if err != nil {
			return err
		}
		if err := fill(ctx, cfg, func(db *store.DB) error {
			return db.Update(ctx, func(tx *store.Tx) error { return wait(tx, installation.ID, sha, n) })
		}); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, self, "-look", folder, "-deployments", strconv.Itoa(n))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("the bot for which %d deployments wait: %w", n, err)
		}
		if err := json.Unmarshal(out, &took[i]); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "waiting deployments\tgoroutines\theap MiB\town memory MiB\tresident MiB\t") // Flush tells
	row := func(what string, t taken) {
		const mib = 1 << 20
		_, _ = fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t\n", what, t.Goroutines, float64(t.Heap)/mib, float64(t.Own)/mib, float64(t.Resident)/mib)
	}
	none, many := took[0], took[1]
	row("0", none)
	row(strconv.Itoa(deployments), many)
	row("more", taken{many.Goroutines - none.Goroutines, many.Heap - none.Heap, many.Own - none.Own, many.Resident - none.Resident})
	return w.Flush()
}

// wait stores a repository with so many apps, each with a release whose deployment waits for an approval.
func wait(tx *store.Tx, installation int64, sha string, n int) error {
	r := store.Repo{Name: "acme/web", ID: 1, Installation: installation, DefaultBranch: "master", HTMLURL: "https://github.com/acme/web"}
	if err := tx.PutRepo(r); err != nil {
		return err
	}
	spec, err := json.Marshal(pipeline.Spec{Environment: pipeline.Environment{Name: "prod", Cluster: "prod", Namespace: "prod",
		Manifests: "deploy", Timeout: time.Hour, Approvals: pipeline.Approvals{Count: 1, Expire: 72 * time.Hour}}})
	if err != nil {
		return err
	}
	for i := range n {
		run := store.Run{Repo: r.Name, App: fmt.Sprintf("web-%d", i), Ref: "refs/heads/master", SHA: sha, Subject: "Begin", Author: "alice", Sender: "alice", Cause: store.CausePush}
		run.Config.V = json.RawMessage("{}")
		if err := tx.NewRun(&run, pipeline.StepFetch); err != nil {
			return err
		}
		if err := tx.StartRun(run.ID); err != nil {
			return err
		}
		release, err := tx.SucceedRun(run, []store.Image{{Repository: "registry.example.com/team/web", Digest: "sha256:" + strings.Repeat("0", 64)}})
		if err != nil {
			return err
		}
		d := store.Deployment{Repo: r.Name, App: run.App, Environment: "prod", Release: release.Number, Cause: store.CauseDeploy, Requester: "alice", Run: run.ID}
		d.Spec.V = spec
		if err := errors.Join(tx.NewDeployment(&d, pipeline.StepRender), tx.Prepared(d, make([]byte, 4<<10), "hash", json.RawMessage("[]"), "")); err != nil {
			return err
		}
	}
	return nil
}

// lookAt is a bot that says what it takes as soon as it has nothing to do.
func lookAt(ctx context.Context, dir string, deployments int) error {
	cfg, err := bot.LoadConfig(filepath.Join(dir, "shipmate.yaml"))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	b, err := bot.New(ctx, cfg, "bench", slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	err = rests(ctx, cfg, deployments)
	var t taken
	if err == nil {
		t, err = look()
	}
	stop()
	if err := errors.Join(err, <-ended, b.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(t)
}

// rests waits until so many deployments wait for an approval and nobody works: what is left to do has its time.
func rests(ctx context.Context, cfg *bot.Config, deployments int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	db, err := readOnly(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read
	for calm := 0; calm < 10; calm++ {
		var waiting, busy int
		err := db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM deployments WHERE state = 'blocked' AND blocks LIKE '%"approval"%'),
			(SELECT count(*) FROM tasks WHERE buried_at IS NULL AND (lease_until IS NOT NULL OR due_at <= strftime('%Y-%m-%dT%H:%M:%fZ')))`).Scan(&waiting, &busy)
		if err != nil {
			return fmt.Errorf("wait until the bot rests (%d of %d deployments wait, %d tasks are busy): %w", waiting, deployments, busy, err)
		}
		if waiting != deployments || busy > 0 {
			calm = -1
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d deployments wait, %d tasks are busy: %w", waiting, deployments, busy, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func look() (t taken, err error) {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Goroutines, t.Heap = runtime.NumGoroutine(), int64(m.HeapAlloc)
	status, err := os.ReadFile("/proc/self/status") // proc_pid_status(5): in units of 1024 bytes
	if err != nil {
		return t, err
	}
	for line := range strings.Lines(string(status)) {
		for name, to := range map[string]*int64{"RssAnon:": &t.Own, "VmRSS:": &t.Resident} {
			if value, ok := strings.CutPrefix(line, name); ok {
				if _, err := fmt.Sscan(value, to); err != nil {
					return t, fmt.Errorf("%s: %w", name, err)
				}
				*to *= 1024
			}
		}
	}
	return t, nil
}
