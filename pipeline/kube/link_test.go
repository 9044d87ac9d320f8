package kube

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// passage is a proxy of TCP that can be cut off, and made to swallow everything.
type passage struct {
	net.Listener
	to string

	mu      sync.Mutex
	conns   map[net.Conn]bool
	closed  bool          // what connects is cut at once
	hole    chan struct{} // while it is open, nothing passes; nil: everything does
	through atomic.Int32  // connections that were taken
}

func newPassage(t *testing.T, to string) *passage {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &passage{Listener: l, to: to, conns: map[net.Conn]bool{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { p.pass(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); p.swallow(false); p.cut(true); group.Wait() })
	return p
}

// cut ends all connections; as long as closed, new ones too.
func (p *passage) cut(closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = closed
	for conn := range p.conns {
		conn.Close()
	}
}

// swallow begins or ends that nothing passes, on connections that stay open.
func (p *passage) swallow(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.hole == nil:
		p.hole = make(chan struct{})
	case !on && p.hole != nil:
		close(p.hole)
		p.hole = nil
	}
}

func (p *passage) pass(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.conns[near], p.conns[far] = true, true
	p.mu.Unlock()
	p.through.Add(1)
	defer func() {
		p.mu.Lock()
		delete(p.conns, near)
		delete(p.conns, far)
		p.mu.Unlock()
	}()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			defer func() { done <- struct{}{} }()
			buf := make([]byte, 32<<10)
			for {
				n, err := way[0].Read(buf)
				p.mu.Lock()
				hole := p.hole
				p.mu.Unlock()
				if hole != nil {
					<-hole
				}
				if err != nil {
					return
				}
				if _, err := way[1].Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
	<-done
	near.Close()
	far.Close()
	<-done
}

// openBy is a cluster behind p. Each has connections of its own: what differs in its CA is kept apart by client-go.
func openBy(t *testing.T, a *api, p *passage, more Config) *Cluster {
	t.Helper()
	more.Name, more.Server = "test", "https://"+p.Addr().String()
	more.CA = caOf(a.Server) + "\n# " + p.Addr().String() + "\n"
	c, err := Open(more)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func caOf(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// twoAPI is an API server that speaks HTTP/2, as the real one does.
func twoAPI(t *testing.T, answer http.HandlerFunc) *api {
	t.Helper()
	a := &api{answer: answer}
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.EnableHTTP2 = true
	a.StartTLS()
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	return a
}

// growing is an API server with one Thing, which becomes ready when it is told to.
type growing struct {
	mu      sync.Mutex
	ready   bool
	changed chan struct{}
	lists   int
	watches int
}

func newGrowing() *growing { return &growing{changed: make(chan struct{})} }

func (g *growing) grow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ready = true
	close(g.changed)
}

func (g *growing) seen() (lists, watches int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lists, g.watches
}

func (g *growing) answer(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	now := "False"
	if g.ready {
		now = "True"
	}
	watch := r.URL.Query().Get("watch") != ""
	if watch {
		g.watches++
	} else {
		g.lists++
	}
	g.mu.Unlock()
	if !watch {
		fmt.Fprint(w, list(thing(now)))
		return
	}
	w.(http.Flusher).Flush()
	if now == "False" {
		select {
		case <-g.changed:
			fmt.Fprintln(w, `{"type":"MODIFIED","object":`+thing("True")+`}`)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
	<-r.Context().Done()
}

// news gathers what a Wait tells.
type news struct {
	mu   sync.Mutex
	told []Progress
}

func (n *news) add(p Progress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, p)
}

// of returns the texts of an object.
func (n *news) of(object string) (texts []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.told {
		if p.Object == object {
			texts = append(texts, p.Text)
		}
	}
	return texts
}

func until(t testing.TB, what string, within time.Duration, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !yes(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestWaitAway: while the API server is away that is told with its cause and since when, nothing fails, nothing is asked in a
// hurry, and what happened meanwhile is seen afterwards.
func TestWaitAway(t *testing.T) {
	t.Parallel()
	g := newGrowing()
	a := twoAPI(t, g.answer)
	p := newPassage(t, a.Listener.Addr().String())
	c := openBy(t, a, p, Config{Token: "token-1"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var n news
	ended := make(chan error, 1)
	go func() { ended <- c.Wait(ctx, wantedThing(), n.add) }()
	until(t, "a watch", 20*time.Second, func() bool { _, watches := g.seen(); return watches > 0 })
	before := p.through.Load()
	p.cut(true)
	g.grow()
	until(t, "the news", 30*time.Second, func() bool { return len(n.of("cluster test")) > 0 })
	if text := n.of("cluster test")[0]; !strings.Contains(text, "the API server does not answer since 20") || !strings.Contains(text, " UTC: ") {
		t.Errorf("told %q", text)
	}
	if got := p.through.Load() - before; got > 0 {
		t.Errorf("%d connections got through what is closed", got)
	}
	select {
	case err := <-ended:
		t.Fatalf("ended while the API server was away: %v", err)
	default:
	}
	p.cut(false)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if texts := n.of("cluster test"); texts[len(texts)-1] != "" {
		t.Errorf("that it is there again is not told: %q", texts)
	}
	if texts := n.of("Thing/a"); strings.Join(texts, ", ") != "is not ready: soon, made" {
		t.Errorf("told %q", texts)
	}
	if lists, watches := g.seen(); lists > 20 || watches > 20 {
		t.Errorf("%d lists and %d watches", lists, watches)
	}
}

// TestWaitSwallowed: connections that stay open and on which nothing comes any more are given up. The time that the HTTP/2
// transport takes for that is short here; TestSilenceNoticed in the end-to-end tests takes its own.
func TestWaitSwallowed(t *testing.T) {
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "1")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "1")
	g := newGrowing()
	a := twoAPI(t, g.answer)
	p := newPassage(t, a.Listener.Addr().String())
	c := openBy(t, a, p, Config{Token: "token-1"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var n news
	ended := make(chan error, 1)
	go func() { ended <- c.Wait(ctx, wantedThing(), n.add) }()
	until(t, "a watch", 20*time.Second, func() bool { _, watches := g.seen(); return watches > 0 })
	p.swallow(true)
	g.grow()
	until(t, "the news", 40*time.Second, func() bool { return len(n.of("cluster test")) > 0 })
	// What was swallowed is lost, as with a firewall that has forgotten the connections.
	p.cut(false)
	p.swallow(false)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if texts := n.of("Thing/a"); strings.Join(texts, ", ") != "is not ready: soon, made" {
		t.Errorf("told %q", texts)
	}
}

// TestWaitGivesBack: whoever waits for what is out of sight is not held for long, and at once where that is known.
func TestWaitGivesBack(t *testing.T) {
	t.Parallel()
	a := twoAPI(t, newGrowing().answer)
	p := newPassage(t, a.Listener.Addr().String())
	c := openBy(t, a, p, Config{Token: "token-1"})
	w := &waiter{place: "cluster test"}
	since := time.Now()
	w.away, w.awaySince = explain("reach", ObjectRef{}, &unreachable{where: c.link.where, since: since, err: errSlow}), since
	for after, want := range map[time.Duration]bool{0: false, awayTold: false, awayMost - time.Second: false, awayMost: true} {
		recheck, blind, err := w.tellAway(since.Add(after), func(Progress) {})
		var e *Error
		if !blind || (err != nil) != want || want && (!errors.As(err, &e) || !e.Temporary) || !want && recheck <= 0 {
			t.Errorf("after %s: %v, %v, %v", after, recheck, blind, err)
		}
	}
	c.link.silence, c.link.tried = &unreachable{where: c.link.where, since: time.Now().Add(-awayMost), err: errSlow}, time.Now()
	if _, err := c.resource(t.Context(), c.client, RefOf(wantedThing()[0])); err == nil {
		t.Error("it is asked while it is known to be away")
	}
	began := time.Now()
	err := c.Wait(t.Context(), wantedThing(), func(Progress) {})
	var e *Error
	if !errors.As(err, &e) || !e.Temporary || !strings.Contains(e.Message, "does not answer since") || time.Since(began) > checkTimeout {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// TestDeadHoldsNobody: however many ask a cluster that takes connections and never answers, they know within seconds, and a
// request or two are made of it.
func TestDeadHoldsNobody(t *testing.T) {
	t.Parallel()
	a := twoAPI(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) })
	p := newPassage(t, a.Listener.Addr().String())
	p.swallow(true)
	c := openBy(t, a, p, Config{Token: "token-1"})
	began := time.Now()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			_, err := c.Lacks(t.Context(), "n")
			var e *Error
			if !errors.As(err, &e) || !e.Temporary || e.Object != "cluster test" || !strings.Contains(e.Message, "does not answer since") {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if took := time.Since(began); took > checkTimeout+10*time.Second {
		t.Errorf("took %s", took)
	}
	if got := p.through.Load(); got > 3 {
		t.Errorf("%d connections", got)
	}
	p.cut(false)
	p.swallow(false)
	until(t, "an answer", 20*time.Second, func() bool {
		_, err := c.Lacks(t.Context(), "n")
		var e *Error
		return !errors.As(err, &e) || !e.Temporary
	})
}

// token is a JWT that nobody signed.
func token(expires time.Time) string {
	return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, expires.Unix())) + ".c2ln"
}

// TestTokenRenewed: a token that stands in a file is read again when it is refused, and the request is sent once more.
func TestTokenRenewed(t *testing.T) {
	t.Parallel()
	var good atomic.Value
	good.Store("one")
	var refused atomic.Int32
	a := twoAPI(t, nil)
	a.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+good.Load().(string) {
			refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`)
			return
		}
		a.ServeHTTP(w, r)
	})
	a.answer = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPatch && !bytes.Contains(body, []byte(`"Thing"`)) {
			t.Errorf("the body is gone: %q", body)
		}
		fmt.Fprint(w, thing("True"))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	kubeconfig, external := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "external")
	plugin, answer := filepath.Join(dir, "plugin"), filepath.Join(dir, "answer")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	renew := func(token string) {
		t.Helper()
		write(file, token+"\n")
		write(answer, fmt.Sprintf(`{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": %q}}`, token))
		for name, user := range map[string]string{kubeconfig: "token: " + token, external: "tokenFile: " + file,
			plugin: "exec: {apiVersion: client.authentication.k8s.io/v1, command: cat, interactiveMode: Never, args: [" + answer + "]}"} {
			write(name, fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}], users: [{name: u, user: {%s}}]}`,
				a.URL, base64.StdEncoding.EncodeToString([]byte(caOf(a.Server))), user))
		}
	}
	renew("one")
	for name, test := range map[string]struct {
		cfg  Config
		hint string
	}{
		"file":                    {Config{Server: a.URL, CA: caOf(a.Server), TokenFile: file}, "renew the token in the file of clusters.test.token, which is read again by itself"},
		"kubeconfig":              {Config{Kubeconfig: kubeconfig}, "renew the token of the kubeconfig of clusters.test.kubeconfig, which is read again by itself"},
		"kubeconfig, tokenFile":   {Config{Kubeconfig: external}, "renew the token of the kubeconfig of clusters.test.kubeconfig, which is read again by itself"},
		"kubeconfig, exec":        {Config{Kubeconfig: plugin}, "see what the exec plugin in the kubeconfig of clusters.test.kubeconfig says"},
		"environment, no renewal": {Config{Server: a.URL, CA: caOf(a.Server), Token: "one"}, "renew the token of clusters.test.token and restart the bot"},
	} {
		t.Run(name, func(t *testing.T) {
			renew("one")
			good.Store("one")
			test.cfg.Name = "test"
			c, err := Open(test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			apply := func() error { return c.Apply(t.Context(), wantedThing(), ApplyOptions{Force: true}) }
			if err := apply(); err != nil {
				t.Fatal(err)
			}
			good.Store("two")
			renew("two")
			if err := apply(); (err == nil) != test.cfg.renews() {
				t.Errorf("renewed: %v", err)
			}
			gone := token(time.Now().Add(-time.Hour))
			good.Store("three")
			renew(gone)
			before := refused.Load()
			err = apply()
			var e *Error
			if !errors.As(err, &e) || e.Object != "cluster test" || e.Temporary || !strings.Contains(e.Message, "refuses our credentials") || !strings.HasPrefix(e.Hint, test.hint) || strings.Contains(err.Error(), gone) {
				t.Errorf("got %v", err)
			}
			if test.cfg.renews() && !strings.Contains(e.Message, ": the token expired at "+time.Now().Add(-time.Hour).UTC().Format("2006-01-02 15:")) {
				t.Errorf("got %v", err)
			}
			if asked := refused.Load() - before; asked > 4 {
				t.Errorf("refused %d times", asked)
			}
		})
	}
}

func (c Config) renews() bool { return c.Token == "" }

// TestWaitRefused: an account that the cluster does not know any more ends a Wait, though its watch stays open, and one that
// is known again in time does not.
func TestWaitRefused(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"for good": false, "renewed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGrowing()
			var good atomic.Value
			good.Store("one")
			a := twoAPI(t, g.answer)
			a.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer "+good.Load().(string) {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				a.ServeHTTP(w, r)
			})
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
				t.Fatal(err)
			}
			p := newPassage(t, a.Listener.Addr().String())
			c := openBy(t, a, p, Config{TokenFile: file})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- c.Wait(ctx, wantedThing(), func(Progress) {}) }()
			until(t, "a watch", 20*time.Second, func() bool { _, watches := g.seen(); return watches > 0 })
			if again {
				if err := os.WriteFile(file, []byte("two"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			good.Store("two")
			if again {
				select {
				case err := <-ended:
					t.Fatal(err)
				case <-time.After(3 * beatEvery): // it would have been refused twice
				}
				g.grow()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				return
			}
			began := time.Now()
			err := <-ended
			var e *Error
			if !errors.As(err, &e) || e.Temporary || e.Object != "cluster test" || !strings.Contains(e.Message, "refuses our credentials") {
				t.Errorf("got %v", err)
			}
			if took := time.Since(began); took > 30*time.Second { // about 6 s; the machine may be slow
				t.Errorf("after %s", took)
			}
		})
	}
}

// certificate is one that signs itself, and is for that name.
func certificate(t *testing.T, name string, from, to time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true}
	if name == "127.0.0.1" {
		template.DNSNames, template.IPAddresses = nil, []net.IP{net.ParseIP(name)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestUnreachable: why a cluster can't be reached is said with what to write where.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	now := time.Now()
	serve := func(cert tls.Certificate) string {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	good, goodCA := certificate(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour))
	other, otherCA := certificate(t, "k8s.example.com", now.Add(-time.Hour), now.Add(time.Hour))
	old, oldCA := certificate(t, "127.0.0.1", now.Add(-2*time.Hour), now.Add(-time.Hour))
	early, earlyCA := certificate(t, "127.0.0.1", now.Add(time.Hour), now.Add(2*time.Hour))
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	silent := newPassage(t, plain.Listener.Addr().String())
	silent.swallow(true)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	for name, test := range map[string]struct {
		server, ca    string
		message, hint string // with a server; "" is any
		byKubeconfig  string // the hint with a kubeconfig
		temporary     bool
	}{
		"unknown authority": {serve(good), otherCA, "the API server's certificate is signed by an authority that we don't know",
			"write the certificate of that authority (PEM) to a file, and clusters.test.ca: file:./ca.pem", "write the certificate of that authority to certificate-authority-data in the kubeconfig of clusters.test.kubeconfig", false},
		"wrong host": {serve(other), otherCA, "the API server's certificate is not for 127.0.0.1 but for k8s.example.com",
			"write one of these names in clusters.test.server", "write one of these names in the kubeconfig of clusters.test.kubeconfig, there as tls-server-name where the address has to stay", false},
		"expired":   {serve(old), oldCA, "expired at " + now.Add(-time.Hour).UTC().Format("2006-01-02 15:"), "renew it where the API server runs", "renew it where the API server runs", false},
		"too early": {serve(early), earlyCA, "is not valid before ", "are this machine's clock and the API server's right?", "are this machine's clock", false},
		"plain HTTP": {strings.Replace(plain.URL, "http:", "https:", 1), goodCA, "does not speak TLS",
			"write the API server's HTTPS address, mostly with port 6443, in clusters.test.server", "in the kubeconfig of clusters.test.kubeconfig", false},
		"refused": {"https://" + free.Addr().String(), goodCA, "UTC: connection refused by 127.0.0.1:",
			"does it run, and is the address in clusters.test.server right?", "in the kubeconfig of clusters.test.kubeconfig right?", true},
		"no host": {"https://nowhere.invalid:6443", goodCA, "UTC: there is no host nowhere.invalid", "write its name in clusters.test.server", "in the kubeconfig of", true},
		"silent":  {"https://" + silent.Addr().String(), goodCA, "UTC: no answer within 5s", "does a firewall or a missing route keep us from 127.0.0.1:", "in the kubeconfig of", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
			text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}], users: [{name: u, user: {token: t}}]}`, test.server, base64.StdEncoding.EncodeToString([]byte(test.ca)))
			if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for hint, cfg := range map[string]Config{test.hint: {Server: test.server, CA: test.ca, Token: "t"}, test.byKubeconfig: {Kubeconfig: kubeconfig}} {
				cfg.Name = "test"
				c, err := Open(cfg)
				if err != nil {
					t.Fatal(err)
				}
				_, err = c.Lacks(t.Context(), "n")
				var e *Error
				if !errors.As(err, &e) || e.Object != "cluster test" || e.Temporary != test.temporary || !strings.Contains(e.Message, test.message) || !strings.Contains(e.Hint, hint) {
					t.Errorf("got %v", err)
					continue
				}
				if strings.Contains(strings.ToLower(err.Error()), "insecure") || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// TestDoubt: one request that fails keeps no other from being sent.
func TestDoubt(t *testing.T) {
	t.Parallel()
	var fails atomic.Bool
	_, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if fails.Swap(false) {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, `{}`)
	})
	fails.Store(true)
	var e *Error
	if _, err := c.sendPatch(t); !errors.As(err, &e) || !e.Temporary {
		t.Errorf("got %v", err)
	}
	if _, err := c.sendPatch(t); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// TestJustBack: what an API server refuses as soon as it is back, before it has read who may what, is asked again, and is a
// refusal only if it stays one.
func TestJustBack(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			var refusals atomic.Int32
			a := twoAPI(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/version" && refusals.Add(-1) >= 0 {
					w.WriteHeader(code)
					fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":%q,"code":%d}`, strings.ReplaceAll(http.StatusText(code), " ", ""), code)
					return
				}
				fmt.Fprint(w, thing("True"))
			})
			p := newPassage(t, a.Listener.Addr().String())
			c := openBy(t, a, p, Config{Token: "t"})
			apply := func() error { return c.Apply(t.Context(), wantedThing(), ApplyOptions{Force: true}) }
			away := func() {
				t.Helper()
				p.cut(true)
				until(t, "an API server that is away", 20*time.Second, func() bool { return apply() != nil })
				p.cut(false)
			}
			if err := apply(); err != nil {
				t.Fatal(err)
			}
			away()
			refusals.Store(2)
			until(t, "an API server that is back", 20*time.Second, func() bool {
				err := apply()
				var e *Error
				if err != nil && (!errors.As(err, &e) || !e.Temporary) {
					t.Fatal(err)
				}
				return err == nil
			})
			away()
			refusals.Store(1 << 20)
			until(t, "a refusal for good", 30*time.Second, func() bool {
				var e *Error
				return errors.As(apply(), &e) && !e.Temporary
			})
		})
	}
}

// TestRelayed: what a service answers through the API server is not what the API server says of us.
func TestRelayed(t *testing.T) {
	t.Parallel()
	_, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	if status, _, err := c.Proxy(t.Context(), "n", "web", "80", "/admin"); err != nil || status != http.StatusUnauthorized {
		t.Errorf("%d, %v", status, err)
	}
}

// sendPatch sends what nobody sends twice by itself.
func (c *Cluster) sendPatch(t *testing.T) (int, error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, (&url.URL{Scheme: c.server.Scheme, Host: c.server.Host, Path: "/x"}).String(), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	status, _, err := c.do(req, ObjectRef{Kind: "Thing", Name: "a"}, 1<<10)
	return status, err
}

// TestWaitGoesOn: a watch that ends in the usual way is gone on with from the newest state that it told, bookmarks too, and
// nothing is listed again.
func TestWaitGoesOn(t *testing.T) {
	t.Parallel()
	var lists, watches atomic.Int32
	_, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("watch") == "" {
			lists.Add(1)
			fmt.Fprint(w, list(thing("False")))
			return
		}
		if q.Get("allowWatchBookmarks") != "true" || q.Get("timeoutSeconds") != "60" {
			t.Errorf("watches by %s", r.URL.RawQuery)
		}
		from, event := "", ""
		switch watches.Add(1) {
		case 1:
			from, event = "7", `{"type":"BOOKMARK","object":{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"resourceVersion":"8"}}}`
		case 2:
			from, event = "8", `{"type":"MODIFIED","object":`+strings.Replace(thing("False"), `"uid":"1"`, `"uid":"1","resourceVersion":"9"`, 1)+`}`
		default:
			from, event = "9", `{"type":"MODIFIED","object":`+thing("True")+`}`
		}
		if q.Get("resourceVersion") != from {
			t.Errorf("watch %d from %s, want %s", watches.Load(), q.Get("resourceVersion"), from)
		}
		fmt.Fprintln(w, event)
		if from == "9" {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.Wait(ctx, wantedThing(), func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	if lists.Load() != 1 || watches.Load() != 3 {
		t.Errorf("%d lists and %d watches", lists.Load(), watches.Load())
	}
}

// TestGoneMeanwhile: a Job that was complete, and that removed itself while nobody could look, is complete.
func TestGoneMeanwhile(t *testing.T) {
	t.Parallel()
	job := `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j","namespace":"n","uid":"j"},"status":{"conditions":[{"type":"Complete","status":"True"}]}}`
	items := []string{job, ""}
	_, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"apiVersion":"batch/v1","kind":"JobList","metadata":{"resourceVersion":"7"},"items":[`+items[0]+`]}`)
		items = items[1:]
	})
	f, err := c.feed(t.Context(), ObjectRef{Group: "batch", Version: "v1", Kind: "Job", Namespace: "n", Name: "j"}, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.list(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if gone := f.lastDeleted(); f.one() != nil || gone == nil || gone.GetName() != "j" {
		t.Errorf("there is %v, gone %v", f.one(), gone)
	}
}
