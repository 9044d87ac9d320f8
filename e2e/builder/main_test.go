package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestSocketPath(t *testing.T) {
	for _, test := range []struct {
		dir string
		ok  bool
	}{
		{"/tmp/builder", true},
		{"/" + strings.Repeat("d", 107-len("//buildkitd.sock")), true},
		{"/" + strings.Repeat("d", 108-len("//buildkitd.sock")), false},
	} {
		got, err := socketPath(test.dir)
		if (err == nil) != test.ok || test.ok && got != test.dir+"/buildkitd.sock" {
			t.Errorf("%s: %q, %v", test.dir, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "shorter --dir") {
			t.Errorf("the error doesn't say what to do: %v", err)
		}
	}
}

func TestDaemonConfig(t *testing.T) {
	got := daemonConfig("/d", "/d/buildkitd.sock", "shipmate-builder-1-2", []string{"127.0.0.1:5000", "127.0.0.1:5001"}, map[string]string{"docker.io": "127.0.0.1:5000"})
	const want = `root = "/d/cache"
[grpc]
address = ["unix:///d/buildkitd.sock"]
[worker.containerd]
enabled = false
[worker.oci]
snapshotter = "overlayfs"
binary = "runc"
networkMode = "host"
defaultCgroupParent = "shipmate-builder-1-2"
[registry."127.0.0.1:5000"]
http = true
[registry."127.0.0.1:5001"]
http = true
[registry."docker.io"]
mirrors = ["127.0.0.1:5000"]
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestDead(t *testing.T) {
	start, err := startTime("self")
	if err != nil {
		t.Fatal(err)
	}
	self := strconv.Itoa(os.Getpid())
	const nobody = "4194305" // above the kernel's largest pid
	for _, test := range []struct {
		name string
		want bool
	}{
		{cgroupPrefix + self + "-" + start, false},
		{cgroupPrefix + self + "-1", true}, // the pid is in use again
		{cgroupPrefix + nobody + "-1", true},
		{cgroupPrefix + nobody, false}, // the others aren't of our making
		{cgroupPrefix + "self-1", false},
		{"buildkit", false},
		{nobody + "-1", false},
	} {
		if got := dead(test.name); got != test.want {
			t.Errorf("%q: dead is %v", test.name, got)
		}
	}
}

func TestRemoveTree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(dir, "build", "step"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // that it is gone is no error
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	}
	// A cgroup with a process refuses, here a directory with a file does.
	file := filepath.Join(dir, "build", "file")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(dir); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file: %v", err)
	}
}

func TestDaemonRefusesToRunOnTheHost(t *testing.T) {
	before, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if err := becomeDaemon("/bin/false", t.TempDir()); err == nil {
		t.Error("no error")
	}
	after, err := os.ReadFile("/proc/self/mounts")
	if err != nil || string(before) != string(after) {
		t.Errorf("the host's mounts changed, %v", err)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, test := range []struct{ content, want string }{
		{"", ""},
		{"a\nb\nc\n", "b\nc"},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := tail(path, 2); got != test.want {
			t.Errorf("%q: %q", test.content, got)
		}
	}
}
