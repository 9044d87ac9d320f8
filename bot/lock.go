package bot

import (
	"context"

	"github.com/shipmate-dev/shipmate/bot/text"
)

// lock takes or extends a lease on an environment.
func (c *call) lock(ctx context.Context, args []string) (outcome, error) {
	return c.no(text.NotYet, code("/lock"), c.form()), nil
}
