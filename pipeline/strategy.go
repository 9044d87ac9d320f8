package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// Strategy is how a release replaces the one before. At most one of its fields is set; none means rolling.
type Strategy struct {
	Rolling   *struct{}  `yaml:"rolling" json:",omitempty"` // as the manifest itself says
	BlueGreen *BlueGreen `yaml:"blue-green" json:",omitempty"`
	Canary    *Canary    `yaml:"canary" json:",omitempty"`
}

// BlueGreen brings the new release up beside the old one, and then turns the Services to it at once.
type BlueGreen struct {
	Workload string         `yaml:"workload" json:",omitempty"` // a Deployment's name; empty: the only one with an image of the release
	Preview  string         `yaml:"preview" json:",omitempty"`  // the name of a Service that we make, which leads to the new release before the others do; empty: none
	Steps    []StrategyStep `yaml:"steps" json:",omitempty"`    // between: pauses and verifications
	Keep     time.Duration  `yaml:"keep" json:",omitempty"`     // how long the old one still runs afterwards; default 10 minutes
}

// Canary sends a share of the traffic to the new release, and more of it step by step.
type Canary struct {
	Workload string         `yaml:"workload" json:",omitempty"` // a Deployment's name; empty: the only one with an image of the release
	Steps    []StrategyStep `yaml:"steps"`
	Traffic  Traffic        `yaml:"traffic" json:",omitzero"`
}

// Traffic names what parts the traffic; nothing: the numbers of pods do.
type Traffic struct {
	Nginx string `yaml:"nginx" json:",omitempty"` // an Ingress of the ingress-nginx controller
	Istio string `yaml:"istio" json:",omitempty"` // a VirtualService
}

// StrategyStep is a step between: a share of the traffic, then a rest, then a verification, each where it is set.
type StrategyStep struct {
	Weight int     `yaml:"weight" json:",omitempty"` // percent of the traffic, of a canary
	Header string  `yaml:"header" json:",omitempty"` // requests with this header go to the canary, of one with a router
	Value  string  `yaml:"value" json:",omitempty"`  // and this value of it; default "always"
	Pause  Rest    `yaml:"pause" json:",omitzero"`
	Verify *Verify `yaml:"verify" json:",omitempty"`
}

// defaultKeep is how long blue-green keeps what it replaced where the file does not say.
const defaultKeep = 10 * time.Minute

// headerName is a name of a header (RFC 9110, section 5.6.2, without the signs that nobody uses).
var headerName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Rest is how long a step rests.
type Rest struct {
	For    time.Duration `json:",omitempty"`
	Manual bool          `json:",omitempty"` // until somebody resumes it
}

