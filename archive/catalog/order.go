package catalog

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
)

// orderSchema is the part of the schema that is about what people ordered: holds, rules, plans, and
// what was disposed of.
const orderSchema = `
CREATE TABLE orders (
	n      INTEGER PRIMARY KEY,
	kind   TEXT NOT NULL,
	key    TEXT NOT NULL,
	idx    INTEGER NOT NULL,
	record BLOB NOT NULL,
	UNIQUE (kind, key)
);

CREATE TABLE tombstones (
	idx     INTEGER PRIMARY KEY,
	id      BLOB NOT NULL,
	listing BLOB NOT NULL,
	record  BLOB NOT NULL
);
CREATE INDEX tombstones_id ON tombstones(id);
CREATE INDEX tombstones_listing ON tombstones(listing);

CREATE TABLE aliases (
	idx     INTEGER PRIMARY KEY,
	of      INTEGER NOT NULL,
	listing BLOB NOT NULL
);
CREATE INDEX aliases_listing ON aliases(listing);
`

// An Order is a record of the layer above about a hold, a rule or a plan. Of those with the same
// kind and key the last one counts; one without a record removes it.
type Order struct {
	Kind, Key string
	Index     int64 // ledger index
	Record    []byte
}

// A Tombstone takes the place of a deposit that was disposed of. The message goes with its last deposit, and with
// the last message that refers to it a part.
type Tombstone struct {
	Index   int64  // ledger index of the deposit
	ID      string // of its message
	Listing []byte // what recognises it on a server
	Record  []byte // as the layer above encoded it
	// Message and Parts are places that stay, and of which no other deposit tells by itself.
	Message *Message
	Parts   []Part
	// Retold is what this deposit told for others that stay.
	Retold Retold
}

// An Alias is another listing of what a tombstone is of.
type Alias struct {
	Index   int64 // ledger index of the event that says so
	Of      int64 // of the deposit that was disposed of
	Listing []byte
}

// Retold is what the records of deposits lack, which no deposit says any more.
type Retold struct {
	Deposits []int64 // ledger indexes
	Told     []byte
}

func applyOrders(ctx context.Context, tx *sql.Tx, orders []Order) error {
	for _, o := range orders {
		query, args := `INSERT INTO orders(kind, key, idx, record) VALUES(?,?,?,?)
			ON CONFLICT(kind, key) DO UPDATE SET idx = excluded.idx, record = excluded.record WHERE excluded.idx >= orders.idx`,
			[]any{o.Kind, o.Key, o.Index, o.Record}
		if o.Record == nil {
			query, args = "DELETE FROM orders WHERE kind = ? AND key = ? AND idx <= ?", []any{o.Kind, o.Key, o.Index}
		}
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return err
		}
	}
	return nil
}

func applyTombstones(ctx context.Context, tx *sql.Tx, tombstones []Tombstone) error {
	for _, t := range tombstones {
		id, err := blob(t.ID)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO tombstones(idx, id, listing, record) VALUES(?,?,?,?)",
			t.Index, id, t.Listing, t.Record); err != nil {
			return err
		}
		if err := bury(ctx, tx, t.Index); err != nil {
			return err
		}
		if err := stay(ctx, tx, t); err != nil {
			return err
		}
	}
	return nil
}

// stay keeps what a deposit told of what stays. A message whose other deposits have gone, too, does not come back.
func stay(ctx context.Context, tx *sql.Tx, t Tombstone) error {
	if err := retell(ctx, tx, t.Retold); err != nil {
		return err
	}
	if t.Message == nil {
		return applyParts(ctx, tx, t.Parts)
	}
	id, err := blob(t.ID)
	if err != nil {
		return err
	}
	there := false
	if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM messages WHERE id = ?)", id).Scan(&there); err != nil || !there {
		return err
	}
	_, err = applyMessages(ctx, tx, []Message{*t.Message})
	return err
}

// bury removes a deposit, unless that has been done.
func bury(ctx context.Context, tx *sql.Tx, index int64) error {
	var (
		message, size int64
		id            []byte
		mailbox       string
	)
	err := tx.QueryRowContext(ctx, `SELECT m.n, m.id, m.size, d.mailbox FROM deposits d JOIN messages m ON m.n = d.message WHERE d.idx = ?`,
		index).Scan(&message, &id, &size, &mailbox)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM confirmed WHERE idx = ?", index); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM deposits WHERE idx = ?", index); err != nil {
		return err
	}
	sum, err := sumOf(tx.QueryRowContext(ctx, "SELECT deposits, sum FROM mailboxes WHERE name = ?", mailbox))
	if err != nil {
		return err
	}
	sum.Remove(index, hex.EncodeToString(id), mailbox)
	if _, err := tx.ExecContext(ctx, "UPDATE mailboxes SET deposits = ?, sum = ?, bytes = bytes - ? WHERE name = ?",
		sum.N, sum.Hash(), size, mailbox); err != nil {
		return err
	}
	var live int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM deposits WHERE message = ?", message).Scan(&live); err != nil || live > 0 {
		return err
	}
	for _, query := range []string{
		`DELETE FROM parts WHERE n IN (SELECT part FROM recipes WHERE message = ?1)
			AND NOT EXISTS (SELECT 1 FROM recipes r WHERE r.part = parts.n AND r.message <> ?1)`,
		"DELETE FROM recipes WHERE message = ?1",
		"DELETE FROM seen WHERE message = ?1",
		"DELETE FROM messages WHERE n = ?1",
	} {
		if _, err := tx.ExecContext(ctx, query, message); err != nil {
			return err
		}
	}
	return nil
}

