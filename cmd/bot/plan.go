package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/shipmate-dev/shipmate/bot/local"
)

type planCmd struct {
	Ref        string `help:"The branch or tag that would be pushed; the one that is checked out, if none, or with --app the default branch."`
	App        string `help:"Ask a running bot about this app instead of this checkout."`
	Repository string `help:"With --app: the repository (owner/name), where several have an app of that name."`
	URL        string `env:"SHIPMATE_URL" help:"With --app: where the bot is, as https://ship.example.com."`
	Token      string `env:"SHIPMATE_TOKEN" help:"With --app: one of api_tokens that may read; better given by the environment than as a flag, which other users of the machine see."`
	File       string `arg:"" optional:"" help:"A repository file; without one, .shipmate.yaml and .shipmate/*.yaml."`
}

// Help is what bot plan --help says besides the flags.
func (*planCmd) Help() string {
	return `Prints the run that a push would start, and which rule decides. It does nothing.

In a checkout it knows what that does, and nobody is asked. With --app web a running bot tells what a push of what is on GitHub now would start: by the files there, and since the newest release that it knows.`
}

func (c *planCmd) Run() error {
	if c.App == "" {
		if c.Repository != "" {
			return errors.New("--repository goes with --app; without it this checkout is asked")
		}
		return local.Plan(context.Background(), os.Stdout, ".", c.Ref, c.File)
	}
	switch {
	case c.File != "":
		return errors.New("--app asks a running bot, which reads its file on GitHub: leave out " + c.File)
	case c.URL == "" || c.Token == "":
		return errors.New("--app asks a running bot: set SHIPMATE_URL to where it is, and SHIPMATE_TOKEN to one of its api_tokens")
	}
	query := url.Values{}
	for name, value := range map[string]string{"ref": c.Ref, "repository": c.Repository} {
		if value != "" {
			query.Set(name, value)
		}
	}
	r, err := http.NewRequest(http.MethodGet, apiAddress(c.URL, "apps/"+url.PathEscape(c.App)+"/plan?"+query.Encode()), nil)
	if err != nil {
		return fmt.Errorf("SHIPMATE_URL: %w", err)
	}
	var plan struct{ Text string }
	if err := callAPI(r, c.Token, &plan); err != nil {
		return err
	}
	if plan.Text == "" {
		return notABot(c.URL, "an answer without a plan")
	}
	_, err = fmt.Print(plan.Text)
	return err
}
