package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// place is a cluster as the server's file has it, for what is said of it.
type place struct {
	name       string // empty: not known
	host       string // of the API server
	kubeconfig bool
	renewal    renewal
}

// renewal is how new credentials of a cluster come to be used.
type renewal int

const (
	renewedByRestart renewal = iota // what the environment has, or a client certificate in a kubeconfig
	renewedByFile                   // a token in a file
	renewedByPlugin                 // an exec plugin
)

func placeOf(cfg Config, host string) place {
	if u, err := url.Parse(host); err == nil && u.Host != "" {
		host = u.Host
	}
	return place{name: cfg.Name, host: host, kubeconfig: cfg.Kubeconfig != ""}
}

// String is how the cluster is called.
func (p place) String() string {
	if p.name == "" {
		return "cluster " + p.host
	}
	return "cluster " + p.name
}

// at is where a key of the cluster stands in the server's file.
func (p place) at(key string) string {
	if p.name == "" {
		return "the cluster's " + key
	}
	return "clusters." + p.name + "." + key
}

// address is where its address stands.
func (p place) address() string {
	if p.kubeconfig {
		return "the kubeconfig of " + p.at("kubeconfig")
	}
	return p.at("server")
}

func (p place) renew() string {
	switch {
	case p.renewal == renewedByPlugin:
		return "see what the exec plugin in the kubeconfig of " + p.at("kubeconfig") + " says when it is run by hand, then run bot doctor"
	case p.renewal == renewedByFile && p.kubeconfig:
		return "renew the token of the kubeconfig of " + p.at("kubeconfig") + ", which is read again by itself, then run bot doctor"
	case p.renewal == renewedByFile:
		return "renew the token in the file of " + p.at("token") + ", which is read again by itself, then run bot doctor"
	case p.kubeconfig:
		return "renew the credentials in the kubeconfig of " + p.at("kubeconfig") + " and restart the bot, then run bot doctor"
	default:
		return "renew the token of " + p.at("token") + " and restart the bot, then run bot doctor"
	}
}

const clock = "2006-01-02 15:04:05 UTC"

// explain says why the API server takes us for nobody.
func (r *refusal) explain(e *Error) {
	e.Object, e.Message, e.Hint = r.where.String(), r.Error(), r.where.renew()
	if !r.expired.IsZero() {
		e.Message += ": the token expired at " + r.expired.UTC().Format(clock)
	}
}

// explain says why the API server does not answer, and what to write where.
func (u *unreachable) explain(e *Error) {
	e.Object, e.Temporary, e.Away = u.where.String(), true, true
	if u.explainTLS(e) {
		return
	}
	cause := oneLine(u.err.Error())
	var op *net.OpError
	if errors.As(u.err, &op) && op.Err != nil { // without our own port, which is another one each time
		cause = oneLine(op.Op + ": " + op.Err.Error())
	}
	var dns *net.DNSError
	var slow net.Error
	switch {
	case errors.As(u.err, &dns) && dns.IsNotFound:
		cause = "there is no host " + dns.Name
		e.Hint = "write its name in " + u.where.address() + " as this machine can find it"
	case errors.Is(u.err, syscall.ECONNREFUSED):
		cause = "connection refused by " + u.where.host
		e.Hint = "does it run, and is the address in " + u.where.address() + " right?"
	case errors.Is(u.err, errSlow), errors.Is(u.err, os.ErrDeadlineExceeded), errors.As(u.err, &slow) && slow.Timeout():
		e.Hint = "does a firewall or a missing route keep us from " + u.where.host + ", and is the address in " + u.where.address() + " right?"
	case unreadable(cause):
		e.Message, e.Hint = "our credentials can't be read", u.where.renew() // the cause may name files of this machine
		return
	default:
		e.Hint = "is the address in " + u.where.address() + " right, and may we reach it?"
	}
	e.Message = "the API server does not answer" + u.sinceWhen() + ": " + cause
}

func (u *unreachable) sinceWhen() string {
	if u.since.IsZero() {
		return ""
	}
	return " since " + u.since.UTC().Format(clock)
}

// unreadable reports whether a message is about a token's file, a kubeconfig or an exec plugin: client-go and oauth2 have no
// types for that.
func unreadable(message string) bool {
	for _, s := range []string{"token file ", "getting credentials: ", "kubeconfig "} {
		if strings.Contains(message, s) {
			return true
		}
	}
	return false
}

// explainTLS says what is wrong with the certificates, if that is it: no waiting mends that.
func (u *unreachable) explainTLS(e *Error) bool {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.As(u.err, &unknown):
		e.Message = "the API server's certificate is signed by an authority that we don't know"
		e.Hint = "write the certificate of that authority (PEM) to a file, and " + u.where.at("ca") + ": file:./ca.pem"
		if u.where.kubeconfig {
			e.Hint = "write the certificate of that authority to certificate-authority-data in " + u.where.address()
		}
	case errors.As(u.err, &name):
		e.Message = fmt.Sprintf("the API server's certificate is not for %s but for %s", name.Host, namesOf(name.Certificate))
		e.Hint = "write one of these names in " + u.where.address()
		if u.where.kubeconfig {
			e.Hint += ", there as tls-server-name where the address has to stay"
		}
	case errors.As(u.err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		e.Message = "the API server's certificate, or that of its authority, expired at " + invalid.Cert.NotAfter.UTC().Format(clock)
		e.Hint = "renew it where the API server runs (kubeadm certs renew); an authority's goes to " + u.where.at("ca") + " too"
		if u.where.kubeconfig {
			e.Hint = "renew it where the API server runs (kubeadm certs renew); an authority's goes to " + u.where.address() + " too"
		}
		if time.Now().Before(invalid.Cert.NotBefore) {
			e.Message = "the API server's certificate is not valid before " + invalid.Cert.NotBefore.UTC().Format(clock)
			e.Hint = "are this machine's clock and the API server's right?"
		}
	case errors.Is(u.err, http.ErrSchemeMismatch), errors.As(u.err, &record):
		e.Message = u.where.host + " does not speak TLS"
		e.Hint = "write the API server's HTTPS address, mostly with port 6443, in " + u.where.address()
	case errors.As(u.err, &alert):
		e.Message = "the API server refuses the TLS connection: " + oneLine(alert.Error())
		e.Hint = u.where.renew()
	case strings.Contains(u.err.Error(), "x509: "):
		e.Message = "the API server's certificate is not accepted: " + oneLine(u.err.Error())
		e.Hint = "does the CA in " + u.where.at("ca") + " match its certificate?"
		if u.where.kubeconfig {
			e.Hint = "does the CA in " + u.where.address() + " match its certificate?"
		}
	default:
		return false
	}
	e.Temporary, e.Away = false, false
	return true
}

// namesOf lists what a certificate is for.
func namesOf(c *x509.Certificate) string {
	const most = 8
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return "no name at all"
	case len(names) > most:
		names = append(names[:most:most], "…")
	}
	return strings.Join(names, ", ")
}

// outOfTime reports whether a request failed because its own context ended. That a connection or an answer took too long is
// an error of the network, which calls itself the same.
func outOfTime(err error) bool {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err == context.Canceled || u.Err == context.DeadlineExceeded
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
