package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// SignIn signs a person in, by the way that a browser goes, and returns the cookie of their session. (Go's own cookie jar sends
// no Secure cookie to an http address, also not to one of this machine, as browsers do.)
func (s *Stack) SignIn(ctx context.Context, login string) (*http.Cookie, error) {
	var cookies []*http.Cookie
	step := func(address string) (to string, err error) {
		resp, _, err := s.get(ctx, address, cookies)
		if err != nil {
			return "", err
		}
		cookies = resp.Cookies()
		if to = resp.Header.Get("Location"); to == "" {
			return "", fmt.Errorf("sign in as %s: %s answers %s", login, resp.Request.URL.Path, resp.Status)
		}
		return to, nil
	}
	to, err := step(s.BotURL + "/auth/login")
	if err != nil {
		return nil, err
	}
	mine := cookies // GitHub does not get them
	cookies = nil
	if to, err = step(to + "&user=" + url.QueryEscape(login)); err != nil {
		return nil, err
	}
	cookies = mine
	if _, err = step(to); err != nil {
		return nil, err
	}
	for _, c := range cookies {
		if c.MaxAge > 0 {
			return c, nil
		}
	}
	return nil, fmt.Errorf("sign in as %s: there is no session", login)
}

// Fetch reads something of the bot's as a person who signs in for it, so that it is what they may see now.
func (s *Stack) Fetch(ctx context.Context, login, address string) (status int, body string, err error) {
	session, err := s.SignIn(ctx, login)
	if err != nil {
		return 0, "", err
	}
	resp, body, err := s.get(ctx, address, []*http.Cookie{session})
	if err != nil {
		return 0, "", err
	}
	return resp.StatusCode, body, nil
}

// get reads one answer whole, and follows no redirect.
func (s *Stack) get(ctx context.Context, address string, cookies []*http.Cookie) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", err
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}
