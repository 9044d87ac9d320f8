package bot

import (
	"context"
	"net/http"

	"github.com/shipmate-dev/shipmate/store"
)

// kindCommand is the kind of an event by which a program says a command.
const kindCommand = "shipmate_command"

// apiCommand says a command: POST /api/v1/command.
func (b *Bot) apiCommand(w http.ResponseWriter, r *http.Request) {
	b.answer(w, http.StatusOK, nil, refusal(http.StatusNotImplemented, "commands by the API are not there yet"))
}

// command decides a command that a program said.
func (b *Bot) command(ctx context.Context, e store.Event, d *decision) error {
	d.note("nothing is done on a %s", e.Kind)
	return nil
}
