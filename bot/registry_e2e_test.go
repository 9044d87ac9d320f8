//go:build e2e

package bot

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/store"
)

// startDistribution starts Debian's docker-registry, which tells endpoint of what is pushed; it returns its host:port.
func startDistribution(t *testing.T, endpoint string) string {
	t.Helper()
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip("needs Debian's docker-registry")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "registry.yml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: "127.0.0.1:0", secret: test}
notifications:
  endpoints:
    - {name: shipmate, url: %q, timeout: 500ms, threshold: 3, backoff: 200ms, headers: {X-Shipmate-Token: [%s]}}
`, filepath.Join(dir, "data"), endpoint, eventSecret), 0o600))
	cmd := exec.Command("docker-registry", "serve", config)
	out, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	address := make(chan string, 1)
	go func() {
		listening := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				address <- m[1]
			}
		}
		close(address)
	}()
	host, ok := <-address
	if !ok {
		t.Fatal("docker-registry ended")
	}
	return host
}

// TestE2EDistribution: a real registry tells of a push of somebody else's, and again while nobody takes it; the image is
// released and deployed, once.
func TestE2EDistribution(t *testing.T) {
	var to atomic.Pointer[url.URL]
	var refused, taken atomic.Int64
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := to.Load()
		if target == nil || refused.Load() < 2 {
			refused.Add(1)
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		taken.Add(1)
		proxy := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL = target }}
		proxy.ServeHTTP(w, r)
	}))
	defer relay.Close()
	// The registry's address is known only once it runs, and is part of the path: the relay puts it in.
	host := startDistribution(t, relay.URL)
	events := withEvents(t, "{kind: distribution, header: X-Shipmate-Token, secret: SECRET}")
	l := newLab(t, func(text string) string {
		return strings.NewReplacer("  registry.example.com:\n", "  \""+host+"\":\n    plain_http: true\n", "    username: file:push\n    password: file:push\n    pull: {username: file:pull, password: file:pull}\n", "").
			Replace(events(allowBase(text)))
	})
	must(t, l.Stop())
	l.images = image.New(map[string]image.Registry{host: {PlainHTTP: true}})
	must(t, l.Start())

	base := got(readFiles("testdata/repo"))(t)
	files := map[string]string{".shipmate.yaml": strings.ReplaceAll(onlyBase, "registry.example.com", host)}
	for name, content := range base {
		if strings.HasPrefix(name, "deploy/") {
			files[name] = strings.ReplaceAll(content, "registry.example.com/team/web", host+"/team/base")
		}
	}
	sha := got(l.Push("root", "master", "Take what others push", files))(t)
	must(t, l.Settle())
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.Declare("acme/web", []store.Declared{{App: "web", SHA: sha, Registry: host + "/team/base"}})
	}))

	img, err := random.Image(4096, 2)
	must(t, err)
	digest, err := img.Digest()
	must(t, err)
	ref, err := name.ParseReference(host+"/team/base:v1", name.Insecure)
	must(t, err)
	must(t, remote.Write(ref, img))
	target, err := url.Parse(l.url)
	must(t, err)
	target.Path = "/webhooks/registry/" + host
	to.Store(target)
	must(t, until("the image is deployed", func() error {
		must(t, l.Settle())
		text, err := l.Deployments()
		if err == nil && !strings.HasSuffix(text, ": succeeded\n") {
			why, _ := l.lookup("SELECT group_concat(id || ' ' || coalesce(trace, ''), char(10)) FROM events WHERE kind = 'registry'")
			err = fmt.Errorf("%s\n%s\n%d refused, %d taken", text, why, refused.Load(), taken.Load())
		}
		return err
	}))
	if rel := got(l.Release(1))(t); rel.Images.V[0].Repository != host+"/team/base" || rel.Images.V[0].Digest != digest.String() {
		t.Errorf("the release is %+v, the image %s", rel, digest)
	}
	must(t, l.Runs(l.test, 1))
	if n := got(l.lookup("SELECT count(*) FROM events WHERE kind = 'registry' AND repo IS NULL"))(t); n != "1" {
		t.Errorf("%s events of one push of an image, whose layers are told too", n)
	}
	if refused.Load() < 2 {
		t.Errorf("it was refused %d times", refused.Load())
	}
}
