package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/shipmate-dev/shipmate/bot"
)

type doctorCmd struct {
	Config string `default:"shipmate.yaml" type:"path" help:"The server's file."`
	Send   bool   `help:"Send a test message where nothing else tells whether it would arrive: by robots of WeCom groups."`
}

func (doctorCmd) Help() string {
	return "One line each: ok, warn (it works, or cannot be told from here) or FAIL with what to do; exit 1 on any FAIL. It asks GitHub, builders, registries (with a probe of a few bytes, " +
		"deleted again), clusters and chats by itself, at most 10 s each, and needs no running bot."
}

func (c *doctorCmd) Run() error {
	cfg, err := bot.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever signals again does not wait for it to tidy up
	return bot.Doctor(ctx, cfg, c.Send, os.Stdout)
}
