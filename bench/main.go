// Command bench measures how long Shipmate takes to ship, beside the same steps made by hand with buildctl and kubectl, on
// real parts (see e2e) and in one run: push → live, promote → live and roll back → live. It also tells the bot's size, how
// fast it starts and what memory it takes.
//
//	bench -bot bin/bot -bin "$(e2e/setup.sh --with-clients --print-bin)" -rounds 5
//
// The two ways take turns, and in every other round the other one begins, so that whatever else the machine does hits
// both. A first round is not counted: it fills the caches. Each measurement begins when no pod is ending any more, and at
// another moment of the kubelet's second (see calm). Nothing is asserted about time; bench exits 1 only when something
// did not work.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shipmate-dev/shipmate/e2e"
)

func main() {
	var opt e2e.Options
	rounds := flag.Int("rounds", 5, "how often each step is measured")
	example := flag.String("example", "examples/devops-app", "the example's folder")
	flag.StringVar(&opt.App, "app", "app.yaml", "the App's manifest")
	delay := flag.Duration("github-delay", 0, "how long the simulated GitHub takes for each answer, such as 150ms")
	flag.StringVar(&opt.Bot, "bot", "bin/bot", "the bot's binary")
	flag.StringVar(&opt.Bin, "bin", "", "the folder with the programs cluster, builder, buildctl and kubectl")
	flag.Parse()
	if *rounds < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: -rounds must be at least 1, and there are no arguments besides flags")
		os.Exit(2)
	}
	// When make is killed, so are we: then everything we started is taken down in good order.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0) // without it Ctrl-C still works
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opt, *example, *rounds, *delay); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A way to ship. Each method does its step and tells where the time went; the parts add up to the whole.
type way interface {
	// push ships the example with another greeting, until staging answers with it.
	push(ctx context.Context, greeting string) ([]part, error)
	// promote takes what staging runs to production, until every pod there runs it.
	promote(ctx context.Context) ([]part, error)
	// rollback takes production back to what it ran before, until every pod there runs it.
	rollback(ctx context.Context) ([]part, error)
}

func run(ctx context.Context, opt e2e.Options, example string, rounds int, delay time.Duration) (err error) {
	for _, program := range []string{opt.Bot, filepath.Join(opt.Bin, "buildctl"), filepath.Join(opt.Bin, "kubectl")} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%w (e2e/setup.sh --with-clients makes what belongs into -bin, go build ./cmd/bot what belongs to -bot)", err)
		}
	}
	began := time.Now()
	opt.Say = func(format string, args ...any) {
		fmt.Printf("%7.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	s, err := e2e.Start(ctx, opt)
	if err != nil {
		return err
	}
	defer func() {
		opt.Say("taking everything down")
		if e := s.Close(); err == nil {
			err = e
		}
	}()
	x, err := s.NewExample(example)
	if err != nil {
		return err
	}
	shipmate, err := newShipmate(x)
	if err != nil {
		return err
	}
	byHand, err := newManual(ctx, x, opt.Bin)
	if err != nil {
		return err
	}
	bot, err := measureBot(ctx, s, opt.Bot, rounds)
	if err != nil {
		return err
	}

	s.GitHub.SlowDown(delay)
	steps := []*step{
		{name: "push → live", do: func(ctx context.Context, w way, round int) ([]part, error) {
			return w.push(ctx, fmt.Sprintf("Hello from devops-app, round %d", round))
		}},
		{name: "promote → live", do: func(ctx context.Context, w way, _ int) ([]part, error) { return w.promote(ctx) }},
		{name: "rollback → live", do: func(ctx context.Context, w way, _ int) ([]part, error) { return w.rollback(ctx) }},
	}
	for round := range rounds + 1 {
		for i, st := range steps {
			if round == 0 && i == 2 {
				continue // there is nothing to go back to yet
			}
			calm := func() error { return calm(ctx, s, time.Duration(round)*relist/time.Duration(rounds+1)) }
			if err := st.round(ctx, round, shipmate, byHand, calm, opt.Say); err != nil {
				return fmt.Errorf("%w\nthe bot's last lines:\n%s", err, lastLines(s.BotLog(), 20))
			}
		}
	}
	if err := bot.after(s.BotPID()); err != nil {
		return err
	}
	fmt.Println()
	return printAll(os.Stdout, steps, bot, delay)
}

// A step is measured in both ways.
type step struct {
	name             string
	do               func(ctx context.Context, w way, round int) ([]part, error)
	shipmate, byHand []measurement // one for each round
}

// round measures the step once in both ways, after a calm each. Round 0 is not counted.
func (st *step) round(ctx context.Context, round int, shipmate, byHand way, calm func() error, say func(string, ...any)) error {
	turns := []struct {
		name string
		way  way
		to   *[]measurement
	}{{"Shipmate", shipmate, &st.shipmate}, {"by hand", byHand, &st.byHand}}
	if round%2 == 1 {
		turns[0], turns[1] = turns[1], turns[0]
	}
	for _, turn := range turns {
		if err := calm(); err != nil {
			return err
		}
		parts, err := st.do(ctx, turn.way, round)
		if err != nil {
			return fmt.Errorf("%s, %s, round %d: %w", st.name, turn.name, round, err)
		}
		m := measurement{parts}
		note := ""
		if round == 0 {
			note = " (fills the caches, not counted)"
		} else {
			*turn.to = append(*turn.to, m)
		}
		say("%d  %-15s  %-8s  %6.2f s%s", round, st.name, turn.name, m.total().Seconds(), note)
	}
	return nil
}

// relist is how often a kubelet looks at what its containers do (its PLEG). What a rollout waits for is seen at such a
// moment, so rollouts end in step with it.
const relist = time.Second

// calm waits until no pod is ending any more, which is seen at a relist too, and then for a part of a relist. Without it a
// measurement would begin where the one before ended, always at the same moment of the kubelet's second, and a tenth of a
// second could cost a whole one, or nothing.
func calm(ctx context.Context, s *e2e.Stack, phase time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		pods, err := s.Kube.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("wait until no pod is ending: %w", err)
		}
		wait := 20 * time.Millisecond
		ending := slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
		if !ending {
			wait = phase
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		if !ending {
			return nil
		}
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
