package bot

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// TestTokenReadAgain: a token that came after the start is masked as the first one is, and one that stands in a kubeconfig too.
func TestTokenReadAgain(t *testing.T) {
	var good atomic.Value
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+good.Load().(string) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	write := func(name, text string) { must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)) }
	write("ca.pem", ca)
	renew := func(token string) {
		good.Store(token)
		write("token", token)
		write("kubeconfig", fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], "+
			"clusters: [{name: c, cluster: {server: %q, certificate-authority: ca.pem}}], users: [{name: u, user: {token: %s}}]}", server.URL, token))
	}
	renew("tok-first")
	byFile := &ClusterConfig{Server: server.URL}
	for secret, ref := range map[*Secret]string{&byFile.CA: "file:ca.pem", &byFile.Token: "file:token"} {
		must(t, secret.UnmarshalText([]byte(ref)))
		must(t, secret.resolve(dir))
	}
	for name, k := range map[string]*ClusterConfig{"file": byFile, "kubeconfig": {Kubeconfig: filepath.Join(dir, "kubeconfig")}} {
		renew("tok-first")
		c := &Config{Clusters: map[string]*ClusterConfig{name: k}}
		way, err := kube.Open(k.config(name))
		must(t, err)
		for i := range maxTokens + 2 {
			if i > 0 {
				renew(fmt.Sprintf("tok-%d", i))
			}
			_, err = way.Lacks(t.Context(), "n")
			if err == nil || !strings.Contains(err.Error(), "does not exist") {
				t.Fatalf("%s: %v", name, err)
			}
			if !slices.Contains(c.Secrets(), good.Load().(string)) {
				t.Errorf("%s: %s is not masked", name, good.Load())
			}
		}
		if n := len(k.tokens.read()); n != maxTokens {
			t.Errorf("%s: %d tokens are remembered", name, n)
		}
		if text := fmt.Sprintf("%+v %v", *k, c); strings.Contains(text, "tok-") {
			t.Errorf("%s: printed %s", name, text)
		}
	}
}
