package archive

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/postkeep/postkeep/archive/catalog"
)

// rebuildName is the catalog that is being made.
const rebuildName = "rebuild.db"

// ErrRebuilding means that the catalog is being made anew already.
var ErrRebuilding = errors.New("the catalog is being made anew already")

// RebuildCatalog makes the catalog anew from ledger and volumes, beside readers and the writer, who go on with the old
// one until the new one takes its place in one moment. describe makes summaries for the messages of the archive that it is given, as far as there
// are none: that of the new catalog, and then this one for what came meanwhile. A ledger that cannot be read as a whole is an
// error, and the old catalog stays.
func (s *Store) RebuildCatalog(ctx context.Context, describe func(context.Context, *Store) error) error {
	if !s.rebuild.TryLock() {
		return ErrRebuilding
	}
	defer s.rebuild.Unlock()
	if err := s.whole(); err != nil {
		return err
	}
	if s.unsigned != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, s.unsigned)
	}
	path := filepath.Join(s.dir, rebuildName)
	made := &Store{dir: s.dir, opts: s.opts, ledger: s.ledger, volumes: s.volumes}
	err := removeCatalog(path)
	if err == nil {
		made.catalog, err = catalog.Open(ctx, path)
	}
	if err == nil {
		err = s.remake(ctx, made, path, describe)
	}
	if made.catalog != nil {
		err = errors.Join(err, made.catalog.Close())
	}
	if err = errors.Join(err, removeCatalog(path)); err != nil {
		return fmt.Errorf("rebuild catalog: %w", err)
	}
	return describe(ctx, s)
}

func (s *Store) remake(ctx context.Context, made *Store, path string, describe func(context.Context, *Store) error) error {
	if err := made.replay(ctx); err != nil {
		return err
	}
	if err := made.refill(ctx); err != nil {
		return err
	}
	if err := describe(ctx, made); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.whole(); err != nil {
		return err
	}
	err := made.replay(ctx) // what came meanwhile
	if err = errors.Join(err, made.unsigned, made.catalog.Close()); err != nil {
		return err
	}
	if err := s.catalog.Replace(ctx, path); err != nil {
		return err
	}
	_, err = s.agree(ctx)
	return err
}
