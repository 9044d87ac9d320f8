package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end after SIGTERM before it is killed.
const stopTimeout = 60 * time.Second

// starts carries what is to be run on the one OS thread that starts processes: a process that asks to die with its
// parent dies with the parent's *thread*, so that thread must live as long as the program.
var starts = sync.OnceValue(func() chan func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fn := range c {
			fn()
		}
	}()
	return c
})

// A process is a program that was started and is ended by its pid.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error

	mu   sync.Mutex
	tail []string // its last lines
}

// start runs a program; each line that it prints goes to line. It dies with this program, however that ends.
func start(name string, env []string, line func(string), command string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(command, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	// A group of its own: Ctrl-C reaches us alone, and we end the others in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	failed := make(chan error)
	starts() <- func() { failed <- p.cmd.Start() }
	if err := <-failed; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		in := bufio.NewReader(r)
		for {
			text, err := in.ReadString('\n')
			if text = strings.TrimRight(text, "\n"); text != "" {
				p.mu.Lock()
				p.tail = append(p.tail[max(0, len(p.tail)-39):], text)
				p.mu.Unlock()
				if line != nil {
					line(text)
				}
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		p.err = p.cmd.Wait()
		_ = w.Close() // ends the reader
		<-read
		close(p.done)
	}()
	return p, nil
}

// output is what the process printed last.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.tail, "\n")
}

// stop ends the process and waits for it.
func (p *process) stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			return fmt.Errorf("%s ended with %s:\n%s", p.name, p.cmd.ProcessState, p.output())
		}
		return nil
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %s and was killed", p.name, stopTimeout)
	}
}

// stopQuietly is stop for a program that has no orderly end.
func (p *process) stopQuietly() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.kill()
	}
}

// kill ends the process at once, as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// ready waits until ok says so, the process ends or ctx does.
func (p *process) ready(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %w\n%s", p.name, errors.Join(p.err), p.output())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.name, context.Cause(ctx), p.output())
		case <-tick.C:
		}
	}
	return nil
}
