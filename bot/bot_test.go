package bot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// Secrets of the test's server file. None of them may ever be seen.
const (
	hookSecret = "hook-secret-1"
	oldSecret  = "hook-secret-0"
	robotKey   = "robot-key-693a91f6"
	otherRobot = "robot-key-5512ac90" // of the same group
	slackToken = "xoxb-slack-token"

	signingSecret = "slack-signing-secret-0123456789"
	corpSecret    = "corp-secret-8a1f"
	callbackToken = "callback-token-5c"
	callbackKey   = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG" // an EncodingAESKey
	appToken      = "xapp-slack-token"
	npmToken      = "npm-token-d41d8cd9"
	pullSecret    = "pull-password-77"
	dockerToken   = "push-password-42"
	apiToken      = "api-token-0123456789abcdef-0123456789"
	readToken     = "api-reader-0123456789abcdef-0123456789"
	carolToken    = "api-carol-0123456789abcdef-0123456789"
)

// promptly is how long what happens at once may take: two seconds on a quiet machine, and some more on one that is busy, or with
// the race detector. What it is told from waits for half a minute and longer.
const promptly = 10 * time.Second

// patience is how long a test waits for something that should happen.
const patience = time.Minute

// lab is one bot with its far ends, all in this process.
type lab struct {
	dir    string
	server string // the server's file
	gh     *sim.GitHub
	repo   *sim.Repo // acme/web
	wecom  *sim.WeCom
	slack  *sim.Slack

	slackURL, wecomURL string

	builder  *fakeBuilder
	registry *fakeRegistry
	images   pipeline.Images // the registry, unless a test has another
	test     *fakeCluster
	prod     *fakeCluster
	share    func(*Config) (*builders, pipeline.Images) // instead of builder and registry, where it is set
	clusters map[string]pipeline.Cluster                // instead of test and prod, where they are set
	clock    *clock
	log      *buffer
	wrote    hook // sees what the bot wrote on GitHub, before the bot gets the answer

	reading sync.Mutex
	read    *sql.DB // see reader

	browsers map[string]*browser // of the scripts, by who sits there

	bot     *Bot
	url     string
	kill    context.CancelFunc
	stopped chan error
	close   []func()
}

// muchOfTheSame ends a test that does one thing many times under the race detector, which learns nothing from it; it says so.
func muchOfTheSame(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("much of the same: it runs without the race detector, in make test")
	}
}

// newLab starts a bot, and GitHub with acme/web: alice and dave write, bob and erin maintain, root is admin, carol reads.
// edit, which may be nil, changes the server's file before it is read.
func newLab(t testing.TB, edit func(string) string) *lab {
	t.Helper()
	l, err := openLab(t.TempDir(), edit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range l.Close() {
			t.Error(err)
		}
	})
	return l
}

