package chat

import (
	"fmt"
	"io"
	"log/slog"
)

const masked = "•••"

// Secret is a credential that doesn't show itself: printed, logged or marshalled, by whatever verb, it is "•••". It
// holds a pointer because fmt, which calls no method on an unexported field, would otherwise print its content there.
type Secret struct{ value *string }

// NewSecret wraps a credential, already resolved.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal returns the credential, to be sent to whom it is meant for and nobody else. That of the zero Secret is empty.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String returns "•••".
func (s Secret) String() string { return masked }

// Format writes "•••", whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, masked) }

// LogValue returns "•••".
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns "•••"; it serves JSON, YAML and XML alike.
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }
