package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPage: the page holds what was sent, as data that can't end its script, and asks no network for anything.
func TestPage(t *testing.T) {
	folder := t.TempDir()
	to := filepath.Join(folder, "page.html")
	if err := write(folder, to); err == nil || !strings.Contains(err.Error(), folder) {
		t.Errorf("no messages: %v", err)
	}
	file := filepath.Join(folder, "wecom-zh.json")
	for body, ok := range map[string]bool{`[{"scene": "s", "payload": {"msgtype": "markdown", "markdown": {"content": "</script><img src=x>部署"}}}]`: true, `[`: false} {
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := write(folder, to); (err == nil) != ok {
			t.Errorf("%s: %v", body, err)
		}
	}
	page, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	if !strings.Contains(text, "部署") || strings.Contains(text, "<img") || strings.Count(text, "</script>") != 1 {
		t.Error("what was sent is not there, or is more than data")
	}
	for _, out := range []string{"<script src", "@import", "url(", "fetch(", "<link"} {
		if strings.Contains(text, out) {
			t.Errorf("the page asks for more: %s", out)
		}
	}
}
