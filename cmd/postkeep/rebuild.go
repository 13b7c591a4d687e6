package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) rebuildCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "rebuild", Short: "Make what is derived anew", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(&cobra.Command{
		Use: "catalog", Short: "Make the catalog anew from ledger and volumes", Args: cobra.NoArgs,
		Long: "Makes the catalog anew from ledger and volumes, and reads all messages again for\ntheir summaries. A running instance goes on with the old one meanwhile.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			return a.with(cmd.Context(), toRebuildCatalog, func(_ *config.Config, client *api.Client) error {
				done, err := client.RebuildCatalog(cmd.Context())
				if err != nil {
					return err
				}
				return a.rebuilt("catalog", done.Messages, began)
			})
		},
	}, &cobra.Command{
		Use: "index", Short: "Make the search index anew from the archive", Args: cobra.NoArgs,
		Long: "Makes the search index anew from the archive, one part after the other. Searches go on\nmeanwhile, also those of a running instance, which goes on with it if this command is stopped.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			return a.with(cmd.Context(), toRead, func(_ *config.Config, client *api.Client) error {
				done, err := client.RebuildIndex(cmd.Context())
				if err != nil {
					return err
				}
				return a.rebuilt("index", done.Messages, began)
			})
		},
	})
	return cmd
}

func (a *app) rebuilt(what string, messages uint64, began time.Time) error {
	_, err := fmt.Fprintf(a.stdout, "%s of %s messages made anew in %s\n", what, count(messages), time.Since(began).Round(time.Millisecond))
	return err
}

// rebuildCatalog makes the catalog anew, unless it was made anew when the archive was opened.
func (i *instance) rebuildCatalog(ctx context.Context) error {
	if i.remade {
		return i.caughtUp(ctx)
	}
	return i.store.RebuildCatalog(ctx, func(ctx context.Context, a *archive.Store) error {
		return i.index.Describe(ctx, a, i.indexing)
	})
}

// caughtUp waits until everything is indexed and described.
func (i *instance) caughtUp(ctx context.Context) error {
	if err := i.store.Unreadable(); err != nil {
		return err
	}
	last, err := i.store.LastDeposit(ctx)
	if err != nil {
		return err
	}
	if err := i.index.Wait(ctx, last); err != nil {
		return err
	}
	stalled := i.index.Stalled()
	const lookAgain = 50 * time.Millisecond
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		rest, err := i.store.Undescribed(ctx, 1)
		if err != nil || len(rest) == 0 {
			return err
		}
		if err := stalled(); err != nil {
			return fmt.Errorf("wait for the summaries of messages, which a later command goes on with: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
