package catalog

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/postkeep/postkeep/archive/setsum"
)

// Totals returns the sums of the deposits that the catalog has, by mailbox. They change in the same transactions as the deposits.
func (c *Catalog) Totals(ctx context.Context) (setsum.Totals, error) {
	totals := setsum.Totals{}
	err := c.each(ctx, totalsQuery, nil, func(scan func(...any) error) error { return scanTotal(totals, scan) })
	return totals, err
}

const (
	totalsQuery = "SELECT name, deposits, sum FROM mailboxes WHERE deposits <> 0"
	rowsQuery   = "SELECT d.idx, m.id, d.mailbox FROM deposits d JOIN messages m ON m.n = d.message"
)

// Recount adds up the rows of the deposits anew, and reports as ErrUnusable that they are not those whose sums were kept. It reads all
// of them: a second for some hundred thousand.
func (c *Catalog) Recount(ctx context.Context) (err error) {
	conn, err := c.read.Conn(ctx)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "BEGIN DEFERRED"); err != nil { // both questions are about one state
		return fmt.Errorf("catalog: %w", err)
	}
	kept, counted := setsum.Totals{}, setsum.Totals{}
	err = scanAll(ctx, conn, totalsQuery, func(scan func(...any) error) error { return scanTotal(kept, scan) })
	if err == nil {
		err = scanAll(ctx, conn, rowsQuery, func(scan func(...any) error) error {
			var (
				index   int64
				id      []byte
				mailbox string
			)
			err := scan(&index, &id, &mailbox)
			counted.Add(index, hex.EncodeToString(id), mailbox)
			return err
		})
	}
	if _, endErr := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); err == nil {
		err = endErr
	}
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	if differ := kept.Differ(counted); len(differ) > 0 {
		name := differ[0]
		return fmt.Errorf("%w: it has %d deposits of mailbox %q where it should have %d, or others (%d mailboxes are so)",
			ErrUnusable, counted[name].N, name, kept[name].N, len(differ))
	}
	return nil
}

func scanTotal(totals setsum.Totals, scan func(...any) error) error {
	var (
		name string
		n    int64
		hash []byte
	)
	if err := scan(&name, &n, &hash); err != nil {
		return err
	}
	sum, err := setsum.New(n, hash)
	if err != nil {
		return fmt.Errorf("%w: mailbox %q: %w", ErrUnusable, name, err)
	}
	totals[name] = sum
	return nil
}

// sumOf reads the deposits and the sum of a mailbox.
func sumOf(row *sql.Row) (setsum.Sum, error) {
	var (
		n    int64
		hash []byte
	)
	if err := row.Scan(&n, &hash); err != nil {
		return setsum.Sum{}, err
	}
	return setsum.New(n, hash)
}

func scanAll(ctx context.Context, conn *sql.Conn, query string, fn func(scan func(...any) error) error) error {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}
