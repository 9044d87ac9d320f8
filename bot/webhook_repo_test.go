package bot

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestRepoName(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"ref":"refs/heads/x","repository":{"id":1,"full_name":"acme/web","name":"web"}}`:                                     "acme/web",
		" {\n\t\"a\" : [1, {\"repository\": {\"full_name\": \"b/c\"}}] , \"repository\" :\r{ \"full_name\" : \"acme/web\" } }": "acme/web",
		`{"pull_request":{"head":{"repo":{"full_name":"fork/web"}}},"repository":{"full_name":"acme/web"}}`:                    "acme/web",
		`{"a":"\\\",\"repository\":{\"full_name\":\"no/no\"}","b":-1.5e3,"c":null,"repository":{"full_name":"acme/web"}}`:      "acme/web",
		`{"repository":{"full_name":"acm\u0065/web"}}`:                                                                         "acme/web",
		`{"repository":{"owner":{"full_name":"no"},"full_name":"acme/web"`:                                                     "acme/web", // cut off after it
		`{"repository":{"full_name":"acme/we`:                                                                                  "",
		`{"repository":{"full_name":5}}`:                                                                                       "",
		`{"repository":{"full_name":null}}`:                                                                                    "",
		`{"repository":null,"full_name":"no"}`:                                                                                 "",
		`{"repository":["full_name","no"]}`:                                                                                    "",
		`["repository",{"full_name":"no"}]`:                                                                                    "",
		`{}`:                                                                                                                   "", `{`: "", `{"repository"`: "", `{"repository":`: "", `"`: "", ``: "",
	} {
		got := ""
		if name := repoName([]byte(body)); name != nil {
			got = *name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// FuzzRepoName: of what is JSON, it reads what encoding/json reads.
func FuzzRepoName(f *testing.F) {
	for _, seed := range []string{`{"repository":{"full_name":"acme/web"}}`, `{"a":[{"b":"\\"}],"repository":{"full_name":"\u00e9"}}`, `{"repository":{"a":{},"b":[],"full_name":""}}`, `[1]`, `{"a":-1,"b":true}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := repoName(body)
		var all map[string]json.RawMessage
		var repo map[string]json.RawMessage
		var want *string
		if json.Unmarshal(body, &all) != nil { // only that it comes to an end
			return
		}
		if json.Unmarshal(all["repository"], &repo) == nil {
			_ = json.Unmarshal(repo["full_name"], &want) // no string, no name
		}
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			// Of a key that stands there twice, or with an escape in it, each takes another.
			if twice(body) || bytes.Contains(body, []byte(`\u`)) {
				return
			}
			t.Errorf("%q: got %v, want %v", body, got, want)
		}
	})
}

// twice tells whether one of the keys stands in the body more than once, in whatever way it is written.
func twice(body []byte) bool {
	n := map[string]int{}
	d := json.NewDecoder(bytes.NewReader(body))
	for {
		t, err := d.Token()
		if err != nil {
			break
		}
		if s, ok := t.(string); ok {
			n[s]++
		}
	}
	return n["repository"] > 1 || n["full_name"] > 1
}
