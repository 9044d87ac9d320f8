package local

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const shipmate = `app: web
trigger: {branches: [default, /^release/]}
build: {image: r.example.com/web}
environments:
  - {name: staging, cluster: test, namespace: web, manifests: deploy, deploy: auto}
  - {name: qa, cluster: test, namespace: qa, manifests: deploy, deploy: auto, soak: 10m, approvals: {count: 2}}
  - {name: production, cluster: prod, namespace: web, manifests: deploy}
`

func TestPlan(t *testing.T) {
	files := map[string]string{".shipmate.yaml": shipmate, "Dockerfile": "FROM scratch\n", "deploy/web.yaml": "kind: Service\n"}
	const toMaster = `
web (.shipmate.yaml)
  branch: refs/heads/master is one of trigger.branches [default /^release/]
  build: Dockerfile in . becomes r.example.com/web (master-SHA)
  staging: yes, deploy is auto
    deploy to the namespace web of the cluster test
  qa: yes, deploy is auto
    deploy to the namespace qa of the cluster test, after 10m0s in staging and approvals (2)
  production: no, deploy is manual
`
	tests := map[string]struct {
		prepare func(repo)
		ref     string
		file    string
		want    string // with SHA for each commit
	}{
		"what the remote has not": {func(r repo) {
			r.pushed("master")
			r.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/master")
			r.write(map[string]string{"a.go": "a"})
			r.git("mv", "deploy/web.yaml", "deploy/site.yaml") // both names count
			r.commit("Add a\n\nand more")
		}, "", "", `push of refs/heads/master: SHA "Add a"
  origin is at SHA: files changed since SHA: 3
` + toMaster},
		"what the remote has": {func(r repo) {
			r.write(map[string]string{"a.go": "a"})
			r.commit("Add a")
			r.pushed("master")
		}, "master", "", `push of refs/heads/master: SHA "Add a"
  the default branch is taken to be master, since no remote here says so
  origin has this commit already, and it is shown as if it were pushed now: files changed since SHA: 1
` + toMaster},
		"the first push": {func(r repo) {}, "refs/heads/master", "", `push of refs/heads/master: SHA "Begin"
  the default branch is taken to be master, since no remote here says so
  it is the first push of the default branch, so every file counts as changed
` + toMaster},
		"a new branch": {func(r repo) {
			r.pushed("master")
			r.git("checkout", "--quiet", "-b", "topic")
			r.write(map[string]string{"a.go": "a", ".shipmate.yaml": shipmate + "# new\n"})
			r.commit("Add a")
		}, "", "", `push of refs/heads/topic: SHA "Add a"
  the default branch is taken to be master, since no remote here says so
  a new branch, off master: files changed since SHA: 2

web (.shipmate.yaml)
  shown by the file as it is here; a push is ruled by that of master, which differs
  branch: refs/heads/topic is none of trigger.branches [default /^release/]
  nothing is built
`},
		"another branch than is checked out": {func(r repo) {
			r.pushed("master")
			r.git("branch", "release-1")
		}, "release-1", "", `push of refs/heads/release-1: SHA "Begin"
  the default branch is taken to be master, since no remote here says so
  a new branch, off master: files changed since SHA: 0

web (.shipmate.yaml)
  branch: refs/heads/release-1 is one of trigger.branches [default /^release/]
  build: Dockerfile in . becomes r.example.com/web (release-1-SHA)
  staging: yes, deploy is auto
    deploy to the namespace web of the cluster test
  qa: no, refs/heads/release-1 is none of its branches [default]
  production: no, deploy is manual
`},
		"a tag": {func(r repo) { r.git("tag", "-a", "-m", "First", "v1") }, "v1", "", `push of refs/tags/v1: SHA "Begin"
  the default branch is taken to be master, since no remote here says so

web (.shipmate.yaml)
  tag: refs/tags/v1 is none of trigger.tags []
  nothing is built
`},
		"not committed": {func(r repo) {
			r.git("rm", "--quiet", "-r", "Dockerfile", "deploy")
			r.commit("Remove [skip ci]")
			r.git("commit", "--quiet", "--amend", "--message", "Remove")
			r.pushed("master")
			r.write(map[string]string{"Dockerfile": "FROM scratch\n", ".shipmate.yaml": strings.Replace(shipmate, "qa, manifests: deploy", "qa, manifests: qa, values: [values-qa.yaml]", 1)})
		}, "", "", `push of refs/heads/master: SHA "Remove"
  the default branch is taken to be master, since no remote here says so
  origin has this commit already, and it is shown as if it were pushed now: files changed since SHA: 2

web (.shipmate.yaml)
  shown by the file as it is here; a push is ruled by that of SHA, which differs
  branch: refs/heads/master is one of trigger.branches [default /^release/]
  build: Dockerfile in . becomes r.example.com/web (master-SHA)
    it fails: Dockerfile is here, but not in this commit
  staging: yes, deploy is auto
    deploy to the namespace web of the cluster test
    it fails: there is no deploy
  qa: yes, deploy is auto
    qa to the namespace qa of the cluster test, after 10m0s in staging and approvals (2)
    it fails: there is no qa
    it fails: there is no values-qa.yaml
  production: no, deploy is manual
`},
		"several apps": {func(r repo) {
			r.git("rm", "--quiet", ".shipmate.yaml")
			api := strings.NewReplacer("app: web", "app: api", "[default, /^release/]", "[other]").Replace(shipmate)
			r.write(map[string]string{".shipmate/b.yaml": shipmate, ".shipmate/a.yml": api, ".shipmate/c.txt": "x"})
			r.git("rm", "--quiet", "-r", "deploy") // for less text
			r.commit("Split [skip ci]")
		}, "", "", `push of refs/heads/master: SHA "Split [skip ci]"
  the default branch is taken to be master, since no remote here says so
  it is the first push of the default branch, so every file counts as changed

web (.shipmate/b.yaml)
  branch: refs/heads/master is one of trigger.branches [default /^release/]
  skip-word: the newest commit's message says [skip ci]
  nothing is built

api (.shipmate/a.yml)
  branch: refs/heads/master is none of trigger.branches [other]
  nothing is built
`},
		"rules about what changed and who wrote it": {func(r repo) {
			r.pushed("master")
			r.write(map[string]string{"web/a.go": "a", "rules.yaml": "trigger: {paths: [web], authors_ignore: [bob]}\nbuild: {image: r.example.com/web}\n"})
			r.commit("Add a")
		}, "", "rules.yaml", `push of refs/heads/master: SHA "Add a"
  the default branch is taken to be master, since no remote here says so
  origin is at SHA: files changed since SHA: 2

web (rules.yaml)
  branch: refs/heads/master is one of trigger.branches [master]
  author: alice is none of trigger.authors_ignore [bob]
  paths: "web/a.go" changed since SHA and is among trigger.paths ["web"]
  build: Dockerfile in . becomes r.example.com/web (master-SHA)
`},
		"checks": {func(r repo) {
			r.write(map[string]string{"checks.yaml": "build: {image: r.example.com/web}\nchecks: [{name: unit, target: test}, {name: vet, image: 'golang:1.26', run: \"go vet ./...\\ngo test\"}]\n"})
		}, "", "checks.yaml", `push of refs/heads/master: SHA "Begin"
  the default branch is taken to be master, since no remote here says so
  it is the first push of the default branch, so every file counts as changed

web (checks.yaml)
  branch: refs/heads/master is one of trigger.branches [master]
  build: Dockerfile in . becomes r.example.com/web (master-SHA)
  check unit: the stage test of Dockerfile, beside the build
  check vet: go vet ./... go test in golang:1.26, beside the build
`},
		"a file that is named": {func(r repo) {
			r.write(map[string]string{"other.yaml": "build: {image: r.example.com/other, tags: ['{tag}']}\n"})
		}, "", "other.yaml", `push of refs/heads/master: SHA "Begin"
  the default branch is taken to be master, since no remote here says so
  it is the first push of the default branch, so every file counts as changed

web (other.yaml)
  branch: refs/heads/master is one of trigger.branches [master]
  build: Dockerfile in . becomes r.example.com/other (no tag, by digest alone)
`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t, files)
			r.commit("Begin")
			test.prepare(r)
			before := r.git("status", "--porcelain") + r.git("for-each-ref")
			var out bytes.Buffer
			if err := Plan(t.Context(), &out, r.dir, test.ref, test.file); err != nil {
				t.Fatal(err)
			}
			got := out.String()
			for _, sha := range strings.Fields(r.git("log", "--all", "--format=%h", "--abbrev=7")) {
				got = strings.ReplaceAll(got, sha, "SHA")
			}
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if after := r.git("status", "--porcelain") + r.git("for-each-ref"); after != before {
				t.Errorf("it changed %s, before %s", after, before)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	tests := map[string]struct {
		prepare   func(repo)
		ref, file string
		want      string
	}{
		"no such ref":   {func(r repo) { r.commit("x") }, "nope", "", "there is no branch or tag nope in this checkout; say which one with --ref"},
		"a commit":      {func(r repo) { r.commit("x") }, "HEAD", "", "there is no branch or tag HEAD in this checkout; say which one with --ref"},
		"an option":     {func(r repo) { r.commit("x") }, "--output=x", "", "there is no branch or tag --output=x in this checkout; say which one with --ref"},
		"detached":      {func(r repo) { r.commit("x"); r.git("checkout", "--quiet", "--detach") }, "", "", "no branch is checked out here; say which one with --ref"},
		"no commit":     {func(r repo) {}, "", "", "there is no commit on master yet; commit something first"},
		"no file":       {func(r repo) { r.commit("x"); _ = os.Remove(filepath.Join(r.dir, ".shipmate.yaml")) }, "", "", "bot init writes one"},
		"no such file":  {func(r repo) { r.commit("x") }, "", "x.yaml", "no such file"},
		"with mistakes": {func(r repo) { r.write(map[string]string{".shipmate.yaml": "ap: x"}); r.commit("x") }, "", "", ".shipmate.yaml:1: ap: unknown key; did you mean app?"},
		"every app's own": {func(r repo) {
			r.write(map[string]string{".shipmate.yaml": "ap: x", ".shipmate/b.yaml": "bild: x"})
			r.commit("x")
		}, "", "", ".shipmate/b.yaml:1: bild: unknown key; did you mean build?"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t, map[string]string{".shipmate.yaml": shipmate})
			test.prepare(r)
			err := Plan(t.Context(), &bytes.Buffer{}, r.dir, test.ref, test.file)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestAuthors(t *testing.T) {
	r := newRepo(t, nil)
	r.commit("Begin")
	for _, who := range []string{"dependabot[bot] <49699333+dependabot[bot]@users.noreply.github.com>", "Bob <bob@users.noreply.github.com>", "Carol Smith <carol@example.com>"} {
		r.git("commit", "--quiet", "--allow-empty", "--author", who, "--message", "x")
	}
	got, err := checkout(r.dir).authors(t.Context(), "HEAD~3", "HEAD")
	if want := "Carol Smith,bob,dependabot[bot]"; err != nil || strings.Join(got, ",") != want {
		t.Errorf("%q, %v, want %s", got, err, want)
	}
}
