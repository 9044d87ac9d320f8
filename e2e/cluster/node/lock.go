package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The lock on DIR/lock is a POSIX record lock: the kernel drops it when its holder ends, and tells who holds it, so that no
// pid is ever read from a file that may be stale.

func lockDir(dir string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the cluster's directory: %w", err)
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if err == nil {
		return f, nil
	}
	f.Close()
	if pid, _ := holder(dir); pid != 0 {
		return nil, fmt.Errorf("a cluster is up in %s already (pid %d); take it down first: cluster down --dir %s", dir, pid, dir)
	}
	return nil, fmt.Errorf("lock the cluster's directory %s: %w", dir, err)
}

// holder returns the pid of the launcher whose cluster is up in dir, or 0.
func holder(dir string) (int, error) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the lock: %w", err)
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, fmt.Errorf("read the lock %s: %w", f.Name(), err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}

// Down ends the cluster that is up in dir and returns when it is gone. That none is up is no error.
func Down(dir string, timeout time.Duration) error {
	dir, err := resolve(dir)
	if err != nil {
		return err
	}
	pid, err := holder(dir)
	if pid == 0 || err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	// It held the lock before pidfd was opened and holds it now, so pidfd is no other process.
	if again, err := holder(dir); again != pid || err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	deadline := time.Now().Add(timeout)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for process %d: %w", pid, err)
		case n == 0:
			return fmt.Errorf("the cluster in %s (pid %d) has not ended after %v; kill -9 %d ends it", dir, pid, timeout, pid)
		default:
			return nil
		}
	}
}

// ErrDown is what [Status] returns when no cluster is up.
var ErrDown = errors.New("no cluster is up")

// Status writes what runs in the cluster of dir: the launcher, the first process of its namespaces, and that one's children, a line each.
func Status(dir string, w io.Writer) error {
	dir, err := resolve(dir)
	if err != nil {
		return err
	}
	pid, err := holder(dir)
	if err != nil {
		return err
	}
	if pid == 0 {
		return fmt.Errorf("%w in %s", ErrDown, dir)
	}
	fmt.Fprintf(w, "up KUBECONFIG=%s\nlauncher %d\n", filepath.Join(dir, "admin.kubeconfig"), pid)
	for _, init := range children(pid) {
		fmt.Fprintf(w, "init %d\n", init)
		for _, p := range children(init) {
			fmt.Fprintf(w, "%s %d\n", componentName(p), p)
		}
	}
	return nil
}

// children returns the child processes of pid, in the order of their ids.
func children(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var found []int
	for _, path := range stats {
		fields, err := statFields(path)
		if err == nil && fields[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found = append(found, child)
		}
	}
	return found
}

// statFields returns the fields of a /proc/PID/stat after the command's name, which may itself contain spaces: see proc_pid_stat(5), from field 3 on.
func statFields(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var fields []string
	for _, f := range bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) {
		fields = append(fields, string(f))
	}
	if len(fields) < 20 {
		return nil, fmt.Errorf("%s: %d fields", path, len(fields))
	}
	return fields, nil
}

// componentName is the name of a component's program; where that is this program, its subcommand.
func componentName(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "?" // it has just ended
	}
	argv := strings.Split(string(b), "\x00")
	if argv[0] == self && len(argv) > 1 {
		return argv[1]
	}
	return filepath.Base(argv[0])
}
