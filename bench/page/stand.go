package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shipmate-dev/shipmate/bot"
	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/store"
)

// A stand is a bot that runs, and those who look at it.
type stand struct {
	dir     string
	gh      *sim.GitHub
	db      *sql.DB // of the bot
	cmd     *exec.Cmd
	done    chan error
	address string   // host:port
	people  []string // the cookies that they have
}

const (
	publicURL = "https://ship.example.com"
	secret    = "bench-secret"
)

// people is how many are signed in.
const people = 4

// start fills a database, starts the bot on it and signs people in.
func start(ctx context.Context, dir string, o options) (s *stand, err error) {
	s = &stand{dir: dir}
	if s.gh, err = sim.NewGitHub(sim.GitHubConfig{Dir: filepath.Join(dir, "github"), Secret: secret, CallbackURL: publicURL + "/auth/callback"}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if err := s.gh.Start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.gh.SetClientSecret(secret)
	for i := range (o.apps + 4) / 5 {
		repo, err := s.gh.CreateRepo(fmt.Sprintf("acme/repo-%d", i), sim.RepoOptions{})
		if err != nil {
			return nil, err
		}
		for p := range people {
			repo.SetPermission(fmt.Sprintf("person-%d", p), "write", "")
		}
	}
	text := fmt.Sprintf(`listen: 127.0.0.1:0
public_url: %s
data_dir: data
github:
  api_url: %s
  app_id: %d
  client_id: %s
  client_secret: file:hook
  private_key: file:app.pem
  webhook_secrets: [file:hook]
  allow: ["acme/*"]
  recover_every: 0s
clusters:
  prod:
    server: https://127.0.0.1:1
    token: file:hook
    allow: [{repositories: ["acme/*"], namespaces: [prod]}]
`, publicURL, s.gh.APIURL(), s.gh.AppID(), s.gh.ClientID())
	for name, data := range map[string][]byte{"app.pem": s.gh.PrivateKeyPEM(), "hook": []byte(secret), "shipmate.yaml": []byte(text)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	cfg, err := bot.LoadConfig(filepath.Join(dir, "shipmate.yaml"))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(cfg.DataDir, "logs"), 0o700), cfg.EnsureDataKey()); err != nil {
		return nil, err
	}
	file := filepath.Join(cfg.DataDir, "shipmate.db")
	db, err := store.Open(ctx, file, []byte(cfg.DataKey.Value()))
	if err == nil {
		err = db.Close() // it has its schema
	}
	if err == nil {
		err = fill(ctx, file, o)
	}
	if err == nil {
		s.db, err = sql.Open("sqlite", file+"?_pragma=busy_timeout(10000)")
	}
	if err == nil {
		err = s.serve(ctx, o.bot)
	}
	if err != nil {
		return nil, err
	}
	for p := range people {
		cookie, err := s.signIn(ctx, fmt.Sprintf("person-%d", p))
		if err != nil {
			return nil, fmt.Errorf("sign in: %w", err)
		}
		s.people = append(s.people, cookie)
	}
	return s, nil
}

// serve starts the bot and waits until it says its address.
func (s *stand) serve(ctx context.Context, binary string) error {
	s.cmd = exec.CommandContext(ctx, binary, "serve", "--config", filepath.Join(s.dir, "shipmate.yaml"))
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan error, 1)
	address := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, after, ok := strings.Cut(lines.Text(), "address="); ok && strings.Contains(lines.Text(), "serving") {
				select {
				case address <- strings.Fields(after)[0]:
				default:
				}
			} else if !strings.Contains(lines.Text(), "level=INFO") {
				fmt.Fprintln(os.Stderr, lines.Text())
			}
		}
		_, _ = io.Copy(io.Discard, out) // a line that is too long for the scanner
		s.done <- s.cmd.Wait()
	}()
	select {
	case s.address = <-address:
		return nil
	case err := <-s.done:
		s.done = nil
		return fmt.Errorf("the bot ended: %w", err)
	case <-time.After(time.Minute):
		return errors.New("the bot does not say that it serves")
	}
}

// stop asks the bot to end, as an operator does.
func (s *stand) stop() (err error) {
	if s.done != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // what comes of it is told by the next line
		err = <-s.done
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	return errors.Join(err, s.gh.Close())
}

// signIn goes the way of a browser, and returns the cookie that it has then.
func (s *stand) signIn(ctx context.Context, login string) (cookie string, err error) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 30 * time.Second}
	jar := map[string]string{}
	address := publicURL + "/auth/login?to=/"
	for range 5 {
		local, ours := strings.CutPrefix(address, publicURL)
		if ours {
			address = "http://" + s.address + local
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return "", err
		}
		for name, value := range jar {
			if ours {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
		}
		answer, err := client.Do(r)
		if err != nil {
			return "", err
		}
		_ = answer.Body.Close() // it is not read
		for _, c := range answer.Cookies() {
			if jar[c.Name] = c.Value; c.MaxAge < 0 {
				delete(jar, c.Name)
			}
		}
		if address = answer.Header.Get("Location"); !strings.HasPrefix(address, "http") {
			break
		}
		if u, err := url.Parse(address); err == nil && strings.HasSuffix(u.Path, "/login/oauth/authorize") {
			address += "&user=" + login
		}
	}
	for name, value := range jar {
		cookie += name + "=" + value + "; "
	}
	if cookie = strings.TrimSuffix(cookie, "; "); cookie == "" {
		return "", fmt.Errorf("%s has no cookie", login)
	}
	return cookie, nil
}

// memory is what the bot has resident, in bytes (proc_pid_status(5); it counts in units of 1024).
func (s *stand) memory() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	line, _, _ := strings.Cut(after, " kB")
	n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return n * 1024, err
}

// cpu is what the bot has taken of the processors, in seconds (proc_pid_stat(5); it counts in hundredths).
func (s *stand) cpu() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // the third field on
	if len(f) < 13 {
		return 0, fmt.Errorf("the process's stat has %d fields", len(f))
	}
	user, err := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100, errors.Join(err, err2)
}
