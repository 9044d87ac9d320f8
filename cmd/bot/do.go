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
	"net/url"
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
	r, err := http.NewRequest(http.MethodPost, apiAddress(c.URL, "command"), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("SHIPMATE_URL: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", c.Key)
	var answer struct{ Answer string }
	err = callAPI(r, c.Token, &answer)
	var far *url.Error
	switch {
	case errors.As(err, &far):
		return fmt.Errorf("%w; what became of it is told by the same call with --key %s", err, c.Key)
	case err != nil:
		return err
	case answer.Answer == "":
		return notABot(c.URL, "an empty answer")
	}
	fmt.Println(answer.Answer)
	return nil
}

// apiAddress is an address of a bot's API.
func apiAddress(bot, path string) string { return strings.TrimSuffix(bot, "/") + "/api/v1/" + path }

func notABot(bot, answers string) error {
	return fmt.Errorf("%s answers %s, which is no answer of a bot", bot, answers)
}

// callAPI makes a call with a token. A refusal is an error with what the bot says, and one of no answer a *url.Error.
func callAPI(r *http.Request, token string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), doTimeout)
	defer cancel()
	r.Header.Set("Authorization", "Bearer "+token)
	// A redirect would make another request of it: one without a body, perhaps to somebody else.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r.WithContext(ctx))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if to, err := resp.Location(); err == nil {
		return fmt.Errorf("SHIPMATE_URL: it leads on to %s; write that one's beginning, as far as /api", to.Redacted())
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return &url.Error{Op: r.Method, URL: r.URL.String(), Err: err}
	}
	var problem struct{ Detail string }
	bot := r.URL.Scheme + "://" + r.URL.Host
	switch {
	case json.Unmarshal(raw, &problem) != nil:
		return notABot(bot, resp.Status)
	case problem.Detail != "":
		return errors.New(problem.Detail)
	case resp.StatusCode >= http.StatusMultipleChoices:
		return notABot(bot, resp.Status)
	}
	return json.Unmarshal(raw, into)
}
