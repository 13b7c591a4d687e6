package catalog

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Row is a message with its summary.
type Row struct {
	Message
	Parser  int
	Summary []byte // nil until described
}

const rowColumns = "id, volume, offset, size, received, parser, summary"

func scanRow(scan func(...any) error) (Row, error) {
	var (
		r        Row
		id       []byte
		received int64
	)
	if err := scan(&id, &r.Volume, &r.Offset, &r.Size, &received, &r.Parser, &r.Summary); err != nil {
		return Row{}, err
	}
	r.ID, r.Received = hex.EncodeToString(id), time.Unix(0, received).UTC()
	return r, nil
}

// each runs a query and calls fn for every row.
func (c *Catalog) each(ctx context.Context, query string, args []any, fn func(scan func(...any) error) error) error {
	stmt, err := c.stmt(ctx, query)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	return nil
}

// Message returns the message, and whether there is one.
func (c *Catalog) Message(ctx context.Context, id string) (Row, bool, error) {
	b, err := blob(id)
	if err != nil {
		return Row{}, false, err
	}
	stmt, err := c.stmt(ctx, "SELECT "+rowColumns+" FROM messages WHERE id = ?")
	if err != nil {
		return Row{}, false, fmt.Errorf("catalog: %w", err)
	}
	r, err := scanRow(stmt.QueryRowContext(ctx, b).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Row{}, false, nil
	}
	if err != nil {
		return Row{}, false, fmt.Errorf("catalog: %w", err)
	}
	return r, true, nil
}

// Prefix returns up to limit ids that begin with the hexadecimal digits, also of messages that were
// disposed of.
func (c *Catalog) Prefix(ctx context.Context, prefix string, limit int) ([]string, error) {
	const digits = 64
	low, err := hex.DecodeString(prefix + strings.Repeat("0", max(0, digits-len(prefix))))
	if err != nil || len(low) != digits/2 {
		return nil, fmt.Errorf("id prefix %q is not hexadecimal", prefix)
	}
	high, err := hex.DecodeString(prefix + strings.Repeat("f", digits-len(prefix)))
	if err != nil {
		return nil, err
	}
	return c.ids(ctx, `SELECT id FROM messages WHERE id BETWEEN ?1 AND ?2
		UNION SELECT id FROM tombstones WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3`, low, high, limit)
}

// Undescribed returns up to limit ids of messages without a summary, oldest
// first.
func (c *Catalog) Undescribed(ctx context.Context, limit int) ([]string, error) {
	return c.ids(ctx, "SELECT id FROM messages WHERE summary IS NULL ORDER BY n LIMIT ?", limit)
}

func (c *Catalog) ids(ctx context.Context, query string, args ...any) ([]string, error) {
	var ids []string
	err := c.each(ctx, query, args, func(scan func(...any) error) error {
		var id []byte
		if err := scan(&id); err != nil {
			return err
		}
		ids = append(ids, hex.EncodeToString(id))
		return nil
	})
	return ids, err
}

// A Held is a deposit with the id and size of its message.
type Held struct {
	Index  int64
	ID     string
	Record []byte
	// Teller is the index of the deposit before it that says what the record lacks, -1 if none has to, or it is not known. Told is what
	// says it: the record of that deposit, or of one that was disposed of what Retold keeps of it; nil if nothing does.
	Teller int64
	Told   []byte
	// Confirmed means that a poll vouched for the deposit; see Statement.
	Confirmed bool
}

// noLimit is SQLite's word for all rows.
const noLimit = -1

// held lists deposits in ledger order.
func (c *Catalog) held(ctx context.Context, limit int, where string, args ...any) ([]Held, error) {
	var out []Held
	err := c.each(ctx, `SELECT d.idx, m.id, d.record, coalesce(d.teller, -1), coalesce(d.told, t.told, t.record),
		EXISTS (SELECT 1 FROM confirmed c WHERE c.idx = d.idx)
		FROM deposits d JOIN messages m ON m.n = d.message LEFT JOIN deposits t ON t.idx = d.teller
		WHERE `+where+" ORDER BY d.idx LIMIT ?", append(args, limit), func(scan func(...any) error) error {
		var (
			h  Held
			id []byte
		)
		if err := scan(&h.Index, &id, &h.Record, &h.Teller, &h.Told, &h.Confirmed); err != nil {
			return err
		}
		h.ID = hex.EncodeToString(id)
		out = append(out, h)
		return nil
	})
	return out, err
}