func openLab(dir string, edit func(string) string) (*lab, error) {
	l := &lab{dir: dir, clock: &clock{}, log: &buffer{}, registry: &fakeRegistry{pushed: map[string]bool{}, tags: map[string]string{}},
		builder: &fakeBuilder{}, test: newFakeCluster("test"), prod: newFakeCluster("prod")}
	l.builder.registry, l.images = l.registry, l.registry
	gh, err := sim.NewGitHub(sim.GitHubConfig{Dir: filepath.Join(dir, "github"), Secret: hookSecret, Now: l.clock.Now, OnWrite: func(w sim.Write) { l.wrote.call(w.Kind + " " + w.Name + " " + w.State) }})
	if err != nil {
		return nil, err
	}
	if err := gh.Start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	l.gh = gh
	gh.SetClientSecret(hookSecret) // for those whose server's file has a client_id
	gh.SetCallback(publicURL + "/auth/callback")
	gh.SetVagueMerges(0)                                 // or each pull request would take a second
	l.close = append(l.close, func() { _ = gh.Close() }) // nothing hangs on it
	l.wecom, l.slack = sim.NewWeCom(robotKey, otherRobot), sim.NewSlack(slackToken, "C1", "C2")
	l.wecom.Now, l.slack.Now = l.clock.Now, l.clock.Now
	l.wecom.OnMessage = func(_ string, m sim.RobotMessage) { l.wrote.call("wecom " + m.Content) }
	l.slack.OnMessage = func(m sim.SlackMessage) {
		if m.ThreadTS != "" {
			l.wrote.call("reply slack")
			return
		}
		l.wrote.call("slack")
	}
	wecom, slack := httptest.NewServer(l.wecom), httptest.NewServer(l.slack)
	l.close = append(l.close, wecom.Close, slack.Close)
	l.slackURL, l.wecomURL = slack.URL, wecom.URL
	l.wecom.SetApp("ww0123", corpSecret, 1000002, "alice.w", "bob.w", "carol.w", "mallory.w", "dave.w", "erin.w")
	l.wecom.SetSmart(wecom.URL)
	for id, login := range map[string]string{"U01": "alice", "U02": "bob", "U03": "carol", "U04": "mallory", "U05": "dave", "U06": "erin", "U07": "root"} {
		l.slack.AddUser(id, login)
	}

	if l.repo, err = gh.CreateRepo("acme/web", sim.RepoOptions{}); err != nil {
		return nil, err
	}
	for login, level := range map[string]string{"alice": "write", "dave": "write", "bob": "maintain", "erin": "maintain", "root": "admin", "carol": "read"} {
		l.repo.SetPermission(login, level, "")
	}
	base, err := readFiles("testdata/repo")
	if err != nil {
		return nil, err
	}
	if _, err := l.repo.Commit("master", "root", "Begin", base); err != nil { // before there is a webhook
		return nil, err
	}
	if err := gh.Flush(context.Background()); err != nil {
		return nil, err
	}
	l.clock.Advance(2 * time.Second)

	for name, value := range map[string]string{"app.pem": string(gh.PrivateKeyPEM()), "hook": hookSecret, "oldhook": oldSecret,
		"robot": robotKey, "robot2": otherRobot, "slack": slackToken, "signing": signingSecret, "app": appToken, "corp": corpSecret, "callback": callbackToken, "aes": callbackKey, "npm": npmToken, "pull": pullSecret, "push": dockerToken,
		"api-token": apiToken, "read-token": readToken, "carol-token": carolToken} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			return nil, err
		}
	}
	text := fmt.Sprintf(`public_url: https://ship.example.com
data_dir: data
github:
  api_url: %s
  app_id: %d
  private_key: file:app.pem
  webhook_secrets: [file:oldhook, file:hook]
  allow: ["acme/*"]
  recover_every: 0
registries:
  registry.example.com:
    username: file:push
    password: file:push
    pull: {username: file:pull, password: file:pull}
    allow: [{repositories: ["acme/web"], paths: ["team/web"]}]
clusters:
  test:
    server: https://127.0.0.1:1
    token: file:push
    allow: [{repositories: ["acme/web"], namespaces: [staging]}]
  prod:
    server: https://127.0.0.1:1
    token: file:push
    allow: [{repositories: ["acme/web"], namespaces: [production]}]
    require: {approvals: 1, self: false}
chat:
  wecom:
    ops: {robot_keys: [file:robot], base_url: %s/, language: en, allow: ["acme/web"]}
    board: {robot_keys: [file:robot], base_url: %s/, language: en, allow: ["acme/other"]}
    desk: {corp_id: ww0123, agent_id: 1000002, secret: file:corp, token: file:callback, aes_key: file:aes, base_url: %s/, language: zh, allow: ["acme/web"]}
    helper: {language: zh, corp_id: ww0123, token: file:callback, aes_key: file:aes, base_url: %s/, allow: ["acme/web"]}
  slack:
    team: {bot_token: file:slack, signing_secret: file:signing, base_url: %s/api/, language: en, allow: ["acme/web"]}
people:
  - {github: alice, slack: {team: U01}, wecom: {desk: alice.w}}
  - {github: bob, slack: {team: U02}, wecom: {desk: bob.w}}
  - {github: carol, slack: {team: U03}, wecom: {desk: carol.w}}
  - {github: dave, slack: {team: U05}, wecom: {desk: dave.w}}
  - {github: erin, slack: {team: U06}, wecom: {desk: erin.w}}
secrets:
  npm_token: {value: file:npm, repositories: ["acme/web"], refs: ["/.*/"]}
  signing_key: {value: file:npm, repositories: ["acme/web"], refs: [default]}
api_tokens:
  - {name: ci, github: alice, token: file:api-token, may: [read, trigger, command]}
  - {name: reader, github: alice, token: file:read-token, may: [read]}
  - {name: carol, github: carol, token: file:carol-token, may: [trigger]}
`, gh.APIURL(), gh.AppID(), wecom.URL, wecom.URL, wecom.URL, wecom.URL, slack.URL)
	if edit != nil {
		text = edit(text)
	}
	l.server = text
	return l, l.Start()
}

// readFiles reads a folder: path in it → content.
func readFiles(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // SQLite removes its -wal and -shm when the last connection goes
		}
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	return files, err
}

// Start starts the bot from the server's file.
func (l *lab) Start() error {
	file := filepath.Join(l.dir, "shipmate.yaml")
	if err := os.WriteFile(file, []byte(l.server), 0o600); err != nil {
		return err
	}
	cfg, err := LoadConfig(file)
	if err != nil {
		return err
	}
	w := world{builders: oneBuilder(cfg, l.builder), images: l.images, now: l.clock.Now, clusters: map[string]pipeline.Cluster{"test": l.test, "prod": l.prod}}
	if l.share != nil {
		w.builders, w.images = l.share(cfg)
	}
	if l.clusters != nil {
		w.clusters = l.clusters
	}
	ctx, kill := context.WithCancel(context.Background())
	if l.bot, err = open(ctx, cfg, w, "test", slog.New(slog.NewTextHandler(l.log, nil))); err != nil {
		kill()
		return err
	}
	l.bot.worker.grace = 100 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		kill()
		return errors.Join(err, l.bot.Close())
	}
	l.kill, l.stopped, l.url = kill, make(chan error, 1), "http://"+listener.Addr().String()
	go func() { l.stopped <- l.bot.serve(ctx, listener) }()
	l.gh.SetHook(l.url+"/webhooks/github", hookSecret)
	l.slack.SetApp(l.slackURL, l.url+"/chat/slack/team", signingSecret)
	l.wecom.SetAppCallback(l.url+"/chat/wecom/desk", callbackToken, callbackKey)
	l.wecom.SetSmartCallback(l.url+"/chat/wecom/helper", callbackToken, callbackKey)
	return nil
}

