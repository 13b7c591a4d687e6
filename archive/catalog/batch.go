package catalog

import (
	"context"
	"encoding/hex"
	"strings"
)

// Batch is how many messages are read at once: the cost of a query vanishes, and what is found still fits into the cache.
const Batch = 64

// among is an SQL list of ids, and what it is given. It is one statement for any number of them.
func among(ids []string) (list, arg string, err error) {
	for _, id := range ids {
		if _, err := blob(id); err != nil {
			return "", "", err
		}
	}
	return "IN (SELECT unhex(value) FROM json_each(?))", `["` + strings.Join(ids, `","`) + `"]`, nil
}

// Messages returns messages by id; those that are not there are missing.
func (c *Catalog) Messages(ctx context.Context, ids []string) (map[string]Row, error) {
	list, arg, err := among(ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Row, len(ids))
	err = c.each(ctx, "SELECT "+rowColumns+" FROM messages WHERE id "+list, []any{arg}, func(scan func(...any) error) error {
		r, err := scanRow(scan)
		out[r.ID] = r
		return err
	})
	return out, err
}

// ByMessage returns all deposits of messages, the oldest first.
func (c *Catalog) ByMessage(ctx context.Context, ids ...string) ([]Held, error) {
	list, arg, err := among(ids)
	if err != nil {
		return nil, err
	}
	return c.held(ctx, noLimit, "m.id "+list, arg)
}

// A First is the size of a message in octets, and the ledger index of its first deposit.
type First struct{ Size, Index int64 }

// Firsts returns the first deposits of messages by id; those of messages that are not there are missing.
func (c *Catalog) Firsts(ctx context.Context, ids []string) (map[string]First, error) {
	list, arg, err := among(ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]First, len(ids))
	err = c.each(ctx, "SELECT m.id, m.size, min(d.idx) FROM messages m JOIN deposits d ON d.message = m.n WHERE m.id "+list+" GROUP BY m.n", []any{arg},
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
