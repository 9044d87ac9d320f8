package bot

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// acceptTimeout, for the body to come and to be stored, leaves time for an answer before GitHub, which waits for 10 s, gives up.
const acceptTimeout = 8 * time.Second

// word tells whether a header holds what it may: the two are not covered by the signature, and end up in keys and comments.
func word(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 100
}

// webhook verifies, stores and answers; what the delivery means is decided elsewhere. See contract.md for the answers.
func (b *Bot) webhook(w http.ResponseWriter, r *http.Request) {
	began := b.tracer.now()
	id, kind := r.Header.Get("X-GitHub-Delivery"), r.Header.Get("X-GitHub-Event")
	if !word(id) || !word(kind) {
		http.Error(w, "X-GitHub-Delivery and X-GitHub-Event are needed, each of at most 100 letters, digits, - and _", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), b.acceptTimeout)
	defer cancel()
	raw, release, err := b.body(ctx, w, r)
	defer release()
	if err != nil {
		switch {
		case errors.As(err, new(*http.MaxBytesError)):
			http.Error(w, "a delivery is at most 25 MiB", http.StatusRequestEntityTooLarge)
		case errors.Is(err, errBusy):
			http.Error(w, errBusy.Error()+"; send it again", http.StatusServiceUnavailable)
		case errors.Is(err, os.ErrDeadlineExceeded):
			http.Error(w, "the body did not come in time", http.StatusRequestTimeout)
		default:
			http.Error(w, "the body could not be read", http.StatusBadRequest)
		}
		return
	}
	if !signed(raw, r.Header.Get("X-Hub-Signature-256"), b.cfg.GitHub.WebhookSecrets) {
		http.Error(w, "the signature does not fit any of github.webhook_secrets", http.StatusUnauthorized)
		return
	}
	body, ok := payload(raw, r.Header.Get("Content-Type"))
	if !ok {
		http.Error(w, "the content type must be application/json or application/x-www-form-urlencoded", http.StatusBadRequest)
		return
	}
	fresh, err := b.db.Accept(ctx, store.Event{ID: id, Kind: kind, Via: via(kind), Repo: repoName(body), Body: body})
	b.storing.result(b.log, id, err)
	switch {
	case err != nil:
		http.Error(w, "the delivery could not be stored; send it again", http.StatusServiceUnavailable)
	case fresh:
		b.tracer.accepted(id, began)
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusOK)
	}
}

// signed compares, in constant time, the signature of the raw body with that of each secret: all are tried, so that the
// time does not tell which one fitted.
func signed(body []byte, header string, secrets []Secret) bool {
	digits, ok := strings.CutPrefix(header, "sha256=")
	got, err := hex.DecodeString(digits)
	if !ok || err != nil || len(got) != sha256.Size {
		return false
	}
	ok = false
	for _, s := range secrets {
		if s.Value() == "" {
			continue
		}
		h := hmac.New(sha256.New, []byte(s.Value()))
		h.Write(body)
		ok = hmac.Equal(h.Sum(nil), got) || ok
	}
	return ok
}

// payload takes the JSON out of either content type that a webhook can be set to. A signed body is stored also when it
// is not what we expect.
func payload(raw []byte, contentType string) ([]byte, bool) {
	switch kind, _, _ := mime.ParseMediaType(contentType); kind {
	case "application/json":
		return raw, true
	case "application/x-www-form-urlencoded":
		if form, err := url.ParseQuery(string(raw)); err == nil && form.Has("payload") {
			return []byte(form.Get("payload")), true
		}
		return raw, true
	}
	return nil, false
}
