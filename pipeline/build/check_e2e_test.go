//go:build e2e

package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// command is a request to run a command in the base image, with outputs that are read into a folder of their own.
func (f far) command(t *testing.T, files map[string]string, run string, outputs ...string) Request {
	t.Helper()
	r := f.request(t, files)
	r.Command = &Command{Image: f.base, Run: run}
	r.Outputs = outputsOf(t, NewLimit(1<<20, 100), outputs...)
	return r
}

func outputsOf(t *testing.T, limit *Limit, paths ...string) (all []Output) {
	t.Helper()
	for _, p := range paths {
		all = append(all, Output{Path: p, Dir: t.TempDir(), Limit: limit})
	}
	return all
}

// contents are what was read back: path in the outputs' folders → content.
func contents(t *testing.T, r Request, result Result) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, f := range result.Files {
		file := filepath.Join(r.Outputs[f.Output].Dir, f.Path)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 || info.Size() != f.Size {
			t.Errorf("%s is %v (%v), want 0600 and %d bytes", f.Path, info, err, f.Size)
		}
		all[f.Path] = string(b)
	}
	return all
}

func TestE2ECommand(t *testing.T) {
	f := connect(t)
	id := unique()
	r := f.command(t, map[string]string{"in/a.txt": id}, "echo it ran in $(busybox pwd) as $(busybox id -u)\ncat in/a.txt > report.xml\nbusybox mkdir -p out/deep\necho x > out/deep/x\n",
		"report.xml", "out", "in/../out", "none")
	r.Secrets = map[string][]byte{"token": []byte("token-12345")}
	result, lines := f.mustBuild(t, r)
	if !slices.Contains(lines, "1 it ran in /src as 0") {
		t.Errorf("log:\n%s", strings.Join(lines, "\n"))
	}
	if got := contents(t, r, result); fmt.Sprint(got) != fmt.Sprint(map[string]string{"report.xml": id, "out/deep/x": "x\n"}) {
		t.Errorf("read %v", got)
	}
	if fmt.Sprint(result.Left) != "[{3 none not found}]" {
		t.Errorf("left %v", result.Left)
	}
	// The checkout itself is as it was, and what passed is not run again.
	if _, err := os.Stat(filepath.Join(r.Dir, "report.xml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the command wrote to the checkout: %v", err)
	}
	r.Outputs = outputsOf(t, NewLimit(1<<20, 100), "report.xml")
	result, lines = f.mustBuild(t, r)
	if slices.Contains(lines, "1 it ran in /src as 0") || contents(t, r, result)["report.xml"] != id {
		t.Errorf("again: %v\n%s", result.Files, strings.Join(lines, "\n"))
	}
}

func TestE2ECommandFails(t *testing.T) {
	f := connect(t)
	r := f.command(t, map[string]string{"a": unique()}, "echo made > report.xml\necho cannot find it >&2\nfalse\necho never\n", "report.xml")
	for range 2 { // a failure is not remembered by the builder
		r.Outputs = outputsOf(t, NewLimit(1<<20, 100), "report.xml")
		result, lines, err := f.build(t, t.Context(), r)
		var failure *Failure
		if !errors.As(err, &failure) {
			t.Fatalf("%v\n%s", err, strings.Join(lines, "\n"))
		}
		if failure.Err.Error() != "exit code: 1" || fmt.Sprint(failure.Tail) != "[cannot find it]" || failure.File != "" || !strings.HasPrefix(failure.Command, "echo made") {
			t.Errorf("%+v", failure)
		}
		if got := contents(t, r, result); fmt.Sprint(got) != "map[report.xml:made\n]" {
			t.Errorf("read %v, left %v", got, result.Left)
		}
	}
}

func TestE2EStage(t *testing.T) {
	f := connect(t)
	files := map[string]string{"Dockerfile": "FROM BASE AS test\nWORKDIR /work\nARG RESULT\nRUN --mount=type=secret,id=token echo made > report.xml && cat /run/secrets/token && $RESULT\nFROM BASE\nRUN echo " + unique() + "\n"}
	for _, want := range []string{"true", "false"} {
		r := f.request(t, files)
		r.NoPush, r.Target, r.Args = true, "test", map[string]string{"RESULT": want}
		r.Secrets = map[string][]byte{"token": []byte("token-12345")}
		r.Outputs = outputsOf(t, NewLimit(1<<20, 100), "report.xml")
		result, lines, err := f.build(t, t.Context(), r)
		var failure *Failure
		if errors.As(err, &failure) != (want == "false") || (err == nil) != (want == "true") {
			t.Fatalf("%s: %v\n%s", want, err, strings.Join(lines, "\n"))
		}
		if failure != nil && (failure.Line != 4 || failure.File != "Dockerfile" || failure.Err.Error() != "exit code: 1" || fmt.Sprint(failure.Tail) != "[•••]") {
			t.Errorf("%+v", failure)
		}
		if got := contents(t, r, result); fmt.Sprint(got) != "map[report.xml:made\n]" {
			t.Errorf("%s: read %v, left %v", want, got, result.Left)
		}
	}
}

