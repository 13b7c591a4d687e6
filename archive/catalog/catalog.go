// Package catalog is the archive's table of contents: which message lies
// where, and which deposits were made of it.
//
// It is a SQLite database and wholly derived. Its position is the ledger index
// up to which it is complete; position and content change in one transaction,
// so that whatever a crash takes away is replayed from the ledger. Records of
// the layer above (deposits, summaries, poll reports) are kept as that layer
// encoded them.
package catalog

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite" // also the database/sql driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrUnusable means that the file is not a catalog of this version.
var ErrUnusable = errors.New("catalog is unusable and has to be made anew from the ledger")

const (
	// readers bounds the connections for reading: each has a page cache of
	// its own (2 MiB by default), and the machine has only so many cores.
	readers = 4
	// busyTimeout is how long a connection waits for another's lock. There is
	// one writer, so that anything near it is a defect.
	busyTimeout = 10 * time.Second
)

// Catalog is an open catalog. Reading is safe for concurrent use; Apply and
// Describe are serialised by the caller.
type Catalog struct {
	read  *sql.DB
	write *sql.DB

	// graves is false as long as there is no tombstone: each message that is put is looked up among them.
	graves atomic.Bool

	mu    sync.Mutex
	stmts map[string]*sql.Stmt // of read: parsing takes SQLite longer than looking up
}

// Open opens the catalog file, creating it when it does not exist. It returns
// ErrUnusable for a file that is damaged or of another version.
func Open(ctx context.Context, path string) (*Catalog, error) {
	// SQLite gives its journal files the mode of the database.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	c := &Catalog{stmts: map[string]*sql.Stmt{}}
	if c.write, err = connect(path, 1); err != nil {
		return nil, err
	}
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open catalog: %w", err), c.Close())
	}
	if c.read, err = connect(path, readers); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.lookForGraves(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open catalog: %w", err), c.Close())
	}
	return c, nil
}

// lookForGraves sets graves by what is in the file.
func (c *Catalog) lookForGraves(ctx context.Context) error {
	var graves bool
	if err := c.write.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM tombstones)").Scan(&graves); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	c.graves.Store(graves)
	return nil
}

func connect(path string, conns int) (*sql.DB, error) {
	query := url.Values{"_pragma": {
		"journal_mode(WAL)",
		// Losing the last transactions in a power cut is fine, a damaged file is not.
		"synchronous(NORMAL)",
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"secure_delete(ON)",
		"temp_store(MEMORY)",
	}, "_txlock": {"immediate"}}
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func (c *Catalog) prepare(ctx context.Context) error {
	var version int
	if err := c.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch version {
	case schemaVersion:
		var n int
		return c.write.QueryRowContext(ctx, "SELECT count(*) FROM meta").Scan(&n)
	case 0:
		tx, err := c.write.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, schema+orderSchema+"PRAGMA user_version = "+strconv.Itoa(schemaVersion))
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}
	return fmt.Errorf("%w: version %d, want %d", ErrUnusable, version, schemaVersion)
}

// Damaged reports whether an error of this package means that the file is
// damaged, and not that the disk is full or the context has ended.
func Damaged(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return errors.Is(err, ErrUnusable)
	}
	const primary = 0xff // the rest is detail
	code := e.Code() & primary
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// stmt returns the prepared statement of a query. Queries are constants, so
// that there are a few of them.
func (c *Catalog) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s, err := c.read.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

// Close closes the catalog. It is idempotent.
func (c *Catalog) Close() error {
	var errs []error
	for _, db := range []*sql.DB{c.read, c.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Meta returns the value kept under key, "" if there is none.
func (c *Catalog) Meta(ctx context.Context, key string) (string, error) {
	var v string
	err := c.read.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = ?", key).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return v, err
}

const positionKey = "position"

// Position is the number of ledger events that the catalog has taken in.
func (c *Catalog) Position(ctx context.Context) (int64, error) {
	v, err := c.Meta(ctx, positionKey)
	if err != nil || v == "" {
		return 0, err
	}
	return strconv.ParseInt(v, 10, 64)
}

func blob(id string) ([]byte, error) {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 32 {
		return nil, fmt.Errorf("message id %q is not 64 hexadecimal digits", id)
	}
	return b, nil
}
