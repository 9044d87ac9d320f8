package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// An explained error is a registry's with what it means.
type explained struct {
	ref, words string
	permanent  bool
	err        error
}

// Error leaves out the queries of addresses: that of an upload, or of a redirect to a storage, is a credential.
func (e *explained) Error() string {
	return fmt.Sprintf("%s: %s (%s)", e.ref, e.words, query.ReplaceAllString(e.err.Error(), "$1"))
}

var query = regexp.MustCompile(`(https?://[^\s"?]+)\?[^\s"]*[^\s":]`)

func (e *explained) Unwrap() error { return e.err }

// IsPermanent says of an error that Explain explained that asking again does not mend it: somebody has to change
// something first.
func IsPermanent(err error) bool {
	var e *explained
	return errors.As(err, &e) && e.permanent
}

// IsTemporary says of an error that Explain explained that it may mend itself: the registry limits us, is in trouble, or
// is out of reach.
func IsTemporary(err error) bool {
	var e *explained
	return errors.As(err, &e) && !e.permanent
}

// Explain adds to a registry's error for ref what it means and what to do about it. It knows the errors of this package
// and, by their words, those that BuildKit reports from a registry. One it does not know comes back as it is. Codes are
// those of the OCI distribution specification ("Error Codes").
func Explain(err error, ref string) error {
	if err == nil || errors.As(err, new(*explained)) {
		return err
	}
	s := sign{err: err, host: ref, said: strings.ToLower(err.Error())}
	if r, parseErr := name.ParseReference(ref); parseErr == nil {
		s.host = r.Context().RegistryStr()
		if t, ok := r.(name.Tag); ok && strings.HasSuffix(ref, ":"+t.TagStr()) {
			s.tag = t.TagStr()
		}
		s.said = strings.ReplaceAll(s.said, strings.ToLower(r.Context().RepositoryStr()), "") // it may be called acme/quota
	}
	if m := builderStatus.FindStringSubmatch(err.Error()); m != nil {
		s.status, _ = strconv.Atoi(m[2])
		if tag := path.Base(m[1]); strings.Contains(m[1], "/manifests/") && !strings.Contains(tag, ":") {
			s.tag = tag
		}
	}
	var refusal *transport.Error
	if errors.As(err, &refusal) {
		s.status = refusal.StatusCode
		for _, d := range refusal.Errors {
			s.codes = append(s.codes, d.Code)
		}
	}
	words, permanent := s.explanation()
	if words == "" {
		return err
	}
	return &explained{ref, words, permanent, err}
}

// builderStatus is how BuildKit, by containerd's client, tells an answer that it did not expect; what the registry says
// in the body follows on the next line, as in "denied: …".
var builderStatus = regexp.MustCompile(`unexpected status from [A-Z]+ request to (\S+): (\d{3})\b`)

// A sign is what can be seen of an error.
type sign struct {
	err    error
	host   string
	tag    string // the one that was asked for, where that is known
	said   string // in lower case
	status int    // of HTTP; 0 where there was no answer, or none is known
	codes  []transport.ErrorCode
}

func (s sign) says(words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(s.said, w) })
}

func (s sign) coded(code transport.ErrorCode) bool { return slices.Contains(s.codes, code) }

