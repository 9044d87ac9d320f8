package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Explain adds to a registry's error for ref what it means and what to do about it. It knows the errors of this package
// and, by their words, those that BuildKit reports from a registry. One it does not know comes back as it is. Codes are
// those of the OCI distribution specification ("Error Codes").
func Explain(err error, ref string) error {
	if err == nil {
		return nil
	}
	host, said := ref, strings.ToLower(err.Error())
	if r, parseErr := name.ParseReference(ref); parseErr == nil {
		host = r.Context().RegistryStr()
		said = strings.ReplaceAll(said, strings.ToLower(r.Context().RepositoryStr()), "") // it may be called acme/quota
	}
	words := explanation(err, said, host)
	if words == "" {
		return err
	}
	return fmt.Errorf("%s: %s (%w)", ref, words, err)
}

// explanation returns "" for an unknown error. said is its text in lower case.
func explanation(err error, said, host string) string {
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(said, w) })
	}
	var codes []transport.ErrorCode
	status := 0
	var refusal *transport.Error
	if errors.As(err, &refusal) {
		status = refusal.StatusCode
		for _, d := range refusal.Errors {
			codes = append(codes, d.Code)
		}
	}
	coded := func(code transport.ErrorCode) bool { return slices.Contains(codes, code) }
	var dns *net.DNSError

	// From the most telling sign to the least: a registry may answer an immutable tag with DENIED, and a missing
	// namespace with UNAUTHORIZED.
	switch {
	case says("immutable"):
		return "this tag exists and the registry does not let tags change; use a tag that is new for each build, such as {branch}-{short_sha}"
	case says("quota"):
		return "the registry's quota is used up; delete old images or raise it"
	case says("server gave http response to https client", "first record does not look like a tls handshake"):
		return fmt.Sprintf("%s speaks plain HTTP; if that is meant, set plain_http: true for this registry in shipmate.yaml", host)
	case says("http request to an https server", "http request was sent to https port"):
		return fmt.Sprintf("%s speaks HTTPS; remove plain_http: true for this registry in shipmate.yaml", host)
	case says("x509:", "failed to verify certificate"):
		return fmt.Sprintf("the certificate of %s is not trusted; install its issuer's on the machine that connects", host)
	case coded(transport.TooManyRequestsErrorCode), status == http.StatusTooManyRequests, says("toomanyrequests", "429 too many requests"):
		return fmt.Sprintf("%s limits how often it may be asked; wait, or give it a credential with a higher limit", host)
	case coded(transport.NameUnknownErrorCode), says("name_unknown", "repository name not known"):
		return fmt.Sprintf("%s has no such repository; check the name, and make its namespace first where the registry does not do that on a push (TCR, Harbor)", host)
	case coded(transport.ManifestUnknownErrorCode), says("manifest_unknown", "manifest unknown"):
		return "the registry has no such image; it was never pushed there, or deleted since (a retention rule?)"
	case coded(transport.UnauthorizedErrorCode), status == http.StatusUnauthorized, says("401 unauthorized", "unauthorized:", "authentication required", "no basic auth credentials"):
		return fmt.Sprintf("%s does not accept the credentials, or there are none; check username and password of this registry in shipmate.yaml (a temporary one may have expired)", host)
	case coded(transport.DeniedErrorCode), status == http.StatusForbidden, says("403 forbidden", "denied:", "insufficient_scope", "requested access to the resource is denied"):
		return fmt.Sprintf("%s knows these credentials but does not allow this; check that the namespace exists and that the account may pull and push there", host)
	case status == http.StatusNotFound, says("404 not found"):
		return "the registry has no such image or repository; check the name"
	case errors.As(err, &dns), says("no such host"):
		return fmt.Sprintf("there is no host %s; check the name, and whether it is known only inside a private network", host)
	case errors.Is(err, syscall.ECONNREFUSED), says("connection refused"):
		return fmt.Sprintf("nothing listens at %s; check host and port, and that the registry runs", host)
	case timedOut(err), says("i/o timeout", "deadline exceeded"):
		return fmt.Sprintf("%s does not answer; check that it can be reached from here (a TCR instance refuses every address by default: add this one to its public or VPC access control)", host)
	}
	return ""
}

func timedOut(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
