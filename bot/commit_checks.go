package bot

import (
	"context"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/store"
)

// taskChecks is the kind of the task that reads the checks of the commit of a deployment; its key is the deployment's id.
const taskChecks = "checks"

// statusSet handles a commit status that somebody set.
func (b *Bot) statusSet(e store.Event, p *github.StatusEvent, repo store.Repo, d *decision) error {
	b.checksChanged(repo, p.GetSHA(), d)
	return nil
}

// checksChanged has the checks of a commit read again where a deployment waits for them.
func (b *Bot) checksChanged(repo store.Repo, sha string, d *decision) {
	d.note("nothing waits for the checks of %.7s", sha)
}

// readChecks reads the checks that a deployment waits for.
func (b *Bot) readChecks(ctx context.Context, id string, _ int) (again time.Time, err error) {
	return time.Time{}, nil
}
