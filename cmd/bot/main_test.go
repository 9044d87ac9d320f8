package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

const hookSecret = "hook-secret-of-the-binary"

// binary is the program itself, with a server's file and a GitHub that it speaks to.
type binary struct {
	t       *testing.T
	file    string // the program
	dir     string
	config  string
	address string
	gh      *sim.GitHub
}

func build(t *testing.T) *binary {
	t.Helper()
	b := &binary{t: t, dir: t.TempDir()}
	b.file = filepath.Join(b.dir, "bot")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", b.file, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	gh, err := sim.NewGitHub(sim.GitHubConfig{Dir: filepath.Join(b.dir, "github"), Secret: hookSecret})
	ok(t, err)
	ok(t, gh.Start("127.0.0.1:0"))
	t.Cleanup(func() { _ = gh.Close() }) // nothing hangs on it
	b.gh = gh
	ok(t, os.WriteFile(filepath.Join(b.dir, "app.pem"), gh.PrivateKeyPEM(), 0o600))
	ok(t, os.WriteFile(filepath.Join(b.dir, "hook"), []byte(hookSecret), 0o600))
	free, err := net.Listen("tcp", "127.0.0.1:0") // an address that nobody uses
	ok(t, err)
	b.address = free.Addr().String()
	ok(t, free.Close())
	b.config = filepath.Join(b.dir, "shipmate.yaml")
	ok(t, os.WriteFile(b.config, fmt.Appendf(nil, "listen: %s\ndata_dir: data\ngithub:\n  api_url: %s\n  app_id: %d\n  private_key: file:app.pem\n  webhook_secrets: [file:hook]\n  allow: [\"acme/*\"]\n",
		b.address, gh.APIURL(), gh.AppID()), 0o600))
	return b
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs the program to its end, and returns its exit code and what it printed.
func (b *binary) run(args ...string) (code int, out, errs string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	var o, e bytes.Buffer
	cmd := exec.CommandContext(ctx, b.file, args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// serve starts the bot, and waits until it is ready.
func (b *binary) serve() *exec.Cmd {
	b.t.Helper()
	cmd := exec.Command(b.file, "serve", "--config", b.config)
	var log bytes.Buffer
	cmd.Stderr = &log
	ok(b.t, cmd.Start())
	b.t.Cleanup(func() { // does no harm to one that has ended
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b.t.Failed() {
			b.t.Logf("the log of process %d:\n%s", cmd.Process.Pid, log.String())
		}
	})
	deadline := time.Now().Add(time.Minute)
	for {
		resp, err := http.Get("http://" + b.address + "/readyz")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close() // it was only read
			if resp.StatusCode == http.StatusOK {
				return cmd
			}
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("the bot does not get ready: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks, not for something
	}
}

// renders has the program look at a chart, which it renders in a process of its own.
func (b *binary) renders() {
	b.t.Helper()
	dir := filepath.Join(b.dir, "site")
	for name, text := range map[string]string{
		"chart/Chart.yaml":         "apiVersion: v2\nname: site\nversion: 1.0.0\n",
		"chart/templates/web.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web, image: 'registry.example.com/shop/{{ .Release.Name }}:1'}]}}}\n",
		"Dockerfile":               "FROM scratch\n",
	} {
		ok(b.t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		ok(b.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for _, args := range [][]string{{"git", "init", "--quiet", "--initial-branch=master"}, {"git", "remote", "add", "origin", "https://github.com/acme/site"}, {b.file, "init"}} {
		cmd := exec.CommandContext(b.t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			b.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, ".shipmate.yaml"))
	ok(b.t, err)
	if !strings.Contains(string(text), "image: registry.example.com/shop/site ") {
		b.t.Errorf("the chart's image is not found:\n%s", text)
	}
}

// TestBinary plays an operator: a second bot on the same data, a replay, the queue, a stop, a kill.
func TestBinary(t *testing.T) {
	b := build(t)
	code, _, errs := b.run("queue", "--config", b.config)
	if code != 1 || !strings.Contains(errs, "there is no database") {
		t.Errorf("the queue before there is one: %d, %s", code, errs)
	}
	b.renders()
	bot := b.serve()

	began := time.Now()
	code, _, errs = b.run("serve", "--config", b.config)
	if want := fmt.Sprintf("is in use by process %d", bot.Process.Pid); code != 1 || !strings.Contains(errs, want) || strings.Count(strings.TrimSpace(errs), "\n") > 0 {
		t.Errorf("a second one exits %d, %s", code, errs)
	}
	t.Logf("a second one is refused in %s", time.Since(began))

	repo, err := b.gh.CreateRepo("acme/web", sim.RepoOptions{})
	ok(t, err)
	repo.SetPermission("alice", "write", "")
	b.gh.SetHook("http://"+b.address+"/webhooks/github", hookSecret)
	sha, err := repo.Commit("master", "alice", "Begin", map[string]string{"a": "b"})
	ok(t, err)
	ok(t, b.gh.Flush(t.Context()))
	deliveries := b.gh.Deliveries()
	id := deliveries[len(deliveries)-1].GUID
	for _, args := range [][]string{{"replay", "--config", b.config, id}, {"replay", "--for-real", "--config", b.config, id}} {
		code, out, errs := b.run(args...)
		if code != 0 || !strings.Contains(out, "refs/heads/master is now "+sha[:7]) || !strings.Contains(out, "has no .shipmate.yaml, so nothing is done") {
			t.Errorf("bot %s: %d, %s, %s", strings.Join(args, " "), code, out, errs)
		}
	}
	if code, out, errs := b.run("replay", "--config", b.config, "nowhere"); code != 1 || out != "" || !strings.Contains(errs, "no delivery nowhere is stored") {
		t.Errorf("the replay of nothing: %d, %s, %s", code, out, errs)
	}
	if code, out, errs := b.run("queue", "--config", b.config); code != 0 || strings.Contains(out, "given up") {
		t.Errorf("the queue: %d, %s, %s", code, out, errs)
	}
	if code, _, _ := b.run("queue", "--nonsense"); code != 2 {
		t.Errorf("a flag that there is not: %d", code)
	}

	began = time.Now()
	ok(t, bot.Process.Signal(syscall.SIGTERM))
	ok(t, bot.Wait()) // exit 0
	t.Logf("it stops in %s", time.Since(began))
	if code, _, errs := b.run("replay", "--for-real", "--config", b.config, id); code != 1 || !strings.Contains(errs, "is it serving with this file?") {
		t.Errorf("for real without a bot: %d, %s", code, errs)
	}
	if code, _, errs := b.run("replay", "--config", b.config, id); code != 0 { // needs none
		t.Errorf("without a bot: %d, %s", code, errs)
	}

	// A killed one leaves no lock behind.
	bot = b.serve()
	ok(t, bot.Process.Kill())
	_ = bot.Wait() // it was killed
	bot = b.serve()
	ok(t, bot.Process.Signal(syscall.SIGINT))
	ok(t, bot.Wait())

	// One that has to wait for somebody is ended by a second signal.
	bot = b.serve()
	slow, err := net.Dial("tcp", b.address)
	ok(t, err)
	defer func() { _ = slow.Close() }() // it may be closed already
	_, err = io.WriteString(slow, "POST /webhooks/github HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: 1\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
	ok(t, err)
	_, err = io.ReadFull(slow, make([]byte, len("HTTP/1.1 100"))) // the body is waited for
	ok(t, err)
	ok(t, bot.Process.Signal(syscall.SIGTERM))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // between two looks, not for something
		c, err := net.Dial("tcp", b.address)
		if err != nil {
			break // it stops
		}
		_ = c.Close() // it was only a look
		if time.Now().After(deadline) {
			t.Fatal("it goes on listening")
		}
	}
	began = time.Now()
	ended := make(chan struct{})
	go func() { defer close(ended); _ = bot.Wait() }() // told below
	for again := true; again; {                        // the first may not be heard of everywhere yet
		_ = bot.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
			again = false
		case <-time.After(100 * time.Millisecond):
		}
	}
	if s := bot.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGTERM {
		t.Errorf("after a second signal: %s", bot.ProcessState)
	}
	t.Logf("a second signal ends it in %s", time.Since(began))
}

// TestSetUpBinary: a bot that has no App is killed, registers one after its next start, and goes on as the configured bot.
func TestSetUpBinary(t *testing.T) {
	b := build(t)
	for _, name := range []string{"app.pem", "hook"} {
		ok(t, os.Remove(filepath.Join(b.dir, name)))
	}
	ok(t, os.WriteFile(b.config, fmt.Appendf(nil, "listen: %s # here\ndata_dir: data\ngithub: {api_url: %q}\n", b.address, b.gh.APIURL()), 0o600))
	start := func() (*exec.Cmd, string) {
		cmd := exec.Command(b.file, "serve", "--config", b.config)
		out, err := cmd.StderrPipe()
		ok(t, err)
		ok(t, cmd.Start())
		t.Cleanup(func() { // does no harm to one that has ended
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		log := bufio.NewScanner(out)
		for log.Scan() {
			if m := regexp.MustCompile(`http://\S+/setup\?code=[A-Z2-7]{26}`).FindString(log.Text()); m != "" {
				go func() { _, _ = io.Copy(io.Discard, out) }() // until it ends
				return cmd, m
			}
		}
		t.Fatalf("it logs no address: %v", log.Err())
		return nil, ""
	}
	get := func(method, address string, form url.Values) (int, string, string) {
		r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
		ok(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		deadline := time.Now().Add(time.Minute)
		for {
			resp, err := client.Do(r)
			if err == nil {
				body, err := io.ReadAll(resp.Body)
				ok(t, err)
				ok(t, resp.Body.Close())
				return resp.StatusCode, resp.Header.Get("Location"), html.UnescapeString(string(body))
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // between two looks, not for something
		}
	}
	first, address := start()
	if status, _, _ := get("GET", address, nil); status != http.StatusOK {
		t.Errorf("the address: %d", status)
	}
	ok(t, first.Process.Kill())
	_ = first.Wait() // it was killed
	bot, again := start()
	if address == again {
		t.Error("the code is the same again")
	}
	if status, _, _ := get("GET", address, nil); status != http.StatusNotFound {
		t.Errorf("the address of the one that was killed: %d", status)
	}
	_, _, body := get("GET", again+"&name=Ship&organization=acme&public_url=http://"+b.address, nil)
	action := regexp.MustCompile(`method="post" action="([^"]+)"`).FindStringSubmatch(body)
	manifest := regexp.MustCompile(`name="manifest" value="(\{.*\})"`).FindStringSubmatch(body)
	if action == nil || manifest == nil {
		t.Fatalf("the way to GitHub: %s", body)
	}
	_, back, _ := get("POST", action[1], url.Values{"manifest": {manifest[1]}})
	if status, _, body := get("GET", back, nil); status != http.StatusOK || !strings.Contains(body, "/installations/new") {
		t.Fatalf("the end: %d %s", status, body)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // between two looks, not for something
		if status, _, _ := get("GET", "http://"+b.address+"/readyz", nil); status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the bot does not go on")
		}
	}
	if status, _, _ := get("GET", again, nil); status != http.StatusNotFound {
		t.Errorf("the address afterwards: %d", status)
	}
	ok(t, bot.Process.Signal(syscall.SIGTERM))
	ok(t, bot.Wait()) // exit 0
	if code, out, errs := b.run("check", "--config", b.config); code != 0 {
		t.Errorf("bot check: %d %s %s", code, out, errs)
	}
}

// TestDoctorBinary: the doctor's exit code is that of what it found, and a running bot is not disturbed.
func TestDoctorBinary(t *testing.T) {
	b := build(t)
	bot := b.serve()
	code, out, errs := b.run("doctor", "--config", b.config) // with nothing but GitHub configured
	if code != 1 || !strings.Contains(out, "FAIL  builder: there is none") || !strings.Contains(out, "ok    data_dir: ") || !strings.Contains(errs, " failed") || strings.Contains(out, hookSecret) {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	ok(t, bot.Process.Signal(syscall.SIGTERM))
	ok(t, bot.Wait()) // exit 0
	if code, _, errs := b.run("doctor", "--config", filepath.Join(b.dir, "nowhere.yaml")); code != 1 || !strings.Contains(errs, "nowhere.yaml") {
		t.Errorf("without a file: %d %s", code, errs)
	}
}
