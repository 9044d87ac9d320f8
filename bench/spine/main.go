// Command spine measures two things that a bot owes to its database: how fast it works off what it finds there when it
// starts, and what it costs it to wait.
//
//	spine -bot bin/bot recover     10,000 stored events that decide to do nothing, from the start of the process until all are decided
//	spine waiting                  1,000 deployments that wait for an approval: goroutines and memory, beside a bot that has none
//
// Nothing is asserted about time or memory; spine exits 1 when an event was not decided or a deployment does not wait.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/shipmate-dev/shipmate/bot"
	"github.com/shipmate-dev/shipmate/store"
)

func main() {
	binary := flag.String("bot", "bin/bot", "the bot's binary")
	events := flag.Int("events", 10_000, "events to recover")
	deployments := flag.Int("deployments", 1_000, "deployments that wait")
	parent := flag.String("dir", "", "where the databases are made and removed; default: the system's folder for temporary files")
	look := flag.String("look", "", "internal: be the bot in this folder, and tell what it takes when so many deployments wait")
	flag.Parse()
	what := flag.Arg(0)
	if *look == "" && (flag.NArg() != 1 || what != "recover" && what != "waiting") || *events < 1 || *deployments < 0 {
		fmt.Fprintln(os.Stderr, "spine: say what to measure, recover or waiting; -events must be positive")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := func() error {
		if *look != "" {
			return lookAt(ctx, *look, *deployments)
		}
		dir, err := os.MkdirTemp(*parent, "spine-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }() // it is in the folder for temporary files
		if what == "recover" {
			return measureRecovery(ctx, dir, *binary, *events)
		}
		return measureWaiting(ctx, dir, *deployments)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "spine:", err)
		os.Exit(1)
	}
}

// configure writes a server's file into a folder. api is GitHub's address.
func configure(dir, api string, appID int64, key []byte) (*bot.Config, error) {
	text := fmt.Sprintf(`listen: 127.0.0.1:0
data_dir: data
github:
  api_url: %s
  app_id: %d
  private_key: file:app.pem
  webhook_secrets: [file:hook]
  allow: ["acme/*"]
  recover_every: 0s
clusters:
  prod:
    server: https://127.0.0.1:1
    token: file:hook
    allow: [{repositories: ["acme/*"], namespaces: [prod]}]
`, api, appID)
	for name, data := range map[string][]byte{"app.pem": key, "hook": []byte("bench-secret"), "shipmate.yaml": []byte(text)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	cfg, err := bot.LoadConfig(filepath.Join(dir, "shipmate.yaml"))
	if err != nil {
		return nil, err
	}
	return cfg, errors.Join(os.MkdirAll(cfg.DataDir, 0o700), cfg.EnsureDataKey())
}

func newKey() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
}

// fill opens the database that a bot will find.
func fill(ctx context.Context, cfg *bot.Config, fn func(*store.DB) error) error {
	db, err := store.Open(ctx, filepath.Join(cfg.DataDir, "shipmate.db"), []byte(cfg.DataKey.Value()))
	if err != nil {
		return err
	}
	return errors.Join(fn(db), db.Close())
}