// What a stranger's command leaves behind is files and nothing else.
func TestE2EOutputsAttacks(t *testing.T) {
	f := connect(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := `b() { busybox "$@"; }
b mkdir out; cd out
b ln -s /etc/passwd passwd
b ln -s ../../../../etc/passwd up
b ln -s ` + secret + ` host
b ln -s / root
b mkfifo pipe
b ln -s /etc ../linked
b printf x > "$(b printf 'bad\001name')"
b printf x > 'back\slash'
b dd if=/dev/zero of=huge bs=1024 count=2000 2>/dev/null
echo fine > fine
i=0; while [ $i -lt 40 ]; do d=d/$d; i=$((i+1)); done; b mkdir -p $d
`
	for _, end := range []string{"true", "false"} {
		r := f.command(t, map[string]string{"a": unique()}, run+end+"\n", "out", "linked/passwd", "out/root/bin/busybox")
		result, lines, err := f.build(t, t.Context(), r)
		if (err == nil) != (end == "true") {
			t.Fatalf("%v\n%s", err, strings.Join(lines, "\n"))
		}
		if got := contents(t, r, result); fmt.Sprint(got) != "map[out/fine:fine\n]" {
			t.Errorf("%s: read %v", end, got)
		}
		left := ""
		for _, l := range result.Left {
			left += l.Path + ": " + l.Why + "\n"
		}
		for _, want := range []string{"out/passwd: a symbolic link", "out/up: a symbolic link", "out/host: a symbolic link", "out/root: a symbolic link", "out/pipe: not a regular file",
			"bad\uFFFDname: its name", `back\slash: its name`, "out/huge: 2.0 MB are too much", "too many folders", "linked/passwd: a symbolic link", "out/root/bin/busybox: a symbolic link"} {
			if !strings.Contains(left, want) {
				t.Errorf("%s: %q is not among what was left out:\n%s", end, want, left)
			}
		}
	}
}

// A command has no rights that the sandbox's default does not give. Which network that is, is the builder's configuration.
func TestE2ECommandIsConfined(t *testing.T) {
	f := connect(t)
	r := f.command(t, map[string]string{"a": unique()}, `set +e
busybox mount -t tmpfs none /tmp && echo MOUNTED
busybox mknod /tmp/disk b 8 0 && busybox dd if=/tmp/disk count=1 && echo DISK
echo proc > /proc/sys/kernel/hostname && echo PROC
true`)
	_, lines := f.mustBuild(t, r)
	for _, l := range lines {
		if slices.Contains([]string{"1 MOUNTED", "1 DISK", "1 PROC"}, l) {
			t.Errorf("the command got out:\n%s", strings.Join(lines, "\n"))
		}
	}
}

func TestE2ECommandImageMissing(t *testing.T) {
	f := connect(t)
	r := f.command(t, map[string]string{"a": "b"}, "true")
	r.Command.Image = f.registry + "/base/none:1"
	_, _, err := f.build(t, t.Context(), r)
	var failure *Failure
	if !errors.As(err, &failure) || !strings.Contains(err.Error(), "image "+r.Command.Image) || !strings.Contains(err.Error(), "not found") {
		t.Errorf("%v", err)
	}
}

func TestE2ECommandCancel(t *testing.T) {
	f := connect(t)
	r := f.command(t, map[string]string{"a": unique()}, "echo begun; sleep 100", "a")
	ctx, cancel := context.WithCancel(t.Context())
	var began time.Time
	_, err := f.Build(ctx, r, func(l Line) {
		if l.Text == "begun" && l.Stream == 1 {
			began = time.Now()
			cancel()
		}
	})
	if took := time.Since(began); !errors.Is(err, context.Canceled) || took > 2*time.Second {
		t.Errorf("%v after %s", err, took)
	}
}
