package sim

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Delivery is one attempt to deliver a webhook.
type Delivery struct {
	ID              int64
	GUID            string // the same for every attempt
	Event, Action   string
	Redelivery      bool
	InstallationID  int64
	RepositoryID    int64 // 0 for an event without a repository
	DeliveredAt     time.Time
	Duration        time.Duration
	StatusCode      int // 502 where nothing answered, 504 where no answer came in time
	Status          string
	URL             string
	RequestHeaders  http.Header
	Payload         []byte
	ResponseHeaders http.Header
	ResponseBody    string
}

// hooks sends webhooks one after the other, in the order in which they arose.
type hooks struct {
	gh     *GitHub
	client *http.Client
	ctx    context.Context
	cancel context.CancelFunc

	running sync.WaitGroup

	mu      sync.Mutex // also of client
	queue   []*Delivery
	log     []*Delivery // sent ones, oldest first
	sending bool
	idle    chan struct{} // closed when the queue gets empty; nil while nobody waits
}

func newHooks(gh *GitHub) *hooks {
	ctx, cancel := context.WithCancel(context.Background())
	return &hooks{gh: gh, ctx: ctx, cancel: cancel, client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (h *hooks) close() {
	h.cancel()
	h.mu.Lock()
	h.queue = nil
	h.mu.Unlock()
	h.running.Wait()
}

func (h *hooks) enqueue(d *Delivery) {
	h.mu.Lock()
	h.queue = append(h.queue, d)
	h.mu.Unlock()
	h.wake()
}

// wake starts sending, unless it goes on already.
func (h *hooks) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sending || len(h.queue) == 0 || h.ctx.Err() != nil {
		return
	}
	h.sending = true
	h.running.Go(h.drain)
}

func (h *hooks) drain() {
	for {
		h.gh.mu.Lock()
		down, target := h.gh.down, hookTarget{h.gh.cfg.HookURL, h.gh.cfg.Secret}
		h.gh.mu.Unlock()

		h.mu.Lock()
		if down || len(h.queue) == 0 || h.ctx.Err() != nil {
			h.sending = false
			if len(h.queue) == 0 && h.idle != nil {
				close(h.idle)
				h.idle = nil
			}
			h.mu.Unlock()
			h.gh.mu.Lock()
			down = h.gh.down
			h.gh.mu.Unlock()
			if !down {
				h.wake() // for what came since we looked
			}
			return
		}
		next := h.queue[0]
		h.mu.Unlock()

		if target.url != "" {
			h.send(next, target)
		}

		h.mu.Lock()
		if len(h.queue) > 0 && h.queue[0] == next {
			h.queue = h.queue[1:]
		}
		if target.url != "" {
			h.log = append(h.log, next)
		}
		h.mu.Unlock()
	}
}

func (h *hooks) flush(ctx context.Context) error {
	h.mu.Lock()
	if len(h.queue) == 0 && !h.sending {
		h.mu.Unlock()
		return nil
	}
	if h.idle == nil {
		h.idle = make(chan struct{})
	}
	idle := h.idle
	h.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-h.ctx.Done():
		return errors.New("flush webhooks: GitHub is closed")
	case <-ctx.Done():
		return fmt.Errorf("flush webhooks: %w", ctx.Err())
	}
}

type hookTarget struct{ url, secret string }

