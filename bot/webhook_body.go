package bot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
)

const (
	// maxDelivery is GitHub's own limit on a webhook payload.
	maxDelivery = 25 << 20
	// smallDelivery is what next to every delivery is less than. Larger ones are taken maxLarge at a time, so that many at
	// once, whoever sends them, do not fill the memory.
	smallDelivery = 1 << 20
	maxLarge      = 4
)

// errBusy tells that there was no room for a large delivery.
var errBusy = errors.New("too many large deliveries at once")

// body reads the body of a delivery, at most maxDelivery and only until ctx ends: a sender that trickles is cut off. What
// it returns may be large, so release is called when it is no longer needed, also after an error.
func (b *Bot) body(ctx context.Context, w http.ResponseWriter, r *http.Request) (raw []byte, release func(), err error) {
	release = func() {}
	if r.ContentLength > maxDelivery {
		return nil, release, &http.MaxBytesError{Limit: maxDelivery}
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = http.NewResponseController(w).SetReadDeadline(deadline) // what cannot be cut off has no connection
	}
	from := http.MaxBytesReader(w, r.Body, maxDelivery)
	var buf bytes.Buffer // grows with what came, not with what was announced
	if _, err := io.CopyN(&buf, from, smallDelivery); err != nil {
		if err == io.EOF {
			return buf.Bytes(), release, nil
		}
		return nil, release, err
	}
	select {
	case b.large <- struct{}{}:
		release = func() { <-b.large }
	case <-ctx.Done():
		return nil, release, errBusy
	}
	_, err = io.Copy(&buf, from)
	return buf.Bytes(), release, err
}
