package catalog

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
)

// Batch is how many messages are looked up at once: the cost of a query vanishes, and what is found still fits into the cache.
const Batch = 64

// among is an SQL list of one id, or of up to Batch, and what it is given. There are two lists only, so that statements are few.
func among(ids []string) (list string, args []any, err error) {
	n := 1
	if len(ids) != 1 {
		n = Batch
	}
	if len(ids) > n {
		return "", nil, fmt.Errorf("catalog: %d messages at once, at most %d", len(ids), n)
	}
	args = make([]any, n) // NULL is in no list
	for i, id := range ids {
		b, err := blob(id)
		if err != nil {
			return "", nil, err
		}
		args[i] = b
	}
	return "IN (?" + strings.Repeat(",?", n-1) + ")", args, nil
}

// Messages returns messages by id, at most Batch; those that are not there are missing.
func (c *Catalog) Messages(ctx context.Context, ids []string) (map[string]Row, error) {
	list, args, err := among(ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Row, len(ids))
	err = c.each(ctx, "SELECT "+rowColumns+" FROM messages WHERE id "+list, args, func(scan func(...any) error) error {
		r, err := scanRow(scan)
		out[r.ID] = r
		return err
	})
	return out, err
}

// ByMessage returns all deposits of messages, at most Batch, the oldest first.
func (c *Catalog) ByMessage(ctx context.Context, ids ...string) ([]Held, error) {
	list, args, err := among(ids)
	if err != nil {
		return nil, err
	}
	return c.held(ctx, noLimit, "m.id "+list, args...)
}

// A First is the size of a message in octets, and the ledger index of its first deposit.
type First struct{ Size, Index int64 }

// Firsts returns the first deposits of messages by id, at most Batch; those of messages that are not there are missing.
func (c *Catalog) Firsts(ctx context.Context, ids []string) (map[string]First, error) {
	list, args, err := among(ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]First, len(ids))
	err = c.each(ctx, "SELECT m.id, m.size, min(d.idx) FROM messages m JOIN deposits d ON d.message = m.n WHERE m.id "+list+" GROUP BY m.n", args,
		func(scan func(...any) error) error {
			var (
				id []byte
				f  First
			)
			err := scan(&id, &f.Size, &f.Index)
			out[hex.EncodeToString(id)] = f
			return err
		})
	return out, err
}
