package main

import (
	"context"
	"os"

	"github.com/shipmate-dev/shipmate/bot/local"
)

type initCmd struct {
	Image string `help:"The image repository to push to, such as registry.example.com/team/app."`
}

func (c *initCmd) Run() error {
	return local.Init(context.Background(), os.Stdout, ".", c.Image)
}
