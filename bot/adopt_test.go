package bot

import (
	"slices"
	"strings"
	"testing"
)

// TestAdopt: what others own is taken over after it was shown, by one deployment, of what is live too, and by no rollback to that.
func TestAdopt(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	first := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(first, "shipmate/deploy/staging", "success", ""))(t)
	issue := l.repo.OpenIssue("alice", "Adopt")
	say := func(command, want string) {
		t.Helper()
		if _, reply, err := l.Say(issue, "alice", command); err != nil || !strings.Contains(reply, want) {
			t.Errorf("%s: %v %s, want %s", command, err, reply, want)
		}
		must(t, l.Settle())
	}
	say("/deploy staging adopt", "With release 1 this would be taken over in `staging` and changed; say `/deploy staging adopt 1` to do it:\n\n```text\nDeployment/web update\n! taken over from kubectl-client-side-apply\n! removed by that: spec.paused\n")
	say("/diff staging 1", "Deployment/web update\n```")
	say("/deploy staging 1", "is live in `staging` already")
	if calls := l.test.Calls(); slices.Contains(calls, "adopt release 1") {
		t.Errorf("it was only shown: %q", calls)
	}
	say("/deploy staging adopt 1", "release 1 goes to `staging`")
	if calls := l.test.Calls(); !slices.Contains(calls, "adopt release 1") {
		t.Errorf("%q", calls)
	}
	second := got(l.Push("alice", "master", "Ship more", map[string]string{"app.txt": "2"}))(t)
	got(l.Status(second, "shipmate/deploy/staging", "success", ""))(t)
	before := len(l.test.Calls())
	say("/rollback staging", "release 1")
	got(l.Status(first, "shipmate/deploy/staging", "success", ""))(t)
	if calls := l.test.Calls()[before:]; !slices.Contains(calls, "apply release 1") {
		t.Errorf("a rollback: %q", calls)
	}
}
