// Package faults plays a story of pushes and commands while the bot is killed again and again and everything around it
// fails for stretches, and then holds what the bot made of it against what was pushed and said.
//
// The far ends that speak to people (GitHub, WeCom, Slack) are simulated here; where images are built and run is the
// [Stage], of which there are two: a simulated one for a quick run (bot/faults_test.go), and a real one (this package's
// test). All randomness comes from the seed; what the bot and the machine make of a moment does not, so a seed repeats
// the story, not each of its interleavings.
package faults

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// repeatMark is what a message in a chat says that may have been sent before.
const repeatMark = "may be a repeat"

// omittedMark is what a message in a chat says that tells only of progress that was left out.
const omittedMark = "progress that were left out"

// Secrets of the story's server. None of them may ever be seen.
const (
	hookSecret = "hook-secret-5f1c"
	slackToken = "xoxb-token-77e0"
	robotKey   = "robot-key-693a-" // and a number
	robots     = 8
	channel    = "C1"
)

// A Stage is what the bot builds and deploys with.
type Stage interface {
	// Image is what the pods of an app run, as REPOSITORY@DIGEST; "" when there are none.
	Image(ctx context.Context, namespace, app string) (string, error)
	// Answer is the version that an app serves; ok is false on a stage where nothing serves.
	Answer(ctx context.Context, namespace, app string) (version string, ok bool, err error)
	// Troubles are what can befall the builder and the clusters.
	Troubles() []Trouble
}

// A Trouble befalls a part of the stage, and is over when Strike returns, early when ctx ends.
type Trouble struct {
	Name   string
	Strike func(ctx context.Context, lasts time.Duration) error
}

// Options say what story is played. All are needed, but Say.
type Options struct {
	Seed   uint64
	Pushes int
	Kills  int
	Owners int // accounts with an installation of the App each, from 3 on

	Dir      string // an empty folder
	Stage    Stage
	Command  func(config string) *exec.Cmd // the bot, with its server's file
	Parts    string                        // the keys builder and clusters of the server's file; the clusters are test and prod, REPOSITORIES stands for all
	Registry string                        // host:port, plain HTTP
	Base     string                        // what images are made from: the FROM line's argument
	Gap      time.Duration                 // between two acts, on average
	Stretch  time.Duration                 // how long a trouble lasts at most
	Patience time.Duration                 // until everything must have come to rest at the end
	Say      func(format string, args ...any)
}

// FromEnv reads SEED, PUSHES and KILLS, all of which may be empty, and prints the command that plays the same again.
func FromEnv(command string, pushes, kills int) (opt Options, repeat string, err error) {
	number := func(name string, otherwise int) int {
		n, e := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(otherwise)))
		if e != nil || n < 0 {
			err = errors.Join(err, fmt.Errorf("%s=%s: write a number from 0 on", name, os.Getenv(name)))
		}
		return n
	}
	opt.Seed, opt.Pushes, opt.Kills = uint64(number("SEED", rand.IntN(1_000_000))), number("PUSHES", pushes), number("KILLS", kills)
	repeat = fmt.Sprintf("%s SEED=%d PUSHES=%d KILLS=%d", command, opt.Seed, opt.Pushes, opt.Kills)
	fmt.Println(repeat)
	return opt, repeat, err
}

// A Story is one being played.
type Story struct {
	opt    Options
	gh     *sim.GitHub
	wecom  *sim.WeCom
	slack  *sim.Slack
	config string
	repos  []*repo
	close  []func()

	findable bool  // the app may read Slack's history
	posted   posts // in Slack

	bot   process
	kill  killer
	wrong wrongs
}

// New makes the far ends and the repositories. It starts no bot.
func New(opt Options) (s *Story, err error) {
	s = &Story{opt: opt, slack: sim.NewSlack(slackToken, channel)}
	if s.opt.Say == nil {
		s.opt.Say = func(string, ...any) {}
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	var keys []string
	for i := range robots {
		keys = append(keys, fmt.Sprint(robotKey, i))
	}
	s.wecom = sim.NewWeCom(keys...)
	if s.bot.listen, err = freeAddress(); err != nil {
		return s, err
	}
	s.bot.command = func() *exec.Cmd { return opt.Command(s.config) }
	s.kill.bot = &s.bot
	s.findable = opt.Seed%2 == 0
	s.slack.Readable(s.findable)
	s.slack.OnMessage = s.posted.add
	if s.gh, err = sim.NewGitHub(sim.GitHubConfig{Dir: filepath.Join(opt.Dir, "github"), RateLimit: 1_000_000}); err != nil {
		return s, err
	}
	s.close = append(s.close, func() { _ = s.gh.Close() })                                                        // nothing hangs on it
	github := s.serve(s.watched(func(r *http.Request) string { return "github " + path.Base(r.URL.Path) }, s.gh)) // github comments, …
	s.gh.SetURL(github)
	if err := s.makeRepos(); err != nil { // before there is a webhook
		return s, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), opt.Patience)
	defer cancel()
	if err := s.gh.Flush(ctx); err != nil {
		return s, err
	}
	s.gh.SetHook(s.serve(http.HandlerFunc(s.deliver)), hookSecret)
	return s, s.writeConfig(s.serve(s.Watched("wecom", s.wecom)), s.serve(s.Watched("slack", s.slack)))
}

// Close ends the far ends.
func (s *Story) Close() {
	for i := len(s.close) - 1; i >= 0; i-- {
		s.close[i]()
	}
}

func (s *Story) serve(h http.Handler) (url string) {
	server := httptest.NewServer(h)
	s.close = append(s.close, func() { server.CloseClientConnections(); server.Close() })
	return server.URL
}

