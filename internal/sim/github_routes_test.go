package sim

import (
	"slices"
	"testing"

	"github.com/shipmate-dev/shipmate/internal/sim/openapi"
)

// TestRoutesAreDescribed keeps the simulator and the trimmed description in step.
func TestRoutesAreDescribed(t *testing.T) {
	description, err := openapi.GitHub()
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, r := range githubRoutes() {
		routes = append(routes, r.method+" "+r.path)
	}
	slices.Sort(routes)
	if described := description.Operations(); !slices.Equal(routes, described) {
		t.Fatalf("routes     %q\ndescribed  %q", routes, described)
	}
}

func TestMatchPath(t *testing.T) {
	gh := &GitHub{routes: githubRoutes()}
	for _, test := range []struct{ path, route, parameter, value string }{
		{"/repos/o/r/commits/feature/x/status", "/repos/{owner}/{repo}/commits/{ref}/status", "ref", "feature/x"},
		{"/repos/o/r/commits/feature%2Fx/check-runs", "/repos/{owner}/{repo}/commits/{ref}/check-runs", "ref", "feature/x"},
		{"/repos/o/r/commits/status", "/repos/{owner}/{repo}/commits/{ref}", "ref", "status"},
		{"/repos/o/r/contents/a/b%20c", "/repos/{owner}/{repo}/contents/{path}", "path", "a/b c"},
		{"/repos/o/r/contents/", "/repos/{owner}/{repo}/contents/{path}", "path", ""},
		{"/repos/o/r/issues/comments/7", "/repos/{owner}/{repo}/issues/comments/{comment_id}", "comment_id", "7"},
		{"/repos/o/r/issues/7/comments", "/repos/{owner}/{repo}/issues/{issue_number}/comments", "issue_number", "7"},
		{"/repos/o/r/git/ref/tags/v1", "/repos/{owner}/{repo}/git/ref/{ref}", "ref", "tags/v1"},
		{"/repos/o", "", "", ""},
		{"/", "", "", ""},
	} {
		route, params, ok := gh.match("GET", test.path)
		if ok != (test.route != "") || route.path != test.route || params[test.parameter] != test.value {
			t.Errorf("%s: route %q with %q", test.path, route.path, params)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "/any/thing", true}, {"/a", "/a", true}, {"/a", "/a/b", false}, {"/a*", "/a/b", true}, {"*/b", "/a/b", true}, {"*/b", "/a/b/c", false},
		{"/a*b*c", "/a1b2c", true}, {"/a*b*c", "/a1c2b", false},
	} {
		if got := matches(test.pattern, test.text); got != test.want {
			t.Errorf("matches(%q, %q) = %v", test.pattern, test.text, got)
		}
	}
}
