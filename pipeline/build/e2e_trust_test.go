//go:build e2e

package build

import (
	"slices"
	"strings"
	"testing"
)

// Each test here plays the Dockerfile of somebody who wants what the build is not given.

// TestE2ENoSecret asks for secrets that the build does not get, one that another build on this daemon had among them.
func TestE2ENoSecret(t *testing.T) {
	f := connect(t)
	const theirs = "FROM BASE\nARG NOW\nRUN --mount=type=secret,id=npm test -s /run/secrets/npm\n"
	r := f.request(t, map[string]string{"Dockerfile": theirs})
	r.Secrets, r.Args = map[string][]byte{"npm": []byte("npm_s3cretSecret")}, map[string]string{"NOW": unique()}
	f.mustBuild(t, r)

	r = f.request(t, map[string]string{"Dockerfile": "FROM BASE\nARG NOW\nRUN --mount=type=secret,id=npm echo $NOW: $(ls /run/secrets)\n"})
	r.NoPush, r.Args = true, map[string]string{"NOW": "had"}
	r.CacheScope = unique()
	if _, lines := f.mustBuild(t, r); !slices.Contains(lines, "1 had:") && !slices.Contains(lines, "1 had: ") {
		t.Errorf("log:\n%s", strings.Join(lines, "\n"))
	}
	for _, mount := range []string{"id=npm,required", "id=npm,env=NPM,required", "id=NPM_TOKEN,required"} {
		r := f.request(t, map[string]string{"Dockerfile": "FROM BASE\nRUN --mount=type=secret," + mount + " echo it ran\n"})
		r.NoPush = true
		if _, lines, err := f.build(t, t.Context(), r); err == nil || slices.Contains(lines, "1 it ran") {
			t.Errorf("%s: %v", mount, err)
		}
	}
}

// TestE2ECacheMountOfAnother names another scope's cache mount in every way that a Dockerfile has.
func TestE2ECacheMountOfAnother(t *testing.T) {
	f := connect(t)
	theirs, ours := "acme/"+unique()+" default", "acme/web pull 7"
	build := func(scope, head, id, command string) []string {
		r := f.request(t, map[string]string{"Dockerfile": head + "FROM BASE\nARG NOW\nARG ID\nRUN --mount=type=cache,id=" + id + ",target=/cache " + command + "\n"})
		r.CacheScope, r.NoPush = scope, true
		r.Args = map[string]string{"NOW": unique(), "ID": "deps"}
		_, lines := f.mustBuild(t, r)
		return lines
	}
	build(theirs, "", "deps", "echo reviewed > /cache/file")
	if lines := build(theirs, "", "deps", "echo same: $(ls /cache)"); !slices.Contains(lines, "1 same: file") {
		t.Errorf("log:\n%s", strings.Join(lines, "\n"))
	}
	quoted := `"` + strings.ReplaceAll(theirs, " ", "\\ ") + `/deps"`
	for _, id := range []string{"deps", "/deps", "../deps", "$ID", quoted, `"../` + theirs + `/deps"`, `"/` + theirs + `/deps"`} {
		if lines := build(ours, "ARG BUILDKIT_CACHE_MOUNT_NS=\""+theirs+"\"\n", id, "echo other: $(ls /cache)"); slices.Contains(lines, "1 other: file") {
			t.Errorf("id %s sees it:\n%s", id, strings.Join(lines, "\n"))
		}
	}
}
