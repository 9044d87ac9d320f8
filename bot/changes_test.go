package bot

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

func TestTellsAll(t *testing.T) {
	t.Parallel()
	commit := func(files ...string) *github.HeadCommit { return &github.HeadCommit{Modified: files} }
	some := commit("a.txt")
	for _, test := range []struct {
		what string
		push github.PushEvent
		want bool
	}{
		{"a commit", github.PushEvent{Commits: []*github.HeadCommit{some}}, true},
		{"as many as are told", github.PushEvent{Commits: slices.Repeat([]*github.HeadCommit{some}, 19)}, true},
		{"one more", github.PushEvent{Commits: slices.Repeat([]*github.HeadCommit{some}, 20)}, false},
		{"no commits", github.PushEvent{}, false},
		{"forced", github.PushEvent{Forced: github.Bool(true), Commits: []*github.HeadCommit{some}}, false},
		{"a merge without files", github.PushEvent{Commits: []*github.HeadCommit{some, commit()}}, false},
		{"a commit of too many files", github.PushEvent{Commits: []*github.HeadCommit{commit(slices.Repeat([]string{"x"}, 3000)...)}}, false},
	} {
		if got := tellsAll(&test.push); got != test.want {
			t.Errorf("%s: %v", test.what, got)
		}
	}
}

// TestCompare: what GitHub's comparison leaves out is not taken for unchanged.
func TestCompare(t *testing.T) {
	t.Parallel()
	const base, head = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"
	files := func(n int) (list []map[string]string) {
		for i := range n {
			list = append(list, map[string]string{"filename": fmt.Sprintf("f%d", i), "status": "modified"})
		}
		return list
	}
	author := []map[string]any{{"author": map[string]string{"login": "alice"}}}
	for _, test := range []struct {
		what    string
		answer  map[string]any
		status  int
		release bool
		files   int
		known   bool
		authors []string
	}{
		{"ahead", map[string]any{"status": "ahead", "files": files(2), "total_commits": 1, "commits": author}, 200, true, 2, true, []string{"alice"}},
		{"nothing", map[string]any{"status": "identical"}, 200, true, 0, true, nil},
		{"both names of what was renamed", map[string]any{"status": "ahead", "files": []map[string]string{{"filename": "new", "previous_filename": "old"}}}, 200, true, 2, true, nil},
		{"as many files as there may be", map[string]any{"status": "ahead", "files": files(299)}, 200, true, 299, true, nil},
		{"cut", map[string]any{"status": "ahead", "files": files(300)}, 200, true, 300, false, nil},
		{"commits that are not listed", map[string]any{"status": "ahead", "files": files(1), "total_commits": 2, "commits": author}, 200, true, 1, true, []string{"alice", ""}},
		{"somebody without a login", map[string]any{"status": "ahead", "files": files(1), "total_commits": 1, "commits": []any{map[string]any{"author": nil}}}, 200, true, 1, true, []string{""}},
		{"taken back", map[string]any{"status": "behind"}, 200, true, 0, false, nil},
		{"another way", map[string]any{"status": "diverged", "files": files(1)}, 200, true, 0, false, nil},
		{"a branch beside the default branch", map[string]any{"status": "diverged", "files": files(1)}, 200, false, 1, true, nil},
		{"a base that is gone", map[string]any{"message": "Not Found"}, 404, true, 0, false, nil},
	} {
		far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if want := "/repos/acme/web/compare/" + base + "..." + head; r.URL.Path != want {
				t.Errorf("%s: asked for %s", test.what, r.URL.Path)
			}
			w.WriteHeader(test.status)
			_ = json.NewEncoder(w).Encode(test.answer)
		}))
		c := github.NewClient(nil)
		c.BaseURL = got(url.Parse(far.URL + "/"))(t)
		found, err := (&comparison{client: c, repo: store.Repo{Name: "acme/web"}, d: &decision{}}).compare(t.Context(), pipeline.Trigger{SHA: head}, base, test.release)
		far.Close()
		if err != nil || len(found.Files) != test.files || found.FilesKnown != test.known || strings.Join(found.Authors, ",") != strings.Join(test.authors, ",") || len(found.Authors) != len(test.authors) {
			t.Errorf("%s: %d files, known %v, by %q, %v", test.what, len(found.Files), found.FilesKnown, found.Authors, err)
		}
	}
}
