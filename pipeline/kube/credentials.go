package kube

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

// tokenAge is how long a token counts until it is read again. What is refused is read again at once.
const tokenAge = time.Minute

// readKubeconfig returns what a kubeconfig says of the context that cfg names. A context that is not there is an error that
// lists those that are.
func readKubeconfig(cfg Config) (*rest.Config, error) {
	file, err := clientcmd.LoadFromFile(cfg.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", cfg.Kubeconfig, err)
	}
	name := cfg.Context
	if name == "" {
		name = file.CurrentContext
	}
	if file.Contexts[name] == nil {
		has := "it has none"
		if names := slices.Sorted(maps.Keys(file.Contexts)); len(names) > 0 {
			has = "it has: " + strings.Join(names, ", ")
		}
		if name == "" {
			return nil, fmt.Errorf("kubeconfig %s has no current context; write which one is meant as context; %s", cfg.Kubeconfig, has)
		}
		return nil, fmt.Errorf("kubeconfig %s has no context %q; %s", cfg.Kubeconfig, name, has)
	}
	rc, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: cfg.Kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: name},
	).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", cfg.Kubeconfig, err)
	}
	return rc, nil
}

// renewable has the token of rc read again where it stands in a file, also in a kubeconfig itself, and reports whether the
// credentials can change at all. What an exec plugin says is client-go's matter; its own reading of files does not notice
// that a token is refused.
func renewable(rc *rest.Config, cfg Config) bool {
	var read func() (string, error)
	switch file := rc.BearerTokenFile; {
	case file != "":
		read = func() (string, error) { return readToken(file) }
	case cfg.Kubeconfig != "" && rc.BearerToken != "":
		read = func() (string, error) {
			rc, err := readKubeconfig(cfg)
			if err != nil {
				return "", err
			}
			return rc.BearerToken, nil
		}
	default:
		return rc.ExecProvider != nil
	}
	rc.BearerToken, rc.BearerTokenFile, rc.ExecProvider = "", "", nil // of several client-go takes the token too
	rc.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedTokenSource(tokenSource{read, cfg.Read})))
	return true
}

func readToken(file string) (string, error) {
	text, err := os.ReadFile(file)
	token := strings.TrimSpace(string(text))
	if err == nil && token == "" {
		err = errors.New("is empty")
	}
	if err != nil {
		return "", fmt.Errorf("token file %s: %w", file, err)
	}
	return token, nil
}

// tokenSource reads a token, and tells it.
type tokenSource struct {
	read func() (string, error)
	tell func(string) // may be nil
}

// Token implements [oauth2.TokenSource].
func (s tokenSource) Token() (*oauth2.Token, error) {
	token, err := s.read()
	if err == nil && s.tell != nil {
		s.tell(token)
	}
	return &oauth2.Token{AccessToken: token, Expiry: time.Now().Add(tokenAge)}, err
}

// renewing sends a request that was refused once more: the transport below reads the credentials anew after a refusal.
type renewing struct{ base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (r renewing) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.base.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || req.Body != nil && req.GetBody == nil {
		return resp, err
	}
	again := req.Clone(req.Context())
	if req.Body != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxProxyBody) // so that the connection can be used again
	_ = resp.Body.Close()
	return r.base.RoundTrip(again)
}

// WrappedRoundTripper is for client-go, which looks for the transport below.
func (r renewing) WrappedRoundTripper() http.RoundTripper { return r.base }
