package bot

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-github/v60/github"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/shipmate-dev/shipmate"
	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/internal/egress"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	// examTime is how long one examination may take.
	examTime = 10 * time.Second
	// tidyTime is how long one may take after that to take away what it left somewhere.
	tidyTime = 5 * time.Second
	// maxSkew is how far this machine's clock may be from GitHub's: a token of the App is dated half a minute back, and one from
	// the future is refused.
	maxSkew = 30 * time.Second
	// littleSpace and noSpace are how many free bytes of data_dir are told of, and are too few.
	littleSpace, noSpace = 2 << 30, 200 << 20
)

// How an examination ended.
const (
	fine   = "ok"
	doubt  = "warn" // it works, or cannot be told from here
	failed = "FAIL"
)

// A finding is a line of the doctor's.
type finding struct{ level, says, remedy string }

// findings are those of one examination, in their order.
type findings []finding

func (f *findings) ok(format string, args ...any) {
	*f = append(*f, finding{level: fine, says: fmt.Sprintf(format, args...)})
}

func (f *findings) warn(remedy, format string, args ...any) {
	*f = append(*f, finding{doubt, fmt.Sprintf(format, args...), remedy})
}

func (f *findings) fail(remedy, format string, args ...any) {
	*f = append(*f, finding{failed, fmt.Sprintf(format, args...), remedy})
}

// An exam looks at one thing.
type exam struct {
	name string
	do   func(ctx context.Context, f *findings)
}

// doctor examines what a server's file leads to.
type doctor struct {
	cfg  *Config
	send bool // test messages
	hub  *hub
	http *http.Client
	now  func() time.Time
}

// Doctor examines everything that the server's file leads to, all at once, and writes one line for each in an order that is
// always the same, with a remedy where one is needed. With send it also sends test messages where nothing else tells. It needs
// no running bot, disturbs none, and leaves nothing behind, also when ctx ends early. The error says how many examinations failed.
func Doctor(ctx context.Context, cfg *Config, send bool, out io.Writer) error {
	d := &doctor{cfg: cfg, send: send, http: &http.Client{Timeout: examTime}, now: time.Now}
	engine := &pipeline.Engine{Server: cfg}
	return examine(ctx, d.exams(), engine.Mask, out)
}

func examine(ctx context.Context, exams []exam, mask func(string) string, out io.Writer) error {
	results := make([]chan findings, len(exams))
	for i, e := range exams {
		results[i] = make(chan findings, 1)
		go func() { // until examTime
			ctx, cancel := context.WithTimeout(ctx, examTime)
			defer cancel()
			var f findings
			e.do(ctx, &f)
			results[i] <- f
		}()
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), examTime+tidyTime)
	defer cancel()
	bad, all := 0, 0
	for i, e := range exams {
		var found findings
		select {
		case found = <-results[i]:
		case <-late.Done():
			select {
			case found = <-results[i]: // it waited for one before it
			default: // what reads a disk does not end with a context
				found.fail("look whether the disks and network file systems of this machine answer", "no end within %s", examTime+tidyTime)
			}
		}
		if ctx.Err() != nil {
			continue // nobody wants to read what it makes fail, but each tidies up
		}
		for _, f := range found {
			says := e.name + ": " + f.says
			if f.remedy != "" {
				says += "; " + f.remedy
			}
			if _, err := fmt.Fprintf(out, "%-4s  %s\n", f.level, shown(mask(says))); err != nil {
				return err
			}
			if all++; f.level == failed {
				bad++
			}
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted before the end")
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d failed", bad, all)
	}
	return nil
}

// shown is s as one line that a terminal only shows.
func shown(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)), " ")
}

