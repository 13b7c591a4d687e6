package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/postkeep/postkeep/archive/setsum"
)

// A Message is one stored message. Several rows of one message are one: the
// last place counts, the first time of receipt stays.
type Message struct {
	ID       string
	Volume   uint32 // 0 if a deposit before it says where it is
	Offset   int64  // place in the volume
	Size     int64  // octets
	Received time.Time
	Parts    []Part // that its recipe refers to; none for a message stored whole
}

// A Deposit is one ledger event that deposits a message.
type Deposit struct {
	Index      int64 // ledger index
	ID         string
	Mailbox    string
	UIDL       string
	ListedSize int64
	Received   time.Time
	Size       int64  // octets of the message
	Record     []byte // as the layer above encoded it
	// Repeats means that the record lacks what stands in that of a deposit of the same message before it.
	Repeats bool
}

// A Poll is one ledger event that reports a poll.
type Poll struct {
	Index   int64
	Mailbox string
	Report  []byte
}

// A Statement is what the report of a poll says beside its numbers.
type Statement struct {
	Index   int64 // ledger index of the report
	Mailbox string
	// Confirmed are the first and last ledger indexes of deposits of this mailbox that the poll
	// vouches for; other events in between are passed over.
	Confirmed [][2]int64
	Memory    []byte // of the poller; nil if the report has none
}

// A Change is what a run of ledger events means for the catalog. Messages are
// taken in before the deposits that refer to them.
type Change struct {
	Parts    []Part // that no message of this change refers to
	Messages []Message
	Deposits []Deposit
	// Late means that there may be deposits already that come after these.
	Late bool
	// Retold is taken in after them.
	Retold []Retold
	Polls  []Poll
	// Statements are taken in after the deposits.
	Statements []Statement
	Pieces     []Piece
	// Tombstones are taken in after the deposits.
	Tombstones []Tombstone
	Orders     []Order
	Aliases    []Alias
	// Ends is, per volume, the end of what the ledger knows of its tar stream.
	Ends map[uint32]int64
	// Files are new files of sealed volumes.
	Files []File
	// Meta sets values.
	Meta map[string]string
	// Position is the number of ledger events taken in with this change.
	Position int64
}

// Apply takes in a change in one transaction. Applying the same events again
// changes nothing.
func (c *Catalog) Apply(ctx context.Context, ch Change) error {
	tx, err := c.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	if len(ch.Tombstones) > 0 {
		c.graves.Store(true)
	}
	if err := applyAll(ctx, tx, ch); err != nil {
		return errors.Join(fmt.Errorf("catalog: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	return nil
}

func applyAll(ctx context.Context, tx *sql.Tx, ch Change) error {
	if err := applyParts(ctx, tx, ch.Parts); err != nil {
		return err
	}
	rows, err := applyMessages(ctx, tx, ch.Messages)
	if err != nil {
		return err
	}
	if err := applyPieces(ctx, tx, ch.Pieces, rows); err != nil {
		return err
	}
	if err := applyDeposits(ctx, tx, ch.Deposits, ch.Late); err != nil {
		return err
	}
	for _, r := range ch.Retold {
		if err := retell(ctx, tx, r); err != nil {
			return err
		}
	}
	for _, p := range ch.Polls {
		if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO polls(idx, mailbox, report) VALUES(?,?,?)",
			p.Index, p.Mailbox, p.Report); err != nil {
			return err
		}
	}
	for _, st := range ch.Statements {
		if err := applyStatement(ctx, tx, st); err != nil {
			return err
		}
	}
	if err := applyTombstones(ctx, tx, ch.Tombstones); err != nil {
		return err
	}
	if err := applyOrders(ctx, tx, ch.Orders); err != nil {
		return err
	}
	for _, a := range ch.Aliases {
		if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO aliases(idx, of, listing) VALUES(?,?,?)", a.Index, a.Of, a.Listing); err != nil {
			return err
		}
	}
	for number, end := range ch.Ends {
		if _, err := tx.ExecContext(ctx, `INSERT INTO volumes(number, end) VALUES(?,?)
			ON CONFLICT(number) DO UPDATE SET end = max(end, excluded.end)`, number, end); err != nil {
			return err
		}
	}
	if err := applyFiles(ctx, tx, ch.Files); err != nil {
		return err
	}
	for k, v := range ch.Meta {
		if err := setMeta(ctx, tx, k, v); err != nil {
			return err
		}
	}
	return setMeta(ctx, tx, positionKey, strconv.FormatInt(ch.Position, 10))
}

func applyStatement(ctx context.Context, tx *sql.Tx, st Statement) error {
	for _, run := range st.Confirmed {
		// Below the report: it vouches for what was there before it.
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO confirmed(idx)
			SELECT idx FROM deposits WHERE idx BETWEEN ? AND ? AND idx < ? AND mailbox = ?`,
			run[0], run[1], st.Index, st.Mailbox); err != nil {
			return err
		}
	}
	if st.Memory == nil {
		return nil
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO memories(mailbox, idx, memory) VALUES(?,?,?)
		ON CONFLICT(mailbox) DO UPDATE SET idx = excluded.idx, memory = excluded.memory WHERE excluded.idx >= memories.idx`,
		st.Mailbox, st.Index, st.Memory)
	return err
}

func setMeta(ctx context.Context, tx *sql.Tx, key, value string) error {
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)", key, value)
	return err
}

