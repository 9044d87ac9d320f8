package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	maxPointer   = 1024    // bytes of a pointer; the specification has it below this
	maxPointers  = 10_000  // of a commit
	maxBatch     = 100     // objects that are asked for at once
	maxAnswer    = 4 << 20 // bytes of the answer
	maxDownloads = 4       // at a time
	mediaType    = "application/vnd.git-lfs+json"
)

// pointerPattern is a pointer file (git-lfs, docs/spec.md, "The Pointer").
var pointerPattern = regexp.MustCompile(`\Aversion https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n\z`)

// pointer stands in a checkout for an LFS object.
type pointer struct {
	oid   string // of its content, sha256 in hexadecimal digits
	size  int64
	paths []string
}

// pointers finds the pointers in an extracted tree: the files that look like one and that .gitattributes gives to LFS.
func (m *mirror) pointers(ctx context.Context, dest, index string) ([]pointer, error) {
	root, err := os.OpenRoot(dest)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found := map[string]pointer{} // by path
	var paths bytes.Buffer
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return errors.Join(err, ctx.Err())
		}
		info, err := d.Info()
		if err != nil || info.Size() >= maxPointer {
			return err
		}
		text, err := root.ReadFile(path)
		if err != nil {
			return err
		}
		match := pointerPattern.FindSubmatch(text)
		if match == nil {
			return nil
		}
		if len(found) == maxPointers {
			return mistake{fmt.Errorf("there are more than %d LFS files", maxPointers)}
		}
		size, err := strconv.ParseInt(string(match[2]), 10, 64)
		found[path] = pointer{oid: string(match[1]), size: size}
		paths.WriteString(path + "\x00")
		return err
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	// path NUL attribute NUL value NUL
	out, err := git{mirror: m.dir, dir: dest, index: index, stdin: paths.Bytes(), args: []string{"check-attr", "--cached", "--stdin", "-z", "filter"}}.run(ctx)
	if err != nil {
		return nil, err
	}
	var all []pointer
	for field := range slices.Chunk(strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), 3) {
		if len(field) != 3 || field[2] != "lfs" {
			continue
		}
		p := found[field[0]]
		i := slices.IndexFunc(all, func(other pointer) bool { return other.oid == p.oid && other.size == p.size })
		if i < 0 {
			i, all = len(all), append(all, p)
		}
		all[i].paths = append(all[i].paths, field[0])
	}
	return all, nil
}

