package bot

import (
	"context"
	"fmt"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// unknownCommand answers somebody who addressed us by a name that is none.
func (c *call) unknownCommand(name string) outcome {
	var known []string
	for _, cmd := range table() {
		known = append(known, cmd.names(c.lang())...)
	}
	return c.near(c.no(text.NoSuchCommand, code(c.typed("/help"))), name, known)
}

// help lists what the person may say here; of a command that is named it tells everything, also to who may not say it.
func (c *call) help(ctx context.Context, args []string) (outcome, error) {
	has, err := c.bot.access.permission(ctx, c.client, c.repo.Name, c.login)
	if err != nil {
		return c.unknown(err)
	}
	if len(args) > 0 {
		name := strings.TrimLeft(args[0], "/／")
		cmd := find(name, c.lang())
		if cmd == nil {
			return c.unknownCommand(name), nil
		}
		return c.helpOn(cmd, has), nil
	}
	var lines []string
	for _, cmd := range table() {
		if cmd.need <= has {
			lines = append(lines, fmt.Sprintf("- %s %s", code(c.typed(cmd.usage)), c.lang().Say(cmd.help)))
		}
	}
	return func(*store.Tx) (answer, error) {
		return reply(c.lang().Say(text.HelpIntro, code(c.repo.Name))+"\n\n"+strings.Join(lines, "\n"), nil)
	}, nil
}

// helpOn tells of one command how it is written, by which other names it goes, and who may say it.
func (c *call) helpOn(cmd *command, has permission) outcome {
	lines := []string{fmt.Sprintf("%s %s", code(c.typed(cmd.usage)), c.lang().Say(cmd.help))}
	var also []string
	for _, n := range cmd.names(c.lang())[1:] {
		also = append(also, c.typed("/"+n))
	}
	if len(also) > 0 {
		lines = append(lines, c.lang().Say(text.HelpAlso, names(also)))
	}
	switch {
	case cmd.need == none:
		lines = append(lines, c.lang().Say(text.HelpAnyone))
	default:
		lines = append(lines, c.lang().Say(text.HelpNeeds, cmd.need, has))
	}
	return func(*store.Tx) (answer, error) { return reply(strings.Join(lines, "\n\n"), nil) }
}

func (c *call) notYet(ctx context.Context, args []string) (outcome, error) {
	return c.no(text.NotYet, code("/"+c.cmd.name), c.form()), nil
}
