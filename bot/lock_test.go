package bot

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

func TestLeases(t *testing.T) {
	tests := map[string]struct {
		lasts  time.Duration // 0: refused
		reason string
	}{
		"":                   {usualLease, ""},
		"a demo":             {usualLease, "a demo"},
		"for 30m a demo":     {30 * time.Minute, "a demo"},
		"30m a demo":         {30 * time.Minute, "a demo"},
		"FOR 2H":             {2 * time.Hour, ""},
		"for 1d":             {day, ""},
		"1h30m x":            {90 * time.Minute, "x"},
		"for 7d holidays":    {7 * day, "holidays"},
		"for 6d24h":          {7 * day, ""},
		"for the demo":       {usualLease, "for the demo"},
		"for":                {usualLease, "for"},
		"2 pods are broken":  {usualLease, "2 pods are broken"},
		"9d is too long":     {usualLease, "9d is too long"}, // which the answer shows
		"for 8d x":           {},
		"for 7d1m x":         {},
		"for 2 hours":        {},
		"for 0m x":           {},
		"for 0 x":            {},
		"for 99999999999m x": {},
		"for 1m1h x":         {},
		"for 1.5h x":         {},
	}
	for said, want := range tests {
		lasts, rest, bad := leaseOf(strings.Fields(said))
		if lasts != want.lasts || strings.Join(rest, " ") != want.reason || (bad == "") != (want.lasts > 0) {
			t.Errorf("%q: %s, %q, refused for %q", said, lasts, rest, bad)
		}
	}
}

// FuzzLease: a lock never lasts longer than it may, and what is no time is left to the reason.
func FuzzLease(f *testing.F) {
	for _, s := range []string{"for 2h x", "1h30m", "for 8d", "for  for", "99d999h99999m", "٣h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Fields(s)
		lasts, rest, bad := leaseOf(args)
		if bad == "" && (lasts < time.Minute || lasts > longestLease || !slices.Equal(rest, args[len(args)-len(rest):])) {
			t.Errorf("%q: %s, %q", s, lasts, rest)
		}
	})
}

// Who stands before whom in line, by what they asked for and what others have.
func TestLockLine(t *testing.T) {
	lock := func(by, app, env string) store.Lock { return store.Lock{By: by, App: app, Environment: env} }
	wait := func(who, app, env string) store.LockWait {
		return store.LockWait{Login: who, App: app, Environment: env}
	}
	tests := map[string]struct {
		locks  []store.Lock
		line   []store.LockWait
		who    string
		scope  scope
		other  string // whose lock is in the way
		before string // who stands before
		place  int
	}{
		"free":                        {nil, nil, "alice", scope{"web", "staging"}, "", "", 1},
		"another's":                   {[]store.Lock{lock("bob", "web", "staging")}, nil, "alice", scope{"web", "staging"}, "bob", "", 1},
		"one's own, in another case":  {[]store.Lock{lock("Alice", "web", "staging")}, nil, "alice", scope{"web", "staging"}, "", "", 1},
		"of another environment":      {[]store.Lock{lock("bob", "web", "production")}, nil, "alice", scope{"web", "staging"}, "", "", 1},
		"of another app":              {[]store.Lock{lock("bob", "api", "staging")}, nil, "alice", scope{"web", "staging"}, "", "", 1},
		"of the whole app":            {[]store.Lock{lock("bob", "web", "")}, nil, "alice", scope{"web", "staging"}, "bob", "", 1},
		"of everything":               {[]store.Lock{lock("bob", "", "")}, nil, "alice", scope{"web", "staging"}, "bob", "", 1},
		"everything, where one has a": {[]store.Lock{lock("bob", "api", "staging")}, nil, "alice", scope{}, "bob", "", 1},
		"second in line":              {nil, []store.LockWait{wait("bob", "web", "staging")}, "alice", scope{"web", "staging"}, "", "bob", 2},
		"first in line":               {nil, []store.LockWait{wait("alice", "web", "staging"), wait("bob", "web", "staging")}, "alice", scope{"web", "staging"}, "", "", 1},
		"another line":                {nil, []store.LockWait{wait("bob", "api", "staging")}, "alice", scope{"web", "staging"}, "", "", 1},
		// Bob waits for all, which dave's lock of the other app keeps from him: that is no reason for alice to wait.
		"before who can't have theirs": {[]store.Lock{lock("dave", "api", "staging")}, []store.LockWait{wait("bob", "", "")}, "alice", scope{"web", "staging"}, "", "", 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v := lockView{locks: test.locks, line: test.line}
			var other, before string
			if l := v.other(test.scope, test.who); l != nil {
				other = l.By
			}
			if w := v.before(test.scope, test.who); w != nil {
				before = w.Login
			}
			if place := v.place(test.scope, test.who); other != test.other || before != test.before || place != test.place {
				t.Errorf("the lock of %q, after %q, place %d; want %q, %q, %d", other, before, place, test.other, test.before, test.place)
			}
		})
	}
}

func TestAt(t *testing.T) {
	for login, want := range map[string]string{"alice": "@alice", "a-b_acme": "@a-b_acme", "everyone\n@x": "`everyone @x`", "": "`  `", "org/team": "`org/team`"} {
		if got := at(login); got != want {
			t.Errorf("%q: %q, want %q", login, got, want)
		}
	}
}