// UnmarshalText reads "5m" or "manual".
func (r *Rest) UnmarshalText(text []byte) error {
	if string(text) == "manual" {
		r.Manual = true
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d < time.Second || d > maxTimeout {
		return fmt.Errorf("%q is no time between 1s and 24h; write for example 5m, or manual, which rests until somebody resumes it", text)
	}
	r.For = d
	return nil
}

// UnmarshalJSON reads what is stored with a deployment.
func (r *Rest) UnmarshalJSON(text []byte) error {
	type plain Rest // without these methods
	return json.Unmarshal(text, (*plain)(r))
}

func (r Rest) String() string {
	if r.Manual {
		return "manual"
	}
	return shortDuration(r.For)
}

// UnmarshalText reads the short form, as in "strategy: rolling".
func (s *Strategy) UnmarshalText(text []byte) error {
	switch string(text) {
	case "rolling":
		s.Rolling = &struct{}{}
		return nil
	case "blue-green":
		s.BlueGreen = &BlueGreen{}
		return nil
	case "canary":
		return fmt.Errorf("canary needs steps; write for example canary: {steps: [{weight: 10, pause: 5m}]}")
	}
	return fmt.Errorf("%q is no strategy; write rolling, blue-green or canary: {steps: …}", text)
}

// UnmarshalJSON reads what is stored with a deployment.
func (s *Strategy) UnmarshalJSON(text []byte) error {
	type plain Strategy // without this method
	return json.Unmarshal(text, (*plain)(s))
}

// workload is the name of the Deployment that the strategy is about, where the file has one.
func (s Strategy) workload() string {
	switch {
	case s.Canary != nil:
		return s.Canary.Workload
	case s.BlueGreen != nil:
		return s.BlueGreen.Workload
	}
	return ""
}

// fits tells why the strategy is not possible for objects.
func (s Strategy) fits(objs []*unstructured.Unstructured, images []kube.Image) error {
	if s.Canary == nil && s.BlueGreen == nil {
		return nil
	}
	workload, err := kube.Workload(objs, images, s.workload())
	if err == nil && s.BlueGreen != nil {
		err = s.BlueGreen.fits(objs, workload)
	}
	if err == nil && s.Canary != nil {
		_, err = s.Canary.plan(objs, objs, workload)
	}
	if err != nil {
		err = fmt.Errorf("strategy %s: %w", s.Name(), err)
	}
	return err
}

// Name is the word that a file has for it.
func (s Strategy) Name() string {
	switch {
	case s.Canary != nil:
		return "canary"
	case s.BlueGreen != nil:
		return "blue-green"
	}
	return "rolling"
}

func (s Strategy) check(doc *strictyaml.Document, at string) {
	set := 0
	for _, is := range []bool{s.Rolling != nil || doc.Has(at+".rolling"), s.BlueGreen != nil, s.Canary != nil} {
		if is {
			set++
		}
	}
	if set > 1 {
		doc.Errorf(at, "has more than one; keep one of rolling, blue-green and canary")
	}
	if b := s.BlueGreen; b != nil {
		at := at + ".blue-green"
		checkOptionalName(doc, at+".workload", b.Workload)
		checkOptionalName(doc, at+".preview", b.Preview)
		if doc.Has(at+".keep") && (b.Keep < 0 || b.Keep > maxTimeout) {
			doc.Errorf(at+".keep", "must be between 0s and 24h; write for example 10m")
		}
		checkStrategySteps(doc, at+".steps", b.Steps, false, false)
	}
	if c := s.Canary; c != nil {
		at := at + ".canary"
		checkOptionalName(doc, at+".workload", c.Workload)
		checkOptionalName(doc, at+".traffic.nginx", c.Traffic.Nginx)
		checkOptionalName(doc, at+".traffic.istio", c.Traffic.Istio)
		if c.Traffic.Nginx != "" && c.Traffic.Istio != "" {
			doc.Errorf(at+".traffic", "has two routers; keep the one that the requests come through")
		}
		if len(c.Steps) == 0 {
			doc.Errorf(at+".steps", "is missing; write for example [{weight: 10, pause: 5m}, {weight: 50, pause: 10m}]")
		} else if c.Steps[0].Weight == 0 && c.Steps[0].Header == "" {
			doc.Errorf(at+".steps[0]", "sends nothing to the canary; begin with a weight, such as 10")
		}
		checkStrategySteps(doc, at+".steps", c.Steps, true, c.Traffic != Traffic{})
	}
}

func checkOptionalName(doc *strictyaml.Document, at, name string) {
	if doc.Has(at) {
		checkLabel(doc, at, name)
	}
}

func checkStrategySteps(doc *strictyaml.Document, at string, steps []StrategyStep, canary, router bool) {
	if len(steps) > maxFlow {
		doc.Errorf(at, "has %d steps; at most %d are possible", len(steps), maxFlow)
	}
	for i, s := range steps {
		here := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case !canary && (doc.Has(here+".weight") || doc.Has(here+".header")):
			doc.Errorf(here, "has a share of the traffic, and blue-green turns all of it at once; leave pause and verify alone in it")
		case doc.Has(here+".weight") && (s.Weight < 1 || s.Weight > 99):
			doc.Errorf(here+".weight", "must be between 1 and 99 percent; all of it comes after the last step")
		case doc.Has(here+".header") && !router:
			doc.Errorf(here+".header", "needs what reads headers; write traffic: {nginx: …} or traffic: {istio: …}")
		case doc.Has(here+".value") && s.Header == "":
			doc.Errorf(here+".value", "is that of no header; write header, too")
		case s == StrategyStep{} && !doc.Has(here+".pause"): // one that can't be read is told by itself
			doc.Errorf(here, "is no step; write weight, pause or verify")
		}
		if doc.Has(here+".header") && !headerName.MatchString(s.Header) {
			doc.Errorf(here+".header", "%q is no name of a header; write for example X-Canary", s.Header)
		}
		if s.Verify != nil {
			s.Verify.check(doc, here+".verify")
		}
	}
}

// First parts of the kinds of a strategy's steps; the position among its steps, from 1, and what it is about follow, as in
// canary/1/10%.
const (
	verbCanary = "canary"
	verbPause  = "pause"
	verbProve  = "prove" // a verification between
)

// between are the kinds of the steps between.
func between(steps []StrategyStep) (kinds []string) {
	for i, s := range steps {
		add := func(verb, what string) { kinds = append(kinds, fmt.Sprintf("%s/%d/%s", verb, i+1, what)) }
		if s.shares() {
			add(verbCanary, s.share().String())
		}
		if (s.Pause != Rest{}) {
			add(verbPause, s.Pause.String())
		}
		if s.Verify != nil {
			_, what := FlowStep{Verify: s.Verify}.verb()
			add(verbProve, what)
		}
	}
	return kinds
}

