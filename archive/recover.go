package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

// replayBatch is how many ledger events one catalog transaction takes in
// while replaying: enough to make the transaction's cost small, few enough to
// keep little in memory.
const replayBatch = 2000

func (s *Store) openLedger(ctx context.Context) error {
	opts := ledgerOptions(s.dir, &s.opts)
	totals := &ledgerTotals{fs: s.opts.FS, path: totalsPath(s.dir), log: s.opts.Logger, keep: true}
	opts.Committed = totals.committed
	var err error
	if s.peeking = s.cautious(); s.peeking {
		opts.ReadOnly, opts.Committed = true, nil
		if s.ledger, err = ledger.Open(ctx, opts); err == nil && s.ledger.Damage() != nil {
			s.peeking = false
			s.readOnly, s.unsigned = errors.Join(s.readOnly, s.ledger.Damage()), errors.Join(s.unsigned, s.ledger.Damage())
		}
		return err
	}
	opts.ReadOnly, totals.keep = s.medium != nil, s.medium == nil
	if s.ledger, err = ledger.Open(ctx, opts); err == nil {
		if s.totals = totals; s.opts.RebuildCatalog {
			totals.forget(s.ledger)
		} else {
			totals.load(s.ledger)
		}
	}
	if s.medium != nil {
		if err == nil && s.ledger.Damage() != nil {
			s.readOnly, s.unsigned = errors.Join(s.readOnly, s.ledger.Damage()), errors.Join(s.unsigned, s.ledger.Damage())
		}
		return err
	}
	if !errors.Is(err, ledger.ErrDamaged) {
		return err
	}
	s.readOnly, s.unsigned = err, err
	opts.ReadOnly = true
	s.ledger, err = ledger.Open(ctx, opts)
	return err
}

// openCatalog opens the catalog and replays what it lacks. One that is damaged,
// or was made from another ledger, is made anew.
func (s *Store) openCatalog(ctx context.Context) error {
	path := filepath.Join(s.dir, catalogName)
	var err error
	if s.medium == nil {
		err = s.removeLeftCatalogs()
	} else {
		if s.mediumCatalog(ctx, path) {
			return nil
		}
		path, err = s.copyCatalog(path)
	}
	if err != nil {
		return err
	}
	err = s.tryCatalog(ctx, path)
	if err == nil || !catalog.Damaged(err) && !s.opts.RebuildCatalog {
		return err
	}
	s.opts.Logger.Warn("catalog is made anew from the ledger", "path", path, "error", err)
	s.opts.RebuildCatalog = false
	if err := s.dropCatalog(path); err != nil {
		return err
	}
	return s.tryCatalog(ctx, path)
}

// removeLeftCatalogs removes those of a process that was killed.
func (s *Store) removeLeftCatalogs() error {
	return errors.Join(removeCatalog(filepath.Join(s.dir, rebuildName)), removeCatalog(filepath.Join(s.dir, spareName)))
}

var errRebuild = errors.New("it was asked for")

func (s *Store) tryCatalog(ctx context.Context, path string) (err error) {
	if s.opts.RebuildCatalog {
		return errRebuild
	}
	if s.catalog, err = catalog.Open(ctx, path); err != nil {
		return err
	}
	if err := s.older(ctx); err != nil {
		// The catalog stays as it is: it is all that knows of what the ledger lacks.
		s.readOnly, s.unsigned = errors.Join(s.readOnly, err), errors.Join(s.unsigned, err)
		return nil
	}
	if err := s.catalogFits(ctx); err != nil {
		return err
	}
	return s.replay(ctx)
}

// ErrOlderLedger means that the ledger is an older copy than the catalog beside it.
var ErrOlderLedger = errors.New("the ledger was put back from an older copy")

// older is an error if the catalog has taken in events of this ledger that the
// ledger has no more. It is written after the ledger has been fsynced, so that no
// crash can do that. To go on would sign another history than the one that
// was signed before, without the holds and receipts in between.
func (s *Store) older(ctx context.Context) error {
	position, err := s.catalog.Position(ctx)
	if err != nil || position <= s.ledger.Size() {
		return nil //nolint:nilerr // catalogFits says what is wrong with the catalog
	}
	verifier, err := s.catalog.Meta(ctx, verifierMeta)
	if err != nil || verifier != s.ledger.Verifier() {
		return nil //nolint:nilerr // as above
	}
	return fmt.Errorf("%w: it has %d events, the catalog knows of %d; put the newer ledger back, or, if it is lost, "+
		"accept the older one with: postkeep rebuild catalog (while no instance runs)", ErrOlderLedger, s.ledger.Size(), position)
}

func (s *Store) dropCatalog(path string) error {
	var err error
	if s.catalog != nil {
		err = s.catalog.Close()
		s.catalog = nil
	}
	return errors.Join(err, removeCatalog(path))
}

