package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"shipmate.dev/e2e/cluster/node"
)

// repeated is a flag that may be given several times.
type repeated []string

func (r *repeated) String() string     { return fmt.Sprint(*r) }
func (r *repeated) Set(s string) error { *r = append(*r, s); return nil }

func up(args []string) error {
	flags, dir := launcherFlags("up")
	var reach repeated
	flags.Var(&reach, "reach", "loopback `ADDRESS:PORT` of this machine to be had inside the cluster too")
	dieWithParent := flags.Bool("die-with-parent", false, "end when the process that started this one ends")
	timeout := flags.Duration("timeout", 3*time.Minute, "how long the cluster may take to be ready")
	if err := parse(flags, args, dir); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return node.Up(ctx, node.Options{Dir: *dir, Reach: reach, DieWithParent: *dieWithParent, Timeout: *timeout})
}

func down(args []string) error {
	flags, dir := launcherFlags("down")
	if err := parse(flags, args, dir); err != nil {
		return err
	}
	return node.Down(*dir, 30*time.Second)
}

func status(args []string) error {
	flags, dir := launcherFlags("status")
	if err := parse(flags, args, dir); err != nil {
		return err
	}
	return node.Status(*dir, os.Stdout)
}

func launcherFlags(name string) (*flag.FlagSet, *string) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	return flags, flags.String("dir", "", "`directory` of the cluster: its state, its logs and its kubeconfig")
}

func parse(flags *flag.FlagSet, args []string, dir *string) error {
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		return usageError{err}
	case flags.NArg() > 0:
		return usageError{fmt.Errorf("unexpected argument %q", flags.Arg(0))}
	case *dir == "":
		return usageError{errors.New("--dir is missing")}
	}
	return nil
}