// applyMessages returns the rows of the messages, by id.
func applyMessages(ctx context.Context, tx *sql.Tx, messages []Message) (map[string]int64, error) {
	rows := map[string]int64{}
	if len(messages) == 0 {
		return rows, nil
	}
	insert, err := tx.PrepareContext(ctx, `INSERT INTO messages(id, volume, offset, size, received) VALUES(?,?,?,?,?)
		ON CONFLICT(id) DO UPDATE SET volume = excluded.volume, offset = excluded.offset WHERE excluded.volume > 0 RETURNING n`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = insert.Close() }() // the transaction owns it
	recipes, err := newRecipeWriter(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		id, err := blob(m.ID)
		if err != nil {
			return nil, err
		}
		var n int64
		err = insert.QueryRowContext(ctx, id, m.Volume, m.Offset, m.Size, m.Received.UnixNano()).Scan(&n)
		switch {
		case errors.Is(err, sql.ErrNoRows): // it is there, and its place stays
		case err != nil:
			return nil, err
		default:
			rows[m.ID] = n
			if err := recipes.write(ctx, n, m.Parts); err != nil {
				return nil, err
			}
		}
	}
	return rows, nil
}

func applyDeposits(ctx context.Context, tx *sql.Tx, deposits []Deposit, late bool) error {
	if len(deposits) == 0 {
		return nil
	}
	insert, err := tx.PrepareContext(ctx, `INSERT OR IGNORE INTO deposits(idx, message, mailbox, uidl, listed, record, teller)
		SELECT ?1, n, ?2, ?3, ?4, ?5, CASE WHEN ?6 THEN coalesce(
			(SELECT coalesce(d.teller, d.idx) FROM deposits d WHERE d.message = messages.n AND d.idx < ?1 ORDER BY d.idx DESC LIMIT 1), -1) END
		FROM messages WHERE id = ?7`)
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }() // the transaction owns it
	counts := map[string]*mailboxCount{}
	for _, d := range deposits {
		id, err := blob(d.ID)
		if err != nil {
			return err
		}
		res, err := insert.ExecContext(ctx, d.Index, d.Mailbox, d.UIDL, d.ListedSize, d.Record, d.Repeats, id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err != nil {
				return err
			}
			continue // seen before
		}
		if late && !d.Repeats {
			if _, err := tx.ExecContext(ctx, `UPDATE deposits SET teller = ?1
				WHERE message = (SELECT n FROM messages WHERE id = ?2) AND idx > ?1 AND teller < ?1`, d.Index, id); err != nil {
				return err
			}
		}
		count := counts[d.Mailbox]
		if count == nil {
			count = &mailboxCount{}
			counts[d.Mailbox] = count
		}
		count.add(d)
	}
	for name, count := range counts {
		if err := count.apply(ctx, tx, name); err != nil {
			return err
		}
	}
	return nil
}

// A mailboxCount is what a change adds to a mailbox.
type mailboxCount struct {
	bytes, received int64
	sum             setsum.Sum
}

func (m *mailboxCount) add(d Deposit) {
	m.bytes += d.Size
	m.received = max(m.received, d.Received.UnixNano())
	m.sum.Add(d.Index, d.ID, d.Mailbox)
}

func (m *mailboxCount) apply(ctx context.Context, tx *sql.Tx, name string) error {
	sum, err := sumOf(tx.QueryRowContext(ctx, "SELECT deposits, sum FROM mailboxes WHERE name = ?", name))
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	if err != nil {
		return err
	}
	sum.Merge(m.sum)
	_, err = tx.ExecContext(ctx, `INSERT INTO mailboxes(name, deposits, bytes, received, sum) VALUES(?,?,?,?,?)
		ON CONFLICT(name) DO UPDATE SET deposits = excluded.deposits, sum = excluded.sum,
		bytes = bytes + excluded.bytes, received = max(received, excluded.received)`,
		name, sum.N, m.bytes, m.received, sum.Hash())
	return err
}

// A Description replaces the summary of a message.
type Description struct {
	ID      string
	Parser  int
	Summary []byte
}

// Describe replaces summaries in one transaction. Unknown ids are ignored.
func (c *Catalog) Describe(ctx context.Context, descriptions []Description) error {
	tx, err := c.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	update, err := tx.PrepareContext(ctx, "UPDATE messages SET parser = ?, summary = ? WHERE id = ?")
	if err != nil {
		return errors.Join(fmt.Errorf("catalog: %w", err), tx.Rollback())
	}
	for _, d := range descriptions {
		id, err := blob(d.ID)
		if err == nil {
			_, err = update.ExecContext(ctx, d.Parser, d.Summary, id)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("catalog: %w", err), tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	return nil
}
