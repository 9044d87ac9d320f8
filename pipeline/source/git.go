package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// errDamaged says that the mirror's own objects can't be read.
var errDamaged = errors.New("the mirror is damaged")

type setting struct{ key, value string }

// hardened is the whole configuration that git runs with, apart from the mirror's own, which git init wrote.
var hardened = []setting{
	{"core.hooksPath", "/dev/null"},
	{"core.fsmonitor", "false"},
	{"core.attributesFile", "/dev/null"},
	{"core.excludesFile", "/dev/null"},
	{"core.symlinks", "true"},
	{"core.autocrlf", "false"},
	{"credential.helper", ""},
	{"protocol.allow", "never"},
	{"protocol.http.allow", "always"},
	{"protocol.https.allow", "always"},
	{"protocol.version", "2"}, // lets a server give any commit it has, without configuration
	{"submodule.recurse", "false"},
	{"fetch.recurseSubmodules", "false"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"i18n.logOutputEncoding", "UTF-8"},
	{"log.showSignature", "false"},
}

// passedOn are the variables of our own environment that git needs where a proxy or a company's certificates are used.
var passedOn = []string{
	"PATH", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

// git is one execution of git.
type git struct {
	mirror  string // the repository; "" for git init
	dir     string // working directory and work tree; "" means the mirror
	index   string
	args    []string
	stdin   []byte
	config  []setting
	secrets []string // cut out of every error
}

// run executes git and returns what it printed.
func (g git) run(ctx context.Context) ([]byte, error) {
	var out bytes.Buffer
	cmd, stderr := g.command(ctx)
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return nil, g.explain(ctx, err, stderr)
	}
	return out.Bytes(), nil
}

// each executes git and calls do with each entry of its NUL-separated output, until do returns an error.
func (g git) each(ctx context.Context, do func(entry []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd, stderr := g.command(ctx)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	entries := bufio.NewScanner(stdout)
	entries.Split(scanEntries)
	for entries.Scan() {
		if err := do(entries.Bytes()); err != nil {
			cancel(err)
			break
		}
	}
	if err := entries.Err(); err != nil {
		cancel(err)
	}
	if err := cmd.Wait(); err != nil {
		return g.explain(ctx, err, stderr)
	}
	return context.Cause(ctx)
}

func (g git) command(ctx context.Context) (*exec.Cmd, *tail) {
	cmd := exec.CommandContext(ctx, "git", g.args...)
	cmd.Dir = g.dir
	if g.stdin != nil {
		cmd.Stdin = bytes.NewReader(g.stdin)
	}
	cmd.Env = []string{
		"LC_ALL=C",
		"HOME=/dev/null", // not unset: without it the .netrc of the user's entry in passwd is read
		"XDG_CONFIG_HOME=/dev/null",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=",
		"GIT_LFS_SKIP_SMUDGE=1",
		"GIT_NO_REPLACE_OBJECTS=1",
	}
	for _, name := range passedOn {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	if g.mirror != "" {
		cmd.Env = append(cmd.Env, "GIT_DIR="+g.mirror)
		if g.dir == "" {
			cmd.Dir = g.mirror
		} else {
			cmd.Env = append(cmd.Env, "GIT_WORK_TREE="+g.dir, "GIT_INDEX_FILE="+g.index)
		}
	}
	config := append(hardened[:len(hardened):len(hardened)], g.config...)
	cmd.Env = append(cmd.Env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)))
	for i, s := range config {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s.key), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s.value))
	}
	stderr := new(tail)
	cmd.Stderr = stderr
	// git starts other programs (git-remote-https, index-pack) that outlive it: the whole group is ended.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	return cmd, stderr
}

// explain makes an error of what git said, or of why it was stopped.
func (g git) explain(ctx context.Context, err error, stderr *tail) error {
	if ctx.Err() != nil {
		return fmt.Errorf("git %s: %w", g.args[0], context.Cause(ctx))
	}
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("git is not installed on the bot's machine: %w", err)
	}
	said := stderr.String()
	for _, secret := range g.secrets {
		if secret != "" {
			said = strings.ReplaceAll(said, secret, "***")
		}
	}
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("not our ref", "unadvertised object"):
		return ErrCommitGone
	case has("error: invalid path"): // .git, .., or what another system takes for one of them
		return mistake{fmt.Errorf("git %s: %s", g.args[0], lastLine(said))}
	case has("Authentication failed", "could not read Username", "could not read Password", "The requested URL returned error: 403", "not found\n", "returned error: 404"):
		return fmt.Errorf("git %s: %w: %s", g.args[0], ErrDenied, lastLine(said))
	case has("bad object", "corrupt", "unable to read tree", "unable to read sha1", "missing necessary objects", "not a git repository", "bad config", "inflate", "bad signature", "does not match index"):
		return fmt.Errorf("git %s: %w: %s", g.args[0], errDamaged, lastLine(said))
	}
	return fmt.Errorf("git %s: %w: %s", g.args[0], err, lastLine(said))
}

// lastLine returns git's verdict: its last fatal or error line, or else what it said last.
func lastLine(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	line := lines[len(lines)-1]
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "fatal: ") || strings.HasPrefix(lines[i], "error: ") {
			line = lines[i]
			break
		}
	}
	line = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, line)
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "") + "…"
	}
	return line
}

const (
	maxLine  = 500
	tailSize = 16 << 10
)

// tail keeps the last lines written to it: what a remote says can be endless.
type tail struct {
	kept []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - tailSize; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
		t.cut = true
	}
	return len(p), nil
}

// String returns whole lines only: half a token would not be recognised and cut out.
func (t *tail) String() string {
	s := string(t.kept)
	if t.cut {
		_, s, _ = strings.Cut(s, "\n")
	}
	return s
}
