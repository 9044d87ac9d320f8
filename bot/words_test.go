package bot

import (
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// TestSuperseded: by what something was superseded is said in the surface's language.
func TestSuperseded(t *testing.T) {
	for reason, want := range map[string][2]string{
		"by deployment 4":     {"superseded by deployment 4", "已被部署 4 取代"},
		"by run 2 of 1234567": {"superseded by run 2 of 1234567", "已被1234567 的运行 2 取代"},
		"by run 2":            {"superseded by run 2", "已被运行 2 取代"},
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

// TestTypedInChinese: in a chat that speaks Chinese a command is shown as people type it there, and means the same.
func TestTypedInChinese(t *testing.T) {
	for form, want := range map[string]string{
		"approve 12":                      "批准 12",
		"reject 12 reason…":               "驳回 12 原因…",
		"rollback env":                    "回滚 env", // an environment of that name
		"deploy env [release|sha]":        "部署 env [release|sha]",
		"approve order 3":                 "批准 order 3",
		"ok-to-test 1234567":              "允许测试 1234567",
		"unlock staging":                  "解锁 staging",
		"no-such thing":                   "no-such thing",
		"order create env app@release… x": "发布单 create env app@release… x",
	} {
		name, rest, _ := strings.Cut(form, " ")
		name, rest = inChinese(name, rest, false)
		if got := name + " " + rest; got != want {
			t.Errorf("%q: %q, want %q", form, got, want)
		}
	}
	for _, usage := range usages() {
		for _, one := range strings.Split(strings.TrimPrefix(usage, "/"), ", /") {
			name, rest, _ := strings.Cut(one, " ")
			named, blanks := inChinese(name, rest, true)
			if cmd := find(named, text.Zh); cmd == nil || cmd.usage != usage || named == name {
				t.Errorf("%q: %q means another command", one, named)
			}
			if strings.Contains(blanks, "env") || strings.Contains(blanks, "reason") {
				t.Errorf("%q: %q", one, blanks)
			}
		}
	}
	if got := text.Zh.Usage(`create env app@release… "reason"`); got != `create 环境 应用@版本… "原因"` {
		t.Error(got)
	}
}
