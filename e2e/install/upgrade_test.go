//go:build e2e

package install

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A version is a tree of this repository.
type version struct {
	name  string
	files map[string]string
}

// schema is the number of its newest migration.
func (v version) schema() string {
	newest := "0000"
	for name := range v.files {
		if number, ok := strings.CutPrefix(name, "store/migrations/"); ok && strings.HasSuffix(name, ".sql") {
			newest = max(newest, number[:4])
		}
	}
	return newest
}

func git(args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = root
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("git %s: %w: %s", args[0], err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// installable tells whether a commit has an image and manifests.
func installable(commit string) bool {
	for _, file := range []string{"Dockerfile", "deploy/base/kustomization.yaml"} {
		if _, err := git("cat-file", "-e", commit+":"+file); err != nil {
			return false
		}
	}
	return true
}

// otherSchema is the newest commit of the last 300 that has another schema of the database and can be installed; empty: there is none.
func otherSchema() string {
	here, err := git("rev-parse", "HEAD:store/migrations")
	all, err2 := git("rev-list", "-n", "300", "HEAD")
	if err != nil || err2 != nil {
		return "" // there is no history
	}
	for commit := range strings.FieldsSeq(all) {
		if there, err := git("rev-parse", commit+":store/migrations"); err == nil && there != here && installable(commit) {
			return commit
		}
	}
	return ""
}

// before is the version that is upgraded: SHIPMATE_UPGRADE_FROM, the last tag, the newest commit with another schema of the database, or the
// commit before; in a clone without a history this very tree, with a comment less.
func before(t *testing.T, now version) version {
	t.Helper()
	commit := os.Getenv("SHIPMATE_UPGRADE_FROM")
	if commit == "" {
		commit, _ = git("describe", "--tags", "--abbrev=0") // there may be none
	}
	if commit == "" {
		commit = otherSchema()
	}
	if commit == "" && installable("HEAD~1") {
		commit = "HEAD~1"
	}
	if commit == "" {
		v := version{"this tree, with a comment less, since there is no history here", map[string]string{}}
		for name, text := range now.files {
			v.files[name] = text
		}
		now.files["cmd/bot/main.go"] += "\n// Changed.\n"
		return v
	}
	hash, err := git("rev-parse", "--short", "--verify", commit+"^{commit}")
	if err != nil {
		t.Fatalf("what is to be upgraded: %v", err)
	}
	name, err := git("describe", "--tags", "--always", hash)
	if err != nil {
		t.Fatal(err)
	}
	v := version{name, map[string]string{}}
	cmd := exec.Command("git", "archive", "--format=tar", hash)
	cmd.Dir = root
	packed, err := cmd.Output()
	if err != nil {
		t.Fatalf("git archive %s: %v", hash, err)
	}
	for r := tar.NewReader(bytes.NewReader(packed)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			if !installable(hash) {
				t.Fatalf("%s has no Dockerfile or no deploy/base, so it cannot be installed: name another in SHIPMATE_UPGRADE_FROM", commit)
			}
			return v
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		v.files[h.Name] = string(text)
	}
}

// unpack writes a version's files into a folder.
func (v version) unpack(t *testing.T, dir string) {
	t.Helper()
	for name, text := range v.files {
		write(t, filepath.Join(dir, name), text)
	}
}

// overlay writes one beside the example of another version, whatever that looks like, with what the set-up wrote.
func (in *installed) overlay(t *testing.T, p *person, tree, digest string) (dir string) {
	t.Helper()
	dir = filepath.Join(tree, "deploy", "overlays", "mine")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(tree, "deploy", "overlays", "example"))); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(filepath.Join(p.dir, "shipmate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(filepath.Join(tree, "deploy", "overlays", "example", "shipmate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ours = regexp.MustCompile(`(?m)^(\w+): .*\n`).ReplaceAllFunc(ours, func(line []byte) []byte { // a key that it may not know yet
		key, _, _ := bytes.Cut(line, []byte(":"))
		if !regexp.MustCompile(`(?m)^` + string(key) + `:`).Match(example) {
			return nil
		}
		return line
	})
	files := map[string]string{
		"shipmate.yaml": string(ours),
		"reach.yaml":    in.reachPatch(),
		"kustomization.yaml": `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base, targets.yaml]
images: [{name: registry.example.com/team/shipmate, newName: "` + in.Registry + `/team/shipmate", digest: "` + digest + `"}]
configMapGenerator: [{name: shipmate, namespace: shipmate, files: [shipmate.yaml, kubeconfig]}]
secretGenerator: [{name: shipmate, namespace: shipmate, files: [app.pem, webhook-secret, client-secret, registry-username, registry-password]}]
patches: [{path: reach.yaml}]
`,
	}
	for _, name := range []string{"kubeconfig", "app.pem", "webhook-secret", "client-secret", "registry-username", "registry-password", "targets.yaml"} {
		text, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}
