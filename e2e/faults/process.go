package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is the bot, which lives several times.
type process struct {
	command func() *exec.Cmd
	listen  string // its address

	log     output
	running sync.Mutex // one start, kill or stop at a time
	cmd     *exec.Cmd
	ended   chan struct{}
}

// start starts it; it need not be ready yet.
func (p *process) start() error {
	p.running.Lock()
	defer p.running.Unlock()
	cmd, ended := p.command(), make(chan struct{})
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.ended = cmd, ended
	go func() { _ = cmd.Wait(); close(ended) }() // its state tells
	return nil
}

// ready returns when it takes work, and an error when it ended or ctx did.
func (p *process) ready(ctx context.Context) error {
	for {
		answer, err := http.Get("http://" + p.listen + "/readyz")
		if err == nil {
			_ = answer.Body.Close() // only its status counts
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.ended:
			return errors.New("the bot ended")
		default:
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil { // between two looks
			return fmt.Errorf("the bot is not ready: %w", err)
		}
	}
}

// kill ends it with SIGKILL, and returns when it is gone.
func (p *process) kill() {
	p.running.Lock()
	defer p.running.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// terminate asks it to end.
func (p *process) terminate() {
	p.running.Lock()
	defer p.running.Unlock()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
}

// stop ends it with SIGTERM, which it must obey with exit code 0.
func (p *process) stop() error {
	p.running.Lock()
	defer p.running.Unlock()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		return errors.New("the bot did not end within a minute")
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("the bot ended with %s", p.cmd.ProcessState)
	}
	return nil
}

// output is a log that is written by one life after the other.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
