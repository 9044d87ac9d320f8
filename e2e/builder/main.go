// Command builder runs BuildKit's daemon, buildkitd, on a bare Linux machine so that it leaves nothing behind but its cache.
//
//	builder up --dir DIR [--insecure-registry 127.0.0.1:PORT]... [--mirror HOST=127.0.0.1:PORT]... [--die-with-parent]
//
// The daemon is the first process of new PID and mount namespaces. When the launcher ends, in whatever way, the kernel kills the daemon, with it every
// build, and their mounts go with the namespace. Only cgroups have no such owner: the launcher removes its own, and those of a launcher that was
// killed when the next one starts. Builds have the host's network.
//
// DIR holds the daemon's socket (buildkitd.sock), log (buildkitd.log) and cache, which the next daemon in DIR goes on with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const usage = "usage: builder up --dir DIR [--insecure-registry HOST:PORT]... [--mirror HOST=HOST:PORT]... [--die-with-parent] [--timeout 1m]\n"

// startDaemon is the subcommand under which the launcher starts itself in the new namespaces, to become buildkitd.
const startDaemon = "daemon"

const configName = "buildkitd.toml"

func main() {
	runtime.LockOSThread() // the kernel's parent-death signal follows the thread that started the child, not the process
	if len(os.Args) == 4 && os.Args[1] == startDaemon {
		fail(becomeDaemon(os.Args[2], os.Args[3]))
	}
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	dir := flags.String("dir", "", "")
	dieWithParent := flags.Bool("die-with-parent", false, "")
	timeout := flags.Duration("timeout", time.Minute, "")
	var registries []string
	flags.Func("insecure-registry", "", func(s string) error { registries = append(registries, s); return nil })
	mirrors := map[string]string{} // by the host that they stand for
	flags.Func("mirror", "", func(s string) error {
		host, mirror, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("write HOST=HOST:PORT")
		}
		mirrors[host] = mirror
		return nil
	})
	if len(os.Args) < 2 || os.Args[1] != "up" || flags.Parse(os.Args[2:]) != nil || flags.NArg() > 0 || *dir == "" {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if *dieWithParent {
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
			fail(fmt.Errorf("ask for the parent's death signal: %w", err))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := up(ctx, *dir, registries, mirrors, *timeout); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "builder:", err)
	os.Exit(1)
}

// up runs buildkitd with its files in dir until ctx is done. With registries (host:port) it speaks plain HTTP. It must be called on a thread that stays until the process ends.
func up(ctx context.Context, dir string, registries []string, mirrors map[string]string, timeout time.Duration) (err error) {
	started := time.Now()
	if os.Geteuid() != 0 {
		return errors.New("builds need root, for their namespaces and mounts")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		return errors.New("runc isn't installed; apt-get install runc")
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	daemon := filepath.Join(filepath.Dir(program), "buildkitd")
	if _, err := os.Stat(daemon); err != nil {
		return fmt.Errorf("buildkitd is to lie beside this program: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the builder's directory: %w", err)
	}
	dir, err = filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return fmt.Errorf("the builder's directory: %w", err)
	}
	socket, err := socketPath(dir)
	if err != nil {
		return err
	}
	cgroup, err := cgroupName()
	if err != nil {
		return err
	}
	if err := removeDeadCgroups(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeCgroups(cgroup)) }()
	if err := os.WriteFile(filepath.Join(dir, configName), []byte(daemonConfig(dir, socket, cgroup, registries, mirrors)), 0o600); err != nil {
		return fmt.Errorf("write the daemon's configuration: %w", err)
	}
	temporary := filepath.Join(dir, "tmp") // a daemon that was killed may have left something there
	if err := errors.Join(os.RemoveAll(temporary), os.Mkdir(temporary, 0o700)); err != nil {
		return fmt.Errorf("make the daemon's directory for temporary files: %w", err)
	}
	log, err := os.Create(filepath.Join(dir, "buildkitd.log"))
	if err != nil {
		return fmt.Errorf("make the daemon's log: %w", err)
	}
	defer log.Close()

	cmd := exec.Command(program, startDaemon, daemon, dir)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
		Setsid:     true, // a terminal's Ctrl-C is for us alone
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start buildkitd in new namespaces: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	serving := make(chan error, 1)
	go func() { serving <- waitUntilServing(ctx, socket, timeout) }()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("buildkitd ended (%v); the last lines of %s:\n%s", err, log.Name(), tail(log.Name(), 20))
		case err := <-serving:
			if err != nil && ctx.Err() == nil {
				cmd.Process.Kill()
				<-ended
				return fmt.Errorf("buildkitd doesn't serve after %v: %w; the last lines of %s:\n%s", timeout, err, log.Name(), tail(log.Name(), 20))
			}
			if err == nil {
				fmt.Printf("%6.1fs buildkitd serves\nready BUILDKIT_HOST=unix://%s\n", time.Since(started).Seconds(), socket)
			}
		case <-ctx.Done():
			cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(10 * time.Second): // for a build that doesn't end
				cmd.Process.Kill()
				<-ended
			}
			return nil
		}
	}
}

