package bot

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSlowAndLarge: who sends a request drop by drop is let go, and a header that is too large is refused, while others are
// served.
func TestSlowAndLarge(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	dial := func() net.Conn {
		c := got(net.Dial("tcp", strings.TrimPrefix(l.url, "http://")))(t)
		t.Cleanup(func() { _ = c.Close() }) // whoever closed it
		must(t, c.SetDeadline(time.Now().Add(patience)))
		return c
	}
	var slow []net.Conn
	for range 200 {
		c := dial()
		got(io.WriteString(c, "GET / HTTP/1.1\r\nHost: ship.example.com\r\nX-Slow: "))(t)
		slow = append(slow, c)
	}
	large := dial()
	go func() {
		_, _ = io.WriteString(large, "GET / HTTP/1.1\r\nHost: ship.example.com\r\nX-Large: "+strings.Repeat("a", 1<<20)+"\r\n\r\n")
	}() // it is cut off
	answer := got(http.ReadResponse(bufio.NewReader(large), nil))(t)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 1 MiB: %s", answer.Status)
	}
	body := dial()
	got(io.WriteString(body, "POST /chat/slack/team/commands HTTP/1.1\r\nHost: ship.example.com\r\nContent-Length: 100\r\n\r\na"))(t)
	served := got(http.Get(l.url + "/healthz"))(t)
	_ = served.Body.Close()
	if served.StatusCode != http.StatusOK {
		t.Errorf("meanwhile: %s", served.Status)
	}
	answer = got(http.ReadResponse(bufio.NewReader(body), nil))(t) // it waits for no more of it than Slack would
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusRequestTimeout {
		t.Errorf("a body that does not come: %s", answer.Status)
	}
	began := time.Now()
	for n, c := range slow {
		for drop := 0; ; drop++ { // a drop now and then does not keep it open
			if _, err := io.WriteString(c, "a"); err != nil {
				break
			}
			must(t, c.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
			if _, err := io.ReadAll(c); !errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if time.Since(began) > patience {
				t.Fatalf("connection %d is still open", n)
			}
		}
	}
}
