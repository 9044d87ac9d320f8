package bot

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/store"
)

// A gate is the way of one installation's requests to GitHub. It keeps back what GitHub asked us not to send, learns the
// limits from GitHub's answers, and gets a new token when GitHub knows the one that we have no more.
type gate struct {
	hub          *hub
	installation int64

	mu    sync.Mutex
	inner *ghinstallation.Transport
}

func (h *hub) newGate(installation int64) *gate {
	return &gate{hub: h, installation: installation, inner: h.transport(installation)}
}

// RoundTrip implements http.RoundTripper. An answer that tells of a limit becomes a [limited] error, so that it is the bot's
// clock that counts, not go-github's own guard.
func (g *gate) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	defer func() { g.hub.figures.asked(resp, err) }()
	if until := g.hub.pace.stopped(g.installation, req.Method != http.MethodGet); !until.IsZero() {
		if req.Body != nil {
			_ = req.Body.Close() // it is not sent
		}
		return nil, &limited{g.installation, until}
	}
	tr := g.transport()
	resp, err = tr.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && (req.Body == nil || req.GetBody != nil) {
		again := req.Clone(req.Context())
		if req.Body != nil {
			if again.Body, err = req.GetBody(); err != nil {
				return resp, nil
			}
		}
		_ = resp.Body.Close() // only its status counted
		resp, err = g.renewed(tr).RoundTrip(again)
	}
	if err != nil {
		return nil, err
	}
	s, err := g.read(resp)
	if err != nil {
		_ = resp.Body.Close() // it broke off
		return nil, err
	}
	if s.refused && req.Method == http.MethodGet {
		s.closed = later(s.closed, s.paused) // it is reading that it is tired of
	}
	stop := later(s.paused, s.closed)
	if g.hub.pace.learn(g.installation, s) {
		g.hub.log.Warn("GitHub's limit is used up", "installation", g.installation, "until", stop, "reading_too", !s.closed.IsZero())
	}
	if s.refused {
		_ = resp.Body.Close() // it was read
		return nil, &limited{g.installation, stop}
	}
	return resp, nil
}

func (g *gate) transport() *ghinstallation.Transport {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inner
}

// renewed replaces a transport, and with it the token that it keeps, unless that was done meanwhile.
func (g *gate) renewed(old *ghinstallation.Transport) *ghinstallation.Transport {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inner == old {
		g.inner = g.hub.transport(g.installation)
	}
	return g.inner
}

// signals are what an answer says of an installation's limits; the times are as in [budget].
type signals struct {
	paused, closed, scarce time.Time
	refused                bool // the request was not done, for a limit
	quota                  quota
}

// A quota is what GitHub said last of an installation's primary limit.
type quota struct {
	left, most int       // requests; most is 0 while nothing is known
	reset      time.Time // when all of them are there again
}

// read takes the signals out of an answer (GitHub docs, "Rate limits for the REST API" and "Best practices for using the
// REST API"): Retry-After; x-ratelimit-remaining with x-ratelimit-reset; without either, a minute.
func (g *gate) read(resp *http.Response) (s signals, err error) {
	now := g.hub.now()
	left, errLeft := strconv.Atoi(resp.Header.Get("X-RateLimit-Remaining"))
	most, errMost := strconv.Atoi(resp.Header.Get("X-RateLimit-Limit"))
	unix, errReset := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64)
	for _, name := range []string{"Remaining", "Limit", "Reset"} {
		resp.Header.Del("X-RateLimit-" + name) // go-github would guard them too, by another clock
	}
	if errLeft == nil && errReset == nil {
		if errMost == nil {
			s.quota = quota{left, most, time.Unix(unix, 0)}
		}
		reset := now.Add(min(max(time.Unix(unix, 0).Sub(now), time.Second), time.Hour)) // it is the end of an hour's window
		if left == 0 {
			s.closed = reset
		}
		if errMost == nil && left < most/10 {
			s.scarce = reset
		}
	}
	if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests {
		return s, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return s, err
	}
	_ = resp.Body.Close() // what counts was read
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if wait, ok := parseRetryAfter(resp.Header.Get("Retry-After"), now); ok {
		s.paused, s.refused = now.Add(wait), true
	} else if !s.closed.IsZero() {
		s.refused = true
	} else if resp.StatusCode == http.StatusTooManyRequests || secondary(body) {
		s.paused, s.refused = now.Add(time.Minute), true
	}
	return s, nil
}

// secondary tells whether the body of a 403 is about the secondary limits; it has no field for that.
func secondary(body []byte) bool {
	var e struct {
		Message string `json:"message"`
		URL     string `json:"documentation_url"`
	}
	return json.Unmarshal(body, &e) == nil && (strings.Contains(e.Message, "secondary rate limit") || strings.Contains(e.URL, "secondary-rate-limits"))
}

// mostWait bounds what a far end can ask us to wait: it is asked again at least once an hour.
const mostWait = time.Hour

// parseRetryAfter reads the header Retry-After (RFC 9110, 10.2.3): seconds, or a date.
func parseRetryAfter(value string, now time.Time) (wait time.Duration, ok bool) {
	if s, err := strconv.Atoi(value); err == nil {
		return min(time.Duration(min(max(s, 1), int(mostWait/time.Second)))*time.Second, mostWait), true
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), time.Second), mostWait), true
	}
	return 0, false
}

// write has the pace find room for one write to a repository, and then does it. who is the task that writes; urgent is what
// goes before progress. Without room it is not done, and the error is a [limited] with the time to ask again.
func (h *hub) write(repo store.Repo, who string, urgent bool, do func(c *github.Client, owner, name string) error) error {
	done, until := h.pace.take(repo.Installation, who, urgent)
	if done == nil {
		return &limited{repo.Installation, until}
	}
	defer done()
	owner, name := split(repo.Name)
	return do(h.client(repo.Installation), owner, name)
}

// statusCode is the status of GitHub's answer that an error tells of; 0 when there was no answer.
func statusCode(err error) int {
	var answer *github.ErrorResponse
	var token *ghinstallation.HTTPError
	switch {
	case errors.As(err, &answer) && answer.Response != nil:
		return answer.Response.StatusCode
	case errors.As(err, &token) && token.Response != nil: // no token is to be had
		return token.Response.StatusCode
	}
	return 0
}
