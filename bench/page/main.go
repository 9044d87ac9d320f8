// Command page measures what people get from a bot that runs: the overview of 500 apps with three environments each and the page
// of an app with 10,000 releases, 20 requests at once by people who are signed in, and one log that 200 follow while it is written.
//
//	page -bot bin/bot
//
// The bot is a process of its own, with a GitHub that this one simulates; requests go over HTTP, and what people may see is asked of
// that GitHub as ever. This process and the bot share the machine's processors. Nothing is asserted about time or memory; page exits 1
// when an answer was not a page, or a line did not reach everybody.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are what is measured.
type options struct {
	bot                             string
	apps, releases, atOnce, follows int
	span                            time.Duration
	lines                           int
	every                           time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.bot, "bot", "bin/bot", "the bot's binary")
	flag.IntVar(&o.apps, "apps", 500, "apps, with three environments each")
	flag.IntVar(&o.releases, "releases", 10_000, "releases of the first app; the others have ten")
	flag.IntVar(&o.atOnce, "at-once", 20, "requests at once")
	flag.DurationVar(&o.span, "for", 10*time.Second, "for how long each page is asked for")
	flag.IntVar(&o.follows, "followers", 200, "followers of one log, at most 256")
	flag.IntVar(&o.lines, "lines", 500, "lines that are written to it")
	flag.DurationVar(&o.every, "every", 20*time.Millisecond, "time between two of them")
	parent := flag.String("dir", "", "where the database is made and removed; default: the system's folder for temporary files")
	flag.Parse()
	if flag.NArg() > 0 || o.apps < 5 || o.releases < 10 || o.atOnce < 1 || o.follows < 1 || o.follows > 256 || o.lines < 1 || o.span <= 0 || o.every <= 0 {
		fmt.Fprintln(os.Stderr, "page: -apps must be at least 5, -releases at least 10, -followers at most 256, the others positive, and there are no arguments besides flags")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp(*parent, "page-")
	if err == nil {
		err = errors.Join(measure(ctx, dir, o), os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "page:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, dir string, o options) (err error) {
	s, err := start(ctx, dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	fmt.Printf("%s; this process and the bot share it\n\n", machine())
	f, err := s.follow(ctx, o)
	if err != nil {
		return fmt.Errorf("a log: %w", err)
	}
	fmt.Printf("%d follow a log of %d lines, one in %s: each line reached all of them\n", o.follows, o.lines, o.every)
	fmt.Printf("  %-44s p50 %s, p99 %s, max %s   goal: all within 1 s\n", "from its writing until a follower had it", milli(f.p50), milli(f.p99), milli(f.last))
	fmt.Printf("  %-44s %.0f MB, to %.0f MB   goal: less than 100 MB\n", "the bot's resident memory rose by", float64(f.peak-f.idle)/1e6, float64(f.peak)/1e6)
	fmt.Printf("  %-44s %.0f %% of one processor\n\n", "the bot took meanwhile", 100*f.load)

	fmt.Printf("%d requests at once, for %s\n", o.atOnce, o.span)
	fmt.Printf("  %-44s %9s %9s %9s %12s %14s\n", "", "p50", "p99", "max", "a second", "CPU of the bot")
	sheet, err := s.sheet(ctx)
	if err != nil {
		return err
	}
	for _, p := range []struct{ name, path string }{
		{"a file, to compare: nothing is made for it", sheet},
		{fmt.Sprintf("the overview, %d apps × 3", o.apps), "/"},
		{fmt.Sprintf("an app's history of %d releases", o.releases), history},
		{"the same, an older page of it", fmt.Sprintf("%s&before=%d", history, o.releases/2)},
	} {
		if _, err := s.load(ctx, p.path, o.atOnce, min(o.span, 2*time.Second)); err != nil { // it warms up
			return fmt.Errorf("%s: %w", p.path, err)
		}
		goal := "   goal: p99 under 50 ms"
		if p.path == sheet {
			goal = ""
		}
		l, err := s.load(ctx, p.path, o.atOnce, o.span)
		if err != nil {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		fmt.Printf("  %-44s %9s %9s %9s %12.0f %11.2f ms%s\n", p.name, milli(l.p50), milli(l.p99), milli(l.max), l.rate, l.cpu*1000, goal)
	}
	return nil
}

func milli(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// machine says what the figures were taken on.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(text), "model name"); ok {
			line, _, _ := strings.Cut(after, "\n")
			model = strings.TrimSpace(strings.TrimLeft(line, "\t :"))
		}
	}
	load := "unknown"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	return fmt.Sprintf("%d processors, %s; load average %s", runtime.NumCPU(), model, load)
}

// history is the page of the first app.
const history = "/apps/app-000?repository=acme%2Frepo-0"

func (s *stand) logFile(run string) string {
	return filepath.Join(s.dir, "data", "logs", run+".log.zst")
}
