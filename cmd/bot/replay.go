package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/shipmate-dev/shipmate/bot"
)

type replayCmd struct {
	Config  string `default:"shipmate.yaml" type:"path" help:"The server's file."`
	Event   string `help:"What X-GitHub-Event was, for a FILE that is neither a push nor a comment."`
	ForReal bool   `help:"Have the running bot decide it again and act on it."`
	What    string `arg:"" name:"delivery|file" help:"A delivery id that is stored, or a file that holds the body of a delivery."`
}

// Help is what bot replay --help says besides the flags.
func (*replayCmd) Help() string {
	return `Shows how an event would be decided if it came now, and what would be done. It does nothing: the database is only read (the bot may be serving), and GitHub is only asked.

With --for-real the running bot, which is reached at listen, decides the event again as a new delivery and acts on it: a push is built again, a command is obeyed again and answered again. What the event led to the first time stays: nothing is undone.`
}

// replayWait is how long the decision of the running bot is waited for.
const replayWait = 20 * time.Second

func (c *replayCmd) Run() error {
	cfg, err := bot.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	saved := exists(c.What)
	var e bot.Event
	switch {
	case saved:
		e, err = bot.ReadSaved(c.What, c.Event)
	case c.Event != "":
		err = errors.New("--event goes with a file, and there is no file " + c.What)
	default:
		e, err = bot.StoredEvent(ctx, cfg, c.What)
	}
	if err != nil {
		return err
	}
	if !c.ForReal {
		r, err := bot.Replay(ctx, cfg, e)
		if err != nil {
			return err
		}
		printLines("decision:", r.Trace)
		if len(r.Would) == 0 {
			r.Would = []string{"nothing"}
		}
		printLines("would be done:", r.Would)
		return nil
	}
	var id string
	if saved {
		id, err = bot.Deliver(ctx, cfg, e)
	} else {
		id, err = bot.ReplayStored(ctx, cfg, c.What)
	}
	if err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(ctx, replayWait)
	defer cancel()
	trace, err := bot.Decided(ctx, cfg, id)
	if err != nil {
		return err
	}
	printLines("decided as delivery "+id+":", trace)
	return nil
}

func printLines(title string, lines []string) {
	fmt.Println(title)
	for _, l := range lines {
		fmt.Println("  " + l)
	}
}

type queueCmd struct {
	Config string `default:"shipmate.yaml" type:"path" help:"The server's file. Of its secrets only data_key is read."`
}

func (c *queueCmd) Run() error {
	return withData(c.Config, func(ctx context.Context, cfg *bot.Config) error { return bot.Queue(ctx, cfg, os.Stdout) })
}
