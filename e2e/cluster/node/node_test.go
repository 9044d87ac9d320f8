package node

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"
)

func TestUpRefusesAddress(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1", "127.0.0.1:0", "192.0.2.1:5000", "0.0.0.0:5000", "[::1]:5000", "localhost:5000", "127.0.0.1:99999"} {
		dir := filepath.Join(t.TempDir(), "cluster")
		err := Up(t.Context(), Options{Dir: dir, Reach: []string{address}})
		if err == nil || !strings.Contains(err.Error(), strconv.Quote(address)) {
			t.Errorf("%q: %v", address, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q: the directory was made", address)
		}
	}
}

func TestInitRefusesToRunOnTheHost(t *testing.T) {
	before, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if err := Init([]string{"--dir", t.TempDir()}); err == nil {
		t.Error("no error")
	}
	after, err := os.ReadFile("/proc/self/mounts")
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the host's mounts changed, %v", err)
	}
}

// TestForward goes through a listener that came over a socket pair, as those for Options.Reach do.
func TestForward(t *testing.T) {
	server := listen(t)
	go func() { // answers, when all of the request has come, with its length
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(c)
			io.WriteString(c, strconv.Itoa(len(b)))
			c.Close()
		}
	}()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	sender, err := net.FileConn(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	taken := server.Addr().String()
	if err := sendListeners(sender.(*net.UnixConn), []string{taken}); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("a listener on a taken port: %v", err)
	}
	if err := sendListeners(sender.(*net.UnixConn), []string{"127.0.0.1:0", "127.0.0.2:0"}); err != nil {
		t.Fatal(err)
	}
	listeners, err := receiveListeners(ours, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer listeners[1].Close()

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); forward(ctx, listeners[0], taken) }()
	const size = 1 << 20
	c := dial(t, listeners[0].Addr().String())
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != strconv.Itoa(size) {
		t.Errorf("the answer after a half-close: %q, %v", b, err)
	}

	// One that nobody ends must not keep forward from ending.
	open := dial(t, listeners[0].Addr().String())
	if _, err := open.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	cancel()
	within(t, "forward to return", ended)
	if b, err := io.ReadAll(open); err == nil && len(b) > 0 && string(b) != "1" {
		t.Errorf("after the end: %q", b)
	}
}

