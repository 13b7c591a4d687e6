package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/postkeep/postkeep/archive/setsum"
)

// lookAtEverything compares all that is there, byte for byte, and then the catalog with one made anew.
func (x *trial) lookAtEverything(rng *rand.Rand) {
	ctx := x.Context()
	x.must("finish disposals", x.c.Resume(ctx))
	x.look()
	_, messages := x.m.live()
	for id, deposits := range messages {
		text, err := x.bytesOf(id)
		if x.must("read "+id, err) && text != x.m.texts[id] {
			x.problem("message %s has %d other bytes", id, len(text))
		}
		x.lookAtDeposits(ctx, id, deposits)
	}
	for id := range x.m.texts {
		if _, err := x.s.Message(ctx, id); messages[id] == nil && !errors.Is(err, ErrNotFound) {
			x.problem("message %s was disposed of, or never archived, and is found: %v", id, err)
		}
	}
	x.lookForLeftovers(messages)
	x.lookAtCertificates(ctx)
	r, err := x.s.Verify(ctx, VerifyOptions{Deep: true, Restart: true})
	if x.must("verify", err) && r.Damages > 0 {
		x.problem("verify: %+v", r.Damage)
	}
	x.must("ledger", x.s.ledger.VerifyAll(ctx))
	x.stop()

	before := everyDeposit(ctx, x, x.s)
	if rng.IntN(2) == 0 {
		x.rebuild(rng)
	} else {
		x.close()
		x.open(rng, func(o *Options) { o.RebuildCatalog = true })
	}
	x.same("the catalog that was made anew", everyDeposit(ctx, x, x.s), before)
	x.look()
}

// same compares lists in any order.
func (x *trial) same(what string, got, want []string) {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		x.problem("%s: there are\n%s\nnot\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// lookAtDeposits compares the deposits of a message with what callers were told, and asks as a poller does.
func (x *trial) lookAtDeposits(ctx context.Context, id string, deposits []*modelDeposit) {
	m, err := x.s.Message(ctx, id)
	if !x.must("message "+id, err) {
		return
	}
	var got, want []string
	for _, d := range m.Deposits {
		got = append(got, fmt.Sprint(d.Mailbox))
	}
	for _, d := range deposits {
		want = append(want, d.mailbox)
		key, told := x.m.keys[d.index]
		if !told || d.mailbox == recoveredMailbox {
			continue
		}
		held, err := x.s.Known(ctx, key.mailbox, []Listing{{UIDL: key.uidl, Size: key.listed}})
		x.must("known", err)
		at := slices.IndexFunc(held, func(h Holding) bool { return h.ID == id && h.Index == d.index && !h.Disposed })
		if at < 0 {
			x.problem("deposit %d (%+v) is not known: %+v", d.index, key, held)
			continue
		}
		if vouched, tried := x.m.vouch[d.index]; held[at].Confirmed && !tried || vouched && !held[at].Confirmed {
			x.problem("deposit %d is confirmed: %v, a poll has vouched for it: %v", d.index, held[at].Confirmed, vouched)
		}
	}
	x.same("mailboxes of "+id, got, want)
}

var tokens = regexp.MustCompile(`token [0-9]+\.`)

// lookForLeftovers looks for what was disposed of in all volumes.
func (x *trial) lookForLeftovers(messages map[string][]*modelDeposit) {
	there := map[string]bool{}
	for id := range messages {
		there[tokens.FindString(x.m.texts[id])] = true
	}
	gone := map[string]bool{}
	for _, d := range x.m.deposits {
		if token := tokens.FindString(d.text); !there[token] {
			gone[token] = true
		}
	}
	names, err := filepath.Glob(filepath.Join(x.dir, volumesName, "*.tar.zst"))
	x.must("volumes", err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if !x.must("volume", err) {
			return
		}
		z, err := zstd.NewReader(bytes.NewReader(data))
		if x.must("volume", err) {
			data, err = io.ReadAll(z)
			z.Close()
			x.must(name, err)
		}
		for _, token := range tokens.FindAll(data, -1) {
			if gone[string(token)] {
				x.problem("%s of a message that was disposed of is in %s", token, name)
				return
			}
		}
	}
}

func (x *trial) lookAtCertificates(ctx context.Context) {
	for id, p := range x.m.plans {
		if p.gone > 0 != p.done && p.gone > 0 {
			x.problem("plan %s is not finished", id)
		}
		if !p.done {
			continue
		}
		c, err := x.s.Certificate(ctx, id)
		if x.must("certificate", err) && len(c.Deposits) != p.gone {
			x.problem("the certificate of plan %s has %d deposits, not %d", id, len(c.Deposits), p.gone)
		}
	}
}

// A sharedShelf is a shelf that several may ask at the same time.
type sharedShelf struct {
	mu sync.Mutex
	*shelf
}

func (s *sharedShelf) take(store *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shelf = &shelf{s: store, texts: s.texts}
}

// Position is that of the shelf.
func (s *sharedShelf) Position() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shelf.Position()
}

// Deposits are those of the shelf.
func (s *sharedShelf) Deposits() setsum.Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shelf.Deposits()
}

// Purge is that of the shelf.
func (s *sharedShelf) Purge(ctx context.Context, ids []string, upTo int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shelf.Purge(ctx, ids, upTo)
}

// Each is that of the shelf.
func (s *sharedShelf) Each(ctx context.Context, q string, fn func(id string) error) error {
	var ids []string
	s.mu.Lock()
	err := s.shelf.Each(ctx, q, func(id string) error { ids = append(ids, id); return nil })
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := fn(id); err != nil {
			return err
		}
	}
	return nil
}