func (d *doctor) exams() []exam {
	c := d.cfg
	exams := []exam{{"public_url", d.publicURL}, {"data_dir", d.dataDir}}
	hub, err := newHub(c.GitHub.APIURL, c.GitHub.AppID, []byte(c.GitHub.PrivateKey.Value()))
	if err != nil {
		exams = append(exams, exam{"github", func(_ context.Context, f *findings) {
			f.fail("make a new key in the App's settings, and put it there", "%s", err)
		}})
	} else {
		d.hub = hub
		exams = append(exams, exam{"github app", d.app}, exam{"github installations", d.installations}, exam{"github webhook", d.webhook},
			exam{"github deliveries", d.deliveries}, exam{"github sign-in", d.signIn})
	}
	clusters := map[string]*kube.Cluster{}
	broken := map[string]error{}
	for name, k := range c.Clusters {
		clusters[name], broken[name] = kube.Open(k.config(name))
	}
	if len(c.Builder.BuildKit) == 0 {
		exams = append(exams, exam{"builder", func(_ context.Context, f *findings) {
			f.fail("add one to builder.buildkit, or set BUILDKIT_HOST", "there is none, so nothing can be built")
		}})
	}
	for i, a := range c.Builder.BuildKit {
		exams = append(exams, exam{"builder " + a.String(), func(ctx context.Context, f *findings) { d.builder(ctx, f, i, a, clusters) }})
	}
	images := image.New(c.registries())
	for _, host := range slices.Sorted(maps.Keys(c.Registries)) {
		exams = append(exams, d.registry(images, host)...)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Clusters)) {
		exams = append(exams, d.cluster(name, clusters[name], broken[name])...)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Chat.WeCom)) {
		exams = append(exams, exam{"chat.wecom." + name, func(ctx context.Context, f *findings) { d.wecom(ctx, f, c.Chat.WeCom[name]) }})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Chat.Slack)) {
		exams = append(exams, exam{"chat.slack." + name, func(ctx context.Context, f *findings) { d.slack(ctx, f, c.Chat.Slack[name]) }})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Chat.Webhook)) {
		exams = append(exams, exam{"chat.webhook." + name, func(ctx context.Context, f *findings) { d.hook(ctx, f, c.Chat.Webhook[name]) }})
	}
	if len(c.APITokens) > 0 {
		exams = append(exams, exam{"api_tokens", d.apiTokens})
	}
	return exams
}

// cause is an error in words, also of an examination whose time was up.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", examTime)
	}
	var address *url.Error
	if errors.As(err, &address) {
		address.URL, _, _ = strings.Cut(address.URL, "?")
	}
	return err.Error()
}

func (d *doctor) publicURL(_ context.Context, f *findings) {
	address := d.cfg.PublicURL
	u, err := url.Parse(address)
	ip := net.IP(nil)
	if err == nil {
		ip = net.ParseIP(u.Hostname())
	}
	switch {
	case err != nil || u.Hostname() == "" || ip != nil && ip.IsUnspecified():
		f.fail("write public_url: https:// and the host by which people and GitHub reach this server", "%q leads nowhere", address)
	case loopback(address):
		f.warn("write public_url: https:// and the host by which they do", "%s is this machine alone: GitHub and other people do not reach it", address)
	case u.Scheme != "https":
		f.warn("put a proxy that speaks HTTPS before it, and write https:// here", "%s is in the clear: others can read along, and nobody can sign in", address)
	case ip != nil && ip.IsPrivate():
		f.warn("let /webhooks/github be reached from outside, or let the sweep of the delivery log do", "%s is an address of a private network, which github.com does not reach", address)
	default:
		f.ok("%s", address)
	}
}

