package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	app "github.com/palantir/go-githubapp/githubapp"
)

// nothing handles pushes by doing nothing.
type nothing struct{}

func (nothing) Handles() []string { return []string{"push"} }

func (nothing) Handle(context.Context, string, string, []byte) error { return nil }

// githubapp serves as the library's documentation shows, with the scheduler that answers before the handler is done.
func githubapp(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(app.DefaultWebhookRoute, app.NewEventDispatcher([]app.EventHandler{nothing{}}, secret, app.WithScheduler(app.AsyncScheduler())))
	server := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Fprintf(os.Stderr, "serving address=%s\n", l.Addr())
	if err := server.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}
