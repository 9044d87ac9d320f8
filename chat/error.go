package chat

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks err as one that trying again can't heal. It is nil if err is.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked by [Permanent].
func IsPermanent(err error) bool {
	var p permanentError
	return errors.As(err, &p)
}

type retryAfterError struct {
	error
	delay time.Duration
}

func (e retryAfterError) Unwrap() error { return e.error }

// RetryAfter marks err as one that may heal, but not before d has passed. It is nil if err is.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return retryAfterError{err, d}
}

// RetryDelay returns the delay that [RetryAfter] gave to err or to an error that it wraps.
func RetryDelay(err error) (time.Duration, bool) {
	var r retryAfterError
	ok := errors.As(err, &r)
	return r.delay, ok
}

type notSentError struct{ error }

func (e notSentError) Unwrap() error { return e.error }

// NotSent marks err as one after which the message certainly has not arrived. It is nil if err is.
func NotSent(err error) error {
	if err == nil {
		return nil
	}
	return notSentError{err}
}

// IsNotSent reports whether err says that the message certainly has not arrived: it was marked by [NotSent], or it is the
// chat's refusal, by [Permanent] or [RetryAfter].
func IsNotSent(err error) bool {
	_, limited := RetryDelay(err)
	var n notSentError
	return limited || IsPermanent(err) || errors.As(err, &n)
}

type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// IsRefused reports whether the chat answered that it does not take a message, and the reason is not known: it may be the message, so
// that nothing should wait behind it for ever.
func IsRefused(err error) bool { return errors.As(err, new(refusedError)) }

// unreached takes the address off an error of net/http, as withoutURL does, and marks it where no connection was made.
func unreached(err error) error {
	err = withoutURL(err)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return NotSent(err)
	}
	return err
}

// statusError is an answer without the provider's own code. A server that failed, or a gateway before it, may have done what
// was asked; one that says that it is unavailable (RFC 9110, 15.6.4), or refuses, has not.
func statusError(status int) error {
	err := fmt.Errorf("HTTP status %d", status)
	if status < 500 || status == http.StatusServiceUnavailable {
		return NotSent(err)
	}
	return err
}

// withoutURL takes the address off an error of net/http: it may hold a credential.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// guarded is client, but it waits no longer than 15 seconds for an answer unless client has a limit of its own, and
// follows no redirect, which would carry the credential to another host.
func guarded(client *http.Client) *http.Client {
	c := *client
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// baseURL checks the address of a far end, to which paths are appended, and completes it with a slash. Errors don't
// repeat the address: a proxy's may hold a password.
func baseURL(given, byDefault string) (string, error) {
	if given == "" {
		given = byDefault
	}
	u, err := url.Parse(given)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("base_url is not an http or https address without query; leave it out or write " + byDefault)
	}
	if given[len(given)-1] != '/' {
		given += "/"
	}
	return given, nil
}
