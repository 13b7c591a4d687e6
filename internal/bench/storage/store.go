package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/postkeep/postkeep/archive"
)

// batch is how many messages are put together, as by the worker of a busy server.
const batch = 256

// A putter puts messages of a mailbox into the archive that is measured.
type putter func(ctx context.Context, mailbox string, messages [][]byte) error

// sizes are the bytes of an archive.
type sizes struct{ volumes, ledger, catalog int64 }

// archive makes an archive, lets fill put messages into it, seals and repacks it, and measures it.
func (o options) archive(ctx context.Context, fill func(putter) error) (s sizes, err error) {
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
	err = fill(into(store))
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
		if *n, err = size(filepath.Join(dir, at)); err != nil {
			return s, err
		}
	}
	return s, nil
}

func size(root string) (n int64, err error) {
	err = filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// into puts messages as a poller does that has read them from a server.
func into(store *archive.Store) putter {
	return func(ctx context.Context, mailbox string, messages [][]byte) error {
		deliveries := make([]archive.Delivery, 0, batch)
		for i, m := range messages {
			deliveries = append(deliveries, delivery(mailbox, i, m))
			if len(deliveries) < batch && i < len(messages)-1 {
				continue
			}
			receipts, err := store.Put(ctx, deliveries)
			if err != nil {
				return err
			}
			for _, r := range receipts {
				if r.Refused != "" {
					return fmt.Errorf("message %s is refused: %s", r.ID, r.Refused)
				}
			}
			deliveries = deliveries[:0]
		}
		return nil
	}
}

func corpusID(msg []byte) string {
	sum := sha256.Sum256(msg)
	return hex.EncodeToString(sum[:])
}

func delivery(mailbox string, n int, msg []byte) archive.Delivery {
	head, _, _ := bytes.Cut(msg, []byte("\n\n"))
	received := time.Date(2026, 3, 2, 9, 0, 0, 123456789, time.UTC).Add(time.Duration(n) * 83 * time.Millisecond)
	return archive.Delivery{
		ID: corpusID(msg), Size: int64(len(msg)), Body: bytes.NewReader(msg),
		Deposit: archive.Deposit{
			Mailbox: mailbox, UIDL: fmt.Sprintf("%08x%08x", 0x5f3a91c2, n), ListedSize: int64(len(msg)), Received: received,
			HeaderHash: corpusID(head),
			Source: archive.Source{
				Protocol: "pop3", Host: "mail.example.com:995", User: mailbox + "@example.com", TLS: "TLS 1.3",
				Session: "0195561c3f7a4d0e", Number: n + 1,
			},
		},
	}
}
