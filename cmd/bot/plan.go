package main

import (
	"context"
	"os"

	"github.com/shipmate-dev/shipmate/bot/local"
)

type planCmd struct {
	Ref  string `help:"The branch or tag that would be pushed; the one that is checked out, if none."`
	File string `arg:"" optional:"" help:"A repository file; without one, .shipmate.yaml and .shipmate/*.yaml."`
}

func (c *planCmd) Run() error {
	return local.Plan(context.Background(), os.Stdout, ".", c.Ref, c.File)
}
