package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// sysctls are the host's settings that a kubelet insists on, with the values that it wants.
var sysctls = []struct{ name, value string }{
	{"kernel/panic", "10"},
	{"kernel/panic_on_oops", "1"},
	{"kernel/keys/root_maxkeys", "1000000"},
	{"kernel/keys/root_maxbytes", "25000000"},
	{"vm/overcommit_memory", "1"},
	{"vm/panic_on_oom", "0"},
}

// setUpMounts arranges the mount namespace of a cluster in dir: see the package's documentation. The environment becomes that of the components.
func setUpMounts(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part from the host's mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// Open both before either is mounted: dir may itself lie below /var/lib.
	var opened [2]*os.File
	for i, name := range []string{"state", "log"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("make the cluster's directory: %w", err)
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("make the cluster's directory: %w", err)
		}
		defer f.Close()
		opened[i] = f
	}
	for i, target := range []string{"/var/lib", "/var/log"} {
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", opened[i].Fd()), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := maskSysctls(); err != nil {
		return err
	}
	if err := os.Mkdir("/run/tmp", 0o700); err != nil {
		return fmt.Errorf("make the temporary directory: %w", err)
	}
	os.Clearenv() // proxies above all
	os.Setenv("PATH", path)
	os.Setenv("TMPDIR", "/run/tmp")
	os.Setenv("HOME", "/run/tmp")
	return nil
}

// maskSysctls makes /proc/sys read-only, but for net, which has a namespace; what a kubelet wants to find there it finds.
func maskSysctls() error {
	entries, err := os.ReadDir("/proc/sys")
	if err != nil {
		return fmt.Errorf("mask the host's sysctls: %w", err)
	}
	for _, e := range entries {
		if e.Name() == "net" {
			continue
		}
		path := filepath.Join("/proc/sys", e.Name())
		if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mask the host's sysctls: bind %s: %w", path, err)
		}
		if err := unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("mask the host's sysctls: remount %s: %w", path, err)
		}
	}
	for _, s := range sysctls {
		mask := filepath.Join("/run/sysctl", s.name)
		if err := os.MkdirAll(filepath.Dir(mask), 0o755); err != nil {
			return fmt.Errorf("mask the host's sysctls: %w", err)
		}
		if err := os.WriteFile(mask, []byte(s.value+"\n"), 0o644); err != nil {
			return fmt.Errorf("mask the host's sysctls: %w", err)
		}
		err := unix.Mount(mask, filepath.Join("/proc/sys", s.name), "", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("mask sysctl %s: %w", s.name, err)
		}
	}
	return nil
}

// setUpNetwork gives the network namespace its loopback, the node's address on it, and a route for the addresses of Services: kube-proxy's rules replace those,
// but what is sent must have a route first.
func setUpNetwork() error {
	if err := unix.Sethostname([]byte(nodeName)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("set up the network: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set up the network: %w", err)
	}
	node := net.ParseIP(nodeIP)
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: node, Mask: net.CIDRMask(32, 32)}}); err != nil {
		return fmt.Errorf("add the node's address %s: %w", nodeIP, err)
	}
	// A pod's look-up of a name is many packets at once. Without a limit each of them is refused, rather than the first six and the others after their timeouts.
	if err := os.WriteFile("/proc/sys/net/ipv4/icmp_ratelimit", []byte("0"), 0); err != nil {
		return fmt.Errorf("set up the network: %w", err)
	}
	_, services, err := net.ParseCIDR(serviceCIDR)
	if err != nil {
		return fmt.Errorf("set up the network: %w", err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: services, Src: node, Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("add the route to %s: %w", serviceCIDR, err)
	}
	return nil
}
