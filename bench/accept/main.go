// Command accept measures how many signed deliveries a second Shipmate accepts, each on disk before it is answered, beside a
// minimal handler of palantir/go-githubapp, which keeps them in memory. It is a module of its own, so that what the other
// one needs is not needed to build Shipmate.
//
//	accept -bot ../../bin/bot -rounds 5 -for 1.5s
//
// The two take turns on the same machine, and in every other round the other one begins. Each server and the loader are a
// process of their own. Shipmate decides what it accepts as ever: the pushes are of a repository that may not use the server,
// so that nothing is asked of GitHub; a turn begins when all of the one before is decided. Nothing is asserted about time;
// accept exits 1 when a delivery was refused, lost, doubled or not decided.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	_ "modernc.org/sqlite" // reads what was stored
)

const secret = "bench-secret"

func main() {
	bot := flag.String("bot", "bin/bot", "the bot's binary")
	dir := flag.String("dir", "", "where the database is put; default: the system's temporary folder")
	rounds := flag.Int("rounds", 5, "turns of each server at each number of connections")
	span := flag.Duration("for", 1500*time.Millisecond, "length of a turn")
	profile := flag.Bool("pids", false, "print the process ids of the servers, for a profiler")
	role := flag.String("role", "", "internal: what this process is, load or githubapp")
	url := flag.String("url", "", "internal: where load sends to")
	conns := flag.Int("connections", 0, "measure this number of connections only; default: 1, 16 and 64")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case flag.NArg() > 0 || *rounds < 1 || *span <= 0 || *conns < 0:
		fmt.Fprintln(os.Stderr, "accept: -rounds and -for must be positive, and there are no arguments besides flags")
		os.Exit(2)
	case *role == "load":
		err = json.NewEncoder(os.Stdout).Encode(load(*url, *conns, *span))
	case *role == "githubapp":
		err = githubapp(ctx)
	default:
		levels := []int{1, 16, 64}
		if *conns > 0 {
			levels = []int{*conns}
		}
		err = compare(ctx, options{bot: *bot, dir: *dir, rounds: *rounds, span: *span, pids: *profile}, levels)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "accept:", err)
		os.Exit(1)
	}
}

type options struct {
	bot, dir string
	rounds   int
	span     time.Duration
	pids     bool
}

// A result is what the loader saw in one turn.
type result struct {
	Accepted int            // answers 2xx
	Other    map[string]int // anything else → how often
	Elapsed  time.Duration
	P50, P99 time.Duration
}

func (r result) rate() float64 { return float64(r.Accepted) / r.Elapsed.Seconds() }

func compare(ctx context.Context, opt options, levels []int) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "connections\tserver\taccepted/s\tof go-githubapp\tp50\tp99\tdecided/s\t\n")
	for _, n := range levels {
		if err := level(ctx, opt, n, w); err != nil {
			return errors.Join(fmt.Errorf("%d connections: %w", n, err), w.Flush())
		}
	}
	return w.Flush()
}

// level lets both servers take turns at a number of connections and adds their medians to the table.
func level(ctx context.Context, opt options, conns int, w io.Writer) (err error) {
	dir, err := os.MkdirTemp(opt.dir, "accept-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := configure(dir); err != nil {
		return err
	}
	peer, err := start(ctx, self, "-role", "githubapp")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, peer.stop()) }()
	ours, err := start(ctx, opt.bot, "serve", "--config", filepath.Join(dir, "shipmate.yaml"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.stop()) }()
	if opt.pids {
		fmt.Printf("%d connections: bot %d, go-githubapp %d\n", conns, ours.cmd.Process.Pid, peer.cmd.Process.Pid)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "data", "shipmate.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read

	accepted := 0
	var results [2][]result
	var decided []float64
	for round := range opt.rounds + 1 { // the first warms up
		for turn := range 2 {
			which := (turn + round) % 2
			address := []string{peer.address + "/api/github/hook", ours.address + "/webhooks/github"}[which]
			r, err := loader(ctx, self, address, conns, opt.span)
			if err != nil {
				return err
			}
			if len(r.Other) > 0 {
				return fmt.Errorf("besides %d deliveries accepted: %v", r.Accepted, r.Other)
			}
			if which == 1 {
				accepted += r.Accepted
				began := time.Now()
				left, err := settle(ctx, db)
				if err != nil {
					return err
				}
				if s := time.Since(began).Seconds(); round > 0 && left > 0 {
					decided = append(decided, float64(left)/s)
				}
			}
			if round > 0 {
				results[which] = append(results[which], r)
			}
		}
	}
	if err := verify(ctx, db, accepted); err != nil {
		return err
	}
	base := median(results[0], result.rate)
	for which, name := range []string{"go-githubapp", "Shipmate"} {
		rs := results[which]
		rate := median(rs, result.rate)
		after := ""
		if which == 1 && len(decided) > 0 {
			slices.Sort(decided)
			after = fmt.Sprintf("%.0f", decided[len(decided)/2])
		}
		fmt.Fprintf(w, "%d\t%s\t%.0f\t%.2f\t%.2f ms\t%.2f ms\t%s\t\n", conns, name, rate, rate/base,
			median(rs, func(r result) float64 { return float64(r.P50) / 1e6 }), median(rs, func(r result) float64 { return float64(r.P99) / 1e6 }), after)
	}
	return nil
}

