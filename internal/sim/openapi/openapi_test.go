package openapi

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCheckRequest(t *testing.T) {
	description, err := GitHub()
	if err != nil {
		t.Fatal(err)
	}
	const path = "/repos/{owner}/{repo}/statuses/{sha}"
	for _, test := range []struct {
		name, query, body, want string
	}{
		{"right", "", `{"state":"pending","context":"shipmate/build","description":null}`, ""},
		{"bogus state", "", `{"state":"running"}`, "/state"},
		{"state missing", "", `{"context":"shipmate/build"}`, "state"},
		{"unknown property", "", `{"state":"pending","descripton":"x"}`, "unknown body property descripton"},
		{"unknown parameter", "?ref=main", `{"state":"pending"}`, "unknown query parameter ref"},
		{"not JSON", "", `state=pending`, "invalid character"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/repos/acme/web/statuses/abc"+test.query, strings.NewReader(test.body))
			r.Header.Set("Content-Type", "application/json")
			err := description.CheckRequest(r, path, map[string]string{"owner": "acme", "repo": "web", "sha": "abc"})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestCheckAnswer(t *testing.T) {
	description, err := GitHub()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, method, path string
		status             int
		body, want         string
	}{
		{"general error", "GET", "/app", 401, `{"message":"Bad credentials"}`, ""},
		{"error without message", "GET", "/app", 401, `{}`, "no message"},
		{"undescribed success", "GET", "/app", 204, ``, "not described"},
		{"fields missing", "GET", "/repos/{owner}/{repo}/git/ref/{ref}", 200, `{"ref":"refs/heads/main"}`, "object"},
		{"unknown operation", "GET", "/nowhere", 200, `{}`, "no such operation"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := description.CheckAnswer(test.method, test.path, test.status, []byte(test.body))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestCheckWebhook(t *testing.T) {
	description, err := GitHub()
	if err != nil {
		t.Fatal(err)
	}
	if err := description.CheckWebhook("push", "", []byte(`{"ref":"refs/heads/main"}`)); err == nil {
		t.Fatal("a push without its fields was accepted")
	}
	if err := description.CheckWebhook("star", "created", []byte(`{}`)); err != nil {
		t.Fatalf("an event that is not described: %v", err)
	}
}
