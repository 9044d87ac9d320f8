package pipeline

import (
	"testing"
	"time"
)

func TestWaits(t *testing.T) {
	var env Environment
	if got := waits(&env); got != "" {
		t.Errorf("%q", got)
	}
	env = Environment{After: "staging", Soak: time.Hour, Approvals: Approvals{Count: 2}, Freeze: make([]Window, 2)}
	for i, text := range []string{"Fri 18:00 - Mon 08:00 UTC", "22:00 - 08:00 UTC"} {
		if err := env.Freeze[i].UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := waits(&env), ", after 1h0m0s in staging and approvals (2), not Fri 18:00 - Mon 08:00 UTC or 22:00 - 08:00 UTC"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
