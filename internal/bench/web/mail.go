package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

const (
	// atOnce and atOnceBytes bound what is in memory while messages are archived.
	atOnce      = 500
	atOnceBytes = 64 << 20
	// vocabulary is the number of words that are searched for.
	vocabulary = 2000
)

// word is what people search for.
var word = regexp.MustCompile(`\b[a-zA-Z]{4,12}\b`)

// deposit archives every file under from, and returns words out of them.
func deposit(ctx context.Context, from, dir string) (words []string, n int, err error) {
	if err := archive.Create(ctx, dir, archive.Options{}); err != nil {
		return nil, 0, err
	}
	store, err := archive.Open(ctx, dir, archive.Options{})
	if err != nil {
		return nil, 0, err
	}
	rng := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // the same words every time
	var batch []archive.Delivery
	size := 0
	flush := func() error {
		_, err := store.Put(ctx, batch)
		batch, size = batch[:0], 0
		return err
	}
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if found := word.FindAll(raw[len(raw)/3:], 200); len(words) < vocabulary && len(found) > 0 && rng.IntN(20) == 0 {
			words = append(words, string(found[rng.IntN(len(found))]))
		}
		sum := sha256.Sum256(raw)
		id := hex.EncodeToString(sum[:])
		batch = append(batch, archive.Delivery{ID: id, Size: int64(len(raw)), Body: bytes.NewReader(raw),
			Deposit: archive.Deposit{Mailbox: "list", UIDL: path, Received: time.Now().UTC()}})
		n++
		if size += len(raw); len(batch) >= atOnce || size >= atOnceBytes {
			return flush()
		}
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = flush()
	}
	return words, n, errors.Join(err, store.Close())
}

// person makes somebody who may search everything, and their token.
func person(ctx context.Context, dir string) (token string, err error) {
	store, err := users.Open(dir, users.Options{})
	if err != nil {
		return "", err
	}
	if err := store.Add(ctx, users.User{Name: "bench", Roles: []access.Role{access.Officer, access.Admin}}, ""); err != nil {
		return "", err
	}
	token, _, err = store.AddToken("bench", "bench", time.Time{})
	return token, err
}