func removeCatalog(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// catalogFits returns why the catalog cannot have been made from this ledger.
func (s *Store) catalogFits(ctx context.Context) error {
	position, err := s.catalog.Position(ctx)
	if err != nil {
		return err
	}
	verifier, err := s.catalog.Meta(ctx, verifierMeta)
	if err != nil {
		return err
	}
	gaps, err := s.catalog.Meta(ctx, gapsMeta)
	switch {
	case err != nil:
		return err
	case gaps != "":
		return fmt.Errorf("%w: it was made from a damaged ledger", catalog.ErrUnusable)
	case position > s.ledger.Size():
		return fmt.Errorf("%w: it has %d events, the ledger %d", catalog.ErrUnusable, position, s.ledger.Size())
	case position > 0 && verifier != s.ledger.Verifier():
		return fmt.Errorf("%w: it was made from another ledger", catalog.ErrUnusable)
	}
	return nil
}

// replay takes into the catalog what the ledger has beyond its position. Others may write to the ledger meanwhile: the position that it
// notes is the one up to which it has read.
func (s *Store) replay(ctx context.Context) error {
	position, err := s.catalog.Position(ctx)
	if err != nil {
		return err
	}
	size := s.ledger.Size()
	r := replayer{store: s, change: s.newChange()}
	err = s.readable(ctx, position, size, func(e ledger.Entry) error { return r.take(ctx, e) }, func(index int64, err error) {
		s.opts.Logger.Error("an event of the ledger is damaged and passed over", "index", index, "error", err)
		s.readOnly, s.unsigned = err, err
		r.change.Meta[gapsMeta] = "yes"
	})
	if err != nil {
		return fmt.Errorf("replay ledger: %w", err)
	}
	// Applied also when there is nothing: a new catalog has to know its ledger.
	if size == position && s.catalogFits(ctx) == nil && position > 0 {
		return nil // nothing to write: the disk may be full
	}
	r.change.Position = size
	return r.apply(ctx)
}

// A replayer collects what events mean for the catalog, and applies it in transactions.
type replayer struct {
	store  *Store
	change catalog.Change
	lost   []lostDeposit // of this change
	n      int           // events so far
}

func (r *replayer) take(ctx context.Context, e ledger.Entry) error {
	if deposits(e) && len(r.change.Tombstones) > 0 { // what it repeats, or says anew, comes behind a disposal
		if err := r.apply(ctx); err != nil {
			return err
		}
	}
	switch {
	case e.Details != nil:
		if err := addEvent(&r.change, e); err != nil {
			return fmt.Errorf("ledger event %d: %w", e.Index, err)
		}
	case deposits(e):
		r.change.Ends[e.Volume] = max(r.change.Ends[e.Volume], e.End)
		if !e.Erased {
			r.lost = append(r.lost, lostDeposit{e.Index, e.Volume, e.End})
		}
	default: // erased or damaged
		if err := noteUnreadable(&r.change, e); err != nil {
			return err
		}
	}
	r.change.Position = e.Index + 1
	if r.n++; r.n%replayBatch != 0 {
		return nil
	}
	return r.apply(ctx)
}

// apply notes lost deposits together with the position behind them: whoever goes on from there does not meet them again.
func (r *replayer) apply(ctx context.Context) error {
	if len(r.lost) > 0 {
		if err := r.store.noteLost(ctx, &r.change, r.lost); err != nil {
			return err
		}
	}
	if err := r.store.catalog.Apply(ctx, r.change); err != nil {
		return err
	}
	r.change, r.lost = r.store.newChange(), nil
	return nil
}

// gapsMeta is where a catalog notes that it lacks events that could not be read. It serves
// until the archive is opened again: the ledger may have been mended then.
const gapsMeta = "gaps"

func deposits(e ledger.Entry) bool {
	return e.Type == ledger.TypeDeposit || e.Type == ledger.TypeRecovered
}

func (s *Store) newChange() catalog.Change {
	return catalog.Change{Ends: map[uint32]int64{}, Meta: map[string]string{verifierMeta: s.ledger.Verifier()}}
}

// addEvent adds what a ledger event means for the catalog.
func addEvent(change *catalog.Change, e ledger.Entry) error {
	switch e.Type {
	case ledger.TypeDeposit, ledger.TypeRecovered:
		change.Ends[e.Volume] = max(change.Ends[e.Volume], e.End)
		var d depositDetails
		if err := json.Unmarshal(e.Details, &d); err != nil {
			return err
		}
		if len(e.IDs) == 0 { // parts whose recipe was lost
			change.Parts = append(change.Parts, d.Parts.rows()...)
			break
		}
		d.ID = e.IDs[0]
		change.Messages = append(change.Messages, d.message())
		change.Deposits = append(change.Deposits, d.row(e.Index, e.Details))
	case ledger.TypeSeal, ledger.TypeRepack:
		return addFile(change, e)
	case ledger.TypePoll:
		var r PollReport
		if err := json.Unmarshal(e.Details, &r); err != nil {
			return err
		}
		addPoll(change, e.Index, &r, e.Details)
	case ledger.TypeEpoch:
		change.Meta[epochMeta] = string(e.Details)
	case ledger.TypeVerify:
		change.Meta[verifyMeta] = string(e.Details)
	case ledger.TypeDeadLetter:
		change.Meta[deadMeta] = string(e.Details)
	case ledger.TypeAnchor:
		var r AnchorRecord
		if err := json.Unmarshal(e.Details, &r); err != nil {
			return err
		}
		change.Meta[anchorMeta(r.Anchor)] = string(e.Details)
	default:
		return addOrder(change, e)
	}
	return nil
}

func (s *Store) openVolumes(ctx context.Context) error {
	ends, err := s.catalog.Ends(ctx)
	if err != nil {
		return err
	}
	sealed, err := s.catalog.Sealed(ctx)
	if err != nil {
		return err
	}
	opts := volume.Options{
		Sealed: sealed, FS: s.opts.FS, Dir: filepath.Join(s.dir, volumesName), Quarantine: filepath.Join(s.dir, quarantineName),
		MaxBytes: s.opts.VolumeBytes, ReadOnly: s.readOnly != nil, Logger: s.opts.Logger,
		Recipients: s.opts.Recipients, Identities: s.opts.Identities,
	}
	if s.volumes, err = volume.OpenSet(ctx, opts, ends); !errors.Is(err, volume.ErrShort) && !errors.Is(err, volume.ErrForeign) {
		return err
	}
	s.readOnly = errors.Join(s.readOnly, err)
	opts.ReadOnly = true
	s.volumes, err = volume.OpenSet(ctx, opts, ends)
	return err
}
