package bot

import (
	"context"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/store"
)

// checkRun handles an event about a check run: our own that somebody runs again or presses a button of, or another's that
// a deployment may wait for.
func (b *Bot) checkRun(ctx context.Context, e store.Event, p *github.CheckRunEvent, repo store.Repo, d *decision) error {
	b.checksChanged(repo, p.GetCheckRun().GetHeadSHA(), d)
	return nil
}

// checkSuite handles an event about a check suite.
func (b *Bot) checkSuite(ctx context.Context, e store.Event, p *github.CheckSuiteEvent, repo store.Repo, d *decision) error {
	b.checksChanged(repo, p.GetCheckSuite().GetHeadSHA(), d)
	return nil
}
