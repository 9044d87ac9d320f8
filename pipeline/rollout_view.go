package pipeline

import (
	"encoding/json"

	"github.com/shipmate-dev/shipmate/store"
)

// A RolloutView is how a deployment stands on its way.
type RolloutView struct {
	Strategy string // rolling, blue-green or canary
	Step     string // the kind of the step that it is at; empty before the first and after the last
	Share    string // of the traffic that a canary has got, as in "10%"; empty: none
}

// RolloutOf tells how a deployment with these steps stands.
func RolloutOf(d store.Deployment, steps []store.Step) (v RolloutView) {
	var spec Spec
	_ = json.Unmarshal(d.Spec.V, &spec) // of ours
	v.Strategy = spec.Environment.Strategy.Name()
	v.Step, v.Share = d.Standing(steps)
	return v
}

// ShareAt is the share of the traffic that a canary has at a step of its strategy, by its kind; empty where there is none.
func ShareAt(d store.Deployment, kind string) (share string) {
	var spec Spec
	if json.Unmarshal(d.Spec.V, &spec) != nil || spec.Environment.Strategy.Canary == nil {
		return ""
	}
	at := position(kind)
	for i, s := range spec.Environment.Strategy.Canary.Steps {
		if i < at && s.shares() {
			share = s.share().String()
		}
	}
	return share
}
