package main

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/e2e"
)

// settle is how long a bot that has nothing to do is left alone before its idle memory is read.
const settle = 2 * time.Second

// botFigures are the bot's own; sizes are in bytes.
type botFigures struct {
	size            int64
	stripped        bool
	starts          sample // until /readyz
	idle, peak, end int64  // resident memory
}

// measureBot starts the bot again and again, each time after a kill, and looks at the last one at rest.
func measureBot(ctx context.Context, s *e2e.Stack, binary string, rounds int) (*botFigures, error) {
	info, err := os.Stat(binary)
	if err != nil {
		return nil, err
	}
	b := &botFigures{size: info.Size()}
	f, err := elf.Open(binary)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", binary, err)
	}
	b.stripped = f.Section(".symtab") == nil && f.Section(".debug_info") == nil && f.Section(".zdebug_info") == nil
	if err := f.Close(); err != nil {
		return nil, err
	}
	for range rounds {
		s.KillBot()
		began := time.Now()
		if err := s.StartBot(ctx); err != nil {
			return nil, err
		}
		b.starts = append(b.starts, time.Since(began))
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b.idle, err = memory(s.BotPID(), "VmRSS")
	return b, err
}

// after reads what the run took.
func (b *botFigures) after(pid int) (err error) {
	if b.peak, err = memory(pid, "VmHWM"); err != nil {
		return err
	}
	b.end, err = memory(pid, "VmRSS")
	return err
}

// memory reads a field of a process's memory in bytes (proc_pid_status(5); it counts in units of 1024).
func memory(pid int, field string) (int64, error) {
	file := fmt.Sprintf("/proc/%d/status", pid)
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return parseMemory(string(text), field)
}

func parseMemory(status, field string) (int64, error) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n * 1024, err
		}
	}
	return 0, fmt.Errorf("the process's status has no %s", field)
}
