package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

func TestCheckVariables(t *testing.T) {
	many := map[string]string{}
	for i := range 50 {
		many[fmt.Sprintf("V%d", i)] = "x"
	}
	for name, variables := range map[string]map[string]string{
		"none":         nil,
		"some":         {"LEVEL": "3", "_x": "", "GOOS": "linux", "TEXT": "多行\n\"quoted\" $HOME"},
		"fifty":        many,
		"almost large": {"A": strings.Repeat("x", 32<<10-1)},
		"near by name": {"GITHUB": "x", "BUILDER": "x", "PROXY": "x", "CIRCLE": "x", "TARGET": "x"},
	} {
		if err := CheckVariables(variables); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	tooMany := map[string]string{"ONE_MORE": "x"}
	for name := range many {
		tooMany[name] = "x"
	}
	tests := map[string]struct {
		variables map[string]string
		want      string
	}{
		"too many":  {tooMany, "there are 51 variables; give at most 50"},
		"too large": {map[string]string{"A": strings.Repeat("x", 32<<10)}, "the variables have 32769 bytes; give at most 32768"},
		"dash":      {map[string]string{"a-b": "x"}, `"a-b" is no variable; write letters, digits and _, at most 100`},
		"empty":     {map[string]string{"": "x"}, `"" is no variable; write letters, digits and _, at most 100`},
		"digit":     {map[string]string{"1a": "x"}, `"1a" is no variable; write letters, digits and _, at most 100`},
		"equals":    {map[string]string{"a=b": "x"}, `"a=b" is no variable; write letters, digits and _, at most 100`},
		"line":      {map[string]string{"a\nb": "x"}, `"a\nb" is no variable; write letters, digits and _, at most 100`},
		"NUL":       {map[string]string{"A": "hunter2\x00"}, "the value of the variable A is no text; give UTF-8 without NUL"},
		"bytes":     {map[string]string{"A": "hunter2\xff"}, "the value of the variable A is no text; give UTF-8 without NUL"},
	}
	for _, name := range []string{"BUILDKIT_SYNTAX", "BUILDKIT_CACHE_MOUNT_NS", "buildkit_syntax", "SOURCE_DATE_EPOCH", "HTTP_PROXY", "https_proxy", "NO_PROXY", "TARGETARCH", "BUILDPLATFORM", "GIT_COMMIT", "CI_BUILD_NUMBER", "SHIPMATE_X"} {
		tests[name] = struct {
			variables map[string]string
			want      string
		}{map[string]string{name: "x"}, "the variable " + name + " is set by Shipmate or obeyed by BuildKit itself; choose another name"}
	}
	for name, test := range tests {
		if err := CheckVariables(test.variables); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}