// download replaces pointers in the checkout at dest by what they stand for. It speaks the batch API (git-lfs,
// docs/api/batch.md) and the basic transfer with the repository's own server: .lfsconfig, by which a commit could name
// another, is not read.
func (c *checkout) download(ctx context.Context, r Remote, dest string, pointers []pointer) error {
	if len(pointers) == 0 {
		return nil
	}
	for _, p := range pointers {
		if n := int64(len(p.paths)); p.size > c.left/n {
			return c.tooLarge()
		}
		c.left -= p.size * int64(len(p.paths))
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return err
	}
	defer root.Close()
	l, err := newLFS(ctx, r)
	if err != nil {
		return err
	}
	defer l.client.CloseIdleConnections()
	for some := range slices.Chunk(pointers, maxBatch) {
		actions, err := l.batch(ctx, some)
		if err != nil {
			return fmt.Errorf("LFS: %w", err)
		}
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(maxDownloads)
		for _, p := range some {
			g.Go(func() error {
				if err := l.object(ctx, root, p, actions[p.oid]); err != nil {
					return fmt.Errorf("LFS: %q: %w", p.paths[0], err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// lfs is a repository's LFS server.
type lfs struct {
	remote *url.URL
	user   func(*http.Request) // adds the repository's credential
	client *http.Client
}

func newLFS(ctx context.Context, r Remote) (*lfs, error) {
	remote, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	l := &lfs{remote: remote, user: func(*http.Request) {}}
	if r.Token != nil {
		token, err := r.Token(ctx)
		if err != nil {
			return nil, fmt.Errorf("get a token: %w", err)
		}
		l.user = func(req *http.Request) { req.SetBasicAuth("x-access-token", token) }
	}
	l.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: l.dial, DisableCompression: true, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
		},
		// A redirect would take along what the first address was given.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return l, nil
}

// action is how one object is fetched.
type action struct {
	Href   string            `json:"href"`
	Header map[string]string `json:"header"`
}

// batch asks where objects are. The answer has an entry for each of them.
func (l *lfs) batch(ctx context.Context, pointers []pointer) (map[string]action, error) {
	type object struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	}
	ask := struct {
		Operation string   `json:"operation"`
		Transfers []string `json:"transfers"`
		Hash      string   `json:"hash_algo"`
		Objects   []object `json:"objects"`
	}{Operation: "download", Transfers: []string{"basic"}, Hash: "sha256"}
	for _, p := range pointers {
		ask.Objects = append(ask.Objects, object{p.oid, p.size})
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.remote.JoinPath("info/lfs/objects/batch").String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", mediaType)
	req.Header.Set("Content-Type", mediaType)
	l.user(req)
	resp, err := l.do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Objects []struct {
			OID     string `json:"oid"`
			Actions struct {
				Download *action `json:"download"`
			} `json:"actions"`
			Error *struct {
				Code int `json:"code"`
			} `json:"error"`
		} `json:"objects"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("the server's answer is no list of objects: %w", err)
	}
	actions := map[string]action{}
	for _, o := range answer.Objects {
		i := slices.IndexFunc(pointers, func(p pointer) bool { return p.oid == o.OID })
		switch {
		case i < 0:
		case o.Error != nil && (o.Error.Code == http.StatusNotFound || o.Error.Code == http.StatusGone):
			return nil, mistake{fmt.Errorf("%q: the server has no such object; was it pushed (git lfs push)?", pointers[i].paths[0])}
		case o.Error != nil:
			return nil, fmt.Errorf("%q: the server answers with error %d", pointers[i].paths[0], o.Error.Code)
		case o.Actions.Download != nil:
			actions[o.OID] = *o.Actions.Download
		}
	}
	for _, p := range pointers {
		if _, ok := actions[p.oid]; !ok {
			return nil, fmt.Errorf("%q: the server does not say where the object is", p.paths[0])
		}
	}
	return actions, nil
}

// object downloads one object into all files that stand for it. What arrives is checked: the far end may be any.
func (l *lfs) object(ctx context.Context, root *os.Root, p pointer, a action) error {
	u, err := url.Parse(a.Href)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || l.remote.Scheme != "http") {
		return errors.New("the server names no https address for it") // and not which: its query is a credential
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !l.reachable(u.Hostname(), ip) {
		return unreachable(u.Hostname())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return errors.New("the server names no https address for it")
	}
	for k, v := range a.Header {
		req.Header.Set(k, v)
	}
	resp, err := l.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	hash := sha256.New()
	n, err := write(root, p.paths[0], io.TeeReader(io.LimitReader(resp.Body, p.size+1), hash))
	switch {
	case err != nil:
		return fmt.Errorf("from %s: %w", u.Hostname(), withoutURL(err))
	case n != p.size:
		return fmt.Errorf("from %s came another size than the pointer's %d bytes", u.Hostname(), p.size)
	case hex.EncodeToString(hash.Sum(nil)) != p.oid:
		return fmt.Errorf("from %s came other content than the pointer's sha256:%s", u.Hostname(), p.oid)
	}
	for _, path := range p.paths[1:] {
		if err := copyFile(root, p.paths[0], path); err != nil {
			return err
		}
	}
	return nil
}

// write replaces the content of a file and leaves its mode.
func write(root *os.Root, path string, content io.Reader) (int64, error) {
	f, err := root.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, content)
	return n, errors.Join(err, f.Close())
}

func copyFile(root *os.Root, from, to string) error {
	f, err := root.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = write(root, to, f)
	return err
}

// do sends a request. Its errors name the host only.
func (l *lfs) do(req *http.Request) (*http.Response, error) {
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", req.URL.Hostname(), withoutURL(err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	_ = resp.Body.Close() // nothing of it is wanted
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return nil, fmt.Errorf("ask %s: %w: %s", req.URL.Hostname(), ErrDenied, resp.Status)
	}
	return nil, fmt.Errorf("ask %s: the answer is %s", req.URL.Hostname(), resp.Status)
}

func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// dial connects to where a request goes, or to the proxy that is configured for it. A name that means an address on this
// machine or link is refused when it is resolved, so that it can't change in between.
func (l *lfs) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if !isProxy(host, port) {
		d.Control = func(_, to string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(to)
			if err != nil {
				return err
			}
			if !l.reachable(host, at.Addr()) {
				return unreachable(host)
			}
			return nil
		}
	}
	return d.DialContext(ctx, network, address)
}

// isProxy reports whether an address is the proxy that our environment names.
func isProxy(host, port string) bool {
	for _, scheme := range []string{"http", "https"} {
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: scheme, Host: "proxied.invalid"}})
		if err == nil && proxy != nil && proxy.Hostname() == host && (proxy.Port() == port || proxy.Port() == "") {
			return true
		}
	}
	return false
}

// reachable reports whether an object may come from that address: not from this machine, its link or a cloud's metadata,
// unless the repository itself is there.
func (l *lfs) reachable(host string, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	local := ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || slices.Contains(metadata, ip)
	return !local || strings.EqualFold(host, l.remote.Hostname())
}

// metadata are the clouds' metadata addresses that are not link-local: Amazon's by IPv6 and Alibaba's.
var metadata = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200")}

func unreachable(host string) error {
	return fmt.Errorf("objects are not fetched from %s, an address of this machine or its link", host)
}