func (d *doctor) dataDir(_ context.Context, f *findings) {
	dir := d.cfg.DataDir
	there := dir
	for { // what is not there yet is made at the first start
		info, err := os.Stat(there)
		if err == nil && !info.IsDir() {
			f.fail("choose another data_dir, or move that away", "%s is no folder", there)
			return
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || there == filepath.Dir(there) {
			f.fail("let the bot's user into it", "%s", err)
			return
		}
		there = filepath.Dir(there)
	}
	probe, err := os.CreateTemp(there, ".doctor-*")
	if err == nil {
		err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
	var disk unix.Statfs_t
	if err == nil {
		err = unix.Statfs(there, &disk)
	}
	if err != nil {
		f.fail("let the bot's user write there, or choose another data_dir", "%s cannot be written: %s", dir, err)
		return
	}
	free := disk.Bavail * uint64(disk.Bsize) //nolint:gosec // no size is negative
	space := fmt.Sprintf("%.1f GiB are free", float64(free)/(1<<30))
	switch {
	case free < noSpace:
		f.fail("make room", "%s: %s", dir, space)
	case free < littleSpace:
		f.warn("make room", "%s: %s", dir, space)
	case there != dir:
		f.ok("%s is made at the first start; %s", dir, space)
	default:
		f.ok("%s can be written; %s", dir, space)
	}
}

// A manifest is what app.yaml asks of GitHub.
type manifest struct {
	Permissions map[string]string `yaml:"default_permissions"`
	Events      []string          `yaml:"default_events"`
}

func appManifest() (m manifest, err error) {
	err = yaml.Unmarshal(shipmate.AppManifest, &m)
	return m, err
}

// levels are what a permission may be, from least to most.
var levels = []string{"", "read", "write", "admin"}

// permissions are those that GitHub tells, by their names.
func permissions(p *github.InstallationPermissions) map[string]string {
	m := map[string]string{}
	text, err := json.Marshal(p)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return nil // it has texts only
	}
	return m
}

// short lists what is wanted and not had, as in "checks: write".
func short(want, have map[string]string) (lacking []string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if slices.Index(levels, have[name]) < slices.Index(levels, want[name]) {
			lacking = append(lacking, name+": "+want[name])
		}
	}
	return lacking
}

// refusedByGitHub tells of a request of the App that failed.
func (d *doctor) refusedByGitHub(f *findings, err error) {
	switch statusCode(err) {
	case http.StatusUnauthorized:
		f.fail("check github.app_id, github.private_key (is it this App's?) and this machine's clock", "GitHub does not know us: %s", cause(err))
	case http.StatusNotFound:
		f.fail("check github.app_id and github.api_url", "GitHub has no such App, or none at %s: %s", d.cfg.GitHub.APIURL, cause(err))
	default:
		f.fail("check github.api_url, and that this machine reaches it, also by a proxy or firewall", "%s", cause(err))
	}
}

func (d *doctor) app(ctx context.Context, f *findings) {
	want, err := appManifest()
	if err != nil {
		f.fail("this is a mistake of this build", "app.yaml: %s", err)
		return
	}
	app, resp, err := d.hub.asApp().Apps.Get(ctx, "")
	if resp != nil {
		d.clock(f, resp.Header.Get("Date"))
	}
	if err != nil {
		d.refusedByGitHub(f, err)
		return
	}
	settings := "in the App's settings, " + app.GetHTMLURL()
	lacking := short(want.Permissions, permissions(app.Permissions))
	var events []string
	for _, e := range want.Events {
		if !slices.Contains(app.Events, e) {
			events = append(events, e)
		}
	}
	if len(lacking) > 0 {
		f.fail("give it them "+settings+", and accept them in each installation", "%s lacks the permissions %s", app.GetSlug(), strings.Join(lacking, ", "))
	}
	if len(events) > 0 {
		f.fail("subscribe to them "+settings, "%s does not get the events %s", app.GetSlug(), strings.Join(events, ", "))
	}
	if len(lacking)+len(events) == 0 {
		f.ok("%s (%d) has the permissions and events of app.yaml", app.GetSlug(), app.GetID())
	}
	if more := short(permissions(app.Permissions), want.Permissions); len(more) > 0 {
		f.warn("take them away "+settings, "it has more permissions than it needs: %s", strings.Join(more, ", "))
	}
}

// clock compares this machine's clock with GitHub's.
func (d *doctor) clock(f *findings, date string) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return // there is no clock to compare with
	}
	skew := d.now().Sub(theirs)
	word := "ahead of"
	if skew < 0 {
		word = "behind"
	}
	if off := time.Duration(math.Abs(float64(skew))).Round(time.Second); off > maxSkew {
		f.fail("set it, and have it kept by NTP (timedatectl set-ntp true)", "this machine's clock is %s %s GitHub's, which then refuses the App", off, word)
		return
	}
	f.ok("this machine's clock goes with GitHub's")
}

// eachInstallation lists the App's installations.
func (d *doctor) eachInstallation(ctx context.Context) (all []*github.Installation, err error) {
	opt := &github.ListOptions{PerPage: 100}
	for {
		found, resp, err := d.hub.asApp().Apps.ListInstallations(ctx, opt)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		if opt.Page = resp.NextPage; opt.Page == 0 {
			return all, nil
		}
	}
}

