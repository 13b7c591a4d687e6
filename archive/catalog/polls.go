package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
)

// Polls returns reports of polls of a mailbox whose ledger index is below
// before, newest first, at most limit. A before of 0 begins with the newest.
func (c *Catalog) Polls(ctx context.Context, mailbox string, before int64, limit int) ([]Poll, error) {
	if before <= 0 {
		before = math.MaxInt64
	}
	var out []Poll
	err := c.each(ctx, "SELECT idx, report FROM polls WHERE mailbox = ? AND idx < ? ORDER BY idx DESC LIMIT ?",
		[]any{mailbox, before, limit}, func(scan func(...any) error) error {
			p := Poll{Mailbox: mailbox}
			if err := scan(&p.Index, &p.Report); err != nil {
				return err
			}
			out = append(out, p)
			return nil
		})
	return out, err
}

// PollMemory returns the memory of the last poll of a mailbox that has one, nil if none has.
func (c *Catalog) PollMemory(ctx context.Context, mailbox string) ([]byte, error) {
	var memory []byte
	err := c.read.QueryRowContext(ctx, "SELECT memory FROM memories WHERE mailbox = ?", mailbox).Scan(&memory)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return memory, nil
}