// shares tells whether the step gives a canary a share of the traffic, and share is which. It is all that the canary gets: nothing
// of the steps before stays.
func (s StrategyStep) shares() bool { return s.Weight > 0 || s.Header != "" }
func (s StrategyStep) share() kube.Share {
	return kube.Share{Weight: s.Weight, Header: s.Header, Value: s.Value}
}

// A rollout is how a strategy brings a deployment's objects to the cluster, and takes them back. What it does is safe to repeat, and
// goes on where the cluster is.
type rollout interface {
	// advance does what is next of a step that only this strategy has. until is when to call it again; the zero time: it is done.
	advance(ctx context.Context, s store.Step, verb string, of StrategyStep) (until time.Time, err error)
	// set is what the step apply applies and the step observe waits for.
	set(ctx context.Context) ([]*unstructured.Unstructured, error)
	// finish ends what only the way needed, once everything is verified: before what the release has no more is pruned.
	finish(ctx context.Context) error
	// undo gives the release before everything back, as long as nothing of its own was changed.
	undo(ctx context.Context) error
}

// rolling is what there is without a strategy: the cluster does it all.
type rolling struct{ *flowRun }

func (r rolling) advance(context.Context, store.Step, string, StrategyStep) (time.Time, error) {
	return time.Time{}, permanent{fmt.Errorf("rolling has no such step")}
}
func (r rolling) set(context.Context) ([]*unstructured.Unstructured, error) { return r.objs, nil }
func (r rolling) finish(context.Context) error                              { return nil }
func (r rolling) undo(context.Context) error                                { return nil }

// steps are the kinds of the steps of a deploy; those of a way back do not stop in between.
func (s Strategy) steps(back bool) []string {
	switch {
	case s.Canary != nil && !back:
		return append(between(s.Canary.Steps), deploySteps...)
	case s.BlueGreen != nil:
		kinds := []string{StepApply, StepObserve}
		if !back {
			kinds = append(kinds, between(s.BlueGreen.Steps)...)
		}
		return append(kinds, StepSwitch, StepVerify)
	}
	return deploySteps
}

// between are the strategy's steps between.
func (s Strategy) between() []StrategyStep {
	switch {
	case s.Canary != nil:
		return s.Canary.Steps
	case s.BlueGreen != nil:
		return s.BlueGreen.Steps
	}
	return nil
}

// changes is the kind of the step from which on what was live before is changed.
func (s Strategy) changes() string {
	if s.BlueGreen != nil {
		return StepSwitch
	}
	return StepApply
}

// rollout is the strategy of a deployment.
func (r *flowRun) rollout() rollout {
	if r.env.Strategy.BlueGreen != nil {
		return blueGreen{r}
	}
	if r.env.Strategy.Canary != nil && r.d.RollbackOf == "" {
		return canary{r}
	}
	return rolling{r}
}

// advanceBetween does what is next of a step of the strategy.
func (r *flowRun) advanceBetween(ctx context.Context, kind string, at *moment) (until time.Time, err error) {
	verb, of, err := r.env.Strategy.step(kind)
	if err != nil {
		return until, permanent{err}
	}
	step, now, err := r.begin(ctx, "deployment", r.d.ID, kind)
	if err != nil {
		return until, err
	}
	if err := r.enter(ctx, store.Progressing); err != nil {
		return until, err
	}
	*at = moment{kind, r.since(step.StartedAt.Time).Add(r.env.Timeout)}
	if verb != verbPause {
		if again := resultOf(step).Again; now.Before(again) { // something else has woken us
			return again, nil
		}
	}
	if _, decided, err := r.firstCanary(ctx); err != nil || decided.Skipped != "" {
		if err == nil {
			err = r.skip(ctx, step, decided.Skipped)
		}
		return until, err
	}
	switch verb {
	case verbPause:
		return r.restStep(ctx, step, now, of.Pause)
	case verbProve:
		at.until = now.Add(r.env.Timeout) // it bounds itself
		good, said, err := r.measure(ctx, *of.Verify)
		if err != nil {
			return until, err
		}
		return r.judge(ctx, step, good, said, of.Verify.For)
	}
	ctx, cancel := context.WithDeadline(ctx, at.until)
	defer cancel()
	return r.rollout().advance(ctx, step, verb, of)
}

// step finds the step that a kind of step stands for.
func (s Strategy) step(kind string) (verb string, of StrategyStep, err error) {
	verb, _, _ = strings.Cut(kind, "/")
	if verb == StepSwitch {
		return verb, of, nil
	}
	all := s.between()
	n := position(kind)
	if n < 1 || n > len(all) {
		return "", of, fmt.Errorf("the strategy %s has no step %q", s.Name(), kind)
	}
	return verb, all[n-1], nil
}

// position is that of a kind of step among the strategy's, from 1; 0 for none.
func position(kind string) int {
	_, rest, _ := strings.Cut(kind, "/")
	text, _, _ := strings.Cut(rest, "/")
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}