func median(rs []result, of func(result) float64) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, of(r))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// settle waits until nothing is left to decide, and tells how much was left at first.
func settle(ctx context.Context, db *sql.DB) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for first := true; ; first = false {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM tasks WHERE kind = 'event'").Scan(&n); err != nil {
			return 0, fmt.Errorf("wait until all is decided: %w", err)
		}
		if first {
			left = n
		}
		if n == 0 {
			return left, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, fmt.Errorf("%d deliveries are not decided: %w", n, ctx.Err())
		}
	}
}

// verify compares the database with what the loader was answered: each delivery has an id of its own there, so that one
// that was lost or doubled makes the counts differ.
func verify(ctx context.Context, db *sql.DB, accepted int) error {
	var stored, decided int
	if err := db.QueryRowContext(ctx, "SELECT count(*), count(decided_at) FROM events").Scan(&stored, &decided); err != nil {
		return err
	}
	if stored != accepted || decided != accepted {
		return fmt.Errorf("%d deliveries were accepted, but %d are stored and %d decided", accepted, stored, decided)
	}
	return nil
}

// configure writes a server's file whose bot has nobody to talk to.
func configure(dir string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"app.pem": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"hook":    []byte(secret),
		"shipmate.yaml": []byte(`listen: 127.0.0.1:0
data_dir: data
github:
  api_url: http://127.0.0.1:1/
  app_id: 1
  recover_every: 0s
  private_key: file:app.pem
  webhook_secrets: [file:hook]
  allow: [somebody/else]
`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// A process is a server that we started.
type process struct {
	cmd     *exec.Cmd
	address string // http://host:port
	done    chan error
}

// start starts a server and waits for the line in which it says its address (address=HOST:PORT).
func start(ctx context.Context, name string, args ...string) (*process, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan error, 1)}
	address := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, after, ok := strings.Cut(lines.Text(), "address="); ok && strings.Contains(lines.Text(), "serving") {
				address <- strings.Fields(after)[0]
			} else if !strings.Contains(lines.Text(), "level=INFO") {
				fmt.Fprintln(os.Stderr, lines.Text())
			}
		}
		_, _ = io.Copy(io.Discard, out) // a line that is too long for the scanner
		p.done <- cmd.Wait()
	}()
	select {
	case a := <-address:
		p.address = "http://" + a
		return p, nil
	case err := <-p.done:
		return nil, fmt.Errorf("%s ended: %w", filepath.Base(name), err)
	case <-time.After(30 * time.Second):
		return nil, errors.Join(fmt.Errorf("%s does not say that it serves", filepath.Base(name)), p.cmd.Process.Kill())
	}
}

// stop asks the server to end, as an operator does.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := <-p.done; err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(p.cmd.Path), err)
	}
	return nil
}

// loader runs the load in a process of its own.
func loader(ctx context.Context, self, url string, conns int, span time.Duration) (r result, err error) {
	cmd := exec.CommandContext(ctx, self, "-role", "load", "-url", url, "-connections", fmt.Sprint(conns), "-for", span.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("load: %w", err)
	}
	return r, json.Unmarshal(out, &r)
}
