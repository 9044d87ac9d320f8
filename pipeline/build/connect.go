package build

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
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
	b.unknown = len(config.Certificates) == 0
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
	_, err := b.workers(ctx)
	return err
}

// Platforms lists what the builder's workers build for, as in linux/amd64, each once. Its error is ErrUnavailable when it does
// not answer or has no worker.
func (b *Builder) Platforms(ctx context.Context) (all []string, err error) {
	workers, err := b.workers(ctx)
	for _, w := range workers {
		for _, p := range w.Platforms {
			name := strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all, err
}

func (b *Builder) workers(ctx context.Context) ([]*client.WorkerInfo, error) {
	c, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return nil, b.unavailable(err)
	}
	if len(workers) == 0 {
		return nil, b.unavailable(errors.New("it has no worker"))
	}
	return workers, nil
}

// unavailable is ErrUnavailable with what the connection said, and what to do about it.
func (b *Builder) unavailable(err error) error {
	said := err.Error()
	for _, r := range remedies {
		if strings.Contains(said, r.said) {
			return fmt.Errorf("%w: %s: %w; %s", ErrUnavailable, b.url, err, r.remedy)
		}
	}
	if b.unknown { // a refusal in TLS 1.3 may be overtaken by its end of the connection
		return fmt.Errorf("%w: %s: %w; if it wants to know us, write cert and key for this builder", ErrUnavailable, b.url, err)
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
	{"x509: certificate is", "write the host that its certificate names, or make one for this host"},
	{"error reading server preface: EOF", "does it want TLS? Write ca, cert and key for this builder then"},
	{"connection refused", "is buildkitd running there?"},
	{"no such file or directory", "is buildkitd running there?"},
	{"permission denied", "may the bot's user open this socket?"},
}
