package bot

import (
	"testing"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// TestSuperseded: by what something was superseded is said in the surface's language.
func TestSuperseded(t *testing.T) {
	for reason, want := range map[string][2]string{
		"by deployment 4":     {"superseded by deployment 4", "已被 部署 4 取代"},
		"by run 2 of 1234567": {"superseded by run 2 of 1234567", "已被 1234567 的运行 2 取代"},
		"by run 2":            {"superseded by run 2", "已被 运行 2 取代"},
		"":                    {"superseded", "已被取代"},
	} {
		for i, l := range []text.Lang{text.En, text.Zh} {
			if got := buildWords(subject{run: store.Run{State: store.RunSuperseded, Reason: reason}}, l); got != want[i] {
				t.Errorf("%q: %q, want %q", reason, got, want[i])
			}
			if got := deployWords(subject{d: &store.Deployment{State: store.Superseded, Reason: reason}}, l); got != want[i] {
				t.Errorf("%q: %q, want %q", reason, got, want[i])
			}
		}
	}
}