// Stop lets the bot come to its end.
func (l *lab) Stop() error {
	l.unread()
	if l.bot == nil {
		return nil
	}
	l.kill()
	err := errors.Join(<-l.stopped, l.bot.Close())
	l.slack.Disconnect("") // it has ended them; now Slack knows it too
	l.bot = nil
	return err
}

// Crash ends the bot without a chance to write anything.
func (l *lab) Crash() error {
	_ = l.bot.db.Close() // what is under way fails
	return l.Stop()
}

// Redeliver sends again what GitHub could not deliver.
func (l *lab) Redeliver() error {
	if err := l.gh.Flush(context.Background()); err != nil {
		return err
	}
	arrived := map[string]bool{}
	all := l.gh.Deliveries()
	for _, d := range all {
		arrived[d.GUID] = arrived[d.GUID] || d.StatusCode/100 == 2
	}
	for _, d := range all {
		if !arrived[d.GUID] && !d.Redelivery {
			if err := l.gh.Redeliver(d.ID); err != nil {
				return err
			}
		}
	}
	return l.gh.Flush(context.Background())
}

// Close ends everything, and tells what must never have happened.
func (l *lab) Close() (wrong []error) {
	l.builder.Release()
	l.test.Release()
	l.prod.Release()
	if err := l.Stop(); err != nil {
		wrong = append(wrong, err)
	}
	l.unread()
	for _, v := range l.gh.Violations() {
		wrong = append(wrong, fmt.Errorf("GitHub's description forbids: %s", v))
	}
	if err := l.leaks(); err != nil {
		wrong = append(wrong, err)
	}
	for i := len(l.close) - 1; i >= 0; i-- {
		l.close[i]()
	}
	return wrong
}

// leaks looks for a secret wherever somebody could read it.
func (l *lab) leaks() error {
	seen := map[string]string{"the log": l.log.String()}
	for _, r := range l.gh.Requests() {
		seen["a request to GitHub"] += r.Path + r.Body + "\n"
	}
	for _, m := range l.wecom.Messages(robotKey) {
		seen["WeCom"] += string(m.Raw) + "\n"
	}
	for _, channel := range []string{"C1", "C2"} {
		for _, m := range l.slack.Messages(channel) {
			seen["Slack"] += fmt.Sprint(m) + "\n"
		}
	}
	files, err := readFiles(filepath.Join(l.dir, "data"))
	if err != nil {
		return err
	}
	for name, content := range files {
		if strings.HasSuffix(name, ".key") || strings.HasPrefix(name, "git") || strings.HasPrefix(name, "work") {
			continue
		}
		seen["data/"+name] = content
	}
	for _, where := range slices.Sorted(keys(seen)) {
		for _, secret := range []string{hookSecret, oldSecret, robotKey, otherRobot, slackToken, signingSecret, appToken, "ticket=", l.slackURL + "/respond/", corpSecret, callbackToken, callbackKey, "access-token-", l.wecomURL + "/cgi-bin/aibot/response", npmToken, pullSecret, dockerToken, apiToken, readToken, carolToken} {
			if i := strings.Index(seen[where], secret); i >= 0 {
				return fmt.Errorf("%s shows a secret: …%q…", where, seen[where][max(0, i-100):min(len(seen[where]), i+60)])
			}
		}
	}
	return nil
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// until looks again and again until look is content; its last error says what is missing.
func until(what string, look func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := look()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w", what, err)
		}
		time.Sleep(5 * time.Millisecond) // between two looks, not for something
	}
}

// reader is a connection to the database while the bot runs; it is made once, since a new one reads the whole schema.
func (l *lab) reader() (*sql.DB, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.read != nil {
		return l.read, nil
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(l.dir, "data", "shipmate.db")+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	if err == nil {
		l.read = db
	}
	return db, err
}

// unread ends what reader began: the file may become another one.
func (l *lab) unread() {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.read != nil {
		_ = l.read.Close() // it only reads
		l.read = nil
	}
}

// lookup reads one value from the database.
func (l *lab) lookup(query string, args ...any) (value string, err error) {
	db, err := l.reader()
	if err != nil {
		return "", err
	}
	err = db.QueryRow(query, args...).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}

// Settle waits until GitHub has delivered everything and nothing is left to do before some time to come.
func (l *lab) Settle() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.gh.Flush(ctx); err != nil {
		return err
	}
	stamp := func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
	return until("the bot comes to rest", func() error {
		// What failed is tried again soon, unless a far end asked for more time. What one task has just made for another is
		// due a moment later than this question was put.
		open, err := l.lookup(`SELECT group_concat(kind || ' ' || key || ' ' || reason, '; ') FROM tasks WHERE buried_at IS NULL
			AND (lease_until IS NOT NULL OR due_at <= ? OR attempts > 0 AND due_at <= ?) HAVING count(*) > 0`, stamp(l.clock.Now().Add(time.Second)), stamp(l.clock.Now().Add(5*time.Second)))
		if err == nil && open != "" {
			err = errors.New(open)
		}
		return err
	})
}

// Tick lets time pass.
func (l *lab) Tick(d time.Duration) error {
	l.clock.Advance(d)
	if l.bot == nil {
		return nil
	}
	return l.bot.db.Update(context.Background(), func(tx *store.Tx) error {
		for _, env := range []string{"staging", "production"} {
			if err := tx.Wake(store.TaskEnv, store.EnvKey("acme/web", "web", env)); err != nil {
				return err
			}
		}
		orders, err := tx.OpenOrders("acme/web")
		for _, o := range orders {
			err = errors.Join(err, tx.Wake(store.TaskOrder, o.ID))
		}
		return err
	})
}

