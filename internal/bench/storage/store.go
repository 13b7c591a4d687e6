package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/bench/fill"
)

// A putter puts messages of a mailbox into the archive that is measured.
type putter func(ctx context.Context, mailbox string, messages [][]byte) error

// sizes are the bytes of an archive.
type sizes struct{ volumes, ledger, catalog int64 }

// archive makes an archive, lets deposit put messages into it, seals and repacks it, and measures it.
func (o options) archive(ctx context.Context, deposit func(putter) error) (s sizes, err error) {
	tmp, err := os.MkdirTemp(o.dir, "postkeep-storage-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	dir := filepath.Join(tmp, "data")
	if err := archive.Create(ctx, dir, archive.Options{}); err != nil {
		return s, err
	}
	store, err := archive.Open(ctx, dir, archive.Options{})
	if err != nil {
		return s, err
	}
	err = deposit(into(store))
	if err == nil {
		err = store.Seal(ctx)
	}
	if err == nil {
		err = store.Repack(ctx, archive.RepackOptions{})
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return s, err
	}
	for at, n := range map[string]*int64{"volumes": &s.volumes, "ledger": &s.ledger, "catalog.db": &s.catalog} {
		if *n, err = fill.Size(filepath.Join(dir, at)); err != nil {
			return s, err
		}
	}
	return s, nil
}

// into puts messages as a poller does that has read them from a server.
func into(store *archive.Store) putter {
	return func(ctx context.Context, mailbox string, messages [][]byte) error {
		return fill.Put(ctx, store, mailbox, fill.DefaultBatch, func(yield func([]byte) error) error {
			for _, m := range messages {
				if err := yield(m); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
