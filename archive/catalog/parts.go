package catalog

import (
	"context"
	"database/sql"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// A Part is bytes that recipes refer to. Several rows of one part are one: the last
// place counts.
type Part struct {
	ID     string // SHA-256, lower-case hex
	Volume uint32
	Offset int64 // place in the volume
	Size   int64 // bytes
}

// A Piece is a part of a message that was stored whole, to be recognised if it comes again.
type Piece struct {
	Fingerprint uint64 // of the piece: if two share one, one becomes a part too early
	Message     string // id of the message that has it
}

// maxPieces bounds the table of pieces to about 50 MiB. The oldest are forgotten first: copies of a
// message arrive close together.
const maxPieces = 1_000_000

func applyParts(ctx context.Context, tx *sql.Tx, parts []Part) error {
	for _, p := range parts {
		id, err := blob(p.ID)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO parts(id, volume, offset, size) VALUES(?,?,?,?)
			ON CONFLICT(id) DO UPDATE SET volume = excluded.volume, offset = excluded.offset`, id, p.Volume, p.Offset, p.Size); err != nil {
			return err
		}
	}
	return nil
}

// A recipeWriter notes which parts messages have now.
type recipeWriter struct {
	tx         *sql.Tx // owns the statements
	clear, add *sql.Stmt
}

func newRecipeWriter(ctx context.Context, tx *sql.Tx) (w recipeWriter, err error) {
	w.tx = tx
	if w.clear, err = tx.PrepareContext(ctx, "DELETE FROM recipes WHERE message = ?"); err != nil {
		return w, err
	}
	w.add, err = tx.PrepareContext(ctx, "INSERT OR IGNORE INTO recipes(message, part) SELECT ?, n FROM parts WHERE id = ?")
	return w, err
}

// write notes the parts of the message of a row.
func (w *recipeWriter) write(ctx context.Context, message int64, parts []Part) error {
	if _, err := w.clear.ExecContext(ctx, message); err != nil {
		return err
	}
	if err := applyParts(ctx, w.tx, parts); err != nil {
		return err
	}
	for _, p := range parts {
		id, err := blob(p.ID)
		if err == nil {
			_, err = w.add.ExecContext(ctx, message, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// piecesAtOnce is how many pieces one statement inserts: with one for each, most of the time went into calling it.
const piecesAtOnce = 32

// applyPieces notes the pieces of messages, which are stored with the same change and whose rows are given.
func applyPieces(ctx context.Context, tx *sql.Tx, pieces []Piece, rows map[string]int64) error {
	if len(pieces) == 0 {
		return nil
	}
	var many *sql.Stmt
	for chunk := range slices.Chunk(pieces, piecesAtOnce) {
		if many == nil || len(chunk) < piecesAtOnce {
			var err error
			if many, err = tx.PrepareContext(ctx, "INSERT OR IGNORE INTO seen(piece, message) VALUES (?,?)"+strings.Repeat(",(?,?)", len(chunk)-1)); err != nil {
				return err
			}
			defer func() { _ = many.Close() }() // the transaction owns it
		}
		var args []any
		for _, p := range chunk {
			args = append(args, int64(p.Fingerprint), rows[p.Message])
		}
		if _, err := many.ExecContext(ctx, args...); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM seen WHERE n <= (SELECT max(n) FROM seen) - ?", maxPieces)
	return err
}

// Seen returns those of the fingerprints that a message has, noted with Change.Pieces.
func (c *Catalog) Seen(ctx context.Context, fingerprints []uint64) (map[uint64]bool, error) {
	found := map[uint64]bool{}
	if len(fingerprints) == 0 {
		return found, nil
	}
	list := []byte{'['}
	for _, f := range fingerprints {
		list = append(strconv.AppendInt(list, int64(f), 10), ',')
	}
	list[len(list)-1] = ']'
	err := c.each(ctx, "SELECT piece FROM json_each(?) j CROSS JOIN seen ON piece = j.value", []any{string(list)}, func(scan func(...any) error) error {
		var piece int64
		err := scan(&piece)
		found[uint64(piece)] = true
		return err
	})
	return found, err
}

const partColumns = "p.id, p.volume, p.offset, p.size"

func (c *Catalog) partRows(ctx context.Context, query string, args ...any) ([]Part, error) {
	var out []Part
	err := c.each(ctx, query, args, func(scan func(...any) error) error {
		var (
			p  Part
			id []byte
		)
		if err := scan(&id, &p.Volume, &p.Offset, &p.Size); err != nil {
			return err
		}
		p.ID = hex.EncodeToString(id)
		out = append(out, p)
		return nil
	})
	return out, err
}

// Part returns a part, and whether there is one.
func (c *Catalog) Part(ctx context.Context, id string) (Part, bool, error) {
	b, err := blob(id)
	if err != nil {
		return Part{}, false, err
	}
	rows, err := c.partRows(ctx, "SELECT "+partColumns+" FROM parts p WHERE p.id = ?", b)
	if err != nil || len(rows) == 0 {
		return Part{}, false, err
	}
	return rows[0], true, nil
}

// PartsByID returns those of the parts that there are.
func (c *Catalog) PartsByID(ctx context.Context, ids []string) (map[string]Part, error) {
	found := map[string]Part{}
	list, arg, err := among(ids)
	if err != nil || len(ids) == 0 {
		return found, err
	}
	rows, err := c.partRows(ctx, "SELECT "+partColumns+" FROM parts p WHERE p.id "+list, arg)
	for _, p := range rows {
		found[p.ID] = p
	}
	return found, err
}

// PartsOf returns the parts that the recipe of a message refers to, none for a message that
// is stored whole.
func (c *Catalog) PartsOf(ctx context.Context, message string) ([]Part, error) {
	b, err := blob(message)
	if err != nil {
		return nil, err
	}
	return c.partRows(ctx, "SELECT "+partColumns+` FROM recipes r JOIN parts p ON p.n = r.part
		WHERE r.message = (SELECT n FROM messages WHERE id = ?) ORDER BY p.id`, b)
}

// Users returns the ids of the messages whose recipes refer to a part: it has to stay as long as there
// is one.
func (c *Catalog) Users(ctx context.Context, part string) ([]string, error) {
	b, err := blob(part)
	if err != nil {
		return nil, err
	}
	return c.ids(ctx, `SELECT m.id FROM recipes r JOIN messages m ON m.n = r.message
		WHERE r.part = (SELECT n FROM parts WHERE id = ?) ORDER BY m.id`, b)
}

// Unused returns up to limit parts that no recipe refers to, such as those whose recipe was lost in a crash.
func (c *Catalog) Unused(ctx context.Context, limit int) ([]Part, error) {
	return c.partRows(ctx, "SELECT "+partColumns+` FROM parts p
		WHERE NOT EXISTS (SELECT 1 FROM recipes r WHERE r.part = p.n) ORDER BY p.n LIMIT ?`, limit)
}