func (d *doctor) installations(ctx context.Context, f *findings) {
	want, err := appManifest()
	if err != nil {
		return // the App's examination tells
	}
	all, err := d.eachInstallation(ctx)
	if err != nil {
		d.refusedByGitHub(f, err)
		return
	}
	allowed := map[string]bool{} // owners, and whether the App is installed there
	for _, pattern := range d.cfg.GitHub.Allow {
		owner, _, _ := strings.Cut(strings.ToLower(pattern), "/")
		allowed[owner] = false
	}
	if len(all) == 0 {
		f.fail("install it: on its page at GitHub, Install", "the App is installed nowhere")
	}
	for _, i := range all {
		owner, needs := i.GetAccount().GetLogin(), maps.Clone(want.Permissions)
		if i.GetTargetType() == "User" {
			delete(needs, "members") // a person's account has none
		}
		_, expected := allowed[strings.ToLower(owner)]
		allowed[strings.ToLower(owner)] = true
		lacking := short(needs, permissions(i.Permissions))
		switch {
		case i.SuspendedAt != nil:
			f.fail("an owner of "+owner+" unsuspends it at "+i.GetHTMLURL(), "the one of %s is suspended", owner)
		case len(lacking) > 0:
			f.fail("an owner of "+owner+" accepts the App's newest permissions at "+i.GetHTMLURL(), "the one of %s lacks %s", owner, strings.Join(lacking, ", "))
		case !expected:
			f.warn(fmt.Sprintf("add %q to github.allow, or uninstall it at %s", owner+"/*", i.GetHTMLURL()), "%s has the App, and none of its repositories may use this server", owner)
		default:
			f.ok("%s has accepted the App's permissions", owner)
		}
	}
	if len(d.cfg.GitHub.Allow) == 0 {
		f.fail(`write which, as in allow: ["acme/*"], under github`, "no repository may use this server")
	}
	for _, owner := range slices.Sorted(maps.Keys(allowed)) {
		if !allowed[owner] && len(all) > 0 {
			f.warn("install it there, or remove that line", "github.allow names %s, where the App is not installed", owner)
		}
	}
	// An installation may be for some of its owner's repositories alone.
	var named []string
	for _, pattern := range d.cfg.GitHub.Allow {
		if owner, name, _ := strings.Cut(strings.ToLower(pattern), "/"); name != "*" && allowed[owner] {
			named = append(named, pattern)
		}
	}
	errs := make([]error, len(named))
	var g errgroup.Group
	g.SetLimit(asksAtOnce)
	for i, repo := range named {
		g.Go(func() error {
			owner, name, _ := strings.Cut(repo, "/")
			_, _, errs[i] = d.hub.asApp().Apps.FindRepositoryInstallation(ctx, owner, name)
			return nil
		})
	}
	_ = g.Wait() // each error is told below
	for i, repo := range named {
		switch {
		case isNotFound(errs[i]):
			f.warn("add it to the installation's repositories at GitHub, or remove that line", "github.allow names %s, which is not among those that the App is installed on", repo)
		case errs[i] != nil:
			d.refusedByGitHub(f, errs[i])
		}
	}
}

func (d *doctor) webhook(ctx context.Context, f *findings) {
	config, _, err := d.hub.asApp().Apps.GetHookConfig(ctx)
	if err != nil {
		d.refusedByGitHub(f, err)
		return
	}
	want := d.cfg.PublicURL + "/webhooks/github"
	if config.GetURL() != want {
		f.fail("write the latter into the App's settings (Webhook URL), or change public_url", "GitHub sends to %q, and public_url makes it %s", config.GetURL(), want)
		return
	}
	if config.GetInsecureSSL() == "1" {
		f.warn("enable it in the App's settings (SSL verification)", "GitHub does not look at the certificate of %s", want)
	}
	f.ok("GitHub sends to %s", want)
}

