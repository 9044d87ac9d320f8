// Command log measures what it costs to keep the log of a build that prints much: the same build on a real BuildKit, once
// with its lines read, masked, packed and stored as the bot does it, once with its lines dropped as they come, and once with
// a command that prints nothing.
//
//	log -bin "$(e2e/setup.sh --print-bin)" -lines 200000 -rounds 5
//
// The ways take turns, and each round another one begins. The daemon at BUILDKIT_HOST is used where there is one: it must be
// run with BUILDKIT_STEP_LOG_MAX_SIZE=-1 and BUILDKIT_STEP_LOG_MAX_SPEED=-1, since it drops most of such a log otherwise.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/mask"
	"github.com/shipmate-dev/shipmate/pipeline/runlog"
)

func main() {
	bin := flag.String("bin", "", "the folder with the programs builder and buildkitd; not needed with BUILDKIT_HOST")
	lines := flag.Int("lines", 200_000, "how many lines the build prints")
	rounds := flag.Int("rounds", 5, "how often each way is measured")
	busybox := flag.String("busybox", "/bin/busybox", "a static busybox (package busybox-static)")
	flag.Parse()
	if *rounds < 1 || *lines < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "log: -rounds and -lines must be at least 1, and there are no arguments besides flags")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *busybox, *lines, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "log:", err)
		os.Exit(1)
	}
}

// A way to treat what a build prints.
type way struct {
	name      string
	command   string // of the shell
	wall, cpu []time.Duration
	inside    []time.Duration // of wall: masking and storing
}

// A measurement is one build.
type measurement struct {
	wall, cpu, inside time.Duration
	text, stored      int64 // bytes
}

func run(ctx context.Context, bin, busybox string, lines, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "shipmate-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	host := os.Getenv("BUILDKIT_HOST")
	if host == "" {
		var stop func() error
		if host, stop, err = startBuilder(ctx, bin, filepath.Join(dir, "b")); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	b, err := build.Open(build.Address{URL: host})
	if err != nil {
		return err
	}
	shell, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("%w (package busybox-static)", err)
	}
	src := filepath.Join(dir, "src")
	if err := errors.Join(os.Mkdir(src, 0o700), os.WriteFile(filepath.Join(src, "busybox"), shell, 0o755)); err != nil {
		return err
	}

	print := fmt.Sprintf(`awk 'BEGIN { for (i = 1; i <= %d; i++) print "line " i ": compiling example.com/some/package/of/a/large/program" }'`, lines)
	ways := []*way{
		{name: "kept", command: print},
		{name: "dropped", command: print},
		{name: "nothing printed", command: print + " >/dev/null"},
	}
	var secrets []string
	for i := range 20 {
		secrets = append(secrets, fmt.Sprintf("%c3cr3t-%d-of-the-server's-file/%d", 'a'+i, i, i*i))
	}
	var kept measurement
	for round := range rounds + 1 { // the first is not counted: it fills the builder's cache
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			file := filepath.Join(dir, fmt.Sprint(round, ".log.zst"))
			text := fmt.Sprintf("FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", %q]\n", fmt.Sprintf("/bin/busybox %s # %s %d %d", w.command, w.name, round, time.Now().UnixNano()))
			if err := os.WriteFile(filepath.Join(src, "Dockerfile"), []byte(text), 0o600); err != nil {
				return err
			}
			m, err := measure(ctx, b, src, file, w.name == "kept", lines, secrets)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", w.name, round, err)
			}
			if w.name == "kept" {
				kept = m
			}
			fmt.Printf("%d  %-15s  %6.2f s; computing here %6.3f s; in the log %6.3f s\n", round, w.name, m.wall.Seconds(), m.cpu.Seconds(), m.inside.Seconds())
			if round > 0 {
				w.wall, w.cpu, w.inside = append(w.wall, m.wall), append(w.cpu, m.cpu), append(w.inside, m.inside)
			}
		}
	}

	fmt.Printf("\n%d lines, %d secrets, median of %d rounds\n", lines, len(secrets), rounds)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "lines\tbuild\tcomputing here\tin the log")
	for _, w := range ways {
		fmt.Fprintf(t, "%s\t%.2f s\t%.3f s\t%.3f s\n", w.name, median(w.wall).Seconds(), median(w.cpu).Seconds(), median(w.inside).Seconds())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	all, inside := median(ways[0].wall), median(ways[0].inside)
	fmt.Printf("\nmasking and storing takes %.1f %% of the build's time; beside dropping all lines the build's ratio is %.2f\n", 100*inside.Seconds()/all.Seconds(), float64(all)/float64(median(ways[1].wall)))
	fmt.Printf("%.1f MB of text are stored as %.1f MB\n", float64(kept.text)/1e6, float64(kept.stored)/1e6)
	return nil
}

// measure builds once.
func measure(ctx context.Context, b *build.Builder, src, file string, keep bool, lines int, secrets []string) (m measurement, err error) {
	busy, began := used(), time.Now()
	var out func(build.Line)
	var log *runlog.Writer
	if keep {
		if log, err = runlog.Create(file, mask.New(secrets...)); err != nil {
			return m, err
		}
		out = func(l build.Line) {
			began := time.Now()
			log.Write(runlog.Line{At: l.At, Step: l.Step, Stream: l.Stream, Text: l.Text})
			m.inside += time.Since(began)
		}
	}
	_, err = b.Build(ctx, build.Request{Dir: src, NoPush: true}, out)
	if keep {
		began := time.Now()
		err = errors.Join(err, log.Close())
		m.inside += time.Since(began)
	}
	m.wall, m.cpu = time.Since(began), used()-busy
	if err != nil || !keep {
		return m, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return m, err
	}
	m.stored = info.Size()
	r, err := runlog.Open(file)
	if err != nil {
		return m, err
	}
	defer func() { _ = r.Close() }() // it was only read
	printed := 0
	for l, err := range r.Lines(0) {
		if err != nil {
			return m, err
		}
		m.text += int64(len(l.Text)) + 1
		if l.Stream == 1 {
			printed++
		}
	}
	if printed != lines {
		err = fmt.Errorf("%d of %d lines came: does BuildKit run with BUILDKIT_STEP_LOG_MAX_SIZE=-1 and BUILDKIT_STEP_LOG_MAX_SPEED=-1?", printed, lines)
	}
	return m, err
}

// used is the CPU time that this process has used.
func used() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0 // it can't be refused
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(s []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}

// startBuilder starts a builder that drops no lines, and returns its address.
func startBuilder(ctx context.Context, bin, dir string) (host string, stop func() error, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "builder"), "up", "--dir", dir, "--die-with-parent")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), "BUILDKIT_STEP_LOG_MAX_SIZE=-1", "BUILDKIT_STEP_LOG_MAX_SPEED=-1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", nil, fmt.Errorf("%w (e2e/setup.sh makes what belongs into -bin)", err)
	}
	stop = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
		return cmd.Wait()
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, host, found := strings.Cut(lines.Text(), "BUILDKIT_HOST="); found {
			return host, stop, nil
		}
	}
	return "", nil, errors.Join(errors.New("the builder did not start"), stop())
}
