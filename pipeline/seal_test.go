package pipeline

import (
	"bytes"
	"compress/gzip"
	"slices"
	"strings"
	"testing"
)

func TestSealer(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	s, err := NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte(strings.Repeat("kind: Secret, data: s3cr3t; ", 100))
	sealed, err := s.Seal(plain, "acme/web")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("s3cr3t")) || len(sealed) > len(plain)/2 {
		t.Errorf("%d bytes sealed: neither compressed nor encrypted?", len(sealed))
	}
	again, err := s.Seal(plain, "acme/web")
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("sealing twice gives the same: %v", err)
	}
	same, err := NewSealer(slices.Clone(key)) // as after a restart
	if err != nil {
		t.Fatal(err)
	}
	if got, err := same.Open(sealed, "acme/web"); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened: %q, %v", got, err)
	}

	other, err := NewSealer(bytes.Repeat([]byte("o"), 32))
	if err != nil {
		t.Fatal(err)
	}
	changed := slices.Clone(sealed)
	changed[len(changed)/2] ^= 1
	for what, open := range map[string]func() ([]byte, error){
		"another key":        func() ([]byte, error) { return other.Open(sealed, "acme/web") },
		"another repository": func() ([]byte, error) { return s.Open(sealed, "acme/api") },
		"a changed byte":     func() ([]byte, error) { return s.Open(changed, "acme/web") },
		"cut":                func() ([]byte, error) { return s.Open(sealed[:20], "acme/web") },
		"nothing":            func() ([]byte, error) { return s.Open(nil, "acme/web") },
	} {
		if got, err := open(); err == nil || got != nil || !strings.Contains(err.Error(), "data_key") {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}

	if _, err := NewSealer(key[:31]); err == nil {
		t.Error("31 bytes are taken as a key")
	}
}

// TestSealerBomb: what unpacks to more than any deployment holds is not read to its end.
func TestSealerBomb(t *testing.T) {
	s, err := NewSealer(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	chunk := make([]byte, 1<<20)
	for range maxObjects>>20 + 1 {
		if _, err := z.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(s.aead.Seal(nil, nil, b.Bytes(), []byte("acme/web")), "acme/web"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("opened: %v", err)
	}
}
