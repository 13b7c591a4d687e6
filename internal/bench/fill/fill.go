// Package fill makes archives for benchmarks, without a mail server.
package fill

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/postkeep/postkeep/archive"
)

// DefaultBatch is how many messages are put together, as by the worker of a busy
// server.
const DefaultBatch = 256

// Put puts the messages that each hands over into a mailbox of the archive, batch at a
// time. The archive owns them.
func Put(ctx context.Context, store *archive.Store, mailbox string, batch int, each func(yield func(msg []byte) error) error) error {
	deliveries := make([]archive.Delivery, 0, batch)
	n := 0
	flush := func() error {
		receipts, err := store.Put(ctx, deliveries)
		for _, r := range receipts {
			if r.Refused != "" {
				return fmt.Errorf("message %s is refused: %s", r.ID, r.Refused)
			}
		}
		deliveries = deliveries[:0]
		return err
	}
	err := each(func(msg []byte) error {
		deliveries = append(deliveries, delivery(mailbox, n, msg))
		n++
		if len(deliveries) < batch {
			return nil
		}
		return flush()
	})
	if err == nil && len(deliveries) > 0 {
		err = flush()
	}
	return err
}

// SHA256 is the hash of b in hexadecimal.
func SHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func delivery(mailbox string, n int, msg []byte) archive.Delivery {
	head, _, _ := bytes.Cut(msg, []byte("\n\n"))
	received := time.Date(2026, 3, 2, 9, 0, 0, 123456789, time.UTC).Add(time.Duration(n) * 83 * time.Millisecond)
	return archive.Delivery{
		ID: SHA256(msg), Size: int64(len(msg)), Body: bytes.NewReader(msg),
		Deposit: archive.Deposit{
			Mailbox: mailbox, UIDL: fmt.Sprintf("%08x%08x", 0x5f3a91c2, n), ListedSize: int64(len(msg)), Received: received,
			HeaderHash: SHA256(head),
			Source: archive.Source{
				Protocol: "pop3", Host: "mail.example.com:995", User: mailbox + "@example.com", TLS: "TLS 1.3",
				Session: "0195561c3f7a4d0e", Number: n + 1,
			},
		},
	}
}

// Size is the sum of the sizes of the files under root, in bytes.
func Size(root string) (n int64, err error) {
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
