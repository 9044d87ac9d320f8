package mask

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	pem := "-----BEGIN KEY-----\nMIIEvQIBADANBg\r\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
	basic := func(s string) string { return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	tests := []struct {
		secrets []string
		in, out string
	}{
		{nil, "nothing to hide", "nothing to hide"},
		{[]string{"hunter22"}, "password=hunter22&x=hunter22", "password=•••&x=•••"},
		{[]string{"hunter22"}, "HUNTER22", "HUNTER22"},
		{[]string{"abc"}, "abc: too short to be one", "abc: too short to be one"},
		{[]string{""}, "empty", "empty"},
		{[]string{"secret", "secret-longer"}, "secret-longer secret", "••• •••"},
		{[]string{"secret-longer", "secret"}, "secret-longer secret", "••• •••"},
		{[]string{"  padded  \n"}, "is padded here", "is ••• here"},
		{[]string{pem}, "MIIEvQIBADANBg", "•••"}, // each line by itself
		{[]string{pem}, strings.ReplaceAll(pem, "\n", " "), "••• •••\r ••• ••• "},
		{[]string{pem}, "echo MIIEvQIBADANBg; echo kqhkiG9w0BAQEF", "echo •••; echo •••"},
		{[]string{"p&ss/w+rd é"}, "q=p%26ss%2Fw%2Brd+%C3%A9 or p&ss%2Fw+rd%20%C3%A9", "q=••• or •••"},
		// What is left of an encoded one has bits of what stands beside it.
		{[]string{"hunter22!"}, basic("hunter22!"), "Authorization: Basic •••"},
		{[]string{"hunter22!"}, basic("bob:hunter22!"), "Authorization: Basic Ym9iOm•••Q=="},
		{[]string{"hunter22!"}, basic("ab:hunter22!") + " ", "Authorization: Basic YWI6••• "},
		{[]string{"hunter22!"}, basic("bobby:hunter22!x"), "Authorization: Basic Ym9iYnk6•••eA=="},
		{[]string{"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7"}, base64.URLEncoding.EncodeToString([]byte("\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7")), "•••"},
		{[]string{"hunt"}, base64.StdEncoding.EncodeToString([]byte("hunt")), "aHVudA=="}, // too little to tell
	}
	for _, test := range tests {
		if got := New(test.secrets...).String(test.in); got != test.out {
			t.Errorf("%q masked in %q: %q, want %q", test.secrets, test.in, got, test.out)
		}
	}
	if got := (Mask{}).String("as it is"); got != "as it is" {
		t.Errorf("the zero Mask: %q", got)
	}
}

// Wherever a secret stands in what is encoded, hardly anything of it stays readable.
func TestNothingIsLeft(t *testing.T) {
	const secret = "correct horse battery"
	m := New(secret)
	for before := range 7 {
		for after := range 7 {
			plain := []byte(strings.Repeat("u", before) + secret + strings.Repeat("h", after))
			for _, in := range []string{base64.StdEncoding.EncodeToString(plain), base64.RawURLEncoding.EncodeToString(plain), url.QueryEscape(string(plain))} {
				out := m.String(in)
				head, tail, cut := strings.Cut(out, "•••")
				if !cut || len(head) > (before*4+2)/3+1 || len(strings.TrimRight(tail, "=")) > (after*4+2)/3+1 {
					t.Errorf("%d bytes before and %d after: %s became %s", before, after, in, out)
				}
			}
		}
	}
}

// A secret is found wherever it stands in a line, and many at once.
func TestEverySecretIsFound(t *testing.T) {
	var secrets []string
	for i := range 500 {
		secrets = append(secrets, fmt.Sprintf("%x-secret-%d", i*2654435761, i))
	}
	m := New(secrets...)
	for i, s := range secrets {
		line := strings.Repeat("x", i%9)
		if got := m.String(line + s + line); got != line+"•••"+line {
			t.Errorf("%s in %d: %s", s, i%9, got)
		}
	}
}

func TestError(t *testing.T) {
	m := New("tok-12345")
	if err := m.Error(errors.New("process tok-12345 failed")); err.Error() != "process ••• failed" {
		t.Error(err)
	}
	if plain := errors.New("nothing"); m.Error(plain) != plain {
		t.Error("an error without a secret was changed")
	}
}
