package catalog

import (
	"context"
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