// explanation returns "" for an unknown error. It goes from the most telling sign to the least: a registry may answer an
// immutable tag with DENIED, and a missing namespace with UNAUTHORIZED.
func (s sign) explanation() (words string, permanent bool) {
	var dns *net.DNSError
	switch {
	case s.says("immutable"):
		the := "this tag"
		if s.tag != "" {
			the = "the tag " + s.tag
		}
		return the + " exists and the registry does not let tags change; only this name was refused, the layers are there; use a tag that is new for each build, such as {branch}-{short_sha}", true
	case s.says("quota", "exceed the configured upper limit"):
		return "the registry's quota is used up; delete old images or raise it", true
	case s.says("server gave http response to https client", "first record does not look like a tls handshake"):
		return fmt.Sprintf("%s speaks plain HTTP; if that is meant, set plain_http: true for this registry in shipmate.yaml", s.host), true
	case s.says("http request to an https server", "http request was sent to https port"):
		return fmt.Sprintf("%s speaks HTTPS; remove plain_http: true for this registry in shipmate.yaml", s.host), true
	case s.says("x509:", "failed to verify certificate"):
		return fmt.Sprintf("the certificate of %s is not trusted; install its issuer's on the machine that connects", s.host), true
	case s.coded(transport.TooManyRequestsErrorCode), s.status == http.StatusTooManyRequests, s.says("toomanyrequests", "429 too many requests"):
		if s.host == name.DefaultRegistry {
			return "Docker Hub limits how much may be pulled, and those who are not logged in the most; give docker.io a username and a password in shipmate.yaml, or wait", false
		}
		return fmt.Sprintf("%s limits how often it may be asked; wait, or give it a credential with a higher limit", s.host), false
	case s.coded(transport.BlobUploadInvalidErrorCode), s.coded(transport.BlobUploadUnknownErrorCode), s.coded(transport.SizeInvalidErrorCode),
		s.says("blob upload invalid", "blob upload unknown", "content size invalid", "closed incomplete writer"):
		return fmt.Sprintf("%s lost a part of the upload, which begins again; what is there already is not sent again", s.host), false
	case s.says("no space left on device"), s.status == http.StatusInsufficientStorage:
		return fmt.Sprintf("the storage of %s is full", s.host), false
	case s.status >= 500:
		return fmt.Sprintf("%s is in trouble itself; look at its log and its storage", s.host), false
	case s.coded(transport.NameUnknownErrorCode), s.says("name_unknown", "name unknown", "repository name not known", "project not found", "namespace not found"):
		return fmt.Sprintf("%s has no such repository; check the name, and make its namespace first where the registry does not do that on a push (TCR, Harbor)", s.host), true
	case s.coded(transport.ManifestUnknownErrorCode), s.says("manifest_unknown", "manifest unknown"):
		return "the registry has no such image; it was never pushed there, or deleted since (a retention rule?)", false
	case s.coded(transport.UnauthorizedErrorCode), s.status == http.StatusUnauthorized,
		s.says("401 unauthorized", "unauthorized:", "authentication required", "no basic auth credentials", "missing username or secret"):
		return fmt.Sprintf("%s does not accept the credentials, or there are none; check username and password of this registry in shipmate.yaml (a temporary one, such as TCR gives for an hour, may have expired)", s.host), true
	case s.coded(transport.DeniedErrorCode), s.status == http.StatusForbidden,
		s.says("403 forbidden", "denied:", "insufficient_scope", "requested access to the resource is denied", "push access denied"):
		return fmt.Sprintf("%s knows these credentials but does not allow this; check that the namespace exists (a push makes none in TCR and Harbor) and that the account may pull and push there", s.host), true
	case s.status == http.StatusRequestEntityTooLarge:
		return fmt.Sprintf("%s, or a proxy before it, takes no layer of this size; raise its limit (nginx: client_max_body_size) or make smaller layers", s.host), true
	case s.status == http.StatusNotFound, s.says("404 not found"):
		return "the registry has no such image or repository; check the name", builderStatus.MatchString(s.err.Error())
	case errors.As(s.err, &dns), s.says("no such host"):
		return fmt.Sprintf("there is no host %s; check the name, and whether it is known only inside a private network", s.host), false
	case errors.Is(s.err, syscall.ECONNREFUSED), s.says("connection refused"):
		return fmt.Sprintf("nothing listens at %s; check host and port, and that the registry runs%s", s.host, accessControl), false
	case s.status == http.StatusRequestTimeout, timedOut(s.err), s.says("i/o timeout", "deadline exceeded", "tls handshake timeout"):
		return fmt.Sprintf("%s does not answer; check that it can be reached from here%s", s.host, accessControl), false
	case errors.Is(s.err, syscall.ECONNRESET), errors.Is(s.err, io.ErrUnexpectedEOF), s.says("connection reset by peer", "unexpected eof", "broken pipe", ": eof"):
		return fmt.Sprintf("the connection to %s was cut%s", s.host, accessControl), false
	case s.status >= 400:
		return fmt.Sprintf("%s refuses this", s.host), true
	}
	return "", false
}

// accessControl is what a connection that does not come about may mean in TCR.
const accessControl = " (a TCR instance refuses every address by default: add this one to its public or VPC access control)"

func timedOut(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
