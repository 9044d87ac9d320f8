package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// InitCommand is the name of the subcommand under which a program that calls [Up] has to call [Init].
const InitCommand = "init"

// self is this very program, whatever has become of the path it was started by.
const self = "/proc/self/exe"

// Options say what cluster [Up] brings up.
type Options struct {
	// Dir holds the cluster's state while it is up, its kubeconfig (admin.kubeconfig) and, also afterwards, its logs. Made if absent.
	Dir string
	// Reach lists loopback addresses of the host, 127.0.0.1:PORT, that are to lead to the same listener inside the cluster's network namespace.
	Reach []string
	// DieWithParent ends the cluster when the process that started this one ends.
	DieWithParent bool
	// Timeout is how long the cluster may take to be ready.
	Timeout time.Duration
}

// Up runs a cluster until ctx is done, then takes it down and returns nil. Progress goes to standard output: a line for each step, and at last
// "ready KUBECONFIG=PATH".
//
// It returns an *exec.ExitError when the cluster could not come up or one of its components ended; what failed is on standard error then.
// It needs root and must be called on a goroutine that stays until the process ends, such as main's.
func Up(ctx context.Context, o Options) (err error) {
	// The kernel's parent-death signal follows the thread that started the child, not the process.
	runtime.LockOSThread()
	for _, address := range o.Reach {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !a.Addr().Is4() || !a.Addr().IsLoopback() || a.Port() == 0 {
			return fmt.Errorf("reach %q: not a loopback address with a port, such as 127.0.0.1:5000", address)
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root, for its namespaces and mounts")
	}
	if err := checkPrograms(); err != nil {
		return err
	}
	pause, err := findPause()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.DieWithParent {
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
			return fmt.Errorf("ask for the parent's death signal: %w", err)
		}
	}

	dir, err := makeDir(o.Dir)
	if err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := clean(dir); err != nil {
		return err
	}
	cgroup, err := makeCgroup()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cgroup.remove(), clean(dir)) }()

	// The API server's listener for the host: a socket belongs to the network namespace in which it was made, whoever accepts on it.
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the API server: %w", err)
	}
	apiFile, err := api.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("listen for the API server: %w", err)
	}
	api.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer ours.Close()

	cmd := exec.Command(self, InitCommand, "--dir", dir, "--cgroup", string(cgroup), "--pause", pause,
		"--reach", strings.Join(o.Reach, ","), "--timeout", o.Timeout.String())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{apiFile, theirs} // become apiFD and reachFD
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
		Setsid:     true, // a terminal's Ctrl-C is for us alone
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the cluster in new namespaces: %w", err)
	}
	apiFile.Close()
	theirs.Close()

	go func() {
		listeners, err := receiveListeners(ours, len(o.Reach))
		if err != nil {
			return // Init has ended, or we have
		}
		for i, l := range listeners {
			go forward(ctx, l, o.Reach[i])
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		// No farewell to the components: everything that they hold goes with the namespaces.
		cmd.Process.Kill()
		<-ended
		return nil
	}
}

// makeDir makes dir and returns it absolute and without symbolic links.
func makeDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the cluster's directory: %w", err)
	}
	return resolve(dir)
}

func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("directory %s: %w", dir, err)
	}
	abs, err = filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("the cluster's directory: %w", err)
	}
	return abs, nil
}

// programs are what the cluster needs of the machine, each with the Debian package that has it.
var programs = []struct{ name, debian string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{cniDir + "/ptp", "containernetworking-plugins"},
	{cniDir + "/host-local", "containernetworking-plugins"},
	{cniDir + "/portmap", "containernetworking-plugins"},
	{cniDir + "/loopback", "containernetworking-plugins"},
}

func checkPrograms() error {
	os.Setenv("PATH", path) // as the components will have it
	for _, p := range programs {
		if _, err := exec.LookPath(p.name); err != nil {
			return fmt.Errorf("%s isn't installed; apt-get install %s", p.name, p.debian)
		}
	}
	return nil
}

// findPause returns the path of the pods' pause program, which lies beside this one.
func findPause() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	pause := filepath.Join(filepath.Dir(program), "pause")
	if _, err := os.Stat(pause); err != nil {
		return "", fmt.Errorf("the pods' pause program is to lie beside this one: %w", err)
	}
	return pause, nil
}

// clean removes what a cluster makes in dir, but for its logs.
func clean(dir string) error {
	for _, name := range []string{"state", "admin.kubeconfig"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove the last cluster's state: %w", err)
		}
	}
	return nil
}
