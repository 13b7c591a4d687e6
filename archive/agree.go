package archive

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/setsum"
)

// ErrDisagree means that catalog or index do not hold the deposits that the ledger says live. Nothing is disposed of until they do: what
// nobody knows of any more looks as if nobody needed its bytes.
var ErrDisagree = errors.New("nothing is disposed of")

// agree compares the deposits of the catalog with those of the ledger, with mu held. A difference is ErrDisagree, and Disagreement tells of
// it until it has gone. Otherwise it returns what both have, nil if there is no whole ledger to compare with.
func (s *Store) agree(ctx context.Context) (setsum.Totals, error) {
	if s.unsigned != nil {
		return nil, nil
	}
	state, err := s.totalsNow(ctx)
	if err != nil {
		return nil, err
	}
	has, err := s.catalog.Totals(ctx)
	if err != nil {
		return nil, err
	}
	differ := state.Mailboxes.Differ(has)
	if len(differ) > 0 && !s.totals.whole { // it may be the file that is wrong
		s.totals.forget(s.ledger)
		if state, err = s.totalsNow(ctx); err != nil {
			return nil, err
		}
		differ = state.Mailboxes.Differ(has)
	}
	err = nil
	if len(differ) > 0 {
		name := differ[0]
		err = fmt.Errorf("%w: the catalog does not have the deposits that the ledger says, it has %d of mailbox %q and should have %d (%d mailboxes are so): "+
			"it is rebuilt (or: postkeep rebuild catalog)", ErrDisagree, has[name].N, name, state.Mailboxes[name].N, len(differ))
	}
	s.disagreeing(err)
	return has, err
}

// disagreeing notes what Disagreement tells.
func (s *Store) disagreeing(err error) {
	s.state.Lock()
	defer s.state.Unlock()
	if err != nil && s.disagreement == nil {
		s.opts.Logger.Error("catalog and ledger disagree", "dir", s.dir, "error", err)
	}
	s.disagreement = err
}

// Disagreement is why nothing is disposed of until the catalog was rebuilt, nil while it has the deposits that the ledger says.
func (s *Store) Disagreement() error {
	s.state.Lock()
	defer s.state.Unlock()
	return s.disagreement
}

// Disagreed gets a value when a disagreement was found while the archive was in use: somebody should call RebuildCatalog.
func (s *Store) Disagreed() <-chan struct{} { return s.mend }

// agreed is agree, and asks for a rebuild.
func (s *Store) agreed(ctx context.Context) (setsum.Totals, error) {
	live, err := s.agree(ctx)
	if errors.Is(err, ErrDisagree) {
		s.askForRebuild()
	}
	return live, err
}

func (s *Store) askForRebuild() {
	select {
	case s.mend <- struct{}{}:
	default: // it was asked for
	}
}

// recounted counts the rows of the catalog: a damaged file may have lost some and not the sums that were kept of them, which agree goes by.
// It takes a second for some hundred thousand deposits, and is called without mu.
func (s *Store) recounted(ctx context.Context) error {
	err := s.catalog.Recount(ctx)
	if !errors.Is(err, catalog.ErrUnusable) {
		return err
	}
	err = fmt.Errorf("%w: %w: it is rebuilt (or: postkeep rebuild catalog)", ErrDisagree, err)
	s.disagreeing(err)
	s.askForRebuild()
	return err
}

// Live is what the archive has now.
func (s *Store) Live(ctx context.Context) (Live, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	totals, err := s.agreed(ctx)
	if errors.Is(err, ErrDisagree) || err == nil && totals == nil {
		return Live{}, nil
	}
	live := Live{Deposits: totals.All()}
	if err == nil {
		live.Last, err = s.catalog.LastDeposit(ctx)
	}
	if err != nil {
		return live, err
	}
	pending, err := s.Interrupted(ctx)
	live.Settled = len(pending) == 0
	return live, err
}

// reconcile compares catalog and ledger when the archive is opened, before anything goes by the catalog. One that has other deposits is
// rebuilt at once.
func (s *Store) reconcile(ctx context.Context) error {
	_, disagreement := s.agree(ctx)
	if !errors.Is(disagreement, ErrDisagree) {
		return disagreement
	}
	dir, err := s.workDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, catalogName)
	s.opts.Logger.Warn("catalog is rebuilt from the ledger", "path", path, "error", disagreement)
	if err := s.dropCatalog(path); err != nil {
		return err
	}
	if err := s.tryCatalog(ctx, path); err != nil {
		return err
	}
	if _, err := s.agree(ctx); !errors.Is(err, ErrDisagree) {
		return err
	}
	return nil // Disagreement says so
}

// accounted returns an error if the mailbox of a deposit is not known, in the ledger nor in the volumes.
func (s *Store) accounted(ctx context.Context) error {
	lost, err := s.notedLost(ctx)
	if err != nil || len(lost) == 0 {
		return err
	}
	return fmt.Errorf("%w: %d deposits, the first of ledger event %d, are damaged in the ledger and cannot be read from the volumes: "+
		"put back the newest copy of the ledger and run postkeep rebuild catalog", ErrDisagree, len(lost), lost[0].Index)
}
