package bot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPITokens(t *testing.T) {
	long := strings.Repeat("0123456789", 4)
	for _, test := range []struct{ tokens, want string }{
		{`{name: ci, github: alice, token: file:long, may: [read, trigger, command]}`, ""},
		{`{name: ci, github: "renovate[bot]", token: file:long, may: [trigger]}`, ""},
		{`{name: ci, github: alice, token: file:short, may: [trigger]}`, "api_tokens[0].token: is shorter than 32 characters"},
		{`{name: ci, github: alice, may: [trigger]}`, "api_tokens[0].token: is missing"},
		{`{name: ci, github: alice, token: ` + long + `, may: [trigger]}`, "a secret does not stand in this file"},
		{`{github: alice, token: file:long, may: [trigger]}`, "api_tokens[0].name: is missing"},
		{`{name: a/b, github: alice, token: file:long, may: [trigger]}`, `"a/b" is not a valid name`},
		{`{name: ci, token: file:long, may: [trigger]}`, "api_tokens[0].github: is missing"},
		{`{name: ci, github: "@alice", token: file:long, may: [trigger]}`, "write it without @"},
		{`{name: ci, github: alice, token: file:long}`, "api_tokens[0].may: is missing"},
		{`{name: ci, github: alice, token: file:long, may: [trigger, approve]}`, `api_tokens[0].may[1]: "approve" is nothing that a token may`},
		{`{name: ci, github: alice, token: file:long, may: [read]}, {name: ci, github: bob, token: file:other, may: [read]}`, "api_tokens[1].name: ci is api_tokens[0] already"},
		{`{name: ci, github: alice, token: file:long, may: [read], repositories: [a/b]}`, "repositories"},
	} {
		file := writeConfig(t, smallest+"api_tokens: ["+test.tokens+"]\n")
		for name, value := range map[string]string{"long": long, "other": long + "x", "short": "s3cret"} {
			must(t, os.WriteFile(filepath.Join(filepath.Dir(file), name), []byte(value), 0o600))
		}
		_, err := LoadConfig(file)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.tokens, err, test.want)
		}
		if err != nil && (strings.Contains(err.Error(), long) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: %v shows the token", test.tokens, err)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	one, two := "1"+strings.Repeat("x", 40), "2"+strings.Repeat("x", 40)
	c := &Config{APITokens: []APIToken{{Name: "one", Token: Secret{ref: "env:A", value: &one}}, {Name: "two", Token: Secret{ref: "env:B", value: &two}}, {Name: "unset"}}}
	for given, want := range map[string]string{one: "one", two: "two", "": "", one + " ": "", one[:40]: "", "•••": ""} {
		if got := c.token(given); got == nil && want != "" || got != nil && got.Name != want {
			t.Errorf("%q is of %v, want %q", given, got, want)
		}
	}
	if s := fmt.Sprintf("%v %+v", c.APITokens, c.APITokens[0]); strings.Contains(s, one) {
		t.Errorf("a token shows: %s", s)
	}
}
