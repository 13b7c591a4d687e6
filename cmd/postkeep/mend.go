package main

import (
	"context"

	"github.com/postkeep/postkeep/archive"
)

// mend rebuilds the catalog when it is found not to have the deposits that the ledger says. Nothing is disposed of meanwhile.
func (i *instance) mend(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-i.store.Disagreed():
		}
		err := i.store.RebuildCatalog(ctx, func(ctx context.Context, a *archive.Store) error {
			return i.index.Describe(ctx, a, i.indexing)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil: // problems says so, and the next plan tries again
			i.log.Error("the catalog does not have what the ledger says, and could not be rebuilt", "error", err)
		default:
			i.log.Info("the catalog has been rebuilt from the ledger")
		}
	}
}
