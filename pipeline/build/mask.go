package build

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// minSecret is the shortest text that is masked: a shorter one would turn up everywhere, and tell more by its gaps.
const minSecret = 4

// mask cuts secrets out of text.
type mask struct {
	replacer *strings.Replacer
	longest  int
}

// newMask masks each line of each secret.
func newMask(secrets map[string][]byte) *mask {
	var found []string
	for _, secret := range secrets {
		for line := range strings.Lines(string(secret)) {
			if line = strings.TrimSpace(line); len(line) >= minSecret {
				found = append(found, line)
			}
		}
	}
	// Longest first: a secret that begins with another one is cut out whole.
	slices.SortFunc(found, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	m := &mask{}
	var pairs []string
	for _, s := range found {
		pairs = append(pairs, s, "***")
		m.longest = max(m.longest, len(s))
	}
	m.replacer = strings.NewReplacer(pairs...)
	return m
}

func (m *mask) text(s string) string { return m.replacer.Replace(s) }

// error returns err when its text holds no secret, and else one that has only the masked text.
func (m *mask) error(err error) error {
	if masked := m.text(err.Error()); masked != err.Error() {
		return errors.New(masked)
	}
	return err
}
