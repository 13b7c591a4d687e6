package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
)

// epochMeta is where the catalog keeps the details of the last epoch event.
const epochMeta = "epoch"

// Reasons for a new epoch.
const (
	epochFirst    = "first"
	epochTakeOver = "take-over"
)

// An Epoch is a time in which one copy of the archive is the archive. Its number rises with each take-over.
type Epoch struct {
	Number   int64  `json:"epoch"`
	Identity string `json:"identity"`
	Holder   string `json:"holder"` // of the copy
	Host     string `json:"host"`
	Path     string `json:"path"`
	Reason   string `json:"reason"`
	Why      string `json:"why,omitempty"` // what a take-over was asked for
}

// Epoch returns the current one, with the number 0 if the archive has never been claimed.
func (s *Store) Epoch() Epoch {
	s.state.Lock()
	defer s.state.Unlock()
	return s.epoch
}

// Events is the number of events in the ledger.
func (s *Store) Events() int64 { return s.ledger.Size() }

// loadEpoch reads the current epoch from the catalog, which has it from the ledger.
func (s *Store) loadEpoch(ctx context.Context) error {
	text, err := s.catalog.Meta(ctx, epochMeta)
	if err != nil || text == "" {
		return err
	}
	s.state.Lock()
	defer s.state.Unlock()
	return json.Unmarshal([]byte(text), &s.epoch)
}

// recognise finds out, now that the ledger tells its holder, whether the directory is the one that the ledger is of. A ledger that
// was opened for reading only until that is known is opened for writing.
func (s *Store) recognise(ctx context.Context) error {
	if err := s.loadEpoch(ctx); err != nil || s.opts.Claim == Unclaimed || s.copied != nil || s.takingOver != "" {
		return errors.Join(err, s.reopenLedger(ctx))
	}
	switch holder := s.Epoch().Holder; {
	case holder == "": // nobody has claimed it yet
	case s.noted == nil:
		s.isCopy("the ledger is of " + s.Epoch().Path + " on " + s.Epoch().Host + ", and no file " + placeName + " says that it is here")
	case holder != s.noted.Holder:
		s.isCopy("the ledger is of another copy, which was taken over or put back from a backup")
	}
	return s.reopenLedger(ctx)
}

// cautious reports whether nothing may be written to the ledger before it was read.
func (s *Store) cautious() bool {
	return s.copied != nil || !s.known && s.opts.Claim != Unclaimed && s.noted == nil
}

// reopenLedger opens for writing what cautious has opened for reading.
func (s *Store) reopenLedger(ctx context.Context) error {
	if !s.peeking || s.copied != nil {
		return nil
	}
	s.known = true
	if err := s.ledger.Close(); err != nil {
		return err
	}
	return s.openLedger(ctx)
}

// claim notes where the archive is at home, and begins an epoch if a new one is due. It is the last step of Open. An archive that
// takes nothing new stays as it is: a copy, or unclaimed.
func (s *Store) claim(ctx context.Context) error {
	switch {
	case s.opts.Claim == Unclaimed || s.copied != nil:
		return nil
	case s.readOnly != nil && s.takingOver != "":
		s.copied = fmt.Errorf("%w (%s), and cannot be taken over: %w", ErrCopied, s.takingOver, s.readOnly)
		return nil
	case s.readOnly != nil:
		return nil
	}
	now, err := hereAndNow(s.dir)
	if err != nil {
		return err
	}
	if s.noted != nil {
		now.Holder = s.noted.Holder
	}
	fresh := s.takingOver != "" || now.Holder == ""
	if fresh {
		if now.Holder, err = newHolder(); err != nil {
			return err
		}
	}
	if s.noted == nil || !s.noted.equal(now) {
		if err := s.writePlace(now); err != nil && fresh && s.takingOver != "" {
			return err
		} else if err != nil { // reading goes on, such as on a full disk
			s.opts.Logger.Warn("trying again when the archive is opened next", "error", err)
			return nil
		}
	}
	switch {
	case s.takingOver != "":
		_, err = s.begin(ctx, s.Epoch().Number+1, epochTakeOver, s.takingOver)
	case s.Epoch().Holder == "":
		_, err = s.begin(ctx, 1, epochFirst, "")
	}
	return err
}

// TakeOver begins an epoch with a number above that of every other copy that the caller knows of, whose numbers are up to
// above. It returns the new number.
func (s *Store) TakeOver(ctx context.Context, above int64, why string) (int64, error) {
	if s.noted == nil {
		return 0, fmt.Errorf("%w: the file %s cannot be written to %s", ErrReadOnly, placeName, s.dir)
	}
	return s.begin(ctx, max(above, s.Epoch().Number)+1, epochTakeOver, why)
}

func (s *Store) begin(ctx context.Context, number int64, reason, why string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	e := Epoch{Number: number, Identity: s.Identity(), Holder: s.noted.Holder, Host: s.noted.Host, Path: s.noted.Path, Reason: reason, Why: why}
	details, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	index, err := s.ledger.Append(ctx, []ledger.Event{{Type: ledger.TypeEpoch, Actor: systemActor, Details: json.RawMessage(details)}})
	if err != nil {
		return 0, s.breaks(fmt.Errorf("ledger: %w", err))
	}
	if err := s.catalog.Apply(ctx, catalog.Change{Position: index + 1, Meta: map[string]string{epochMeta: string(details)}}); err != nil {
		return 0, s.breaks(err)
	}
	s.state.Lock()
	s.epoch = e
	s.state.Unlock()
	if reason == epochTakeOver {
		s.opts.Logger.Warn("this data directory was taken over: it is the archive from now on, and no other copy of it may be used any more",
			"dir", s.dir, "epoch", number, "why", why)
	}
	return number, nil
}
