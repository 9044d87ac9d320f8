// Package mask takes secrets out of what is logged, stored and shown.
package mask

import (
	"cmp"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
)

const (
	// shortest is the shortest text that is masked: a shorter one would turn up everywhere, and tell more by its gaps.
	shortest = 4
	// shortestEncoded is the same for what a secret looks like within other data, which is less telling.
	shortestEncoded = 8
)

// A Mask replaces secrets by •••. The zero Mask replaces nothing.
type Mask struct {
	replacer *strings.Replacer
	longest  int
	begin    *[1 << 16 / 64]uint64 // a bit for the hash of each first four bytes: almost every line holds none of them
}

// New makes a mask for the given values. Each line of a value counts by itself, since a log is read by lines, and is
// also found URL-escaped, and in Base64 wherever it stands in what was encoded, such as user:password for HTTP's
// Authorization. Values shorter than 4 bytes are left alone.
func New(secrets ...string) Mask {
	var found []string
	for _, secret := range secrets {
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); len(line) >= shortest {
				found = append(found, line, url.QueryEscape(line), url.PathEscape(line))
				found = append(found, encoded(line)...)
			}
		}
	}
	if len(found) == 0 {
		return Mask{}
	}
	// The longest first: a secret that contains another is masked whole.
	slices.SortFunc(found, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	found = slices.Compact(found)
	m := Mask{longest: len(found[0]), begin: new([1 << 16 / 64]uint64)}
	var pairs []string
	for _, s := range found {
		h := hash(uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3]))
		m.begin[h/64] |= 1 << (h % 64)
		pairs = append(pairs, s, "•••")
	}
	m.replacer = strings.NewReplacer(pairs...)
	return m
}

// encoded is what stays the same of a secret in Base64 (RFC 4648), whatever stands before and after it: three texts, since
// it may begin at any of the three bytes that four characters stand for, and in both alphabets.
func encoded(secret string) (parts []string) {
	for before, mixed := range []int{0, 2, 3} { // so many characters hold bits of what stands before
		plain := append(make([]byte, before), secret...)
		whole := len(plain) * 8 / 6 // characters that hold no bit of what stands after
		for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			if part := alphabet.EncodeToString(plain)[mixed:whole]; len(part) >= shortestEncoded {
				parts = append(parts, part)
			}
		}
	}
	return parts
}

// String masks s.
func (m Mask) String(s string) string {
	if !m.mayHold(s) {
		return s
	}
	return m.replacer.Replace(s)
}

// mayHold is false where no secret begins in s. It costs much less than to look for them.
func (m Mask) mayHold(s string) bool {
	if m.begin == nil {
		return false
	}
	four := uint32(0)
	for i := range len(s) {
		four = four<<8 | uint32(s[i])
		if h := hash(four); m.begin[h/64]&(1<<(h%64)) != 0 && i >= shortest-1 {
			return true
		}
	}
	return false
}

// hash spreads four bytes over 16 bits.
func hash(four uint32) uint32 { return four * 2654435761 >> 16 }

// Error returns err where its text holds no secret, and else an error that has the masked text alone.
func (m Mask) Error(err error) error {
	if masked := m.String(err.Error()); masked != err.Error() {
		return errors.New(masked)
	}
	return err
}

// Longest is how many bytes the longest text has that is masked: a text that is cut anywhere may end in the beginning of a
// secret that is one byte shorter than that.
func (m Mask) Longest() int { return m.longest }
