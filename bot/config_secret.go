package bot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

const masked = "•••"

// Secret is a credential that the server's file names as env:NAME or file:PATH. However it is printed, logged or
// marshalled, it shows as "•••". Its value stands behind a pointer because fmt calls no method on what is in an
// unexported field, and would print a string there.
type Secret struct {
	ref   string
	file  string // where it stands, where that is a file
	value *string
}

var environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// UnmarshalText reads a reference. It never repeats what it refuses, since that may be the credential itself.
func (s *Secret) UnmarshalText(text []byte) error {
	kind, name, _ := strings.Cut(string(text), ":")
	switch {
	case kind == "env" && environmentName.MatchString(name):
	case kind == "env":
		return errors.New("env: is not followed by the name of an environment variable; write letters, digits and _, such as env:API_KEY")
	case kind == "file" && name != "" && !strings.Contains(name, "\x00"):
	case kind == "file":
		return errors.New("file: is not followed by a path; write for example file:./secret")
	default:
		return errors.New("a secret does not stand in this file; write env:NAME or file:PATH, and put it there")
	}
	*s = Secret{ref: string(text)}
	return nil
}

// resolve reads the value; a relative path is taken from dir. A missing file is fs.ErrNotExist.
func (s *Secret) resolve(dir string) error {
	kind, name, _ := strings.Cut(s.ref, ":")
	var value string
	if kind == "env" {
		v, ok := os.LookupEnv(name)
		if !ok {
			return fmt.Errorf("the environment variable %s is not set; set it where the server is started", name)
		}
		value = v
	} else {
		s.file = inDir(dir, name)
		data, err := readSmall(s.file)
		if err != nil {
			return fmt.Errorf("%w; put the secret into that file", err)
		}
		value = strings.TrimRight(string(data), "\r\n")
	}
	if value == "" {
		return fmt.Errorf("%s is empty; put the secret there", s.ref)
	}
	s.value = &value
	return nil
}

// IsSet says whether the file names this secret.
func (s Secret) IsSet() bool { return s.ref != "" }

// Value is the credential, for the one who needs it; empty when it is not set.
func (s Secret) Value() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String returns "•••".
func (s Secret) String() string { return masked }

// Format writes "•••", whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masked) }

// LogValue returns "•••".
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns "•••"; it serves JSON and YAML alike.
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// tokens are those by which a cluster was reached last, the newest at the end: one may be good for a while after there is another.
type tokens struct {
	mu  sync.Mutex
	all []string
}

const maxTokens = 4

func (t *tokens) add(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.all, token) {
		t.all = append(t.all, token)
		t.all = t.all[max(0, len(t.all)-maxTokens):]
	}
}

func (t *tokens) read() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.all)
}

// maxFile bounds every file that is read for the configuration, in bytes.
const maxFile = 1 << 20

// readSmall reads a file of at most maxFile bytes. The error names the file.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("larger than 1 MiB")}
	}
	return data, err
}

func inDir(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
