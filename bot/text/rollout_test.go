package text

import "testing"

// TestStepsOfRollouts: the steps that only a strategy or a flow has, in words.
func TestStepsOfRollouts(t *testing.T) {
	for kind, want := range map[string][2]string{
		"canary/1/10%":                    {"canary 10%", "金丝雀 10%"},
		"canary/2/10%, X-Canary: always":  {"canary 10%, X-Canary: always", "金丝雀 10%, X-Canary: always"},
		"pause/1/5m":                      {"pause 5m", "停留 5m"},
		"pause/3/manual":                  {"pause until resumed", "停留至人工继续"},
		"prove/1/http://web:8080/healthz": {"verify http://web:8080/healthz", "验证 http://web:8080/healthz"},
		"approve/2/1":                     {"approval by 1", "1 人审批"},
		"switch":                          {"switch", "切换流量"},
	} {
		if en, zh := En.Step(kind), Zh.Step(kind); en != want[0] || zh != want[1] {
			t.Errorf("%s: %s, %s", kind, en, zh)
		}
	}
}
