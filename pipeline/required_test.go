package pipeline

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

func TestCheckVerdict(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	run := func(name, app, state string) CommitCheck {
		return CommitCheck{Name: name, App: app, AppID: map[string]int64{"ci": 7, "evil": 8}[app], State: state}
	}
	status := func(name, login, state string) CommitCheck {
		c := CommitCheck{Name: name, Status: true, Login: login, State: state}
		if slug, ok := strings.CutSuffix(login, "[bot]"); ok {
			c.App, c.AppID = slug, map[string]int64{"ci": 7, "evil": 8}[slug]
		}
		return c
	}
	all, rules := RequiredChecks{{Set: ChecksAll}}, RequiredChecks{}
	unit := RequiredChecks{{Name: "unit"}}
	unitOf := RequiredChecks{{Name: "unit", App: "ci"}}
	unitOf7 := RequiredChecks{{Name: "unit", AppID: 7}}
	type found = []CommitCheck
	tests := []struct {
		name   string
		wanted RequiredChecks
		found  found
		ago    time.Duration // since the push
		want   string
	}{
		{"nothing required", rules, nil, 0, "green"},
		{"nothing required, and something red", rules, found{run("unit", "ci", "failure")}, 0, "green"},
		{"missing", unit, nil, time.Hour, "open unit"},
		{"another name", unit, found{run("Unit", "ci", "success")}, 0, "open unit"},
		{"green", unit, found{run("unit", "ci", "success")}, 0, "green"},
		{"neutral", unit, found{run("unit", "ci", "neutral")}, 0, "green"},
		{"skipped", unit, found{run("unit", "ci", "skipped")}, 0, "green"},
		{"in progress", unit, found{run("unit", "ci", "in_progress")}, 0, "open unit=in_progress"},
		{"waiting", unit, found{run("unit", "ci", "waiting")}, 0, "open unit=waiting"},
		{"a state of tomorrow", unit, found{run("unit", "ci", "paused")}, 0, "open unit=paused"},
		{"failure", unit, found{run("unit", "ci", "failure")}, 0, "red unit=failure"},
		{"cancelled", unit, found{run("unit", "ci", "cancelled")}, 0, "red unit=cancelled"},
		{"timed out", unit, found{run("unit", "ci", "timed_out")}, 0, "red unit=timed_out"},
		{"action required", unit, found{run("unit", "ci", "action_required")}, 0, "red unit=action_required"},
		{"stale", unit, found{run("unit", "ci", "stale")}, 0, "red unit=stale"},
		{"the newest counts", unit, found{run("unit", "ci", "success"), run("unit", "ci", "failure")}, 0, "green"},
		{"also when it is red", unit, found{run("unit", "ci", "failure"), run("unit", "ci", "success")}, 0, "red unit=failure"},
		{"of each App", unit, found{run("unit", "ci", "success"), run("unit", "evil", "failure")}, 0, "red unit=failure"},
		{"a check run and a status of one name", unit, found{run("unit", "ci", "success"), status("unit", "bob", "pending")}, 0, "open unit=pending"},
		{"of statuses the newest, whoever set it", unit, found{status("unit", "bob", "success"), status("unit", "ci[bot]", "error")}, 0, "green"},
		{"error", unit, found{status("unit", "bob", "error")}, 0, "red unit=error"},

		{"of the App", unitOf, found{run("unit", "ci", "success")}, 0, "green"},
		{"of another App", unitOf, found{run("unit", "evil", "success")}, 0, "open unit of ci, not evil"},
		{"of a person", unitOf, found{status("unit", "mallory", "success")}, 0, "open unit of ci, not mallory"},
		{"of a person whose login is the App's slug", unitOf, found{status("unit", "ci", "success")}, 0, "open unit of ci, not ci"},
		{"a status of the App", unitOf, found{status("unit", "ci[bot]", "success")}, 0, "green"},
		{"a newer one of a person covers nothing", unitOf, found{status("unit", "mallory", "success"), status("unit", "ci[bot]", "failure")}, 0, "red unit=failure of ci"},
		{"nor does a red one hinder", unitOf, found{status("unit", "mallory", "failure"), status("unit", "ci[bot]", "success")}, 0, "green"},
		{"by the App's id", unitOf7, found{run("unit", "ci", "success"), run("unit", "evil", "failure")}, 0, "green"},
		{"by another's id", unitOf7, found{run("unit", "evil", "success"), status("unit", "mallory", "success")}, 0, "open unit of App 7, not evil mallory"},
		{"required of one and of any", RequiredChecks{{Name: "unit"}, {Name: "unit", AppID: 7}}, found{run("unit", "evil", "failure"), run("unit", "ci", "success")}, 0, "red unit=failure"},
		{"several", RequiredChecks{{Name: "z"}, {Name: "a"}, {Name: "m"}}, found{run("m", "ci", "failure"), run("z", "ci", "queued")}, 0, "red m=failure open a open z=queued"},

		{"all, there is none yet", all, nil, 59 * time.Second, "none"},
		{"all, there is none", all, nil, time.Minute, "green"},
		{"all green", all, found{run("unit", "ci", "success"), status("lint", "bob", "success")}, 0, "green"},
		{"all, one is red and one open", all, found{run("unit", "ci", "failure"), status("lint", "bob", "pending")}, time.Hour, "red unit=failure open lint=pending"},
		{"all, the newest counts", all, found{run("unit", "ci", "success"), run("unit", "ci", "failure")}, 0, "green"},
		{"all, of each App", all, found{run("unit", "ci", "success"), run("unit", "evil", "queued")}, 0, "open unit=queued"},
	}
	for _, test := range tests {
		v := CheckVerdict(test.wanted, test.found, now, now.Add(-test.ago))
		var got []string
		for _, list := range []struct {
			word   string
			checks []store.Check
		}{{"red", v.Red}, {"open", v.Open}} {
			for _, c := range list.checks {
				s := list.word + " " + c.Name
				if c.Is != "" {
					s += "=" + c.Is
				}
				if c.App != "" {
					s += " of " + c.App
				}
				if len(c.By) > 0 {
					s += ", not " + strings.Join(c.By, " ")
				}
				got = append(got, s)
			}
		}
		if v.None {
			got = append(got, "none")
		}
		if len(got) == 0 {
			got = []string{"green"}
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s: %s, want %s", test.name, s, test.want)
		}
	}
}