// Push commits files to a branch.
func (l *lab) Push(login, branch, message string, files map[string]string) (string, error) {
	l.clock.Advance(2 * time.Second) // GitHub's times are whole seconds
	return l.repo.Commit(branch, login, message, files)
}

// Comment posts a comment.
func (l *lab) Comment(number int, login, body string) (int64, error) {
	l.clock.Advance(2 * time.Second)
	return l.repo.Comment(number, login, body)
}

// Answer waits for the answer to a comment: its reaction, and the reply, if there is one.
func (l *lab) Answer(number int, comment int64) (reaction, reply string, err error) {
	var event string
	err = until("the answer to a comment", func() (err error) {
		if event, err = l.lookup(`SELECT event FROM replies WHERE comment = ?`, comment); err == nil && event == "" {
			err = errors.New("it is not decided")
		}
		if err != nil {
			return err
		}
		posting, err := l.lookup(`SELECT count(*) FROM tasks WHERE kind = 'reply' AND key = ? AND buried_at IS NULL`, event)
		if err == nil && posting != "0" {
			err = errors.New("it is not posted")
		}
		return err
	})
	if err != nil {
		return "", "", err
	}
	if reaction, err = l.lookup(`SELECT reaction FROM replies WHERE event = ?`, event); err != nil {
		return "", "", err
	}
	for _, r := range l.repo.Reactions(comment) {
		if r.Content != "eyes" && r.Content != reaction {
			return "", "", fmt.Errorf("GitHub has the reaction %s, not %s", r.Content, reaction)
		}
	}
	for _, c := range l.repo.Comments(number) {
		if strings.Contains(c.Body, "<!-- shipmate "+event+" -->") {
			reply = strings.TrimSpace(strings.Split(c.Body, "<!--")[0])
		}
	}
	// What is about a release is told by its living comment.
	for seq := 1; ; seq++ {
		run, err := l.lookup(`SELECT run FROM answers WHERE event = ? AND seq = ?`, event, seq)
		if err != nil || run == "" {
			return reaction, reply, err
		}
		body, err := l.lookup(`SELECT body FROM answers WHERE event = ? AND seq = ?`, event, seq)
		if err != nil {
			return "", "", err
		}
		err = until("the living comment tells the answer", func() error {
			living, err := l.Living(run)
			if err == nil && !strings.Contains(living, text.Markdown(body)) {
				err = fmt.Errorf("it is:\n%s", living)
			}
			return err
		})
		if err != nil {
			return "", "", err
		}
		reply = strings.TrimSpace(reply + "\n\n" + text.Markdown(body))
	}
}

// Living is the living comment of a run's release, empty where there is none. Two are an error.
func (l *lab) Living(run string) (body string, err error) {
	for number := 1; number < 20; number++ {
		for _, c := range l.repo.Comments(number) {
			if strings.Contains(c.Body, "<!-- shipmate run/"+run+" -->") {
				if body != "" {
					return "", errors.New("there are two living comments of one release")
				}
				body = strings.TrimSpace(strings.Split(c.Body, "<!--")[0])
			}
		}
	}
	return body, nil
}

// Say comments and waits for the answer; done tells whether it was a yes.
func (l *lab) Say(number int, login, body string) (done bool, reply string, err error) {
	id, err := l.Comment(number, login, body)
	if err != nil {
		return false, "", err
	}
	reaction, reply, err := l.Answer(number, id)
	return reaction == "rocket", reply, err
}

// Status waits until a commit status is what is wanted, and returns its description.
func (l *lab) Status(sha, name, state, description string) (string, error) {
	var got sim.Status
	pattern, err := regexp.Compile(description)
	if err != nil {
		return "", err
	}
	err = until(fmt.Sprintf("status %s of %.7s is %s %s", name, sha, state, description), func() error {
		got = l.status(sha, name)
		if got.State != state || !pattern.MatchString(got.Description) {
			return fmt.Errorf("it is %q: %q", got.State, got.Description)
		}
		return nil
	})
	return got.Description, err
}

// Trigger calls the API for a run; key is the Idempotency-Key, empty for none.
func (l *lab) Trigger(token, app, key, body string) (status int, answer string, err error) {
	return l.Call(token, "apps/"+app+"/trigger", key, body)
}

