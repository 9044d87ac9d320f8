package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestDo(t *testing.T) {
	var got map[string]string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = map[string]string{}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		got["path"], got["token"], got["key"] = r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Idempotency-Key")
		switch {
		case strings.HasPrefix(got["text"], "status"):
			_, _ = w.Write([]byte(`{"answer":"fine"}`))
		case strings.HasPrefix(got["text"], "odd"):
			_, _ = w.Write([]byte(`<html>`))
		default:
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"detail":"There is no such command","refused":true}`))
		}
	}))
	defer server.Close()
	do := doCmd{URL: server.URL + "/", Token: "secret-1", Text: []string{"status", "web"}, Key: "k"}
	if err := do.Run(); err != nil {
		t.Fatal(err)
	}
	if got["path"] != "/api/v1/command" || got["text"] != "status web" || got["token"] != "Bearer secret-1" || got["key"] != "k" {
		t.Errorf("%v", got)
	}
	do.Text = []string{"dance"}
	if err := do.Run(); err == nil || err.Error() != "There is no such command" {
		t.Errorf("%v", err)
	}
	do.Text = []string{"odd"}
	if err := do.Run(); err == nil || strings.Contains(err.Error(), "secret-1") || !strings.Contains(err.Error(), "no answer of a bot") {
		t.Errorf("%v", err)
	}
	other := httptest.NewServer(http.RedirectHandler(server.URL+"/api/v1/command", http.StatusMovedPermanently))
	defer other.Close()
	do.URL, got = other.URL, nil
	if err := do.Run(); err == nil || !strings.Contains(err.Error(), server.URL+"/api/v1/command") || got != nil {
		t.Errorf("%v %v", err, got)
	}
	do.URL = "http://127.0.0.1:1"
	if err := do.Run(); err == nil || !strings.Contains(err.Error(), "--key k") {
		t.Errorf("%v", err)
	}
}

func TestPlanOfABot(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.URL.String() + " " + r.Header.Get("Authorization")
		switch r.URL.Query().Get("ref") {
		case "":
			_, _ = w.Write([]byte(`{"text":"push of refs/heads/master\n"}`))
		case "odd":
			_, _ = w.Write([]byte(`{}`))
		default:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"detail":"acme/web has no branch or tag"}`))
		}
	}))
	defer server.Close()
	plan := planCmd{URL: server.URL + "/", Token: "secret-1", App: "web", Repository: "acme/web"}
	if err := plan.Run(); err != nil || got != "GET /api/v1/apps/web/plan?repository=acme%2Fweb Bearer secret-1" {
		t.Errorf("%v, it asks %s", err, got)
	}
	for ref, want := range map[string]string{"x": "has no branch or tag", "odd": "no answer of a bot"} {
		plan.Ref = ref
		if err := plan.Run(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret-1") {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for want, c := range map[string]planCmd{"SHIPMATE_URL": {App: "web", Token: "x"}, "SHIPMATE_TOKEN": {App: "web", URL: "x"}, "leave out": {App: "web", URL: "x", Token: "x", File: "x.yaml"}, "goes with --app": {Repository: "acme/web"}} {
		if err := c.Run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