func TestForwardToNobody(t *testing.T) {
	nobody := listen(t)
	nobody.Close()
	l := listen(t)
	go forward(t.Context(), l, nobody.Addr().String())
	c, err := net.Dial("tcp", l.Addr().String())
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestReceiveListenersAfterTheSenderEnded(t *testing.T) {
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs.Close()
	if l, err := receiveListeners(ours, 1); err == nil {
		t.Errorf("got %v and no error", l)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	if pid, err := holder(dir); pid != 0 || err != nil {
		t.Errorf("before: %d, %v", pid, err)
	}
	if err := Status(dir, io.Discard); !errors.Is(err, ErrDown) {
		t.Errorf("status before: %v", err)
	}
	if err := Down(dir, time.Minute); err != nil {
		t.Errorf("down before: %v", err)
	}

	// A record lock conflicts with those of other processes only.
	cmd := exec.Command(os.Args[0], "-test.run=^TestHoldLock$")
	cmd.Env = append(os.Environ(), "HOLD_LOCK="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("a second lock: %v", err)
	}
	var status bytes.Buffer
	if err := Status(dir, &status); err != nil || !strings.Contains(status.String(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("status: %q, %v", status.String(), err)
	}
	go cmd.Wait()
	if err := Down(dir, time.Minute); err != nil {
		t.Errorf("down: %v", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatalf("after the holder ended: %v", err)
	}
	lock.Close()
}

// TestHoldLock is TestLock's other process.
func TestHoldLock(t *testing.T) {
	dir := os.Getenv("HOLD_LOCK")
	if dir == "" {
		t.Skip("runs only in a process of TestLock's")
	}
	if _, err := lockDir(dir); err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("locked\n")
	time.Sleep(time.Minute) // until TestLock ends it
}

func TestDownOfNoDirectory(t *testing.T) {
	if err := Down(filepath.Join(t.TempDir(), "none"), time.Minute); err == nil {
		t.Error("no error")
	}
}

func TestCgroupDead(t *testing.T) {
	fields, err := statFields("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	self := strconv.Itoa(os.Getpid())
	const nobody = "4194305" // above the kernel's largest pid
	for _, test := range []struct {
		name string
		want bool
	}{
		{cgroupPrefix + self + "-" + fields[startTime], false},
		{cgroupPrefix + self + "-1", true}, // the pid is in use again
		{cgroupPrefix + nobody + "-1", true},
		{cgroupPrefix + nobody, false}, // the others aren't of our making
		{cgroupPrefix + "self-1", false},
		{cgroupPrefix, false},
		{"kubepods", false},
		{nobody + "-1", false},
	} {
		if got := cgroup(test.name).dead(); got != test.want {
			t.Errorf("%q: dead is %v", test.name, got)
		}
	}
}

func TestRemoveTree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(dir, "pods", "pod"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(dir); err != nil {
		t.Error(err)
	}
	if err := removeTree(dir); err != nil {
		t.Errorf("when it is gone: %v", err)
	}
	// A cgroup with a process refuses, here a directory with a file does.
	if err := os.MkdirAll(filepath.Join(dir, "pods"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pods", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(dir); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(dir, "pods", "file")); err != nil {
		t.Errorf("the file: %v", err)
	}
}

func TestStatFields(t *testing.T) {
	for _, test := range []struct {
		stat string
		want string // the parent's pid, or empty for an error
	}{
		{"7 (a) S 5" + strings.Repeat(" 0", 30) + "\n", "5"},
		{"7 (a) b) R 1) S 5" + strings.Repeat(" 0", 30) + "\n", "5"},
		{"7 (a) S 5\n", ""},
		{"", ""},
	} {
		path := filepath.Join(t.TempDir(), "stat")
		if err := os.WriteFile(path, []byte(test.stat), 0o600); err != nil {
			t.Fatal(err)
		}
		fields, err := statFields(path)
		if (err != nil) != (test.want == "") || err == nil && fields[1] != test.want {
			t.Errorf("%q: %q, %v", test.stat, fields, err)
		}
	}
}

func TestTail(t *testing.T) {
	long := strings.Repeat("x", 20<<10)
	for _, test := range []struct{ content, want string }{
		{"", ""},
		{"a\n", "a"},
		{"a\nb\nc\nd\n", "c\nd"},
		{"a\nb", "a\nb"},
		{long + "\nlast\n", long[:16<<10-len("\nlast\n")] + "\nlast"},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := tail(path, 2); got != test.want {
			t.Errorf("%.40q: %.40q", test.content, got)
		}
	}
}

func TestPauseImage(t *testing.T) {
	var archive bytes.Buffer
	if err := writePauseImage(&archive, "localhost/pause:1", []byte("program")); err != nil {
		t.Fatal(err)
	}
	files := untar(t, archive.Bytes())
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || len(manifest[0].Layers) != 1 || manifest[0].RepoTags[0] != "localhost/pause:1" {
		t.Fatalf("manifest: %s", files["manifest.json"])
	}
	var config struct {
		Config struct{ Entrypoint []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := files[manifest[0].Layers[0]]
	if got, want := config.RootFS.DiffIDs[0], "sha256:"+digest(layer); got != want {
		t.Errorf("diff id %s, the layer's is %s", got, want)
	}
	if got := untar(t, layer)[strings.TrimPrefix(config.Config.Entrypoint[0], "/")]; string(got) != "program" {
		t.Errorf("the entrypoint has %q", got)
	}
}

// TestCredentials has a server and a client that trust the authority and nobody else.
func TestCredentials(t *testing.T) {
	a, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	serving, err := a.issue("server", "", "127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(serving.cert, serving.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.pem)
	users := make(chan *x509.Certificate, 1)
	l := tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if err := c.(*tls.Conn).Handshake(); err == nil {
				users <- c.(*tls.Conn).ConnectionState().PeerCertificates[0]
			}
			c.Close()
		}
	}()
	admin, err := a.issue("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(a.kubeconfig(l.Addr().String(), admin))
	if err != nil {
		t.Fatal(err)
	}
	clientPair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(config.CAData)
	c, err := tls.Dial("tcp", strings.TrimPrefix(config.Host, "https://"), &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{clientPair}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case u := <-users:
		if u.Subject.CommonName != "admin" || len(u.Subject.Organization) != 1 || u.Subject.Organization[0] != "system:masters" {
			t.Errorf("the server saw %v", u.Subject)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server saw nobody")
	}
	other, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	stranger := x509.NewCertPool()
	stranger.AppendCertsFromPEM(other.pem)
	if c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: stranger, Certificates: []tls.Certificate{clientPair}}); err == nil {
		c.Close()
		t.Error("a client of another cluster trusts the server")
	}
}

func listen(t *testing.T) *net.TCPListener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func dial(t *testing.T, address string) *net.TCPConn {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.TCPConn)
}

func within(t *testing.T, what string, done <-chan struct{}) {
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
	}
}

func untar(t *testing.T, archive []byte) map[string][]byte {
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
