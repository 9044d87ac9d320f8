package node

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is the name of a cluster's root cgroup, of which every pod's is a descendant, in each of the machine's hierarchies (one with cgroup v2, many with v1).
//
// The name says which launcher's it is: by pid and start time, a pair that doesn't recur before a reboot, and no cgroup outlives that.
type cgroup string

const cgroupPrefix = "shipmate-cluster-"

// makeCgroup removes the cgroups of launchers that ended without doing so, and makes this process's.
func makeCgroup() (cgroup, error) {
	roots, err := cgroupRoots()
	if err != nil {
		return "", err
	}
	for _, root := range roots {
		paths, _ := filepath.Glob(filepath.Join(root, cgroupPrefix+"*"))
		for _, path := range paths {
			if c := cgroup(filepath.Base(path)); c.dead() {
				c.remove()
			}
		}
	}
	fields, err := statFields("/proc/self/stat")
	if err != nil {
		return "", fmt.Errorf("read this process's start time: %w", err)
	}
	c := cgroup(fmt.Sprintf("%s%d-%s", cgroupPrefix, os.Getpid(), fields[startTime]))
	for _, root := range roots {
		if err := os.Mkdir(filepath.Join(root, string(c)), 0o755); err != nil {
			c.remove()
			return "", fmt.Errorf("make the cluster's cgroup: %w", err)
		}
	}
	return c, nil
}

// startTime is the index of starttime (field 22 of proc_pid_stat(5)) in what statFields returns.
const startTime = 22 - 3

// dead reports that the launcher c is named after is gone. A name that isn't one of ours is never dead.
func (c cgroup) dead() bool {
	id, ours := strings.CutPrefix(string(c), cgroupPrefix)
	pid, start, whole := strings.Cut(id, "-")
	if _, err := strconv.Atoi(pid); err != nil || !ours || !whole {
		return false
	}
	fields, err := statFields("/proc/" + pid + "/stat")
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return err == nil && fields[startTime] != start
}

// remove removes c with its descendants from every hierarchy. Its processes must have been killed; it waits a while for the kernel to let go of them.
func (c cgroup) remove() error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(5 * time.Second)
	for _, root := range roots {
		for {
			err := removeTree(filepath.Join(root, string(c)))
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup %s: %w", c, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
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

// cgroupRoots returns the mount points of the machine's cgroup hierarchies, v1 and v2.
func cgroupRoots() ([]string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	defer f.Close()
	var roots []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m := strings.Fields(lines.Text()); m[2] == "cgroup" || m[2] == "cgroup2" { // fstab(5): device, mount point, type
			roots = append(roots, m[1])
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	if len(roots) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted on this machine; a kubelet needs them")
	}
	return roots, nil
}
