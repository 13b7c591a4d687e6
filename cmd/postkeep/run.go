package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/internal/config"
)

func (a *app) runCommand() *cobra.Command {
	var takeOver bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Poll the mailboxes by their schedules until stopped",
		Long: `Polls the mailboxes by their schedules, archives, indexes, and answers the other
commands on the socket in the data directory. SIGINT or SIGTERM ends sessions
properly: what was receipted is deleted, the rest stays on the server. A second
signal stops at once. SIGHUP reads the mailboxes of the configuration again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			log := a.logger(cfg, true)
			ctx, cancel := context.WithCancelCause(cmd.Context())
			defer cancel(nil)
			i, err := openInstance(ctx, cfg, log, toRun, claimOf(takeOver), func(err error) { cancel(err) }, a.archive)
			if err != nil {
				return err
			}
			log.Info("running", "version", version, "data_dir", cfg.DataDir, "mailboxes", len(cfg.Mailboxes))
			a.setupLink(i)
			a.reloads(ctx, cfg, i)
			log.Info("stopping: sessions end properly, a second signal stops at once")
			err = i.close()
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				err = errors.Join(fmt.Errorf("stopped because a worker failed: %w", cause), err)
			}
			log.Info("stopped")
			return err
		},
	}
	takeOverFlag(cmd, &takeOver)
	return cmd
}

// reloads reads the configuration again at every SIGHUP until ctx ends. What
// cannot be used changes nothing.
func (a *app) reloads(ctx context.Context, cfg *config.Config, i *instance) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		next, err := config.Load(a.configPath)
		if err == nil {
			err = i.reload(ctx, next)
		}
		if err != nil {
			i.log.Error("the configuration was not taken over", "error", err)
			continue
		}
		i.log.Info("configuration read again", "mailboxes", len(next.Mailboxes))
		if !sameBase(cfg, next) {
			i.log.Warn("settings other than defaults and mailboxes take effect at the next start")
		}
	}
}

// sameBase reports whether two configurations differ in their mailboxes at most.
func sameBase(a, b *config.Config) bool {
	x, y := *a, *b
	x.Mailboxes, y.Mailboxes = nil, nil
	x.Defaults, y.Defaults = config.Session{}, config.Session{}
	return reflect.DeepEqual(x, y)
}
