package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	trusted      = 10 * time.Second // how long after an answer an API server is taken to be there
	checkTimeout = 5 * time.Second  // how long it may take to say that it is there
	silentRetry  = 2 * time.Second  // how long nobody asks again after it did not
	startTime    = 5 * time.Second  // how long one that is back may refuse what it is to allow: it has not read yet who may what
)

// link is the way to an API server. Where nothing has been heard from it for a while, one small request for all who wait
// finds out whether it is there, so that one that is not holds nobody up for longer than that takes, however many ask.
type link struct {
	base  http.RoundTripper // authenticated
	where place
	ask   *url.URL

	checking chan struct{} // holds one: who checks

	mu      sync.Mutex
	heard   time.Time    // when it last answered; zero: in doubt
	silence *unreachable // nil: it answers
	tried   time.Time    // when silence was last found out
	lost    bool         // it did not answer, and has not since
	back    time.Time    // when it answered again
	refusal *refusal     // its last answer, where that was that it does not know us
}

func newLink(base http.RoundTripper, where place, server *url.URL) *link {
	ask := *server
	ask.Path, ask.RawPath = strings.TrimSuffix(ask.Path, "/")+"/version", ""
	return &link{base: base, where: where, ask: &ask, checking: make(chan struct{}, 1)}
}

// RoundTrip sends a request, unless the API server is known to be away.
func (l *link) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := l.check(req.Context(), trusted); err != nil && !errors.As(err, new(*refusal)) {
		if req.Body != nil {
			_ = req.Body.Close() // as http.RoundTripper asks
		}
		return nil, err
	}
	resp, err := l.base.RoundTrip(req)
	if err != nil {
		return nil, l.doubt(req.Context(), err)
	}
	return l.answered(resp)
}

// WrappedRoundTripper is for client-go, which looks for the transport below.
func (l *link) WrappedRoundTripper() http.RoundTripper { return l.base }

// check returns nil if the API server has answered in the last maxAge, or does so now; else an *unreachable or a *refusal.
func (l *link) check(ctx context.Context, maxAge time.Duration) error {
	err, known := l.known(maxAge)
	if known {
		return err
	}
	select {
	case l.checking <- struct{}{}:
	default:
		if err != nil { // one finds out whether it is back; the others need not wait for that
			return err
		}
		select {
		case l.checking <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-l.checking }()
	if err, known := l.known(maxAge); known { // by whoever checked meanwhile
		return err
	}
	within, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(within, http.MethodGet, l.ask.String(), nil)
	if err != nil {
		return err
	}
	resp, err := l.base.RoundTrip(req)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = resp.Body.Close() // nobody wants it any more
		}
		return ctx.Err()
	case err != nil && within.Err() != nil:
		return l.silent(errSlow)
	case err != nil:
		return l.silent(err)
	}
	if resp, err = l.answered(resp); err == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, maxProxyBody) // so that the connection can be used again
		_ = resp.Body.Close()
	}
	return err
}

var errSlow = fmt.Errorf("no answer within %s", checkTimeout)

// known tells what was found out last, and whether that still counts.
func (l *link) known(maxAge time.Duration) (err error, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.silence != nil:
		return l.silence, time.Since(l.tried) < silentRetry
	case l.refusal != nil && maxAge < trusted: // whoever only wants to reach it need not know
		return nil, false
	default:
		return nil, time.Since(l.heard) < maxAge
	}
}

// silent notes that the API server is away.
func (l *link) silent(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried = time.Now()
	u := &unreachable{where: l.where, since: l.tried, err: err}
	if l.silence != nil {
		u.since = l.silence.since
	}
	l.silence, l.heard, l.lost = u, time.Time{}, true
	return u
}

// doubt notes that one request failed. That alone is no reason to send no others, but to check first.
func (l *link) doubt(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) { // that says nothing about the API server
		return err
	}
	l.mu.Lock()
	l.heard, l.lost = time.Time{}, true
	l.mu.Unlock()
	if ctx.Err() != nil {
		return err
	}
	return &unreachable{where: l.where, err: err}
}

// answered notes that the API server is there. An answer that it does not know us becomes a *refusal; where it has just come
// back, that and what it forbids become an answer after which client-go asks again.
func (l *link) answered(resp *http.Response) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.lost {
		l.lost, l.back = false, now
	}
	l.heard, l.silence, l.refusal = now, nil, nil
	unknown := resp.StatusCode == http.StatusUnauthorized
	switch {
	case !unknown && resp.StatusCode != http.StatusForbidden, relayed(resp):
	case now.Sub(l.back) < startTime:
		resp.StatusCode, resp.Status = http.StatusServiceUnavailable, "503 Service Unavailable"
		resp.Header.Set("Retry-After", "1")
	case unknown:
		_ = resp.Body.Close() // it says no more than that
		l.refusal = &refusal{where: l.where, expired: expiry(resp.Request)}
		return nil, l.refusal
	}
	return resp, nil
}

// relayed reports whether an answer may be that of a service, by the proxy of the API server.
func relayed(resp *http.Response) bool {
	return resp.Request != nil && strings.Contains(resp.Request.URL.Path, "/proxy/")
}

// expiry is when the token of a request expired, by its own account (RFC 7519, "exp"); zero if it says none, or one to come.
func expiry(req *http.Request) time.Time {
	if req == nil {
		return time.Time{}
	}
	parts := strings.Split(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Exp <= 0 {
		return time.Time{}
	}
	if at := time.Unix(int64(claims.Exp), 0); at.Before(time.Now()) {
		return at
	}
	return time.Time{}
}

// unreachable is that an API server does not answer.
type unreachable struct {
	where place
	since time.Time // zero: one request failed, and nobody has looked whether that is all
	err   error
}

// Error has no cause where it repeats what was found out before: client-go would try again at once what it takes for a
// connection that was reset.
func (u *unreachable) Error() string {
	if u.since.IsZero() {
		return u.err.Error()
	}
	return "the API server does not answer"
}

func (u *unreachable) Unwrap() error {
	if u.since.IsZero() {
		return u.err
	}
	return nil
}

// refusal is that an API server does not know us.
type refusal struct {
	where   place
	expired time.Time // when our token expired; zero: not known
}

func (r *refusal) Error() string { return "the API server refuses our credentials" }
