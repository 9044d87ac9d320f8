package chat

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestWebhook(t *testing.T) {
	answer := func(http.ResponseWriter) {}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			t.Error("it was followed")
		}
		answer(w)
	}))
	defer server.Close()
	hook, err := NewWebhook(WebhookConfig{URL: server.URL + "/in/" + secret, Secret: NewSecret(secret)}, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status    int
		header    string
		value     string
		ok        bool
		permanent bool
		delay     time.Duration
	}{
		{status: 200, ok: true},
		{status: 204, ok: true},
		{status: 302, header: "Location", value: "/elsewhere"},
		{status: 404},
		{status: 410, permanent: true},
		{status: 429, header: "Retry-After", value: "7", delay: 7 * time.Second},
		{status: 503, header: "Retry-After", value: "86400", delay: time.Hour},
		{status: 503, header: "Retry-After", value: "-1"},
		{status: 500},
	} {
		answer = func(w http.ResponseWriter) {
			if c.header != "" {
				w.Header().Set(c.header, c.value)
			}
			w.WriteHeader(c.status)
		}
		status, err := hook.Post(t.Context(), "ping", "1", []byte("{}"))
		delay, _ := RetryDelay(err)
		if status != c.status || (err == nil) != c.ok || IsPermanent(err) != c.permanent || delay != c.delay {
			t.Errorf("%d: %d, %v, permanent %v, delay %v", c.status, status, err, IsPermanent(err), delay)
		}
	}
	server.Close()
	status, err := hook.Post(t.Context(), "ping", "1", []byte("{}"))
	if status != 0 || err == nil || !IsNotSent(err) {
		t.Errorf("nobody there: %d, %v", status, err)
	}
	if text := fmt.Sprintf("%v", err); strings.Contains(text, secret) {
		t.Errorf("the error shows the address: %s", text)
	}
	for _, bad := range []WebhookConfig{{URL: "ftp://x", Secret: NewSecret("s")}, {URL: "https://x"}, {URL: "::", Secret: NewSecret("s")}} {
		if _, err := NewWebhook(bad, http.DefaultClient); err == nil {
			t.Errorf("%q is taken", bad.URL)
		}
	}
}
