package bot

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// resting is a deployment that rests for a reason, at a step of a canary of 10 and 50 %.
func resting(t *testing.T, b store.Block) *store.Deployment {
	t.Helper()
	var spec pipeline.Spec
	spec.Environment.Strategy.Canary = &pipeline.Canary{Steps: []pipeline.StrategyStep{{Weight: 10, Pause: pipeline.Rest{For: time.Hour}}, {Weight: 50}, {Pause: pipeline.Rest{Manual: true}}}}
	d := &store.Deployment{ID: "d1", App: "web", Environment: "staging", Number: 5, Release: 42, Cause: store.CauseAutomatic, State: store.Paused, PausedFrom: store.Progressing}
	d.Spec.V = got(json.Marshal(spec))(t)
	d.Blocks.V = []store.Block{b}
	return d
}

var atFive = time.Date(2026, 3, 1, 12, 5, 0, 0, time.UTC)

// TestRests: what a deployment that rests says, and whether a person is waited for.
func TestRests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		block      store.Block
		en, zh     string
		moment     string
		conclusion string
		moving     bool
	}{
		"for a time": {store.Block{Kind: store.BlockPause, Since: atFive, Until: atFive, Text: "pause/1/1h"},
			"rests until 2026-03-01 12:05 UTC (step 10%)", "停留至 2026-03-01 12:05 UTC（阶段 10%）", "started", "", true},
		"until resumed": {store.Block{Kind: store.BlockPause, Since: atFive, Text: "pause/3/manual"},
			"rests until somebody resumes it (step 50%)", "停留中，等待有人继续（阶段 50%）", "waiting", actionRequired, false},
		"by somebody": {store.Block{Kind: store.BlockPause, Since: atFive, By: []string{"dave"}},
			"paused by dave since 2026-03-01 12:05 UTC", "已被 dave 自 2026-03-01 12:05 UTC 起暂停", "waiting", actionRequired, false},
		"for approval": {store.Block{Kind: store.BlockApproval, Have: 1, Need: 2, Text: "approve/2/2"},
			"waiting for approval (1 of 2)", "等待审批（1/2）", "waiting", actionRequired, false},
	} {
		s := subject{d: resting(t, c.block)}
		if en, zh := deployWords(s, text.En), deployWords(s, text.Zh); en != c.en || zh != c.zh {
			t.Errorf("%s: %s, %s", name, en, zh)
		}
		if m := moment(s); m != c.moment {
			t.Errorf("%s: %s", name, m)
		}
		v := view{subject: subject{run: store.Run{State: store.RunSucceeded}, deploys: []store.Deployment{*s.d}}, envs: []subject{s}}
		if _, conclusion := v.conclusion(); conclusion != c.conclusion || v.moving() != c.moving || s.urgent() == c.moving || told(s.d.State) != "pending" {
			t.Errorf("%s: %q, moving %t, urgent %t", name, conclusion, v.moving(), s.urgent())
		}
	}
}

// TestGoesOn: that a person let a deployment go on is told once for each time, and the end of a time is not.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	s := subject{d: resting(t, store.Block{Kind: store.BlockPause, Since: atFive, Text: "pause/3/manual"})}
	rested := round(s.d)
	s.d.State, s.d.Blocks.V, s.d.ResumedAt = store.Progressing, nil, store.Time{Time: atFive}
	if m := moment(s); m != "started" {
		t.Error(m)
	}
	s.d.ResumedBy = "bob"
	first := round(s.d)
	s.d.ResumedAt = store.Time{Time: atFive.Add(time.Hour)}
	if m := moment(s); m != "resumed" || round(s.d) == first || first == rested {
		t.Errorf("%s, %q, %q, %q", m, rested, first, round(s.d))
	}
}

// TestRollsWords: by which strategy, at which step, with what share.
func TestRollsWords(t *testing.T) {
	t.Parallel()
	d := resting(t, store.Block{Kind: store.BlockPause, Since: atFive, Text: "pause/3/manual"})
	steps := []store.Step{{Kind: "canary/1/10%", State: store.StepSucceeded}, {Kind: "pause/1/1h", State: store.StepSucceeded}, {Kind: "canary/2/50%", State: store.StepSucceeded},
		{Kind: "pause/3/manual", State: store.StepRunning}, {Kind: "apply", State: store.StepPending}}
	if en, zh := rollsWords(*d, steps, text.En), rollsWords(*d, steps, text.Zh); en != "strategy canary; at step pause until resumed; 50% of the traffic goes to it" || !strings.Contains(zh, "承接流量 50%") {
		t.Error(en, zh)
	}
	for i := range steps {
		steps[i].State = store.StepSucceeded
	}
	if en := rollsWords(*d, steps, text.En); en != "strategy canary" {
		t.Error(en)
	}
}

// TestRejectedAt: a rejection at a step is told as one before the beginning is.
func TestRejectedAt(t *testing.T) {
	t.Parallel()
	s := subject{d: &store.Deployment{State: store.Failed}}
	for reason, want := range map[string][2]string{
		store.ReasonRejected + "bob: too slow":              {"failed: rejected by bob: too slow", "部署失败：已被 bob 驳回：too slow"},
		store.ReasonRejected + "bob: " + store.ReasonButton: {"failed: rejected by bob: by button", "部署失败：已被 bob 驳回：通过按钮操作"},
		store.ReasonUndecided:                               {"failed: nobody decided in time", "部署失败：无人按时审批"},
	} {
		s.d.Failure.V = &store.Failure{Step: "approve/2/1", Reason: reason}
		if en, zh := deployWords(s, text.En), deployWords(s, text.Zh); en != want[0] || zh != want[1] {
			t.Errorf("%s, %s", en, zh)
		}
	}
	if s.d.Failure.V = (&store.Failure{Step: "verify", Reason: store.ReasonRejected + "bob: x"}); !strings.Contains(deployWords(s, text.En), "failed: rejected by bob: x") {
		t.Error(deployWords(s, text.En))
	}
	if _, _, ok := rejectedAt(*s.d); ok {
		t.Error("no step of a flow")
	}
}

// TestPressedAtRest: the buttons of a check run carry the deployment that rests, and fit.
func TestPressedAtRest(t *testing.T) {
	t.Parallel()
	b := &Bot{lang: text.Zh, cfg: &Config{PublicURL: "https://ship.example.com"}}
	e := subject{d: resting(t, store.Block{Kind: store.BlockPause, Since: atFive, By: []string{"dave"}})}
	undo := subject{d: &store.Deployment{Number: 4, Environment: "production"}}
	all := b.buttons(view{envs: []subject{e}, undo: &undo})
	if len(all) != 3 || all[0].Identifier != "resume:5" || all[1].Identifier != "abort:5" {
		t.Errorf("%+v", all)
	}
	for _, a := range all {
		if what, number, _, ok := pressed(a.Identifier); !ok || number < 4 || what == "" {
			t.Errorf("%+v", a)
		}
	}
}
