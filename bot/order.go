package bot

import (
	"context"

	"github.com/shipmate-dev/shipmate/bot/text"
)

// order makes, shows, runs and cancels release orders.
func (c *call) order(ctx context.Context, args []string) (outcome, error) {
	return c.no(text.NotYet, code("/order"), c.form()), nil
}
