package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcd runs a single-member etcd whose client and peer listeners are unix sockets, until SIGTERM or SIGINT. It doesn't sync to disk: its data do not
// outlive the cluster.
func etcd(args []string) error {
	flags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	dir := flags.String("data-dir", "", "data directory")
	client := flags.String("listen-client-socket", "", "path of the socket for clients")
	peer := flags.String("listen-peer-socket", "", "path of the socket for peers")
	if err := flags.Parse(args); err != nil {
		return usageError{err}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	c := embed.NewConfig()
	c.Dir = *dir
	c.LogLevel = "warn"
	c.UnsafeNoFsync = true
	c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: *client}}
	c.ListenPeerUrls = []url.URL{{Scheme: "unix", Path: *peer}}
	// etcd refuses to advertise a unix socket; a single member's advertised addresses are never dialled.
	c.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2379"}}
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	server, err := embed.StartEtcd(c)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return fmt.Errorf("etcd: %w", err)
	}
}
