package main

import (
	"context"
	"os"

	"github.com/shipmate-dev/shipmate/bot"
	"github.com/shipmate-dev/shipmate/bot/local"
)

type initCmd struct {
	Image  string `help:"The image repository to push to, such as registry.example.com/team/app."`
	Server bool   `help:"Write the server's file, shipmate.yaml, with every key explained, and nothing else."`
}

func (c *initCmd) Run() error {
	if c.Server {
		return bot.InitServer("shipmate.yaml", os.Stdout)
	}
	return local.Init(context.Background(), os.Stdout, ".", c.Image)
}
