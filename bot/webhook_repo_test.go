package bot

import "testing"

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