func TestRequireChecks(t *testing.T) {
	file := func(value string) string {
		return "app: web\nbuild: {image: r.example.com/x}\nenvironments:\n  - name: production\n    cluster: c\n    namespace: n\n    manifests: d\n    require_checks: " + value + "\n"
	}
	for value, want := range map[string]RequiredChecks{
		"required":                               {{Set: ChecksRequired}},
		"all":                                    {{Set: ChecksAll}},
		"[unit]":                                 {{Name: "unit"}},
		`[unit, {name: "e2e / web", app: ci-x}]`: {{Name: "unit"}, {Name: "e2e / web", App: "ci-x"}},
		"[unit, {name: unit, app: ci}]":          {{Name: "unit"}, {Name: "unit", App: "ci"}},
	} {
		c, err := Parse("f", []byte(file(value)))
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if got := c.Environments[0].RequireChecks; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", value, got, want)
		}
		stored, err := json.Marshal(Spec{Environment: c.Environments[0]})
		if err != nil {
			t.Fatal(err)
		}
		var read Spec
		if err := json.Unmarshal(stored, &read); err != nil || !reflect.DeepEqual(read.Environment.RequireChecks, want) {
			t.Errorf("%s: stored as %s, read as %+v: %v", value, stored, read.Environment.RequireChecks, err)
		}
	}
	many := "[" + strings.TrimSuffix(strings.Repeat("x, ", maxRequiredChecks+1), ", ") + "]"
	for value, want := range map[string]string{
		"some":                            `f:8: environments[0].require_checks: "some" is not known here; write required, all or a list of names such as [unit]`,
		`""`:                              `f:8: environments[0].require_checks: "" is not known here; write required, all or a list of names such as [unit]`,
		"[]":                              `f:8: environments[0].require_checks: names no check; write required, all or a list of names such as [unit], or remove it`,
		"{name: unit}":                    `f:8: environments[0].require_checks: must be a list, not keys and values; write [a, b], or one entry a line after a dash`,
		"[all]":                           `f:8: environments[0].require_checks[0]: "all" stands by itself; write require_checks: all`,
		`[""]`:                            `f:8: environments[0].require_checks[0]: has no name; write the name of a check run or the context of a commit status, such as unit`,
		"[{app: ci}]":                     `f:8: environments[0].require_checks[0]: has no name; write the name of a check run or the context of a commit status, such as unit`,
		"[{name: shipmate/build}]":        `f:8: environments[0].require_checks[0].name: "shipmate/build" is Shipmate's own, which is never waited for; remove it`,
		"[unit, unit]":                    `f:8: environments[0].require_checks[1]: "unit" is here a second time; remove it`,
		"[{name: unit, app: CI Server}]":  `f:8: environments[0].require_checks[0].app: "CI Server" is no GitHub App; write its name as in its address, https://github.com/apps/NAME, such as github-actions`,
		"[{name: unit, application: ci}]": `f:8: environments[0].require_checks[0].application: unknown key; known keys: name, app`,
		`["a\nb"]`:                        `f:8: environments[0].require_checks[0]: is no check's name; write it as GitHub shows it, in one line of at most 255 characters`,
		many:                              fmt.Sprintf(`f:8: environments[0].require_checks: has %d entries; write at most %d, or all`, maxRequiredChecks+1, maxRequiredChecks),
	} {
		_, err := Parse("f", []byte(file(value)))
		if err == nil || err.Error() != want {
			t.Errorf("%s: got\n%v\nwant\n%s", value, err, want)
		}
	}
}

func TestChecksOf(t *testing.T) {
	named, all := RequiredChecks{{Name: "unit"}}, RequiredChecks{{Set: ChecksAll}}
	for _, test := range []struct {
		cause string
		green bool
		env   RequiredChecks
		want  RequiredChecks
	}{
		{store.CauseAutomatic, false, nil, nil},
		{store.CauseAutomatic, false, named, named},
		{store.CauseDeploy, false, nil, nil},
		{store.CauseDeploy, true, nil, all},
		{store.CauseDeploy, true, named, named},
		{store.CausePromote, false, named, named},
		{store.CauseOrder, false, named, named},
		{store.CauseRollback, false, named, nil},
		{store.CauseRecovery, false, named, nil},
		{store.CauseNow, false, named, nil},
	} {
		got := ChecksOf(store.Deployment{Cause: test.cause, Green: test.green}, Environment{RequireChecks: test.env})
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
