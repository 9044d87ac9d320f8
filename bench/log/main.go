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
}

type sizes struct{ text, stored int64 }

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
	b, err := build.Open(host)
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
	var kept sizes
	for round := range rounds + 1 { // the first is not counted: it fills the builder's cache
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			file := filepath.Join(dir, fmt.Sprint(round, ".log.zst"))
			text := fmt.Sprintf("FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", %q]\n", fmt.Sprintf("/bin/busybox %s # %s %d %d", w.command, w.name, round, time.Now().UnixNano()))
			if err := os.WriteFile(filepath.Join(src, "Dockerfile"), []byte(text), 0o600); err != nil {
				return err
			}
			wall, cpu, got, err := measure(ctx, b, src, file, w.name == "kept", lines, secrets)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", w.name, round, err)
			}
			if w.name == "kept" {
				kept = got
			}
			fmt.Printf("%d  %-15s  %6.2f s, of which we compute %6.3f s\n", round, w.name, wall.Seconds(), cpu.Seconds())
			if round > 0 {
				w.wall, w.cpu = append(w.wall, wall), append(w.cpu, cpu)
			}
		}
	}

	fmt.Printf("\n%d lines, %d secrets, median of %d rounds\n", lines, len(secrets), rounds)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "lines\tbuild\twe compute")
	for _, w := range ways {
		fmt.Fprintf(t, "%s\t%.2f s\t%.3f s\n", w.name, median(w.wall).Seconds(), median(w.cpu).Seconds())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	ours, all := median(ways[0].cpu)-median(ways[1].cpu), median(ways[0].wall)
	fmt.Printf("\nmasking and storing takes %.3f s of computing, %.1f %% of the build's %.2f s; the build takes %+.2f s (ratio %.2f)\n",
		ours.Seconds(), 100*ours.Seconds()/all.Seconds(), all.Seconds(), (all - median(ways[1].wall)).Seconds(), float64(all)/float64(median(ways[1].wall)))
	fmt.Printf("%.1f MB of text are stored as %.1f MB\n", float64(kept.text)/1e6, float64(kept.stored)/1e6)
	return nil
}

// measure builds once and tells how long it took and how much of this process's CPU.
func measure(ctx context.Context, b *build.Builder, src, file string, keep bool, lines int, secrets []string) (wall, cpu time.Duration, got sizes, err error) {
	busy, began := used(), time.Now()
	var out func(build.Line)
	var log *runlog.Writer
	if keep {
		if log, err = runlog.Create(file, mask.New(secrets...)); err != nil {
			return 0, 0, got, err
		}
		out = func(l build.Line) {
			log.Write(runlog.Line{At: l.At, Step: l.Step, Stream: l.Stream, Text: l.Text})
		}
	}
	_, err = b.Build(ctx, build.Request{Dir: src, NoPush: true}, out)
	if keep {
		err = errors.Join(err, log.Close())
	}
	wall, cpu = time.Since(began), used()-busy
	if err != nil || !keep {
		return wall, cpu, got, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return wall, cpu, got, err
	}
	got.stored = info.Size()
	r, err := runlog.Open(file)
	if err != nil {
		return wall, cpu, got, err
	}
	defer func() { _ = r.Close() }() // it was only read
	printed := 0
	for l, err := range r.Lines(0) {
		if err != nil {
			return wall, cpu, got, err
		}
		got.text += int64(len(l.String())) + 1
		if l.Stream == 1 {
			printed++
		}
	}
	if printed != lines {
		err = fmt.Errorf("%d of %d lines came: does BuildKit run with BUILDKIT_STEP_LOG_MAX_SIZE=-1 and BUILDKIT_STEP_LOG_MAX_SPEED=-1?", printed, lines)
	}
	return wall, cpu, got, err
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
