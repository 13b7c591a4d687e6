package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
)

// ErrOpen means that a catalog was not closed, so that part of it may be in its journal.
var ErrOpen = errors.New("catalog was not closed")

// OpenImmutable opens a catalog for reading without writing anything beside it, as SQLite otherwise does. Nobody may have it open for
// writing meanwhile. One that was not closed is ErrOpen.
func OpenImmutable(ctx context.Context, path string) (*Catalog, error) {
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		return nil, ErrOpen
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	query := url.Values{"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"temp_store(MEMORY)", "query_only(ON)"}}
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String()
	c := &Catalog{stmts: map[string]*sql.Stmt{}}
	var err error
	if c.write, err = sql.Open("sqlite", dsn); err == nil {
		c.read, err = sql.Open("sqlite", dsn)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open catalog: %w", err), c.Close())
	}
	c.write.SetMaxOpenConns(1)
	c.read.SetMaxOpenConns(readers)
	c.read.SetMaxIdleConns(readers)
	var version int
	err = c.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	if err == nil && version != schemaVersion {
		err = fmt.Errorf("%w: version %d, want %d", ErrUnusable, version, schemaVersion)
	}
	if err == nil {
		err = c.lookForGraves(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open catalog: %w", err), c.Close())
	}
	return c, nil
}
