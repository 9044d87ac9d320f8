// Package egress reaches addresses on the network that somebody else wrote down, and no others than they may mean.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrPrivate is returned (wrapped) of an address that is reached only where private ones are.
var ErrPrivate = errors.New("an address of a private network, which must be allowed")

// Client is an HTTP client that connects to nothing of this machine or of the cloud that it runs in, whatever a name resolves to: to no
// loopback, link-local, multicast or metadata address, and, unless private, to none of a private network (RFC 1918, 4193, 6598 and the
// like). private allows loopback, too. It asks no proxy, which would resolve names where nobody looks, and follows no redirect; timeout
// bounds a whole request.
func Client(private bool, timeout time.Duration) *http.Client {
	dialer := net.Dialer{Timeout: 10 * time.Second, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return Check(at.Addr(), private)
	}}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}
	return &http.Client{Timeout: timeout, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// never are addresses at which clouds tell their machines secrets: those of AWS, Alibaba Cloud, Oracle Cloud, Azure and Google Cloud
// that are not link-local.
var never = prefixes("fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "fd20:ce::/32")

// inside are networks that a stranger has no business in, besides those that netip knows: also those of which nobody can say here to which
// IPv4 address they lead (RFC 8215, 4380).
var inside = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "fec0::/10", "64:ff9b:1::/48", "2001::/32")

// within are networks in which an IPv4 address stands inside an IPv6 address, and its first byte there (RFC 6052, 3056).
var within = []struct {
	prefix netip.Prefix
	at     int
}{{netip.MustParsePrefix("64:ff9b::/96"), 12}, {netip.MustParsePrefix("64:ff9b:1::/48"), 12}, {netip.MustParsePrefix("2002::/16"), 2}, {netip.MustParsePrefix("::/96"), 12}}

// Check says whether an address may be reached, as Client has it.
func Check(a netip.Addr, private bool) error {
	a = a.Unmap().WithZone("")
	for _, w := range within {
		if a.Is6() && w.prefix.Contains(a) && !a.IsLoopback() {
			b := a.As16()
			if err := Check(netip.AddrFrom4([4]byte(b[w.at:w.at+4])), private); err != nil {
				return err
			}
		}
	}
	switch {
	case contains(never, a), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return fmt.Errorf("%s is an address that is never reached from here", a)
	case private:
		return nil
	case contains(inside, a), a.IsLoopback(), a.IsPrivate():
		return fmt.Errorf("%s is %w", a, ErrPrivate)
	}
	return nil
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(list ...string) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}
