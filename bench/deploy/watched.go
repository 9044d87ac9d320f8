package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// watched is the process that memory measures: it deploys one folder to each of the namespaces, at once, through one client, as
// the bot does, and does what its standard input says. It answers in lines of JSON.
func watched(ctx context.Context, args []string) error {
	if len(args) < 5 {
		return errors.New("write watched SERVER FOLDER REPOSITORY DIGEST, and one NAMESPACE or more")
	}
	server, dir := args[0], args[1]
	b := &bench{image: kube.Image{Repository: args[2], Digest: args[3], Required: true}}
	cluster, err := kube.Open(kube.Config{Server: server})
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	orders := make(chan string)
	go func() { // it ends with the process
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			orders <- lines.Text()
		}
		close(orders)
	}()
	done := make(chan string, 1)
	for {
		select {
		case text := <-done:
			if err := out.Encode(said{Done: &text}); err != nil {
				return err
			}
		case order := <-orders:
			switch order {
			case "deploy":
				go func() {
					var g errgroup.Group
					for _, ns := range args[4:] {
						e := &environment{bench: b, namespace: ns, cluster: cluster}
						g.Go(func() error { return e.shipmate(ctx, dir) })
					}
					text := ""
					if err := g.Wait(); err != nil {
						text = err.Error()
					}
					done <- text
				}()
			case "measure":
				f, err := measured()
				if err == nil {
					err = out.Encode(said{Measured: &f})
				}
				if err != nil {
					return err
				}
			default:
				return nil
			}
		}
	}
}

// measured are this process's own figures.
func measured() (f figures, err error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.InUse = int64(m.HeapInuse)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		name, rest, _ := strings.Cut(line, ":")
		switch name {
		case "VmRSS", "VmHWM":
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				return f, fmt.Errorf("/proc/self/status: %s: %w", name, err)
			}
			if name == "VmRSS" {
				f.RSS = kib << 10
			} else {
				f.MostRSS = kib << 10
			}
		}
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return f, err
	}
	f.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	runtime.GC()
	runtime.ReadMemStats(&m)
	f.Live = int64(m.HeapAlloc)
	f.Goroutines = runtime.NumGoroutine()
	stacks := make([]byte, 16<<20)
	for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "shipmate/pipeline/kube.") {
			f.Ours++
		}
	}
	return f, nil
}
