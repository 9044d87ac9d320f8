package chat

import (
	"errors"
	"strings"
	"testing"
)

// published is the example of WeCom's developer documentation.
func published(t testing.TB) *wecomCrypto {
	c, err := newWeComCrypto(NewSecret("QDG6eK"), NewSecret("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"), "wx5823bf96d3bd56c7")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	publishedEcho      = "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ=="
	publishedSignature = "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3"
)

func TestWeComCrypto(t *testing.T) {
	c := published(t)
	text, err := c.open(publishedSignature, "1409659589", "263014780", publishedEcho)
	if err != nil || string(text) != "1616140317555161061" {
		t.Errorf("the published example: %q, %v", text, err)
	}
	for _, n := range []int{0, 1, 11, 12, 13, 31, 32, 33, 1000} {
		want := strings.Repeat("文", n)
		encrypted, signature := c.seal([]byte(want), "1", "2")
		if got, err := c.open(signature, "1", "2", encrypted); err != nil || string(got) != want {
			t.Errorf("%d characters there and back: %q, %v", n, got, err)
		}
	}
	if _, err := c.open(publishedSignature, "1409659590", "263014780", publishedEcho); !errors.Is(err, ErrNotGenuine) {
		t.Errorf("another time: %v", err)
	}
	other := *c
	other.receiver = "wx0000"
	if _, err := other.open(publishedSignature, "1409659589", "263014780", publishedEcho); err == nil || !strings.Contains(err.Error(), "corp_id") {
		t.Errorf("another corp: %v", err)
	}
}

func TestWeComCryptoSecrets(t *testing.T) {
	for name, c := range map[string]struct{ token, key, hint string }{
		"no token":  {"", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", "token is empty"},
		"short key": {"t", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2", "43"},
		"no base64": {"t", strings.Repeat("!", 43), "43"},
	} {
		if _, err := newWeComCrypto(NewSecret(c.token), NewSecret(c.key), ""); err == nil || !strings.Contains(err.Error(), c.hint) || strings.Contains(err.Error(), "jWmYm") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever is encrypted rightly but says nothing is an error, and no panic.
func FuzzWeComCrypto(f *testing.F) {
	f.Add(publishedEcho)
	f.Add("")
	f.Add("AAAA")
	f.Add(strings.Repeat("A", 64))
	f.Fuzz(func(t *testing.T, encrypted string) {
		c := published(t)
		_, _ = c.open(c.sign("1", "2", encrypted), "1", "2", encrypted)
	})
}
