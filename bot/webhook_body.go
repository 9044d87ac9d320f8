package bot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
)

const (
	// maxDelivery is GitHub's own limit on a webhook payload.
	maxDelivery = 25 << 20
	// smallDelivery is what next to every delivery is less than. Larger ones are taken maxLarge at a time, so that many at
	// once, whoever sends them, do not fill the memory.
	smallDelivery = 1 << 20
	maxLarge      = 4
	// kept is the size up to which memory is kept for the next delivery.
	kept = 64 << 10
)

// errBusy tells that there was no room for a large delivery.
var errBusy = errors.New("too many large deliveries at once")

// body reads the body of a delivery, at most maxDelivery and only until ctx ends: a sender that trickles is cut off. What
// it returns may be large, so release is called when it is no longer needed, also after an error.
func (b *Bot) body(ctx context.Context, w http.ResponseWriter, r *http.Request) (raw []byte, release func(), err error) {
	buf, _ := b.bodies.Get().(*bytes.Buffer)
	if buf == nil {
		buf = new(bytes.Buffer)
	}
	release = func() {
		if buf.Cap() <= 2*kept {
			buf.Reset()
			b.bodies.Put(buf)
		}
	}
	if r.ContentLength > maxDelivery {
		return nil, release, &http.MaxBytesError{Limit: maxDelivery}
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = http.NewResponseController(w).SetReadDeadline(deadline) // what cannot be cut off has no connection
	}
	from := http.MaxBytesReader(w, r.Body, maxDelivery)
	buf.Grow(int(min(max(r.ContentLength, 0), kept)) + bytes.MinRead) // beyond that it grows with what came, not with what was announced
	if _, err := io.CopyN(buf, from, smallDelivery); err != nil {
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
	_, err = io.Copy(buf, from)
	return buf.Bytes(), release, err
}

// smallBody reads a body of at most smallDelivery, and only until ctx ends. Where it can't, ok is false and the sender is told.
func smallBody(ctx context.Context, w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = http.NewResponseController(w).SetReadDeadline(deadline) // what cannot be cut off has no connection
	}
	var err error = &http.MaxBytesError{Limit: smallDelivery}
	if r.ContentLength <= smallDelivery {
		body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, smallDelivery))
	}
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		http.Error(w, "the body is at most 1 MiB", http.StatusRequestEntityTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		http.Error(w, "the body did not come in time", http.StatusRequestTimeout)
	case err != nil:
		http.Error(w, "the body could not be read", http.StatusBadRequest)
	}
	return body, err == nil
}
