package bot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPullSecretIsKept: what clusters pull by is theirs at each deployment, and when the bot starts with other credentials; they are
// nowhere in what is stored or shown.
func TestPullSecretIsKept(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	pulls := func() string {
		l.test.mu.Lock()
		defer l.test.mu.Unlock()
		return strings.Join(l.test.pulls, "; ")
	}
	sha := got(l.Push("alice", "master", "Ship", file(t, "deploy: auto", "deploy: auto\n    pull_secret: tcr")))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	want := "registry.example.com " + pullSecret + " " + pullSecret
	if got := pulls(); got != want {
		t.Fatalf("pulls by %s", got)
	}
	must(t, l.Stop())
	must(t, os.WriteFile(filepath.Join(l.dir, "pull"), []byte("rotated-99"), 0o600))
	must(t, l.Start())
	must(t, l.Settle())
	if got := pulls(); got != want+"; registry.example.com rotated-99 rotated-99" {
		t.Errorf("pulls by %s", got)
	}
	must(t, l.leaks())
}
