package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type doCmd struct {
	URL        string   `env:"SHIPMATE_URL" required:"" help:"Where the bot is, as https://ship.example.com."`
	Token      string   `env:"SHIPMATE_TOKEN" required:"" help:"One of api_tokens; better given by the environment than as a flag, which other users of the machine see."`
	Repository string   `help:"The repository (owner/name), where the command does not begin with an app that one repository alone has."`
	Key        string   `help:"An Idempotency-Key: the same call is made once, however often it is repeated."`
	Text       []string `arg:"" passthrough:"" name:"command" help:"The command, such as: promote web production."`
}

// Help is what bot do --help says besides the flags.
func (*doCmd) Help() string {
	return `Says a command to a running bot, as the login of the token, and prints the answer: bot do promote web production. It exits with 1 where the command is refused.

What has spaces in it is quoted as in a comment: bot do 'rollback web production "too slow"'. A vote is a person's own and is refused.`
}

// doTimeout is longer than the bot takes to decide.
const doTimeout = 40 * time.Second

func (c *doCmd) Run() error {
	if c.Key == "" {
		c.Key = rand.Text()
	}
	body, err := json.Marshal(map[string]string{"text": strings.Join(c.Text, " "), "repository": c.Repository})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), doTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.URL, "/")+"/api/v1/command", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("SHIPMATE_URL: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+c.Token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", c.Key)
	// A redirect would make another request of it: one without a body, perhaps to somebody else.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("%w; what became of it is told by the same call with --key %s", err, c.Key)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if to, err := resp.Location(); err == nil {
		return fmt.Errorf("SHIPMATE_URL: it leads on to %s; write that one's beginning, as far as /api", to.Redacted())
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	var answer struct{ Answer, Detail string }
	if json.Unmarshal(raw, &answer) != nil || answer.Answer == "" && answer.Detail == "" {
		return fmt.Errorf("%s answers %s, which is no answer of a bot", c.URL, resp.Status)
	}
	if answer.Detail != "" {
		return errors.New(answer.Detail)
	}
	fmt.Println(answer.Answer)
	return nil
}