func retell(ctx context.Context, tx *sql.Tx, r Retold) error {
	for _, index := range r.Deposits {
		if _, err := tx.ExecContext(ctx, "UPDATE deposits SET teller = NULL, told = ? WHERE idx = ?", r.Told, index); err != nil {
			return err
		}
	}
	return nil
}

// Orders lists the records of a kind, oldest first.
func (c *Catalog) Orders(ctx context.Context, kind string) ([]Order, error) {
	return c.orders(ctx, "kind = ?", kind)
}

// Order returns the record of a kind under a key, and whether there is one.
func (c *Catalog) Order(ctx context.Context, kind, key string) (Order, bool, error) {
	found, err := c.orders(ctx, "kind = ? AND key = ?", kind, key)
	if err != nil || len(found) == 0 {
		return Order{}, false, err
	}
	return found[0], true, nil
}

func (c *Catalog) orders(ctx context.Context, where string, args ...any) ([]Order, error) {
	var out []Order
	err := c.each(ctx, "SELECT kind, key, idx, record FROM orders WHERE "+where+" ORDER BY idx", args, func(scan func(...any) error) error {
		var o Order
		err := scan(&o.Kind, &o.Key, &o.Index, &o.Record)
		out = append(out, o)
		return err
	})
	return out, err
}

// Buried returns the tombstones of a message, oldest first.
func (c *Catalog) Buried(ctx context.Context, id string) ([]Tombstone, error) {
	b, err := blob(id)
	if err != nil {
		return nil, err
	}
	return c.tombstones(ctx, "id = ?", b)
}

// BuriedListing returns the tombstones of what a server lists, oldest first.
func (c *Catalog) BuriedListing(ctx context.Context, listing []byte) ([]Tombstone, error) {
	return c.tombstones(ctx, "listing = ?1 OR idx IN (SELECT of FROM aliases WHERE listing = ?1)", listing)
}

func (c *Catalog) tombstones(ctx context.Context, where string, arg []byte) ([]Tombstone, error) {
	if !c.graves.Load() {
		return nil, nil
	}
	var out []Tombstone
	err := c.each(ctx, "SELECT idx, id, listing, record FROM tombstones WHERE "+where+" ORDER BY idx", []any{arg}, func(scan func(...any) error) error {
		var (
			t  Tombstone
			id []byte
		)
		err := scan(&t.Index, &id, &t.Listing, &t.Record)
		t.ID = hex.EncodeToString(id)
		out = append(out, t)
		return err
	})
	return out, err
}

// Scrub writes the database anew without anything that was deleted from it, and empties its journal. SQLite has
// zeroed what was deleted, but copies may be left where pages were rearranged. It takes about as
// much space in dir, for a time, as the database has.
func (c *Catalog) Scrub(ctx context.Context) error {
	// In memory, where other temporary tables are, a large catalog would not fit.
	for _, query := range []string{"PRAGMA temp_store = FILE", "VACUUM", "PRAGMA temp_store = MEMORY"} {
		if _, err := c.write.ExecContext(ctx, query); err != nil {
			return fmt.Errorf("catalog: remove what was deleted: %w", err)
		}
	}
	var busy, frames, moved int
	// It waits for readers, at most busyTimeout.
	if err := c.write.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved); err != nil {
		return fmt.Errorf("catalog: empty the journal: %w", err)
	}
	if busy != 0 {
		return errors.New("catalog: the journal could not be emptied, somebody is reading for very long: try again")
	}
	return nil
}

// Listing returns up to limit deposits with a ledger index above after, in ledger order, without their records. Of messages that
// are there it has those, too, that were disposed of.
func (c *Catalog) Listing(ctx context.Context, after int64, limit int) ([]Held, error) {
	var out []Held
	err := c.each(ctx, `SELECT d.idx, m.id FROM deposits d JOIN messages m ON m.n = d.message WHERE d.idx > ?1
		UNION ALL SELECT t.idx, t.id FROM tombstones t WHERE t.idx > ?1 AND EXISTS (SELECT 1 FROM messages m WHERE m.id = t.id)
		ORDER BY 1 LIMIT ?2`, []any{after, limit}, func(scan func(...any) error) error {
		var (
			h  Held
			id []byte
		)
		err := scan(&h.Index, &id)
		h.ID = hex.EncodeToString(id)
		out = append(out, h)
		return err
	})
	return out, err
}