// Watched makes every answer of a far end that changed something a place where the bot may be killed: after it took
// effect and before the bot hears of it.
func (s *Story) Watched(place string, h http.Handler) http.Handler {
	return s.watched(func(*http.Request) string { return place }, h)
}

func (s *Story) watched(place func(*http.Request) string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead || strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			h.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if answer.Code/100 == 2 {
			s.kill.saw(place(r))
		}
		copyAnswer(w, answer.Result())
	})
}

// deliver hands GitHub's deliveries to the bot, whose process comes and goes.
func (s *Story) deliver(w http.ResponseWriter, r *http.Request) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+s.bot.listen+"/webhooks/github", r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	req.Header = r.Header.Clone()
	req.ContentLength = r.ContentLength
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		http.Error(w, "the bot is not there", http.StatusBadGateway)
		return
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	if s.kill.saw("webhook") {                 // it is stored, but GitHub does not hear of it
		http.Error(w, "the bot is gone", http.StatusBadGateway)
		return
	}
	copyAnswer(w, answer)
}

func copyAnswer(w http.ResponseWriter, from *http.Response) {
	for name, values := range from.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(from.StatusCode)
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Body.Read(buffer)
		if _, werr := w.Write(buffer[:n]); err != nil || werr != nil {
			return // the end, or whoever asked is gone
		}
	}
}

func (s *Story) writeConfig(wecom, slack string) error {
	secrets := map[string]string{"app.pem": string(s.gh.PrivateKeyPEM()), "hook": hookSecret, "slack": slackToken}
	var keys []string
	for i := range robots {
		file := fmt.Sprint("robot", i)
		secrets[file] = fmt.Sprint(robotKey, i)
		keys = append(keys, "file:"+file)
	}
	for file, value := range secrets {
		if err := os.WriteFile(filepath.Join(s.opt.Dir, file), []byte(value), 0o600); err != nil {
			return err
		}
	}
	text := fmt.Sprintf(`listen: %s
public_url: http://ship.example.com
data_dir: data
github:
  api_url: %s
  app_id: %d
  private_key: file:app.pem
  webhook_secrets: [file:hook]
  allow: [REPOSITORIES]
  recover_every: 1s
registries:
  %q:
    plain_http: true
    allow: [{repositories: [REPOSITORIES], paths: [team]}]
chat:
  wecom:
    ops: {robot_keys: [%s], base_url: %s/, language: en, allow: [REPOSITORIES]}
  slack:
    team: {bot_token: file:slack, base_url: %s/api/, language: en, allow: [REPOSITORIES]}
%s`, s.bot.listen, s.gh.APIURL(), s.gh.AppID(), s.opt.Registry, strings.Join(keys, ", "), wecom, slack, s.opt.Parts)
	var all []string
	for _, r := range s.repos {
		all = append(all, r.FullName())
	}
	text = strings.ReplaceAll(text, "REPOSITORIES", strings.Join(all, ", "))
	s.config = filepath.Join(s.opt.Dir, "shipmate.yaml")
	return os.WriteFile(s.config, []byte(text), 0o600)
}

// freeAddress is a loopback address that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s *Story) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(s.opt.Seed, stream)) }

// pause lets time pass: the story's own pace, not a wait for something.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// around draws a time from [0, 2*mean].
func around(r *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(2*mean) + 1))
}

// until looks again and again until look is content; its last error says what is missing.
func until(ctx context.Context, patience time.Duration, what string, look func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := look()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s, after %s: %w", what, patience, err)
		}
		if stop := pause(ctx, 100*time.Millisecond); stop != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(stop, err))
		}
	}
}

// posts keeps what messages in Slack said when they were new: an edit replaces it.
type posts struct {
	mu   sync.Mutex
	text map[string]string
}

func (p *posts) add(m sim.SlackMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text == nil {
		p.text = map[string]string{}
	}
	if m.Edits == 0 {
		p.text[m.TS] = string(m.Blocks) + m.Text
	}
}

func (p *posts) of(ts string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text[ts]
}

// wrongs gathers what is not as it must be.
type wrongs struct {
	mu  sync.Mutex
	all []string
}

func (w *wrongs) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, fmt.Sprintf(format, args...))
}

// Play plays the story to its end and returns everything that is wrong then. An error means that it could not be played.
func (s *Story) Play(ctx context.Context) (wrong []string, err error) {
	began := time.Now()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	defer s.bot.kill()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var troubled, killing sync.WaitGroup
	calm, end := context.WithCancel(ctx) // ends when the troubles do
	defer end()
	troubled.Go(func() {
		if err := s.trouble(calm); err != nil {
			cancel(fmt.Errorf("trouble: %w", err))
		}
	})
	killing.Go(func() {
		if err := s.kills(ctx); err != nil {
			cancel(fmt.Errorf("kill: %w", err))
		}
	})
	err = s.act(ctx)
	if err == nil {
		killing.Wait()
	}
	end()
	troubled.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel(err)
		killing.Wait()
		return nil, err
	}
	s.opt.Say("%d kills (%s), acts are over after %.0f s", s.opt.Kills, s.kill.counts(), time.Since(began).Seconds())
	if err := s.rest(ctx); err != nil {
		s.wrong.add("it does not come to rest: %v", err)
	}
	s.opt.Say("at rest after %.0f s", time.Since(began).Seconds())
	if err := s.check(ctx); err != nil {
		return s.wrong.all, err
	}
	s.opt.Say("checked after %.0f s", time.Since(began).Seconds())
	return s.wrong.all, nil
}

// Log is what the bot has logged, in all its lives.
func (s *Story) Log() string { return s.bot.log.String() }

// start starts the bot and waits until it is ready.
func (s *Story) start(ctx context.Context) error {
	if err := s.bot.start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Patience)
	defer cancel()
	return s.bot.ready(ctx)
}
