package bot

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// maxDelivery is GitHub's own limit on a webhook payload.
const maxDelivery = 25 << 20

// acceptTimeout leaves time for an answer before GitHub, which waits for 10 s, gives up.
const acceptTimeout = 8 * time.Second

// headerWord is what the two headers may hold: they are not covered by the signature, and end up in keys and comments.
var headerWord = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// webhook verifies, stores and answers; what the delivery means is decided elsewhere. See contract.md for the answers.
func (b *Bot) webhook(w http.ResponseWriter, r *http.Request) {
	id, kind := r.Header.Get("X-GitHub-Delivery"), r.Header.Get("X-GitHub-Event")
	if !headerWord.MatchString(id) || !headerWord.MatchString(kind) {
		http.Error(w, "X-GitHub-Delivery and X-GitHub-Event are needed, each of at most 100 letters, digits, - and _", http.StatusBadRequest)
		return
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDelivery))
	if err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			http.Error(w, "a delivery is at most 25 MiB", http.StatusRequestEntityTooLarge)
		} else {
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
	ctx, cancel := context.WithTimeout(r.Context(), acceptTimeout)
	defer cancel()
	fresh, err := b.db.Accept(ctx, store.Event{ID: id, Kind: kind, Via: via(kind), Repo: repoName(body), Body: body})
	switch {
	case err != nil:
		b.log.Error("a delivery could not be stored", "delivery", id, "err", err)
		http.Error(w, "the delivery could not be stored; send it again", http.StatusServiceUnavailable)
	case fresh:
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusOK)
	}
}

// signed compares, in constant time, the signature of the raw body with that of each secret: all are tried, so that the
// time does not tell which one fitted.
func signed(body []byte, header string, secrets []Secret) bool {
	got, err := hex.DecodeString(strings.TrimPrefix(header, "sha256="))
	if err != nil || len(got) != sha256.Size {
		return false
	}
	ok := false
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

func repoName(body []byte) *string {
	var p struct {
		Repository struct {
			FullName *string `json:"full_name"`
		} `json:"repository"`
	}
	_ = json.Unmarshal(body, &p) // what cannot be parsed has no repository
	return p.Repository.FullName
}