// Call posts to the API.
func (l *lab) Call(token, path, key, body string) (status int, answer string, err error) {
	r, err := http.NewRequest(http.MethodPost, l.url+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	text, err := io.ReadAll(resp.Body)
	kind := map[bool]string{true: "application/json", false: "application/problem+json"}[resp.StatusCode/100 == 2]
	if err == nil && resp.Header.Get("Content-Type") != kind {
		err = fmt.Errorf("%s comes as %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	return resp.StatusCode, string(text), err
}

// Page reads the page of a run or a deployment.
func (l *lab) Page(kind, number string) (string, error) {
	id, err := l.lookup("SELECT id FROM "+kind+" WHERE number = ?", number)
	if err != nil {
		return "", err
	}
	resp, err := http.Get(l.url + "/" + kind + "/" + id)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// status is the newest status of a name.
func (l *lab) status(sha, name string) (newest sim.Status) {
	for _, s := range l.repo.Statuses(sha) {
		if s.Context == name {
			newest = s
		}
	}
	return newest
}

// Deployments lists all deployments, one a line.
func (l *lab) Deployments() (string, error) {
	var b strings.Builder
	err := l.bot.db.View(context.Background(), func(tx *store.Tx) error {
		for n := 1; ; n++ {
			d, err := tx.DeploymentNumber("acme/web", n)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%d %s release %d %s by %s: %s", d.Number, d.Environment, d.Release, d.Cause, d.Requester, d.State)
			for _, block := range d.Blocks.V {
				b.WriteString(" (" + block.Kind + ")")
			}
			if d.Reason != "" {
				b.WriteString(" " + d.Reason)
			}
			b.WriteString("\n")
		}
	})
	return b.String(), err
}

// Release reads one release of acme/web.
func (l *lab) Release(number int) (rel store.Release, err error) {
	err = l.bot.db.View(context.Background(), func(tx *store.Tx) (err error) { rel, err = tx.Release("acme/web", "web", number); return err })
	return rel, err
}

// Runs checks that a cluster runs exactly the digest of a release.
func (l *lab) Runs(cluster *fakeCluster, release int) error {
	rel, err := l.Release(release)
	if err != nil {
		return err
	}
	if got, want := cluster.Image(), rel.Images.V[0].Digest; !strings.HasSuffix(got, "@"+want) {
		return fmt.Errorf("%s runs %s, not release %d, %s", cluster.name, got, release, want)
	}
	return nil
}

// must fails a test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got is must for a value.
func got[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// A hook is called with what happened at a far end: a kind, a name and a state on GitHub, or the name of a chat.
type hook struct {
	mu sync.Mutex
	fn func(what string)
}

func (h *hook) set(fn func(what string)) { h.mu.Lock(); defer h.mu.Unlock(); h.fn = fn }

func (h *hook) call(what string) {
	h.mu.Lock()
	fn := h.fn
	h.mu.Unlock()
	if fn != nil {
		fn(what)
	}
}

// clock is the wall clock, moved forward.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// buffer is a log that is written to by many.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// fakeRegistry knows what was pushed. A tag that begins with "fixed" is immutable.
type fakeRegistry struct {
	mu     sync.Mutex
	pushed map[string]bool
	tags   map[string]string // tag → what it stands for
	others map[string]string // what others pushed, by the whole name with its tag
	errs   []error           // of the next calls of Find
	away   error             // what it says instead of whether it has an image
	denied error             // what a copy ends with
	held   chan struct{}     // what a copy waits for; nil: nothing
	waits  int               // how many do
	gone   map[string]bool   // what it has forgotten, by the whole name
}

func (r *fakeRegistry) Tag(_ context.Context, repoAtDigest, tag string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.tags[tag]; strings.HasPrefix(tag, "fixed") && now != "" && now != repoAtDigest {
		return fmt.Errorf("tag %s: %w", tag, image.ErrImmutable)
	}
	r.tags[tag] = repoAtDigest
	return nil
}

// Exists tells of what was pushed or copied, unless the registry is told to be away.
func (r *fakeRegistry) Exists(_ context.Context, ref string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away != nil {
		return false, r.away
	}
	return r.pushed[ref], nil
}

// Copy copies what was pushed. Where the registry is to hold copies, it waits half-way until that is over.
func (r *fakeRegistry) Copy(ctx context.Context, ref, repository string, report func(done, total int64)) error {
	report(5e6, 40e6)
	r.mu.Lock()
	held, denied := r.held, r.denied
	if held != nil {
		r.waits++
	}
	r.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
		}
		r.mu.Lock()
		r.waits--
		r.mu.Unlock()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if denied != nil {
		return denied
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.pushed[ref] {
		return fmt.Errorf("read %s: %w", ref, image.ErrNotFound)
	}
	_, digest, _ := strings.Cut(ref, "@")
	r.pushed[repository+"@"+digest] = true
	return nil
}

// Held counts the copies that wait half-way.
func (r *fakeRegistry) Held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waits
}

// Do is what the command registry of scripts does.
func (r *fakeRegistry) Do(verb, digest string) error {
	refused := func(status int, code transport.ErrorCode) error {
		err := &transport.Error{StatusCode: status, Errors: []transport.Diagnostic{{Code: code, Message: "no"}}}
		return image.Explain(err, "other.example.com/prod/web")
	}
	move := func(from, to map[string]bool) {
		for ref := range from {
			if strings.HasSuffix(ref, "@"+digest) {
				delete(from, ref)
				to[ref] = true
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone == nil {
		r.gone = map[string]bool{}
	}
	switch verb {
	case "hold":
		r.held = make(chan struct{})
	case "go":
		close(r.held)
		r.held = nil
	case "deny":
		r.denied = refused(http.StatusForbidden, transport.DeniedErrorCode)
	case "away":
		r.away = refused(http.StatusServiceUnavailable, transport.UnavailableErrorCode)
	case "back":
		r.away, r.denied = nil, nil
	case "forget":
		move(r.pushed, r.gone)
	case "remember":
		move(r.gone, r.pushed)
	default:
		return fmt.Errorf("%s is none of its verbs", verb)
	}
	return nil
}

func (r *fakeRegistry) Parts(context.Context, string) ([]string, error) { return nil, nil }

// Tags are the tags that stand for a digest.
func (r *fakeRegistry) Tags(digest string) (tags []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for tag, ref := range r.tags {
		if strings.HasSuffix(ref, "@"+digest) {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

func (r *fakeRegistry) Resolve(_ context.Context, ref string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.pushed[ref] {
		return "", fmt.Errorf("%s is not in the registry", ref)
	}
	_, digest, _ := strings.Cut(ref, "@")
	return digest, nil
}

// Find is Resolve, of tags too, of which Push tells it.
func (r *fakeRegistry) Find(_ context.Context, ref string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errs) > 0 {
		err := r.errs[0]
		r.errs = r.errs[1:]
		return "", err
	}
	if _, digest, ok := strings.Cut(ref, "@"); ok && r.pushed[ref] {
		return digest, nil
	}
	if digest := r.others[ref]; digest != "" {
		return digest, nil
	}
	return "", fmt.Errorf("find %s: %w", ref, image.ErrNotFound)
}

// Push has somebody else push an image of that content, and returns its digest.
func (r *fakeRegistry) Push(ref, content string) (digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	if r.others == nil {
		r.others = map[string]string{}
	}
	r.others[ref] = digest
	r.pushed[ref[:strings.LastIndex(ref, ":")]+"@"+digest] = true
	return digest
}

// Fail makes the next calls of Find fail.
func (r *fakeRegistry) Fail(errs ...error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, errs...)
}

// fakeBuilder does what the Dockerfile's stage, or a command's lines, say: "RUN false" fails, "RUN flaky" fails the first time, "RUN block" waits for Release, "RUN echo …" writes to the
// log, "RUN same" makes an image that is always the same, and everything else one that never is.
type fakeBuilder struct {
	registry *fakeRegistry

	mu       sync.Mutex
	requests []build.Request
	errs     []error // of the next builds, whatever the Dockerfile says
	blocked  int
	release  chan struct{}
	flaked   bool
}

func (b *fakeBuilder) Build(ctx context.Context, req build.Request, out func(build.Line)) (build.Result, error) {
	b.mu.Lock()
	b.requests = append(b.requests, req)
	n := len(b.requests)
	var fail error
	if len(b.errs) > 0 {
		fail, b.errs = b.errs[0], b.errs[1:]
	}
	b.mu.Unlock()
	if fail != nil {
		return build.Result{}, fail
	}
	text, err := os.ReadFile(filepath.Join(req.Dir, req.Context, req.Dockerfile))
	switch {
	case req.Command != nil:
		text = []byte("RUN " + strings.ReplaceAll(req.Command.Run, "\n", "\nRUN "))
	case err != nil:
		return build.Result{}, &build.Failure{File: req.Dockerfile, Err: errors.New("there is none")}
	}
	files, left, err := readOutputs(req)
	if err != nil {
		return build.Result{}, err
	}
	var tail []string
	for i, line := range stage(string(text), req.Target) {
		say := func(s string) {
			tail = append(tail, s)
			out(build.Line{At: time.Now(), Step: line, Stream: 1, Text: s})
		}
		switch command, _ := strings.CutPrefix(line, "RUN "); {
		case command == "false" || command == "flaky" && !b.flakes():
			failed := &build.Failure{Step: line, Command: line, File: req.Dockerfile, Line: i + 1, Tail: tail, Err: errors.New("exit code: 1")}
			if req.Command != nil {
				failed.File, failed.Line = "", 0
			}
			return build.Result{Files: files, Left: left}, failed
		case command == "block":
			if err := b.wait(ctx); err != nil {
				return build.Result{}, err
			}
		case strings.HasPrefix(command, "echo "):
			say(strings.ReplaceAll(strings.TrimPrefix(command, "echo "), "$npm_token", string(req.Secrets["npm_token"])))
		}
	}
	if req.NoPush || req.Command != nil {
		return build.Result{Files: files, Left: left}, nil
	}
	if strings.Contains(string(text), "RUN same") {
		n = 0
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Appendf(nil, "%s %d", req.Image, n)))
	b.registry.mu.Lock()
	b.registry.pushed[req.Image+"@"+digest] = true
	b.registry.mu.Unlock()
	return build.Result{Digest: digest}, nil
}

// oneBuilder is one builder with room for many, and another for forks.
func oneBuilder(cfg *Config, d daemon) *builders {
	b := shareOut(cfg, &builder{daemon: d, name: "tcp://127.0.0.1:1"}, &builder{daemon: d, name: "tcp://127.0.0.1:2", forks: true})
	b.each = unbounded
	return b
}

// flakes tells whether what fails the first time goes well.
func (b *fakeBuilder) flakes() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.flaked
	b.flaked = true
	return before
}

func (b *fakeBuilder) Ping(context.Context) error { return nil }

// stage is what of a Dockerfile a target builds, what follows a line "FROM … AS target", and without a target what follows
// the last FROM; the other lines are empty.
func stage(dockerfile, target string) []string {
	lines := strings.Split(dockerfile, "\n")
	in := target == ""
	for i, line := range lines {
		if strings.HasPrefix(line, "FROM ") {
			in = target == "" || strings.HasSuffix(line, " AS "+target)
			if target == "" {
				clear(lines[:i])
			}
		}
		if !in {
			lines[i] = ""
		}
	}
	return lines
}

// readOutputs takes a build's outputs from the checkout: its commands write nothing.
func readOutputs(req build.Request) (files []build.File, left []build.Left, err error) {
	for i, o := range req.Outputs {
		all, err := readFiles(filepath.Join(req.Dir, o.Path))
		if err != nil {
			return nil, nil, err
		}
		if len(all) == 0 {
			left = append(left, build.Left{Output: i, Path: o.Path, Why: "not found"})
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			path := filepath.Join(o.Path, name)
			file := filepath.Join(o.Dir, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(all[name]), 0o600)); err != nil {
				return nil, nil, err
			}
			files = append(files, build.File{Output: i, Path: path, Size: int64(len(all[name]))})
		}
	}
	return files, left, nil
}

func (b *fakeBuilder) wait(ctx context.Context) error {
	b.mu.Lock()
	b.blocked++
	if b.release == nil {
		b.release = make(chan struct{})
	}
	release := b.release
	b.mu.Unlock()
	defer func() { b.mu.Lock(); b.blocked--; b.mu.Unlock() }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-release:
		return nil
	}
}

// Release lets those that wait go on.
func (b *fakeBuilder) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.release != nil {
		close(b.release)
		b.release = nil
	}
}

// Blocked is how many builds wait.
func (b *fakeBuilder) Blocked() int { b.mu.Lock(); defer b.mu.Unlock(); return b.blocked }

// Requests are the builds so far.
func (b *fakeBuilder) Requests() []build.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

// Fail makes the next builds fail.
func (b *fakeBuilder) Fail(errs ...error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errs = append(b.errs, errs...)
}

// fakeCluster keeps what was applied. The arguments of the first container say what becomes of it: "crash" never gets
// stable, "refuse" is not taken, "hang" is waited for until Release; "gossip" tells its progress a text.
type fakeCluster struct {
	name string

	mu      sync.Mutex
	objects map[string]*unstructured.Unstructured
	calls   []string           // as in "apply release 1"
	errs    map[string][]error // of the next calls, by verb
	waiting int
	release chan struct{}
	pulls   []string // host, user and password of pull secrets
	drifts  []kube.Drift
}

func newFakeCluster(name string) *fakeCluster {
	return &fakeCluster{name: name, objects: map[string]*unstructured.Unstructured{}, errs: map[string][]error{}}
}

// call notes a call, and returns the error that was asked for.
func (c *fakeCluster) call(verb string, objs []*unstructured.Unstructured) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	release := ""
	if len(objs) > 0 {
		release = objs[0].GetAnnotations()[kube.AnnotationRelease]
	}
	c.calls = append(c.calls, verb+" release "+release)
	if len(c.errs[verb]) == 0 {
		return nil
	}
	err := c.errs[verb][0]
	c.errs[verb] = c.errs[verb][1:]
	return err
}

func argument(objs []*unstructured.Unstructured, word string) bool {
	for _, o := range objs {
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		for _, c := range containers {
			args, _, _ := unstructured.NestedStringSlice(c.(map[string]any), "args")
			if slices.Contains(args, word) {
				return true
			}
		}
	}
	return false
}

func (c *fakeCluster) Diff(ctx context.Context, objs, released []*unstructured.Unstructured) ([]kube.Change, error) {
	drifts, _ := c.Drift(ctx, released)
	return []kube.Change{{Object: kube.RefOf(objs[0]).String(), Action: "update", Drift: drifts, Takes: []string{"kubectl-client-side-apply"}, Loses: []string{"spec.paused"}}}, c.call("diff", nil)
}

func (c *fakeCluster) Capabilities(context.Context) (kube.Capabilities, error) {
	return kube.Capabilities{Version: "v1.37.0", Major: "1", Minor: "37"}, nil
}

func (c *fakeCluster) Apply(ctx context.Context, objs []*unstructured.Unstructured, o kube.ApplyOptions) error {
	verb := "apply"
	if o.Adopt {
		verb = "adopt"
	}
	if err := errors.Join(c.call(verb, objs), ctx.Err()); err != nil {
		return err
	}
	if argument(objs, "refuse") {
		return &kube.Error{Object: kube.RefOf(objs[0]).String(), Message: "admission webhook denied it"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range objs {
		c.objects[o.GetNamespace()+"/"+kube.RefOf(o).String()] = o.DeepCopy()
	}
	return nil
}

func (c *fakeCluster) Wait(ctx context.Context, objs []*unstructured.Unstructured, report func(kube.Progress)) error {
	if err := errors.Join(c.call("wait", objs), ctx.Err()); err != nil {
		return err
	}
	object := kube.RefOf(objs[0]).String()
	report(kube.Progress{Object: object, Text: "0 of 1 pods ready"})
	switch {
	case argument(objs, "crash"):
		return &kube.Failure{Object: object, Pod: "web-5d9-x2", Container: "web", Reason: "CrashLoopBackOff", Message: "back-off restarting failed container",
			Logs: []string{"listen: address in use", "token is " + npmToken}, Event: "Back-off restarting", Fatal: true}
	case argument(objs, "hang"):
		c.mu.Lock()
		c.waiting++
		if c.release == nil {
			c.release = make(chan struct{})
		}
		release := c.release
		c.mu.Unlock()
		defer func() { c.mu.Lock(); c.waiting--; c.mu.Unlock() }()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-release:
		}
	}
	report(kube.Progress{Object: object, Text: "1 of 1 pods ready", Stable: true})
	return nil
}

func (c *fakeCluster) Verify(ctx context.Context, objs []*unstructured.Unstructured, _ []kube.Image) ([]string, error) {
	return nil, errors.Join(c.call("verify", objs), ctx.Err())
}

func (c *fakeCluster) Prune(ctx context.Context, old, now kube.Inventory, _ kube.Owner) (gone []string, err error) {
	if err := errors.Join(c.call("prune", nil), ctx.Err()); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ref := range old {
		if !slices.Contains(now, ref) {
			delete(c.objects, ref.Namespace+"/"+ref.String())
			gone = append(gone, ref.String())
		}
	}
	return gone, nil
}

func (c *fakeCluster) Live(ctx context.Context, ref kube.ObjectRef) (*unstructured.Unstructured, error) {
	if err := errors.Join(c.call("live", nil), ctx.Err()); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.objects[ref.Namespace+"/"+ref.String()].DeepCopy(), nil
}

func (c *fakeCluster) List(_ context.Context, of kube.ObjectRef) (objs []*unstructured.Unstructured, err error) {
	if err := c.call("list", nil); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, obj := range c.objects {
		if obj.GetKind() == of.Kind && obj.GetNamespace() == of.Namespace {
			objs = append(objs, obj.DeepCopy())
		}
	}
	return objs, nil
}

func (c *fakeCluster) EnsurePullSecret(_ context.Context, _, _, host, username, password string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulls = append(c.pulls, host+" "+username+" "+password)
	return nil
}

func (c *fakeCluster) HoldJob(_ context.Context, job *unstructured.Unstructured) (string, error) {
	return "uid of " + job.GetName(), c.call("hold", nil)
}

// RunJob ends at once: well, or not where its first container has the argument crash.
func (c *fakeCluster) RunJob(ctx context.Context, job *unstructured.Unstructured, uid string, report func(kube.Progress)) ([]string, error) {
	jobs := []*unstructured.Unstructured{job}
	if err := errors.Join(c.call("job", jobs), ctx.Err()); err != nil {
		return nil, err
	}
	object := kube.RefOf(job).String()
	report(kube.Progress{Object: object, Text: "0 of 1 completed"})
	if argument(jobs, "crash") {
		return nil, &kube.Failure{Object: object, Pod: "migrate-x", Container: "migrate", Reason: "BackoffLimitExceeded", Logs: []string{"no such table"}, Fatal: true}
	}
	return []string{"3 tables changed", "token is " + npmToken}, nil
}

func (c *fakeCluster) StopJob(context.Context, *unstructured.Unstructured) error {
	return c.call("stop", nil)
}

// Proxy answers 200, unless a test has set errors for it: then 503.
func (c *fakeCluster) Proxy(context.Context, string, string, string, string) (int, []byte, error) {
	if c.call("proxy", nil) != nil {
		return http.StatusServiceUnavailable, nil, nil
	}
	return http.StatusOK, nil, nil
}

func (c *fakeCluster) Status(_ context.Context, objs []*unstructured.Unstructured) ([]kube.WorkloadStatus, error) {
	if err := c.call("status", nil); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []kube.WorkloadStatus
	for _, o := range objs {
		if o.GetKind() != "Deployment" {
			continue
		}
		s := kube.WorkloadStatus{Object: kube.RefOf(o).String(), Released: o.GetAnnotations()[kube.AnnotationRelease]}
		if there := c.objects[o.GetNamespace()+"/"+s.Object]; there != nil {
			s.Found, s.Desired, s.Ready, s.Stable, s.Release = true, 1, 1, true, there.GetAnnotations()[kube.AnnotationRelease]
			if problem := there.GetAnnotations()["test/problem"]; problem != "" { // a test put it there
				s.Ready, s.Problem = 0, problem
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// Drift is what SetDrift said of each object that is there.
func (c *fakeCluster) Drift(_ context.Context, objs []*unstructured.Unstructured) ([]kube.Drift, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []kube.Drift
	for _, o := range objs {
		for _, d := range c.drifts {
			if d.Object == kube.RefOf(o).String() {
				all = append(all, d)
			}
		}
	}
	return all, nil
}

// SetDrift has somebody change what is there.
func (c *fakeCluster) SetDrift(drifts ...kube.Drift) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drifts = drifts
}

// Image is what the Deployment web runs.
func (c *fakeCluster) Image() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		for _, c := range containers {
			return c.(map[string]any)["image"].(string)
		}
	}
	return "nothing"
}

// Calls are the calls so far.
func (c *fakeCluster) Calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// Waiting is how many rollouts hang.
func (c *fakeCluster) Waiting() int { c.mu.Lock(); defer c.mu.Unlock(); return c.waiting }

// Release lets those that hang go on.
func (c *fakeCluster) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.release != nil {
		close(c.release)
		c.release = nil
	}
}

// Change changes what is in the cluster by hand.
func (c *fakeCluster) Change(change func(objects map[string]*unstructured.Unstructured)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c.objects)
}

// Fail makes the next calls of a verb fail.
func (c *fakeCluster) Fail(verb string, errs ...error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs[verb] = append(c.errs[verb], errs...)
}

// declare has an app of that name in another repository.
func (l *lab) declare(repo, app string) error {
	return l.bot.db.Update(context.Background(), func(tx *store.Tx) error {
		return errors.Join(tx.PutRepo(store.Repo{Name: repo, ID: 7, Installation: 7, DefaultBranch: "master"}), tx.Declare(repo, []store.Declared{{App: app, SHA: "1"}}))
	})
}