// refusedDelivery says what to do about an answer that GitHub got.
func refusedDelivery(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "write the App's webhook secret where github.webhook_secrets says, or set that one in the App's settings"
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return "have the proxy hand /webhooks/github to this server"
	case status == http.StatusServiceUnavailable:
		return "look at /readyz and at the bot's log: it could not store what came"
	case status == http.StatusGatewayTimeout || status == http.StatusRequestTimeout:
		return "look why it takes longer than 10 s: the network, a proxy, or the disk"
	case status == 0 || status >= 500:
		return "let GitHub reach /webhooks/github at public_url, with a certificate that it trusts, and start the bot"
	case status >= 300 && status < 400:
		return "write the address to which it is redirected: GitHub does not follow"
	}
	return "look at the delivery in the App's settings (Advanced), and at the proxy before this server"
}

func (d *doctor) deliveries(ctx context.Context, f *findings) {
	all, _, err := d.hub.asApp().Apps.ListHookDeliveries(ctx, &github.ListCursorOptions{PerPage: 50})
	if err != nil {
		d.refusedByGitHub(f, err)
		return
	}
	if len(all) == 0 {
		f.warn("push something, or install the App somewhere, and ask again", "GitHub has sent nothing in three days")
		return
	}
	arrived := map[string]bool{}
	for _, one := range all {
		arrived[one.GetGUID()] = arrived[one.GetGUID()] || one.GetStatusCode()/100 == 2
	}
	lost := 0
	for _, ok := range arrived {
		if !ok {
			lost++
		}
	}
	newest := all[0]
	at := newest.GetDeliveredAt().UTC().Format("2006-01-02 15:04 UTC")
	switch {
	case newest.GetStatusCode()/100 != 2:
		f.fail(refusedDelivery(newest.GetStatusCode()), "the newest delivery (%s of %s) did not arrive: %d %s", newest.GetEvent(), at, newest.GetStatusCode(), newest.GetStatus())
	case lost > 0 && d.cfg.GitHub.RecoverEvery == 0:
		f.warn("set github.recover_every, by which a bot finds them", "the newest one arrived (%s), but %d of the last %d did not", at, lost, len(arrived))
	case lost > 0:
		f.ok("the newest one arrived (%s); %d of the last %d did not, and are found in GitHub's log", at, lost, len(arrived))
	default:
		f.ok("the last %d arrived, the newest %s", len(arrived), at)
	}
}

// oauthError is a code of RFC 6749, 5.2, or one of GitHub's own.
var oauthError = regexp.MustCompile(`^[a-z_]{1,60}$`)

