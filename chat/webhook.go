package chat

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Headers of what an outgoing webhook is sent.
const (
	WebhookEvent     = "X-Shipmate-Event"         // what it tells, as in run.succeeded
	WebhookDelivery  = "X-Shipmate-Delivery"      // names it; the same with each attempt
	WebhookSignature = "X-Shipmate-Signature-256" // "sha256=" and the HMAC of the body by the secret, as GitHub's X-Hub-Signature-256
)

// WebhookConfig is one entry of chat.webhook in the server's file.
type WebhookConfig struct {
	URL    string
	Secret Secret // what bodies are signed by
}

// Webhook tells another program what happens, by signed JSON.
type Webhook struct {
	url    string
	secret Secret
	client *http.Client
}

// NewWebhook returns the webhook of cfg. Requests go through client, which says what may be reached.
func NewWebhook(cfg WebhookConfig, client *http.Client) (*Webhook, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("webhook: url is no http or https address")
	}
	if cfg.Secret.Reveal() == "" {
		return nil, errors.New("webhook: secret is empty; write what the receiver checks signatures by")
	}
	return &Webhook{cfg.URL, cfg.Secret, guarded(client)}, nil
}

// Post sends a body once. Whatever is no 2xx is an error: a permanent one where the receiver says that it is gone (410), and with the
// delay that it asks for, in seconds, by Retry-After. status is that of the answer, 0 for none. No error contains more of the address than its host.
func (w *Webhook) Post(ctx context.Context, event, delivery string, body []byte) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return 0, Permanent(withoutURL(err))
	}
	mac := hmac.New(sha256.New, []byte(w.secret.Reveal()))
	mac.Write(body) // a hash takes everything
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Shipmate")
	r.Header.Set(WebhookEvent, event)
	r.Header.Set(WebhookDelivery, delivery)
	r.Header.Set(WebhookSignature, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	answer, err := w.client.Do(r)
	if err != nil {
		return 0, unreached(err)
	}
	_ = answer.Body.Close() // what it says is not read
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return code, nil
	case code == http.StatusGone:
		return code, Permanent(fmt.Errorf("HTTP status %d: the receiver wants no more", code))
	case code >= 300 && code < 400:
		return code, fmt.Errorf("HTTP status %d: redirects are not followed; write where it leads", code)
	default:
		err := fmt.Errorf("HTTP status %d", code)
		if s, bad := strconv.Atoi(answer.Header.Get("Retry-After")); bad == nil && s > 0 {
			err = RetryAfter(err, min(time.Duration(s)*time.Second, time.Hour))
		}
		return code, err
	}
}
