package build

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	control "github.com/moby/buildkit/api/services/control"
	types "github.com/moby/buildkit/api/types"
	"google.golang.org/grpc"
	tlscredentials "google.golang.org/grpc/credentials"
)

func TestOpen(t *testing.T) {
	ca := newCA(t)
	cert, key := ca.issue(t)
	for _, test := range []struct {
		name string
		a    Address
		err  string
	}{
		{"unix", Address{URL: "unix:///run/buildkit/buildkitd.sock"}, ""},
		{"tcp", Address{URL: "tcp://builder-2:1234"}, ""},
		{"tcp, IPv6", Address{URL: "tcp://[::1]:1234"}, ""},
		{"TLS", Address{URL: "tcp://builder-2:1234", CA: ca.pem, Cert: cert, Key: key}, ""},
		{"TLS, a CA of the system", Address{URL: "tcp://builder-2:1234", Cert: cert, Key: key}, ""},
		{"TLS, anonymous", Address{URL: "tcp://builder-2:1234", CA: ca.pem}, ""},
		{"nothing", Address{}, "write unix://"},
		{"a path", Address{URL: "/run/buildkit/buildkitd.sock"}, "write unix://"},
		{"unix, relative", Address{URL: "unix://run/buildkitd.sock"}, "write unix://"},
		{"tcp, no port", Address{URL: "tcp://builder-2"}, "write unix://"},
		{"tcp, with a login", Address{URL: "tcp://user:pass@builder:1"}, "write unix://"},
		{"another scheme", Address{URL: "docker-container://x"}, "write unix://"},
		{"a pod without a way to it", Address{URL: "kube-pod://buildkitd-0"}, "write unix://"},
		{"unix, TLS", Address{URL: "unix:///run/b.sock", CA: ca.pem}, "a matter of tcp"},
		{"a CA that is none", Address{URL: "tcp://builder-2:1234", CA: "s3cret"}, "ca holds no certificate"},
		{"a key of another", Address{URL: "tcp://builder-2:1234", Cert: cert, Key: second(ca.issue(t))}, "private key does not match"},
		{"no key", Address{URL: "tcp://builder-2:1234", Cert: cert}, "cert and key"},
		{"a key that is none", Address{URL: "tcp://builder-2:1234", Cert: cert, Key: "s3cret"}, "cert and key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open(test.a)
			if (err == nil) != (test.err == "") || err != nil && (!strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "s3cret")) {
				t.Errorf("%v, want %q", err, test.err)
			}
		})
	}
}

func second[A, B any](_ A, b B) B { return b }

// An authority signs certificates.
type authority struct {
	pem  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.pem, a.cert, a.key = certificate(t, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue makes a certificate for 127.0.0.1 that serves and asks.
func (a *authority) issue(t *testing.T) (cert, key string) {
	t.Helper()
	cert, _, k := certificate(t, a, &x509.Certificate{Subject: pkix.Name{CommonName: "builder"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func certificate(t *testing.T, by *authority, c *x509.Certificate) (string, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), cert, key
}

// listed is a daemon that knows its workers.
type listed struct {
	control.UnimplementedControlServer
	workers int
}

func (l *listed) ListWorkers(context.Context, *control.ListWorkersRequest) (*control.ListWorkersResponse, error) {
	return &control.ListWorkersResponse{Record: make([]*types.WorkerRecord, l.workers)}, nil
}

// serve starts a daemon and returns its address.
func serve(t *testing.T, workers int, options ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	control.RegisterControlServer(server, &listed{workers: workers})
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return "tcp://" + l.Addr().String()
}

func TestPing(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	serverCert, serverKey := ca.issue(t)
	pair, err := tls.X509KeyPair([]byte(serverCert), []byte(serverKey))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(ca.pem))
	secured := serve(t, 1, grpc.Creds(tlscredentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert})))
	plain, lazy := serve(t, 1), serve(t, 0)
	_, port, _ := strings.Cut(strings.TrimPrefix(secured, "tcp://"), ":")
	cert, key := ca.issue(t)
	foreignCert, foreignKey := other.issue(t)
	for _, test := range []struct {
		name string
		a    Address
		err  string
	}{
		{"plain", Address{URL: plain}, ""},
		{"plain, through a connection of ours", Address{URL: "kube-pod://b?namespace=x", Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(plain, "tcp://"))
		}}, ""},
		{"TLS", Address{URL: secured, CA: ca.pem, Cert: cert, Key: key}, ""},
		{"no worker", Address{URL: lazy}, "it has no worker"},
		{"nobody there", Address{URL: "tcp://127.0.0.1:1"}, "is buildkitd running there?"},
		{"no way there", Address{URL: "kube-pod://b", Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("Pod/b: not found") }}, "Pod/b: not found"},
		{"without a certificate", Address{URL: secured, CA: ca.pem}, "write cert and key for this builder"},
		{"with a certificate of others", Address{URL: secured, CA: ca.pem, Cert: foreignCert, Key: foreignKey}, "builder unavailable"},
		{"a server of others", Address{URL: secured, CA: other.pem, Cert: cert, Key: key}, "is ca the one that signed its certificate?"},
		{"a server by another name", Address{URL: "tcp://localhost:" + port, CA: ca.pem, Cert: cert, Key: key}, "write the host that its certificate names"},
		{"TLS to one that speaks none", Address{URL: plain, CA: ca.pem}, "it speaks no TLS"},
		{"none to one that speaks TLS", Address{URL: secured}, "does it want TLS?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := Open(test.a)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err = b.Ping(ctx)
			if (err == nil) != (test.err == "") || err != nil && (!errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("%v, want %q", err, test.err)
			}
			if err != nil {
				t.Log(err)
			}
		})
	}
}
