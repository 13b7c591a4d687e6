package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/postkeep/postkeep/archive/catalog"
)

// maxStale bounds how many messages are looked for that the catalog does not have as the ledger says: each is read.
const maxStale = 10_000

// live looks for the bytes of the messages whose deposits are not in the catalog as the ledger says. A catalog can be rebuilt, but
// somebody may have gone by it, and removed what it did not know to be needed.
func (v *verification) live(ctx context.Context) error {
	if len(v.staleIDs) == 0 {
		return nil
	}
	if v.staleMore {
		v.damage(Damage{File: catalogName, What: fmt.Sprintf("more than %d messages are not in it as the ledger says, and the rest of them was not looked for: "+
			"postkeep rebuild catalog, then verify again", maxStale)})
	}
	by := v.store
	if v.spare == "" {
		made, err := v.byLedger(ctx)
		if made != nil {
			// What is not removed now is when the archive is opened.
			defer func() { _ = errors.Join(made.catalog.Close(), removeCatalog(filepath.Join(made.scratch, spareName))) }()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.damage(Damage{File: catalogName, What: fmt.Sprintf("messages that are not in it could not be looked for: %v", err)})
			return nil
		}
		by = made
	}
	for _, id := range slices.Sorted(maps.Keys(v.staleIDs)) {
		damaged, err := by.Damaged(ctx, []string{id})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && len(damaged) == 0 {
			continue
		}
		if buried, _, err := v.disposed(ctx, id); err != nil || buried {
			return err
		}
		v.damage(Damage{File: volumesName, Messages: []string{id}, What: "the message lives by the ledger, the catalog does not have it as the ledger says, and its bytes have been removed or are damaged"})
		if err := v.progress("catalog", 0, 0); err != nil {
			return err
		}
	}
	return nil
}

// byLedger is the archive with a catalog that is made of the ledger alone. The caller closes and removes that, if there is one.
func (v *verification) byLedger(ctx context.Context) (*Store, error) {
	s := v.store
	dir, err := s.workDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, spareName)
	if err := removeCatalog(path); err != nil {
		return nil, err
	}
	made := &Store{dir: s.dir, scratch: dir, opts: s.opts, ledger: s.ledger, volumes: s.volumes}
	if made.catalog, err = catalog.Open(ctx, path); err != nil {
		return nil, err
	}
	return made, errors.Join(made.replay(ctx), made.refill(ctx))
}

// stale reports that the catalog is not what the ledger says.
func (v *verification) stale(index int64, ids []string, format string) error {
	v.damage(Damage{File: catalogName, Messages: ids, Repairable: true, What: fmt.Sprintf(format+": postkeep rebuild catalog", index)})
	for _, id := range ids {
		if len(v.staleIDs) < maxStale {
			v.staleIDs[id] = true
		} else if !v.staleIDs[id] {
			v.staleMore = true
		}
	}
	return nil
}
