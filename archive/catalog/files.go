package catalog

import (
	"context"
	"database/sql"
)

// A File is the file of a sealed volume, as the ledger knows it.
type File struct {
	Volume uint32
	SHA256 string // lower-case hex, "" if the ledger does not know it yet
	Bytes  int64
	// Was is the SHA-256 of the file that this one replaces, "" if it is the first. Until the new one has its name, the
	// old one is there.
	Was string
	// Packed means that the volume was compressed again after it was sealed. It stays so.
	Packed bool
}

func applyFiles(ctx context.Context, tx *sql.Tx, files []File) error {
	for _, f := range files {
		if _, err := tx.ExecContext(ctx, `INSERT INTO volumes(number, end, sha256, bytes, was, packed) VALUES(?,0,?,?,?,?)
			ON CONFLICT(number) DO UPDATE SET sha256 = excluded.sha256, bytes = excluded.bytes, was = excluded.was,
			packed = max(packed, excluded.packed)`, f.Volume, f.SHA256, f.Bytes, f.Was, f.Packed); err != nil {
			return err
		}
	}
	return nil
}

// Sealed returns the volumes of which the ledger knows the file.
func (c *Catalog) Sealed(ctx context.Context) (map[uint32]bool, error) {
	sealed := map[uint32]bool{}
	err := c.each(ctx, "SELECT number FROM volumes WHERE sha256 <> ''", nil, func(scan func(...any) error) error {
		var number uint32
		err := scan(&number)
		sealed[number] = true
		return err
	})
	return sealed, err
}

// File returns what the ledger knows of a volume's file, zero if nothing.
func (c *Catalog) File(ctx context.Context, volume uint32) (File, error) {
	f := File{Volume: volume}
	err := c.each(ctx, "SELECT sha256, bytes, was, packed FROM volumes WHERE number = ?", []any{volume}, func(scan func(...any) error) error {
		return scan(&f.SHA256, &f.Bytes, &f.Was, &f.Packed)
	})
	return f, err
}
