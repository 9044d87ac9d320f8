package store

import (
	"errors"
	"testing"
	"time"
)

func TestAgeLinkRequests(t *testing.T) {
	db, now := open(t)
	for user, expires := range map[string]time.Time{"expired long ago": now.Add(-time.Second), "expired": *now, "waits": now.Add(time.Minute)} {
		update(t, db, func(tx *Tx) error {
			return tx.PutLinkRequest(LinkRequest{ID: user, Scope: "slack/team", User: user, Chat: "slack/team", ExpiresAt: Time{expires}})
		})
	}
	if n := age(t, db, func(tx *Tx) (int, error) { return tx.AgeLinkRequests(*now) }); n != 1 {
		t.Errorf("%d aged out", n)
	}
	update(t, db, func(tx *Tx) error {
		_, gone := tx.LinkRequestOf("slack/team", "expired long ago")
		_, expired := tx.LinkRequestOf("slack/team", "expired")
		_, waits := tx.LinkRequestOf("slack/team", "waits")
		if !errors.Is(gone, ErrNotFound) {
			t.Errorf("what expired long ago: %v", gone)
		}
		return errors.Join(expired, waits)
	})
}
