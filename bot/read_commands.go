package bot

import (
	"context"

	"github.com/shipmate-dev/shipmate/bot/text"
)

func (c *call) notYet(ctx context.Context, args []string) (outcome, error) {
	return c.no(text.NotYet, code("/"+c.cmd.name), c.form()), nil
}
