package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/shipmate-dev/shipmate/bot"
)

type backupCmd struct {
	Config string `default:"shipmate.yaml" type:"path" help:"The server's file. Of its secrets only data_key is read."`
	Dest   string `arg:"" type:"path" help:"The file to write; it must not exist."`
}

func (backupCmd) Help() string {
	return "The copy has everything that was committed when it began, and was checked. data_key is needed to restore it and is not in it: " +
		"keep that elsewhere. Build logs are not in it either."
}

func (c *backupCmd) Run() error {
	return withData(c.Config, func(ctx context.Context, cfg *bot.Config) error { return bot.Backup(ctx, cfg, c.Dest, os.Stdout) })
}

type restoreCmd struct {
	Config string `default:"shipmate.yaml" type:"path" help:"The server's file. Of its secrets only data_key is read."`
	Src    string `arg:"" type:"path" help:"A file that bot backup wrote."`
}

func (restoreCmd) Help() string {
	return "Refuses to overwrite a database: move the old one (shipmate.db, -wal and -shm) away first. What happened after the backup is not known: " +
		"so numbers go on well above the last, what was unfinished is cancelled, and environments that take automatic deployments are held until /unlock."
}

func (c *restoreCmd) Run() error {
	return withData(c.Config, func(ctx context.Context, cfg *bot.Config) error { return bot.Restore(ctx, cfg, c.Src, os.Stdout) })
}

type auditCmd struct {
	Config string `default:"shipmate.yaml" type:"path" help:"The server's file. Of its secrets only data_key is read."`
	Do     string `arg:"" enum:"verify,export" help:"verify finds the first line that was changed, removed or moved; export writes JSON lines, the oldest first."`
}

func (auditCmd) Help() string {
	return "A database that is an older copy of itself verifies: keep exports elsewhere, each of which begins with the one before."
}

func (c *auditCmd) Run() error {
	return withData(c.Config, func(ctx context.Context, cfg *bot.Config) error {
		if c.Do == "verify" {
			return bot.VerifyAudit(ctx, cfg, os.Stdout)
		}
		out := bufio.NewWriter(os.Stdout)
		return errors.Join(bot.ExportAudit(ctx, cfg, out), out.Flush())
	})
}

// withData does something with the stored data, until a signal comes.
func withData(config string, do func(context.Context, *bot.Config) error) error {
	cfg, err := bot.LoadDataConfig(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return do(ctx, cfg)
}
