// Command demo shows Shipmate on real parts: it brings everything up, plays the story, prints what happens as it happens,
// and keeps the bot running until Ctrl-C.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shipmate-dev/shipmate/e2e"
	"github.com/shipmate-dev/shipmate/internal/sim"
)

func main() {
	var opt e2e.Options
	once := flag.Bool("once", false, "exit after the story")
	example := flag.String("example", "examples/devops-app", "the example's folder")
	flag.StringVar(&opt.Bot, "bot", "bin/bot", "the bot's binary")
	flag.StringVar(&opt.Bin, "bin", "", "the folder with the programs cluster and builder")
	flag.StringVar(&opt.App, "app", "app.yaml", "the App's manifest")
	flag.Parse()
	opt.Kubeconfig, opt.BuildkitHost, opt.Registry = os.Getenv("KUBECONFIG"), os.Getenv("BUILDKIT_HOST"), os.Getenv("REGISTRY")
	// When make is killed, so are we: then everything we started is taken down in good order.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0) // without it Ctrl-C still works
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opt, *example, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// A printer prints lines with the seconds since the start, one at a time.
type printer struct {
	mu    sync.Mutex
	began time.Time
}

func (p *printer) say(format string, args ...any) { p.line("", format, args...) }

func (p *printer) line(where, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if where == "" {
		fmt.Printf("%7.1fs  %s\n", time.Since(p.began).Seconds(), text)
		return
	}
	for i, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i > 0 {
			where = ""
		}
		fmt.Printf("          │ %-6s %s\n", where, l)
	}
}

func run(ctx context.Context, opt e2e.Options, example string, once bool) (err error) {
	p := &printer{began: time.Now()}
	opt.Say = p.say
	s, err := e2e.Start(ctx, opt)
	if ctx.Err() != nil && s == nil {
		p.say("stopped; everything is down")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		p.say("taking everything down")
		if e := s.Close(); err == nil {
			err = e
		}
		p.say("done")
	}()
	s.Watch(
		func(w sim.Write) {
			switch w.Kind {
			case "status":
				p.line("GitHub", "%.7s  %-9s %s: %s", w.SHA, w.State, w.Name, w.Description)
			case "deployment", "deployment_status":
				p.line("GitHub", "%s to %s: %s", strings.ReplaceAll(w.Kind, "_", " "), w.Name, w.State)
			case "comment":
				p.line("GitHub", "reply on #%d: %s", w.Number, w.Description)
			}
		},
		func(m sim.RobotMessage) { p.line("WeCom", "%s", m.Content) },
		func(m sim.SlackMessage) { p.line("Slack", "%s (edited %d times)", m.Text, m.Edits) })
	x, err := s.NewExample(example)
	if err != nil {
		return err
	}
	if err := x.Story(ctx, func(format string, args ...any) { p.say("» "+format, args...) }); err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C is no failure
		}
		return fmt.Errorf("%w\nthe bot's last lines:\n%s", err, tail(s.BotLog(), 20))
	}
	p.say("the whole story went through")
	pages(p, x)
	if once {
		return nil
	}
	p.say("the bot goes on until Ctrl-C")
	<-ctx.Done()
	return nil
}

// pages prints the addresses that the statuses and deployments lead to, and who one may be there.
func pages(p *printer, x *e2e.Example) {
	p.line("look", "%-28s %s: sign in as alice (writes), bob (maintains, approves) or carol (reads); the simulated GitHub asks for no password", "overview", x.BotURL+"/")
	seen := map[string]bool{}
	for _, d := range x.Repo.Deployments() {
		for _, s := range x.Repo.Statuses(d.SHA) {
			if !seen[s.TargetURL] {
				seen[s.TargetURL] = true
				p.line("look", "%-28s %s", s.Context, s.TargetURL)
			}
		}
	}
	p.line("look", "%-28s %s", "cluster", "KUBECONFIG="+x.Kubeconfig)
	p.line("try", "%-28s %s (user alice, password %s): push something yourself", "git clone", x.Repo.CloneURL(), x.GitHub.UserToken("alice"))
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
