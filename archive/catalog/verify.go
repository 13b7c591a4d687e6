package catalog

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
)

// Places lists up to limit messages of a volume whose offset is at least from and below
// to, in the order of their offsets.
func (c *Catalog) Places(ctx context.Context, volume uint32, from, to int64, limit int) ([]Message, error) {
	return c.places(ctx, "offset >= ? AND offset < ? ORDER BY offset LIMIT ?", volume, from, to, limit)
}

// Before returns the last message of a volume whose offset is below an offset, and whether there is one.
func (c *Catalog) Before(ctx context.Context, volume uint32, offset int64) (Message, bool, error) {
	found, err := c.places(ctx, "offset < ? ORDER BY offset DESC LIMIT 1", volume, offset)
	if err != nil || len(found) == 0 {
		return Message{}, false, err
	}
	return found[0], true, nil
}

func (c *Catalog) places(ctx context.Context, where string, args ...any) ([]Message, error) {
	var out []Message
	err := c.each(ctx, "SELECT id, volume, offset, size FROM messages WHERE volume = ? AND "+where, args, func(scan func(...any) error) error {
		var (
			m  Message
			id []byte
		)
		err := scan(&id, &m.Volume, &m.Offset, &m.Size)
		m.ID = hex.EncodeToString(id)
		out = append(out, m)
		return err
	})
	return out, err
}

// PartsIn lists up to limit parts of a volume whose offset is at least from and below to.
func (c *Catalog) PartsIn(ctx context.Context, volume uint32, from, to int64, limit int) ([]Part, error) {
	return c.partRows(ctx, "SELECT "+partColumns+" FROM parts p WHERE p.volume = ? AND p.offset >= ? AND p.offset < ? ORDER BY p.offset LIMIT ?",
		volume, from, to, limit)
}

// Outside lists up to limit messages whose place is behind the ends of the volumes, or
// in a volume that is not among them.
func (c *Catalog) Outside(ctx context.Context, ends map[uint32]int64, limit int) ([]Message, error) {
	var out []Message
	err := c.each(ctx, "SELECT DISTINCT volume FROM messages ORDER BY volume", nil, func(scan func(...any) error) error {
		var number uint32
		if err := scan(&number); err != nil || len(out) >= limit {
			return err
		}
		found, err := c.Places(ctx, number, ends[number], math.MaxInt64, limit-len(out))
		out = append(out, found...)
		return err
	})
	return out, err
}

// Check lets SQLite look for damage in the file. deep also compares the indexes
// with their tables. What is found is ErrUnusable.
func (c *Catalog) Check(ctx context.Context, deep bool) error {
	query := "PRAGMA quick_check(1)"
	if deep {
		query = "PRAGMA integrity_check(1)"
	}
	var found string
	if err := c.read.QueryRowContext(ctx, query).Scan(&found); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	if found != "ok" {
		return fmt.Errorf("%w: %s", ErrUnusable, found)
	}
	return nil
}
