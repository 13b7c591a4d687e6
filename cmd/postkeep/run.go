package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Poll the mailboxes by their schedules until stopped",
		Long: `Polls the mailboxes by their schedules, archives, indexes, and answers the other
commands on the socket in the data directory. SIGINT or SIGTERM ends sessions
properly: what was receipted is deleted, the rest stays on the server. A second
signal stops at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			log := a.logger(cfg, true)
			ctx, cancel := context.WithCancelCause(cmd.Context())
			defer cancel(nil)
			i, err := openInstance(ctx, cfg, log, true, func(err error) { cancel(err) })
			if err != nil {
				return err
			}
			log.Info("running", "version", version, "data_dir", cfg.DataDir, "mailboxes", len(cfg.Mailboxes))
			<-ctx.Done()
			log.Info("stopping: sessions end properly, a second signal stops at once")
			err = i.close()
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				err = errors.Join(fmt.Errorf("stopped because a worker failed: %w", cause), err)
			}
			log.Info("stopped")
			return err
		},
	}
}
