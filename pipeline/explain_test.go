package pipeline

import (
	"slices"
	"testing"
	"time"
)

func TestExplainFlow(t *testing.T) {
	c := Config{Build: Build{Tags: []string{"{branch}"}}, Environments: []Environment{flowing(t, `[job: db/up.yaml, deploy, wait: 90m, verify: {http: "http://web/"}, webhook: {url: "https://hook.example.com/t0ken"}]`, nil)}}
	asked := []string{}
	lines, err := c.Explain(Plan{Build: true, Deploys: []string{"staging"}, Trace: []string{"push", "staging: automatic"}}, Trigger{Ref: "refs/heads/master"},
		func(path string) string { asked = append(asked, path); return "" })
	if want := "    step by step: job db/up.yaml, deploy, wait 1h30m, verify http://web/, webhook hook.example.com"; err != nil || !slices.Contains(lines, want) || !slices.Contains(asked, "db/up.yaml") {
		t.Errorf("%q, %q, %v", lines, asked, err)
	}
}

func TestExplainStrategy(t *testing.T) {
	for file, want := range map[string]string{
		"rolling":    "",
		"blue-green": "by blue-green: turn the Services, keep the old pods 10m",
		"{blue-green: {keep: 0s, steps: [{pause: manual}]}}":                                      "by blue-green: pause until somebody resumes it, turn the Services",
		"{canary: {steps: [{weight: 10, pause: 5m}, {weight: 50, verify: {http: http://web/}}]}}": "by canary: canary 10%, pause 5m, canary 50%, verify http://web/, then all of it",
	} {
		c, err := Parse("web.yaml", []byte("app: web\nbuild: {image: registry.example.com/team/web}\nenvironments:\n  - {name: staging, cluster: test, namespace: staging, manifests: deploy/, strategy: "+file+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		c = c.WithDefaults("acme/web", "master")
		lines, err := c.Explain(Plan{Build: true, Deploys: []string{"staging"}, Trace: []string{"push", "staging: automatic"}}, Trigger{Ref: "refs/heads/master"}, nil)
		if got := c.Environments[0].Strategy.explain(); err != nil || got != want || want != "" && !slices.Contains(lines, "    "+want) {
			t.Errorf("%s: %q, %q, %v", file, got, lines, err)
		}
	}
}

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
