package install

import (
	"os"
	"strings"
	"testing"
)

const root = "../.."

// What README.md says to type, by how each line begins. The rest of a line, and what stands between these blocks, may change; what
// begins otherwise is something that TestInstall does not know how to follow.
var (
	installing = [][]string{
		{"git clone https://github.com/shipmate-dev/shipmate ~/shipmate && cd ~/shipmate", "make build && export PATH=~/shipmate/bin:$PATH "},
		{"mkdir -m 0700 ~/ship && cd ~/ship", "bot init --server ", "bot serve --config shipmate.yaml "},
		{"bot check  --config shipmate.yaml ", "bot doctor --config shipmate.yaml "},
	}
	imaging      = [][]string{{"docker buildx build --platform linux/amd64,linux/arm64 "}}
	inKubernetes = [][]string{{
		"cd ~/shipmate && cp -r deploy/overlays/example deploy/overlays/ours && cd deploy/overlays/ours",
		"cp ~/ship/app.pem ~/ship/webhook-secret ~/ship/client-secret .",
		"# 1. change shipmate.yaml (app_id, client_id and public_url as in ~/ship/shipmate.yaml, allow, your registry), ingress.yaml (your host), targets.yaml (",
		"# 2. put the registry's credentials beside them, each as a file: registry-username, registry-password",
		"kubectl create namespace staging; kubectl create namespace production",
		"kubectl apply --server-side -k .",
		"kubectl -n shipmate rollout status deployment/shipmate --timeout=",
		"kubectl -n shipmate exec deployment/shipmate -- bot doctor --config /etc/shipmate/shipmate.yaml",
	}}
	upgrading = [][]string{{
		"kubectl -n shipmate exec deployment/shipmate -- bot backup --config /etc/shipmate/shipmate.yaml /var/lib/shipmate/",
		"# 1. fetch the new version (git pull, make build), and put its image into kustomization.yaml",
		"bot check --config shipmate.yaml ",
		"kubectl apply --server-side -k .",
		"kubectl -n shipmate rollout status deployment/shipmate --timeout=",
	}}
)

// TestReadme: the README has what TestInstall follows.
func TestReadme(t *testing.T) {
	chapter(t, "## Install", installing)
	chapter(t, "## Run it", imaging)
	chapter(t, "### In Kubernetes", inKubernetes)
	chapter(t, "### Upgrade", upgrading)
}

// chapter returns the lines of the blocks of commands that stand under a heading, up to the next one.
func chapter(t *testing.T, heading string, known [][]string) (blocks [][]string) {
	t.Helper()
	text, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found, inside := false, false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case !inside && strings.HasPrefix(line, "#"):
			found = line == heading
		case !found:
		case line == "```" && !inside:
			blocks, inside = append(blocks, nil), true
		case line == "```":
			inside = false
		case inside:
			blocks[len(blocks)-1] = append(blocks[len(blocks)-1], line)
		}
	}
	if len(blocks) != len(known) {
		t.Fatalf("README.md has %d blocks of commands under %q, and this test knows %d: %q", len(blocks), heading, len(known), blocks)
	}
	for i, block := range blocks {
		if len(block) != len(known[i]) {
			t.Fatalf("README.md, %q: block %d has %d lines, and this test knows %d: %q", heading, i+1, len(block), len(known[i]), block)
		}
		for j, line := range block {
			if !strings.HasPrefix(line, known[i][j]) {
				t.Fatalf("README.md, %q: line %d of block %d is\n%s\nand this test knows\n%s", heading, j+1, i+1, line, known[i][j])
			}
		}
	}
	return blocks
}
