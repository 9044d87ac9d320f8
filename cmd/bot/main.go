// Command bot is Shipmate: see bot help.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // zones of schedules, also where the machine has none

	"github.com/alecthomas/kong"

	"github.com/shipmate-dev/shipmate/bot"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// version and commit are set by the linker for releases; an image is built without the folder in which git would tell.
var version, commit = "dev", ""

type cli struct {
	LogFormat string `enum:"text,json" default:"text" help:"How the log is written: text or json."`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"From which level on: debug, info, warn or error."`

	Serve   serveCmd   `cmd:"" help:"Run the bot until SIGTERM; a second one ends it at once. Without a GitHub App in its file, help to register one first."`
	Check   checkCmd   `cmd:"" help:"Check server and repository files; every mistake with its line and what to write instead."`
	Doctor  doctorCmd  `cmd:"" help:"Examine everything that the server's file leads to, with a remedy for each failure."`
	Backup  backupCmd  `cmd:"" help:"Write a consistent copy of the database, also while serving."`
	Restore restoreCmd `cmd:"" help:"Put a backup in the place of a database that is lost."`
	Audit   auditCmd   `cmd:"" help:"Verify the audit, or export it."`
	Init    initCmd    `cmd:"" help:"Write .shipmate.yaml and what else shipping the app in this folder needs, and say what a push would then do."`
	Plan    planCmd    `cmd:"" help:"Print the run that a push would start: from this checkout alone, or as a running bot knows it."`
	Version versionCmd `cmd:"" help:"Print version, commit and Go version."`
	Do      doCmd      `cmd:"" help:"Say a command to a running bot, as the login of an API token."`
	Replay  replayCmd  `cmd:"" help:"Show how a stored or saved event would be decided; with --for-real have it decided again."`
	Queue   queueCmd   `cmd:"" help:"Show the work that waits, is tried again, or was given up, with its reasons."`
}

type serveCmd struct {
	Config string `default:"shipmate.yaml" type:"path" help:"The server's file; where there is none, the set-up writes it."`
}

// spare is how much is used at least before the garbage collector begins anew. The collector waits until the heap has doubled, and what
// the bot keeps is ten megabytes: with 20 looking at pages at once it ran ten times a second, and one page in a hundred waited for it.
const spare = 32 << 20

func (c *serveCmd) Run(log *slog.Logger) error {
	// It counts as a part of the heap, and takes no memory itself, since nothing touches it.
	kept := make([]byte, spare)
	defer runtime.KeepAlive(kept)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// Stopping takes a moment; whoever signals again wants no more of it, and what is cut off is taken up at the next start.
	context.AfterFunc(ctx, stop)
	if err := bot.SetUp(ctx, c.Config, version, log); err != nil || ctx.Err() != nil {
		return err
	}
	cfg, err := bot.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	b, err := bot.New(ctx, cfg, version, log)
	if err != nil {
		return err
	}
	err = b.Run(ctx)
	if e := b.Close(); err == nil {
		err = e
	}
	return err
}

type checkCmd struct {
	Config string   `type:"path" help:"The server's file, to be checked too, and against which the repository's files are checked."`
	Repo   string   `help:"The repository (owner/name) that the files belong to: its rights in the server's file are checked as well."`
	Files  []string `arg:"" optional:"" type:"path" help:"Repository files; without any, .shipmate.yaml of this folder."`
}

func (c *checkCmd) Run() error {
	if len(c.Files) == 0 && (c.Config == "" || exists(".shipmate.yaml")) {
		c.Files = []string{".shipmate.yaml"}
	}
	mistakes := bot.Check(c.Config, c.Repo, c.Files)
	for _, m := range mistakes {
		fmt.Fprintln(os.Stderr, m)
	}
	if n := len(mistakes); n > 0 {
		os.Exit(1)
	}
	fmt.Println("ok")
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

type versionCmd struct{}

func (versionCmd) Run() error {
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	fmt.Printf("shipmate %s, commit %s, %s\n", version, cmp.Or(commit, "unknown"), runtime.Version())
	return nil
}

func main() {
	if kube.RenderConfined() {
		return
	}
	var c cli
	parser := kong.Must(&c, kong.Name("bot"), kong.UsageOnError(),
		kong.Description("Shipmate: a push becomes an image, the image a release, the release goes through the environments of a Kubernetes cluster."))
	args := os.Args[1:]
	if len(args) == 1 && args[0] == "help" || len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bot:", err)
		os.Exit(2)
	}
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // one of the four that kong lets through
	opt := &slog.HandlerOptions{Level: level}
	log := slog.New(slog.NewTextHandler(os.Stderr, opt))
	if c.LogFormat == "json" {
		log = slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	if err := ctx.Run(log); err != nil {
		fmt.Fprintln(os.Stderr, "bot:", err)
		os.Exit(1)
	}
}