// signIn asks for a token with a code that is none: GitHub looks at the client first (docs.github.com, "Troubleshooting OAuth
// app access token request errors").
func (d *doctor) signIn(ctx context.Context, f *findings) {
	if !d.cfg.signsIn() {
		f.warn("write client_id and client_secret of the App under github", "nobody can: whoever has the address of a page sees it, and in a chat nobody can say who they are (/link) but those in people")
		return
	}
	if !strings.HasPrefix(d.cfg.PublicURL, "https://") {
		f.fail("make public_url one that begins with https://", "a browser keeps the session by https alone")
	}
	form := url.Values{"client_id": {d.cfg.GitHub.ClientID}, "client_secret": {d.cfg.GitHub.ClientSecret.Value()}, "code": {"doctor-" + rand.Text()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.hub.web()+"/login/oauth/access_token", strings.NewReader(form.Encode()))
	if err != nil {
		f.fail("check github.api_url", "%s", cause(err))
		return
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := d.http.Do(req)
	if err != nil {
		f.fail("let this machine reach "+d.hub.web(), "%s", cause(err))
		return
	}
	defer resp.Body.Close()
	var answer struct {
		Error string `json:"error"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxCall)).Decode(&answer)
	switch {
	case answer.Error == "bad_verification_code":
		f.ok("GitHub knows client_id and client_secret; its callback has to be %s/auth/callback, which cannot be asked", d.cfg.PublicURL)
	case answer.Error == "incorrect_client_credentials", resp.StatusCode == http.StatusNotFound:
		f.fail("copy the Client ID from the App's settings, make a new client secret there, and put it where github.client_secret says", "GitHub does not know client_id with client_secret")
	case err == nil && oauthError.MatchString(answer.Error):
		f.fail("look at the App's settings", "GitHub says %s", answer.Error)
	default:
		f.warn("try to sign in", "GitHub's answer (%s) tells nothing", resp.Status)
	}
}

func (d *doctor) builder(ctx context.Context, f *findings, i int, a BuildKitAddress, clusters map[string]*kube.Cluster) {
	one, err := openBuilder(i, a, clusters)
	var all []string
	if err == nil {
		all, err = one.Platforms(ctx)
	}
	if err != nil {
		f.fail("see that buildkitd runs there, and that this machine reaches it", "%s", cause(err))
		return
	}
	if a.inClear() {
		f.warn("start buildkitd with --tlscacert, --tlscert and --tlskey, and write ca, cert and key beside addr", "it is spoken to without TLS: whoever reaches it may build, and read secrets on the way")
	}
	f.ok("it builds for %s", or(strings.Join(all, ", "), "platforms that it does not tell"))
}

// probed is the repository in which a path of a registry is tried: the path itself, or something in it where it can only be a
// namespace.
func probed(path string) string {
	if strings.Contains(path, "/") {
		return path
	}
	return path + "/shipmate-doctor"
}

func (d *doctor) registry(images *image.Client, host string) []exam {
	r := d.cfg.Registries[host]
	var paths []string
	for _, allow := range r.Allow {
		paths = append(paths, allow.Paths...)
	}
	return forEach(paths, "registry "+host, "/", "write which under registries."+host+".allow", "no repository may use it, so there is nothing to try",
		func(ctx context.Context, f *findings, p string) { d.probe(ctx, f, images, r, host, probed(p)) })
}

// forEach makes an exam for each of what the rules of allow name, or a doubt where they name nothing.
func forEach(allowed []string, name, between, remedy, nothing string, do func(ctx context.Context, f *findings, one string)) (exams []exam) {
	slices.Sort(allowed)
	for _, one := range slices.Compact(allowed) {
		exams = append(exams, exam{name + between + one, func(ctx context.Context, f *findings) { do(ctx, f, one) }})
	}
	if len(exams) == 0 {
		exams = []exam{{name, func(_ context.Context, f *findings) { f.warn(remedy, "%s", nothing) }}}
	}
	return exams
}

// probe pushes and pulls, by what builds push by, and by what clusters pull by.
func (d *doctor) probe(ctx context.Context, f *findings, images *image.Client, r *RegistryConfig, host, path string) {
	var pulls findings
	const remedy = "check username, password and host of the registry in shipmate.yaml, and what the account may do there"
	deleted, err := images.Probe(ctx, host+"/"+path, func(ref string, content []byte) error {
		if err := images.Pull(ctx, ref, content); err != nil {
			return err
		}
		if r.Pull.Host == "" && !r.Pull.Username.IsSet() {
			return nil
		}
		from := or(r.Pull.Host, host)
		cluster := image.New(map[string]image.Registry{from: {Username: r.Pull.Username.Value(), Password: r.Pull.Password.Value(), PlainHTTP: r.PlainHTTP}})
		switch err := cluster.Pull(ctx, from+strings.TrimPrefix(ref, host), content); {
		case err == nil:
			pulls.ok("clusters can pull from %s", from)
		case from == host:
			pulls.fail("check pull.username and pull.password", "clusters cannot pull: %s", cause(image.Explain(err, host+"/"+path)))
		default: // it may be reached by clusters alone
			pulls.warn("look from inside a cluster, if only those reach it", "whether clusters can pull from %s cannot be told from here: %s", from, cause(image.Explain(err, from+"/"+path)))
		}
		return nil
	})
	switch {
	case err != nil:
		f.fail(remedy, "%s", cause(image.Explain(err, host+"/"+path)))
	case deleted:
		f.ok("a probe was pushed, pulled and deleted")
	default:
		f.ok("a probe was pushed and pulled; the registry does not let it be deleted, so an image of a few bytes without a tag is left there")
	}
	*f = append(*f, pulls...)
}

func (d *doctor) cluster(name string, k *kube.Cluster, broken error) []exam {
	c := d.cfg.Clusters[name]
	if broken != nil {
		return []exam{{"cluster " + name, func(_ context.Context, f *findings) {
			remedy := "mend the kubeconfig, or name another context"
			if c.Kubeconfig == "" {
				remedy = "mend what clusters." + name + " says: server, ca and token"
			}
			f.fail(remedy, "%s", broken)
		}}}
	}
	var namespaces, kinds []string
	for _, allow := range c.Allow {
		namespaces, kinds = slices.Concat(namespaces, allow.Namespaces, allow.Also), append(kinds, allow.Kinds...)
	}
	var whole []exam
	if slices.Sort(kinds); len(kinds) > 0 {
		whole = []exam{{"cluster " + name + ", kinds of the whole cluster", func(ctx context.Context, f *findings) { mayApply(ctx, f, k, slices.Compact(kinds)) }}}
	}
	return append(whole, forEach(namespaces, "cluster "+name, ", namespace ", "write which under clusters."+name+".allow", "no repository may deploy there, so there is no namespace to ask about",
		func(ctx context.Context, f *findings, ns string) { mayDeploy(ctx, f, k, ns) })...)
}

// mayApply tells what our account may not do with kinds of the whole cluster that the server's file lets repositories apply.
func mayApply(ctx context.Context, f *findings, k *kube.Cluster, kinds []string) {
	lacks, unknown, err := k.LacksOfKinds(ctx, kinds)
	if err != nil {
		unasked(f, err)
		return
	}
	if len(lacks) > 0 {
		f.fail("grant it to our account by a ClusterRole and a ClusterRoleBinding", "not allowed: %s", verbsOf(lacks))
	} else if len(unknown) < len(kinds) {
		f.ok("every verb that is needed is allowed")
	}
	if len(unknown) > 0 {
		f.warn("see that they are spelled right; a CustomResourceDefinition may bring them", "the cluster has no kind %s of the whole cluster", strings.Join(unknown, ", "))
	}
}

// unasked tells that a cluster did not say what our account may.
func unasked(f *findings, err error) {
	var known *kube.Error
	remedy := "see that the API server can be reached from here, and that its certificate and our credentials are valid"
	if errors.As(err, &known) && strings.HasPrefix(known.Object, "cluster ") { // which the line begins with
		f.fail(known.Hint, "%s", known.Message)
		return
	}
	if known != nil && known.Hint != "" {
		remedy = "" // it is in the error
	}
	f.fail(remedy, "%s", cause(err))
}

func verbsOf(needs []kube.Need) string {
	var all []string
	for _, n := range needs {
		all = append(all, strings.Join(n.Verbs, ", ")+" of "+n.String())
	}
	return strings.Join(all, "; ")
}

// mayDeploy tells what our account may not do in a namespace. A kind of which it may do nothing may be meant so, but for those
// that every deployment has.
func mayDeploy(ctx context.Context, f *findings, k *kube.Cluster, namespace string) {
	lacks, err := k.Lacks(ctx, namespace)
	if err != nil {
		unasked(f, err)
		return
	}
	var missing []kube.Need
	var none []string
	for _, n := range lacks {
		if !n.Core && slices.ContainsFunc(kube.Needs(), func(all kube.Need) bool { return all.String() == n.String() && len(all.Verbs) == len(n.Verbs) }) {
			none = append(none, n.String())
			continue
		}
		missing = append(missing, n)
	}
	if len(missing) > 0 {
		f.fail("grant it to our account by a Role and a RoleBinding in that namespace", "not allowed: %s", verbsOf(missing))
	} else {
		f.ok("every verb that is needed is allowed")
	}
	if len(none) > 0 {
		f.warn("grant them where manifests have such objects", "nothing is allowed of %s", strings.Join(none, ", "))
	}
}

func (d *doctor) wecom(ctx context.Context, f *findings, w *WeComConfig) {
	switch {
	case w.app():
		app, err := chat.NewWeComApp(w.Chat(), d.http, d.now)
		name := ""
		if err == nil {
			name, err = app.Check(ctx)
		}
		if err != nil {
			remedy := "see that this machine reaches base_url"
			if chat.IsPermanent(err) {
				remedy = "" // it is in the error
			}
			f.fail(remedy, "%s", cause(err))
			return
		}
		f.ok("WeCom knows us as the app %s; its callback shows when the address is saved there", name)
		return
	case !w.robot():
		f.ok("the form of token and aes_key is right; of a smart robot nothing can be asked, and its callback shows when the address is saved there")
		return
	}
	if !d.send {
		f.warn("bot doctor --send sends a test message", "a robot can be tried only by a message, so it was not")
		return
	}
	for i, key := range w.Chat().RobotKeys {
		config := w.Chat()
		config.RobotKeys = []chat.Secret{key}
		robot, err := chat.NewWeComRobot(config, d.http, d.now)
		if err == nil {
			_, err = robot.Send(ctx, "", chat.Message{Title: text.Lang(w.Language).Say(text.DoctorTitle, d.cfg.PublicURL), Link: chat.Link{URL: d.cfg.PublicURL}})
		}
		if err != nil {
			f.fail("copy the key from the address of the group's robot again, and see that this machine reaches base_url", "robot_keys[%d]: %s", i, cause(err))
			continue
		}
		f.ok("robot_keys[%d]: a test message was sent", i)
	}
}

func (d *doctor) slack(ctx context.Context, f *findings, s *SlackConfig) {
	workspace, err := chat.NewSlack(s.Workspace(), d.http, time.Now)
	who, lacks := "", []string(nil)
	if err == nil {
		who, lacks, err = workspace.Check(ctx)
	}
	if err != nil {
		f.fail("mend the Slack app or bot_token, and see that this machine reaches base_url", "%s", cause(err))
		return
	}
	f.ok("Slack knows us as %s; whether we are in a channel shows when something is posted there", who)
	if len(lacks) > 0 {
		f.warn("add them to the Slack app, as chat/slack-app.yaml has them, and install it again", "bot_token lacks scopes: %s", strings.Join(lacks, "; "))
	}
	if !workspace.Fetches() {
		return
	}
	if err := workspace.CheckSocket(ctx); err != nil {
		f.fail("mend app_token, and enable Socket Mode on the Slack app's page", "%s", cause(err))
		return
	}
	f.ok("a socket can be opened, by which what people say is fetched")
}

func (d *doctor) hook(ctx context.Context, f *findings, w *WebhookConfig) {
	if !d.send {
		f.warn("bot doctor --send sends a ping", "a webhook can be tried only by an event, so it was not")
		return
	}
	hook, err := chat.NewWebhook(w.Receiver(), egress.Client(w.Private, hookTimeout))
	if err == nil {
		ping := hookEvent{ID: store.NewID(), Event: "ping", At: d.now().UTC()}
		body, _ := json.Marshal(ping) // of strings and a time
		_, err = hook.Post(ctx, ping.Event, ping.ID, body)
	}
	if err != nil {
		f.fail("see that url is right, that the receiver runs and answers 2xx, and, where it is in a private network, write private: true", "%s", cause(err))
		return
	}
	f.ok("a ping arrived")
}

func (d *doctor) apiTokens(ctx context.Context, f *findings) {
	var client *github.Client
	if d.hub != nil {
		if all, err := d.eachInstallation(ctx); err == nil {
			for _, i := range all {
				if i.SuspendedAt == nil {
					client = d.hub.client(i.GetID())
				}
			}
		}
	}
	for i, t := range d.cfg.APITokens {
		same := slices.IndexFunc(d.cfg.APITokens[:i], func(other APIToken) bool { return other.Token.Value() == t.Token.Value() })
		if same >= 0 {
			f.fail("make another one for it", "%s has the same token as %s", t.Name, d.cfg.APITokens[same].Name)
			continue
		}
		if client == nil {
			f.warn("mend what is wrong with the App first", "%s acts as %s, whom GitHub could not be asked about", t.Name, t.GitHub)
			continue
		}
		switch _, _, err := client.Users.Get(ctx, t.GitHub); {
		case isNotFound(err):
			f.fail("write the login of somebody there is", "%s acts as %s, whom GitHub does not know", t.Name, t.GitHub)
		case err != nil:
			f.warn("ask again later", "%s acts as %s, whom GitHub could not be asked about: %s", t.Name, t.GitHub, cause(err))
		default:
			f.ok("%s acts as %s, and may %s", t.Name, t.GitHub, strings.Join(t.May, ", "))
		}
	}
}
