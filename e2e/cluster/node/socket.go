package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// socketPair returns a connection and, for a child process, the file of its other end.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return c.(*net.UnixConn), theirs, nil
}

// sendListeners makes a listener on each of addresses in the caller's network namespace and hands them all over to the other end of to.
func sendListeners(to *net.UnixConn, addresses []string) error {
	var fds []int
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("reach %s: %w", address, err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			return fmt.Errorf("reach %s: %w", address, err)
		}
		defer f.Close()
		fds = append(fds, int(f.Fd()))
	}
	if _, _, err := to.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil); err != nil {
		return fmt.Errorf("hand over the listeners to be reached: %w", err)
	}
	return nil
}

// receiveListeners returns the n listeners that sendListeners sent.
func receiveListeners(from *net.UnixConn, n int) ([]net.Listener, error) {
	control := make([]byte, unix.CmsgSpace(4*n))
	_, length, _, _, err := from.ReadMsgUnix(make([]byte, 1), control)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:length])
	if err != nil {
		return nil, err
	}
	var listeners []net.Listener
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			f := os.NewFile(uintptr(fd), "listener")
			l, err := net.FileListener(f)
			f.Close()
			if err != nil {
				return nil, err
			}
			listeners = append(listeners, l)
		}
	}
	if len(listeners) != n {
		return nil, fmt.Errorf("%d listeners came, not %d", len(listeners), n)
	}
	return listeners, nil
}

// forward connects whoever connects to l with the TCP address to, until ctx is done. It closes l, and returns when the last connection has ended.
func forward(ctx context.Context, l net.Listener, to string) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // the connection's fault, or too many open files: the next one may do better
			continue
		}
		connections.Go(func() { join(ctx, c.(*net.TCPConn), to) })
	}
}

// join carries bytes between near and a new connection to the TCP address to: until both directions have ended, each on its own, or ctx is done.
func join(ctx context.Context, near *net.TCPConn, to string) {
	defer near.Close()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		near.SetLinger(0) // the caller sees a reset, as near to "refused" as can be had
		return
	}
	far := c.(*net.TCPConn)
	defer far.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	copied := make(chan struct{})
	go func() { defer close(copied); pipe(far, near) }()
	pipe(near, far)
	<-copied
}

// pipe copies src to dst and then ends that direction. When dst takes no more, src is told to send no more.
func pipe(dst, src *net.TCPConn) {
	io.Copy(dst, src)
	dst.CloseWrite()
	src.CloseRead()
}
