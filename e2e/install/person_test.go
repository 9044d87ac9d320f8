//go:build e2e

package install

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/e2e"
)

// A person follows the README in a shell of their own, in a home of their own.
type person struct {
	home, dir string // dir is where they are
	env       []string
}

// newPerson makes somebody who finds this repository, as it lies here, where the README says it is, and the cluster where kubectl looks.
func newPerson(t *testing.T, stack *e2e.Stack) *person {
	t.Helper()
	home := filepath.Join(stack.Dir, "home")
	origin := filepath.Join(stack.Dir, "origin")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	p := &person{home: home, dir: home, env: append(os.Environ(), "HOME="+home, "KUBECONFIG="+stack.Kubeconfig, "SHIPMATE_CACHE="+filepath.Join(home, "cache"),
		"PATH="+os.Getenv("SHIPMATE_BIN")+":"+os.Getenv("PATH"), // kubectl
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url.file://"+origin+"/.insteadOf", "GIT_CONFIG_VALUE_0=https://github.com/")}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS"} { // what is compiled already need not be again
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		p.env = append(p.env, name+"="+strings.TrimSpace(string(out)))
	}
	names, err := tracked()
	if err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(origin, "shipmate-dev", "shipmate")
	for _, name := range names {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(repo, name), string(text))
		if err := os.Chmod(filepath.Join(repo, name), info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	p.do(t, "cd "+repo, "git init -q", "git add -A", "git -c user.name=alice -c user.email=alice@example.com commit -q -m Shipmate", "cd")
	return p
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run types lines into the shell, and says what came of it. Folder and environment are kept for the next ones.
func (p *person) run(ctx context.Context, lines ...string) (string, error) {
	state, err := os.CreateTemp(p.home, ".state")
	if err != nil {
		return "", err
	}
	defer func() { _ = state.Close(); _ = os.Remove(state.Name()) }() // it was read
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", "trap 'pwd >&3; env -0 >&3' EXIT\n"+strings.Join(lines, "\n"))
	cmd.Dir, cmd.Env, cmd.ExtraFiles = p.dir, p.env, []*os.File{state}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s\n%w\n%s", strings.Join(lines, "\n"), err, out)
	}
	kept, err := os.ReadFile(state.Name())
	dir, env, _ := strings.Cut(string(kept), "\n")
	p.dir, p.env = dir, strings.Split(strings.TrimRight(env, "\x00"), "\x00")
	return string(out), err
}

// do is run for lines that have to work.
func (p *person) do(t *testing.T, lines ...string) string {
	t.Helper()
	out, err := p.run(t.Context(), lines...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// change edits a file: pairs of what is there, once, and what is to be there.
func (p *person) change(t *testing.T, name string, pairs ...string) {
	t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.dir, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s := string(text)
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(s, pairs[i]) != 1 {
			t.Fatalf("%s has %d times %q:\n%s", name, strings.Count(s, pairs[i]), pairs[i], s)
		}
		s = strings.Replace(s, pairs[i], pairs[i+1], 1)
	}
	if err := os.WriteFile(name, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secret is a file that the set-up wrote.
func (p *person) secret(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.home, "ship", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// install follows the chapter "Install": a bot that has an App, and is stopped.
func (p *person) install(t *testing.T, stack *e2e.Stack) {
	t.Helper()
	blocks := chapter(t, "## Install", installing)
	p.do(t, blocks[0]...)
	p.do(t, blocks[1][:2]...)
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free now
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p.change(t, "shipmate.yaml", "listen: 127.0.0.1:8080", "listen: "+listen)
	allow := p.register(t, stack, blocks[1][2], listen)
	p.change(t, "shipmate.yaml", "\n  #allow: [\"acme/*\"]", "\n  "+allow)
	p.do(t, blocks[2][0])
	said, err := p.run(t.Context(), blocks[2][1])
	if err == nil {
		t.Errorf("the doctor finds nothing, though there is no builder:\n%s", said)
	}
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "FAIL") && !strings.HasPrefix(line, "FAIL  builder: there is none") {
			t.Errorf("the doctor says, of a bot that was just set up: %s", line)
		}
	}
}

// register starts the bot, opens the address that its log names, and does what the pages say, as a browser would. It returns the
// line for github.allow that the last page names.
func (p *person) register(t *testing.T, stack *e2e.Stack, serve, listen string) (allow string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", "exec "+serve)
	cmd.Dir, cmd.Env = p.dir, p.env
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	address := make(chan string, 1)
	reading.Go(func() { // until it ends
		for in := bufio.NewScanner(stderr); in.Scan(); {
			if m := regexp.MustCompile(`http://\S+/setup\?code=[A-Z2-7]{26}`).FindString(in.Text()); m != "" {
				address <- m
			}
		}
	})
	ended := false
	defer func() {
		if !ended {
			_ = cmd.Process.Kill() // the test has failed
			reading.Wait()
			_ = cmd.Wait()
		}
	}()
	var open string
	select {
	case open = <-address:
	case <-time.After(time.Minute):
		t.Fatal("the bot's log names no address")
	}
	get := func(method, address string, form url.Values) (int, string, string) {
		t.Helper()
		r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }() // it was only read
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Location"), html.UnescapeString(string(body))
	}
	if err := until(t.Context(), "the set-up answers", func() (bool, error) { // the address is logged before
		c, err := net.Dial("tcp", listen)
		if err != nil {
			return false, nil
		}
		return true, c.Close()
	}); err != nil {
		t.Fatal(err)
	}
	if status, _, body := get("GET", open, nil); status != http.StatusOK || !strings.Contains(body, `name="public_url"`) {
		t.Fatalf("the set-up's first page: %d %s", status, body)
	}
	_, _, body := get("GET", open+"&"+url.Values{"name": {"Shipmate"}, "organization": {"acme"}, "github": {stack.GitHub.URL()}, "public_url": {"https://" + host}}.Encode(), nil)
	action := regexp.MustCompile(`method="post" action="([^"]+)"`).FindStringSubmatch(body)
	manifest := regexp.MustCompile(`name="manifest" value="(\{.*\})"`).FindStringSubmatch(body)
	if action == nil || manifest == nil {
		t.Fatalf("the set-up's way to GitHub: %s", body)
	}
	_, back, _ := get("POST", action[1], url.Values{"manifest": {manifest[1]}})
	status, _, body := get("GET", back, nil)
	line := regexp.MustCompile(`allow: \["acme/\*"\]`).FindString(body)
	if status != http.StatusOK || !strings.Contains(body, "/installations/new") || line == "" {
		t.Fatalf("the set-up's end: %d %s", status, body)
	}
	if err := until(t.Context(), "the bot goes on as configured", func() (bool, error) {
		resp, err := http.Get("http://" + listen + "/readyz")
		if err != nil {
			return false, nil
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	reading.Wait()
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Errorf("the bot ends with %v", err)
	}
	return line
}

// inKubernetes follows that chapter, with the image that was built. What the cluster of these tests has otherwise is changed too, see
// the package's comment.
func (p *person) inKubernetes(t *testing.T, in *installed, digest string) {
	t.Helper()
	lines := chapter(t, "### In Kubernetes", inKubernetes)[0]
	edits := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "# 1.") })
	p.do(t, lines[:edits]...)

	ours := p.secret(t, "shipmate.yaml")
	value := func(key string) string {
		m := regexp.MustCompile(`(?m)^ *` + key + `: (\S+)$`).FindStringSubmatch(ours)
		if m == nil {
			t.Fatalf("the set-up wrote no %s:\n%s", key, ours)
		}
		return m[1]
	}
	p.change(t, "shipmate.yaml",
		"public_url: https://ship.example.com", "public_url: "+value("public_url"),
		"app_id: 12345", "app_id: "+value("app_id")+"\n  api_url: "+value("api_url"),
		"client_id: Iv23liEXAMPLE", "client_id: "+value("client_id"),
		`{addr: "kube-pod://buildkitd-0?namespace=shipmate-build&container=buildkitd", cluster: here}`, `"tcp://`+in.builder+`"`,
		"  registry.example.com:\n", "  \""+in.Registry+"\":\n    plain_http: true\n")
	p.change(t, "kustomization.yaml",
		"  - ../../buildkit\n", "",
		"    newTag: v0.0.0 # better: digest: sha256:…\n", "    newName: "+in.Registry+"/team/shipmate\n    digest: "+digest+"\n",
		"configMapGenerator:", "patches: [{path: reach.yaml}]\nconfigMapGenerator:")
	p.change(t, "kubeconfig", "https://kubernetes.default.svc", "https://"+serviceIP)
	write(t, filepath.Join(p.dir, "reach.yaml"), in.reachPatch())
	for _, name := range []string{"registry-username", "registry-password"} { // this registry asks nobody who they are
		write(t, filepath.Join(p.dir, name), "ship\n")
	}
	p.do(t, lines[edits+2:]...)
}

// signIn signs in at the bot's page through the ingress, and returns the page that a browser shows then.
func (in *installed) signIn(t *testing.T, login string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Transport: in.outside, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Path == "/login/oauth/authorize" { // at GitHub, which asks who it is
			q := r.URL.Query()
			q.Set("user", login)
			r.URL.RawQuery = q.Encode()
		}
		if len(via) > 9 {
			return fmt.Errorf("it is sent on and on: %s", r.URL)
		}
		return nil
	}}
	resp, err := browser.Get("https://" + host + "/auth/login?to=/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Request.URL.Host != host {
		t.Fatalf("after signing in: %s %s %v\n%s", resp.Request.URL, resp.Status, err, body)
	}
	return string(body)
}

// toHost is a transport that finds the host at another address, and believes the certificate there.
func toHost(address string, certificate *http.Transport) *http.Transport {
	tr := certificate.Clone()
	tr.TLSClientConfig = tr.TLSClientConfig.Clone()
	tr.TLSClientConfig.ServerName = "example.com" // which it is for
	tr.TLSClientConfig.MinVersion = tls.VersionTLS12
	tr.DisableKeepAlives = true
	tr.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
		if to == host+":443" {
			to = address
		}
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
	return tr
}
