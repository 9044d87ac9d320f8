package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// storing says in the log when deliveries begin and cease to be refused because they cannot be stored: once, not with each.
type storing struct {
	mu      sync.Mutex
	refused int // since it began
}

// result takes the outcome of one delivery.
func (s *storing) result(log *slog.Logger, id string, err error) {
	if errors.Is(err, context.Canceled) { // the sender hung up: that says nothing about us
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.refused++; s.refused == 1 {
			log.Error("deliveries cannot be stored and are refused until they can", "delivery", id, "err", err, "remedy", store.Remedy(err))
		}
		return
	}
	if s.refused > 0 {
		log.Info("deliveries are stored again", "refused", s.refused)
		s.refused = 0
	}
}

// ready tells whether a delivery that arrives now can be stored and worked: it writes, because what is full shows only then.
func (b *Bot) ready(w http.ResponseWriter, r *http.Request) {
	if !b.live.get() {
		http.Error(w, "the worker is not running", http.StatusServiceUnavailable)
		return
	}
	err := b.db.Update(r.Context(), func(tx *store.Tx) error { return tx.SetCursor("ready", tx.Now().Format(time.RFC3339)) })
	if err != nil {
		http.Error(w, "the database cannot be written; "+store.Remedy(err), http.StatusServiceUnavailable)
		return
	}
	// For people: deliveries are taken and decided without a builder too. Which it is stands in the log; this page is public.
	n, all := b.builders.answering()
	_, _ = fmt.Fprintf(w, "ok\nbuilders that answer: %d of %d\n", n, all)
}