// ByListing returns the deposits made for mailbox under a UIDL and listed
// size, oldest first.
func (c *Catalog) ByListing(ctx context.Context, mailbox, uidl string, listed int64) ([]Held, error) {
	return c.held(ctx, noLimit, "d.mailbox = ? AND d.uidl = ? AND d.listed = ?", mailbox, uidl, listed)
}

// A Listing is a line of a server's list.
type Listing struct {
	UIDL string
	Size int64
}

// ByListings returns the deposits made for mailbox under many listings, oldest first. It finds no UIDL that is not valid UTF-8.
func (c *Catalog) ByListings(ctx context.Context, mailbox string, listed []Listing) ([]Held, error) {
	pairs := make([][2]any, len(listed))
	for i, l := range listed {
		pairs[i] = [2]any{l.UIDL, l.Size}
	}
	list, err := json.Marshal(pairs)
	if err != nil {
		return nil, err
	}
	return c.held(ctx, noLimit, `d.idx IN (SELECT l.idx FROM json_each(?) j CROSS JOIN deposits l
		ON l.mailbox = ? AND l.uidl = j.value->>0 AND l.listed = j.value->>1)`, string(list), mailbox)
}

// ByIndex returns up to limit deposits with a ledger index above after, in
// ledger order.
func (c *Catalog) ByIndex(ctx context.Context, after int64, limit int) ([]Held, error) {
	return c.held(ctx, limit, "d.idx > ?", after)
}

// LastDeposit is the ledger index of the newest deposit, -1 if there is none.
func (c *Catalog) LastDeposit(ctx context.Context) (int64, error) {
	var n sql.NullInt64
	if err := c.read.QueryRowContext(ctx, "SELECT max(idx) FROM deposits").Scan(&n); err != nil {
		return 0, fmt.Errorf("catalog: %w", err)
	}
	if !n.Valid {
		return -1, nil
	}
	return n.Int64, nil
}

// Ends returns, per volume, how far the ledger knows its tar stream.
func (c *Catalog) Ends(ctx context.Context) (map[uint32]int64, error) {
	ends := map[uint32]int64{}
	err := c.each(ctx, "SELECT number, end FROM volumes", nil, func(scan func(...any) error) error {
		var (
			number uint32
			end    int64
		)
		err := scan(&number, &end)
		ends[number] = end
		return err
	})
	return ends, err
}

// Counts returns the number of messages, their octets, and the number of deposits.
func (c *Catalog) Counts(ctx context.Context) (messages, bytes, deposits int64, err error) {
	err = c.read.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM messages), (SELECT coalesce(sum(size),0) FROM messages),
		(SELECT coalesce(sum(deposits),0) FROM mailboxes)`).Scan(&messages, &bytes, &deposits)
	if err != nil {
		err = fmt.Errorf("catalog: %w", err)
	}
	return messages, bytes, deposits, err
}

// A Mailbox is what was deposited for one mailbox.
type Mailbox struct {
	Name     string
	Deposits int64
	Bytes    int64     // octets, counting every deposit
	Received time.Time // newest deposit
	LastPoll []byte    // its report, nil if never polled
}

// Mailboxes lists all mailboxes that were ever polled or deposited for, by name.
func (c *Catalog) Mailboxes(ctx context.Context) ([]Mailbox, error) {
	var out []Mailbox
	err := c.each(ctx, `SELECT n.name, coalesce(m.deposits, 0), coalesce(m.bytes, 0), coalesce(m.received, 0),
		(SELECT report FROM polls p WHERE p.mailbox = n.name ORDER BY idx DESC LIMIT 1)
		FROM (SELECT name FROM mailboxes UNION SELECT DISTINCT mailbox FROM polls) n
		LEFT JOIN mailboxes m ON m.name = n.name ORDER BY n.name`, nil, func(scan func(...any) error) error {
		var (
			m        Mailbox
			received int64
		)
		if err := scan(&m.Name, &m.Deposits, &m.Bytes, &received, &m.LastPoll); err != nil {
			return err
		}
		if received > 0 {
			m.Received = time.Unix(0, received).UTC()
		}
		out = append(out, m)
		return nil
	})
	return out, err
}
