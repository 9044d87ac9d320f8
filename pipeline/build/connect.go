package build

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/moby/buildkit/client"
	"google.golang.org/grpc"
	tlscredentials "google.golang.org/grpc/credentials"
)

// Address says where a BuildKit daemon listens, and how it is spoken to.
type Address struct {
	URL string // unix:///path/of/socket or tcp://host:port; with Dial any that names the daemon to people

	// Of tcp, each PEM: with any of them TLS is spoken, and never less than version 1.2. CA are the certificates that sign
	// the daemon's; empty: the system's roots. Cert and Key are what we show, both or neither.
	CA, Cert, Key string

	// Dial makes a connection to the daemon where no address leads there. The connection outlives ctx. Nil: URL is dialed.
	Dial func(ctx context.Context) (net.Conn, error)
}

// Open returns the builder at an address. It does not connect; each Ping and each Build has its own connection, so there is
// nothing to close.
func Open(a Address) (*Builder, error) {
	b := &Builder{url: a.URL}
	if a.Dial != nil {
		b.options = []client.ClientOpt{client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return a.Dial(ctx) })}
		return b, nil
	}
	u, err := url.Parse(a.URL)
	secured := a.CA != "" || a.Cert != "" || a.Key != ""
	switch {
	case err == nil && u.Scheme == "unix" && u.Host == "" && u.Path != "" && u.RawQuery == "":
		if secured {
			return nil, fmt.Errorf("builder %s: certificates are a matter of tcp", a.URL)
		}
	case err == nil && u.Scheme == "tcp" && u.Hostname() != "" && u.Port() != "" && u.Path == "" && u.RawQuery == "" && u.User == nil:
	default:
		return nil, fmt.Errorf("builder %q: write unix:///path/to/buildkitd.sock or tcp://host:port", a.URL)
	}
	if !secured {
		return b, nil
	}
	// The server's name is taken from the address.
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(a.CA)) {
			return nil, fmt.Errorf("builder %s: ca holds no certificate in PEM", a.URL)
		}
	}
	if a.Cert != "" || a.Key != "" {
		pair, err := tls.X509KeyPair([]byte(a.Cert), []byte(a.Key))
		if err != nil {
			return nil, fmt.Errorf("builder %s: cert and key: %w", a.URL, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	b.options = []client.ClientOpt{client.WithGRPCDialOption(grpc.WithTransportCredentials(tlscredentials.NewTLS(config)))}
	return b, nil
}

// String is the builder's URL.
func (b *Builder) String() string { return b.url }

// connect makes a client. What is wrong with the connection shows at its first call.
func (b *Builder) connect(ctx context.Context) (*client.Client, error) {
	c, err := client.New(ctx, b.url, b.options...)
	if err != nil {
		return nil, b.unavailable(err)
	}
	return c, nil
}

// Ping reports whether the builder answers and has a worker. Its error is ErrUnavailable when it does not.
func (b *Builder) Ping(ctx context.Context) error {
	c, err := b.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return b.unavailable(err)
	}
	if len(workers) == 0 {
		return b.unavailable(errors.New("it has no worker"))
	}
	return nil
}

// unavailable is ErrUnavailable with what the connection said, and what to do about it.
func (b *Builder) unavailable(err error) error {
	said := err.Error()
	for _, r := range remedies {
		if strings.Contains(said, r.said) {
			return fmt.Errorf("%w: %s: %w; %s", ErrUnavailable, b.url, err, r.remedy)
		}
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, b.url, err)
}

// remedies are by what Go's net and TLS say.
var remedies = []struct{ said, remedy string }{
	{"tls: certificate required", "it wants to know us: write cert and key for this builder"},
	{"tls: bad certificate", "it does not accept cert: is that signed by the CA that it was started with?"},
	{"tls: unknown certificate authority", "it does not accept cert: is that signed by the CA that it was started with?"},
	{"tls: first record does not look like a TLS handshake", "it speaks no TLS: start it with --tlscacert, --tlscert and --tlskey, or remove ca, cert and key here"},
	{"x509: certificate signed by unknown authority", "is ca the one that signed its certificate?"},
	{"x509: certificate is valid for", "write the host that its certificate names, or make one for this host"},
	{"connection refused", "is buildkitd running there?"},
	{"no such file or directory", "is buildkitd running there?"},
	{"permission denied", "may the bot's user open this socket?"},
}