// send makes the attempt; headers as in GitHub's "Webhook events and payloads".
func (h *hooks) send(d *Delivery, target hookTarget) {
	ctx, cancel := context.WithTimeout(h.ctx, h.gh.cfg.HookTimeout)
	defer cancel()
	body, contentType := d.Payload, "application/json"
	if h.gh.cfg.HookForm {
		body, contentType = []byte(url.Values{"payload": {string(d.Payload)}}.Encode()), "application/x-www-form-urlencoded"
	}
	d.URL, d.DeliveredAt = target.url, h.gh.now()
	d.RequestHeaders = http.Header{
		"Accept":                                 {"*/*"},
		"Content-Type":                           {contentType},
		"User-Agent":                             {"GitHub-Hookshot/044aadd"},
		"X-Github-Delivery":                      {d.GUID},
		"X-Github-Event":                         {d.Event},
		"X-Github-Hook-Id":                       {strconv.FormatInt(h.gh.cfg.AppID+1, 10)},
		"X-Github-Hook-Installation-Target-Id":   {strconv.FormatInt(h.gh.cfg.AppID, 10)},
		"X-Github-Hook-Installation-Target-Type": {"integration"},
	}
	if target.secret != "" {
		d.RequestHeaders.Set("X-Hub-Signature", "sha1="+signature(sha1.New, target.secret, body))
		d.RequestHeaders.Set("X-Hub-Signature-256", "sha256="+signature(sha256.New, target.secret, body))
	}
	start := time.Now()
	defer func() { d.Duration = time.Since(start) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.url, bytes.NewReader(body))
	if err != nil {
		d.StatusCode, d.Status = http.StatusBadGateway, "failed to connect to host"
		return
	}
	request.Header = d.RequestHeaders.Clone()
	h.mu.Lock()
	client := h.client
	h.mu.Unlock()
	response, err := client.Do(request)
	if err != nil {
		d.StatusCode, d.Status = http.StatusBadGateway, "failed to connect to host"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			d.StatusCode, d.Status = http.StatusGatewayTimeout, "timed out"
		}
		return
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // what came before an error is kept
	d.StatusCode, d.ResponseHeaders, d.ResponseBody = response.StatusCode, response.Header, string(answer)
	d.Status = http.StatusText(response.StatusCode)
	if d.StatusCode >= 300 {
		d.Status = fmt.Sprintf("Invalid HTTP Response: %d", d.StatusCode)
	}
}

func signature(algorithm func() hash.Hash, secret string, body []byte) string {
	mac := hmac.New(algorithm, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// Deliveries returns the attempts made so far, oldest first.
func (gh *GitHub) Deliveries() []Delivery {
	gh.hooks.mu.Lock()
	defer gh.hooks.mu.Unlock()
	var all []Delivery
	for _, d := range gh.hooks.log {
		all = append(all, *d)
	}
	return all
}

// Redeliver sends a delivery again, with the same GUID and payload.
func (gh *GitHub) Redeliver(id int64) error {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	return gh.redeliver(id)
}

func (gh *GitHub) redeliver(id int64) error {
	for _, d := range gh.Deliveries() {
		if d.ID == id {
			d.ID, d.Redelivery, d.ResponseHeaders, d.ResponseBody = gh.id(), true, nil, ""
			gh.hooks.enqueue(&d)
			return nil
		}
	}
	return fmt.Errorf("redeliver %d: no such delivery", id)
}

// Deliver sends a webhook with any payload, also one that GitHub never would
// send, and returns its GUID.
func (gh *GitHub) Deliver(event string, payload []byte) string {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	var known struct {
		Action       string
		Installation struct{ ID int64 }
		Repository   struct{ ID int64 }
	}
	_ = json.Unmarshal(payload, &known) // a payload that is not JSON has none of these
	d := &Delivery{
		ID: gh.id(), GUID: uuid(), Event: event, Action: known.Action, Payload: payload,
		InstallationID: known.Installation.ID, RepositoryID: known.Repository.ID,
	}
	gh.hooks.enqueue(d)
	return d.GUID
}

// send completes an event of the repository with what every payload has, and
// sends it where the app is installed and subscribed. mu is held.
func (gh *GitHub) send(event, action string, repo *Repo, sender *account, payload object) {
	if !repo.installed {
		return
	}
	if payload["repository"] == nil {
		payload["repository"] = gh.fullRepository(repo)
	}
	gh.deliver(event, action, repo.owner, repo.id, sender, payload)
}

// sendOf is send for an event of an organization, which names no repository. mu is held.
func (gh *GitHub) sendOf(event, action string, org, sender *account, payload object) {
	gh.deliver(event, action, org, 0, sender, payload)
}

func (gh *GitHub) deliver(event, action string, owner *account, repo int64, sender *account, payload object) {
	installation := gh.installation(owner)
	if installation == nil || installation.Suspended || !slices.Contains(gh.cfg.Events, event) {
		return
	}
	if action != "" {
		payload["action"] = action
	}
	payload["sender"] = gh.simpleUser(sender)
	payload["installation"] = object{"id": installation.ID, "node_id": nodeID("Installation", installation.ID)}
	if owner.Type == "Organization" {
		payload["organization"] = gh.organization(owner)
	}
	body, err := json.Marshal(payload)
	if err == nil {
		err = gh.description.CheckWebhook(event, action, body)
	}
	if err != nil {
		gh.violations = append(gh.violations, err.Error())
	}
	gh.hooks.enqueue(&Delivery{
		ID: gh.id(), GUID: uuid(), Event: event, Action: action, Payload: body, InstallationID: installation.ID, RepositoryID: repo,
	})
}
