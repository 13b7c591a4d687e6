package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/pipeline"
)

func takeOverFlag(cmd *cobra.Command, takeOver *bool) {
	cmd.Flags().BoolVar(takeOver, "take-over", false, "make this data directory the archive if it is a copy, or was restored from a\nbackup; no other copy may be used any more")
}

func claimOf(takeOver bool) archive.Claim {
	if takeOver {
		return archive.ClaimTakeOver
	}
	return archive.ClaimOwn
}

var errRunning = errors.New("an instance is running on this data directory: it is the archive already, and there is nothing to take over")

// takeOverHint says what to type, and what it means.
const takeOverHint = "if the original is not used any more, or is lost, type once: postkeep run --take-over (or postkeep poll --take-over); " +
	"this directory is the archive from then on, and the original must never poll again, for each would delete mail that the other lacks"

// ours returns an error if the directory is a copy and more than reading is wanted.
func (i *instance) ours(to purpose) error {
	err := i.store.Copied()
	if err == nil {
		return nil
	}
	if to < toDispose {
		i.log.Warn("the data directory is a copy and is only read; nothing of this is in its ledger", "reason", err)
		return nil
	}
	return fmt.Errorf("%w: it can be searched, shown, exported and verified, but neither polls nor archives; %s", err, takeOverHint)
}

// serveArchive makes sure that this copy of the archive is the one that is served.
func (i *instance) serveArchive(ctx context.Context, to purpose, claim archive.Claim) (err error) {
	if to < toDispose {
		return nil
	}
	epoch := i.store.Epoch()
	if epoch.Number == 0 {
		return fmt.Errorf("the archive cannot note where it is at home (see the warning in the log): %w", errors.Join(archive.ErrReadOnly, i.store.ReadOnly()))
	}
	holder := pipeline.Holder{
		Epoch: epoch.Number, Name: epoch.Holder, Where: epoch.Path + " on " + epoch.Host, Boot: disk.ThisHost().Boot, Events: i.store.Events,
	}
	if claim == archive.ClaimTakeOver {
		holder.TakeOver = i.store.TakeOver
	}
	i.tenure, err = i.bus.Serve(ctx, holder)
	var other *pipeline.TenureError
	if errors.As(err, &other) && claim != archive.ClaimTakeOver {
		return fmt.Errorf("%w; %s", err, takeOverHint)
	}
	return err
}