// socketPath returns the path of the daemon's socket in dir.
func socketPath(dir string) (string, error) {
	socket := filepath.Join(dir, "buildkitd.sock")
	if most := len(unix.RawSockaddrUnix{}.Path) - 1; len(socket) > most {
		return "", fmt.Errorf("the path of the socket, %s, is longer than the %d bytes that a socket's may have; choose a shorter --dir", socket, most)
	}
	return socket, nil
}

// daemonConfig is in the format of BuildKit's docs/buildkitd.toml.md.
func daemonConfig(dir, socket, cgroup string, registries []string, mirrors map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "root = %q\n[grpc]\naddress = [%q]\n[worker.containerd]\nenabled = false\n", filepath.Join(dir, "cache"), "unix://"+socket)
	fmt.Fprintf(&b, "[worker.oci]\nsnapshotter = \"overlayfs\"\nbinary = \"runc\"\nnetworkMode = \"host\"\ndefaultCgroupParent = %q\n", cgroup)
	for _, r := range registries {
		fmt.Fprintf(&b, "[registry.%q]\nhttp = true\n", r)
	}
	for _, host := range slices.Sorted(maps.Keys(mirrors)) {
		fmt.Fprintf(&b, "[registry.%q]\nmirrors = [%q]\n", host, mirrors[host])
	}
	return b.String()
}

// becomeDaemon makes the new namespaces fit for buildkitd, with its files in dir, and replaces this process by it. It returns only if it fails.
func becomeDaemon(daemon, dir string) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("%s is what \"up\" starts as the first process of new namespaces; call \"up\"", startDaemon)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part from the host's mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := coverRun(dir, "/run/systemd/resolve"); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", daemon, unix.Exec(daemon, []string{"buildkitd", "--config", filepath.Join(dir, configName)}, os.Environ()))
}

// coverRun mounts an empty /run, where runc and buildkitd have files under fixed names, and brings back those of directories that lie below it.
func coverRun(directories ...string) error {
	type opened struct {
		name string
		file *os.File
	}
	var keep []opened
	for _, name := range directories {
		if !strings.HasPrefix(name, "/run/") {
			continue
		}
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
		defer f.Close()
		keep = append(keep, opened{name, f})
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, k := range keep {
		if err := os.MkdirAll(k.name, 0o755); err != nil {
			return fmt.Errorf("keep %s: %w", k.name, err)
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", k.file.Fd()), k.name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep %s: %w", k.name, err)
		}
	}
	return nil
}

// waitUntilServing asks by the gRPC health checking protocol.
func waitUntilServing(ctx context.Context, socket string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 5 * time.Second, Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1, MaxDelay: 50 * time.Millisecond}}))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	return err
}

// tail returns the last n lines of the file at path.
func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// The builds' cgroups lie below one named after the launcher's pid and start time, a pair that doesn't recur before a reboot, and no cgroup outlives that.
const cgroupPrefix = "shipmate-builder-"

func cgroupName() (string, error) {
	start, err := startTime("self")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%d-%s", cgroupPrefix, os.Getpid(), start), nil
}

// startTime is field 22 of proc_pid_stat(5). The name before it may contain spaces.
func startTime(pid string) (string, error) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%s/stat: %d fields", pid, len(fields))
	}
	return fields[22-3], nil
}

// removeDeadCgroups removes the cgroups of launchers that are gone.
func removeDeadCgroups() error {
	paths, err := cgroups(cgroupPrefix + "*")
	if err != nil {
		return err
	}
	for _, path := range paths {
		if dead(filepath.Base(path)) {
			removeTree(path) // what is busy yet is left for the next time
		}
	}
	return nil
}

// dead reports that the launcher a cgroup is named after is gone. A name that isn't one of ours is never dead.
func dead(cgroup string) bool {
	id, ours := strings.CutPrefix(cgroup, cgroupPrefix)
	pid, start, whole := strings.Cut(id, "-")
	if _, err := strconv.Atoi(pid); err != nil || !ours || !whole {
		return false
	}
	now, err := startTime(pid)
	return errors.Is(err, fs.ErrNotExist) || err == nil && now != start
}

// removeCgroups removes the cgroup name from every hierarchy, with what lies below it. The processes in it must have been killed; the kernel may take a moment to let go of them.
func removeCgroups(name string) error {
	paths, err := cgroups(name)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(5 * time.Second)
	for _, path := range paths {
		for {
			err := removeTree(path)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove the builds' cgroups: %w", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// cgroups returns the paths of the top-level cgroups that match pattern, in all of the machine's hierarchies (one with cgroup v2, many with v1).
func cgroups(pattern string) ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(mounts)) {
		if m := strings.Fields(line); m[2] == "cgroup" || m[2] == "cgroup2" { // fstab(5): device, mount point, type
			paths, err := filepath.Glob(filepath.Join(m[1], pattern))
			if err != nil {
				return nil, fmt.Errorf("find the cgroup hierarchies: %w", err)
			}
			found = append(found, paths...)
		}
	}
	return found, nil
}

// removeTree removes the cgroup at path, children first: its files go with it and can't be removed by themselves.
func removeTree(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(path, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}
