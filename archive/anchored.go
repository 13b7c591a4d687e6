package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
)

// An AnchorRecord says that a checkpoint was taken to where it cannot be taken back.
type AnchorRecord struct {
	Anchor string    `json:"anchor"` // where to, without secrets
	Time   time.Time `json:"time"`
	// Signed is the time that an authority has put its signature to just now, zero if it was another kind of anchor.
	Signed     time.Time `json:"signed,omitzero"`
	Events     int64     `json:"events"`     // that the checkpoint covers
	Checkpoint string    `json:"checkpoint"` // the signed note
}

// anchorMeta is where the catalog keeps the last record of an anchor.
func anchorMeta(name string) string { return "anchor " + name }

// ToAnchor returns the checkpoint of the ledger with the number of events that it covers, or false when nothing but anchoring
// has happened since the anchor of that name got one.
func (s *Store) ToAnchor(ctx context.Context, name string) (checkpoint []byte, events int64, changed bool, err error) {
	if s.unsigned != nil {
		return nil, 0, false, fmt.Errorf("%w: %w", ErrReadOnly, s.unsigned)
	}
	last, err := s.Anchored(ctx, name)
	if err != nil {
		return nil, 0, false, err
	}
	prover, err := s.ledger.Prover()
	if err != nil {
		return nil, 0, false, err
	}
	err = s.ledger.Read(ctx, last.Events, func(e ledger.Entry) error {
		if e.Index >= prover.Size() { // the checkpoint does not cover it
			return errEnough
		}
		if e.Type == ledger.TypeAnchor {
			return nil
		}
		changed = true
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return []byte(prover.Proof().Checkpoint), prover.Size(), changed, err
}

// RecordAnchor writes to the ledger that a checkpoint was anchored, and compares the clock with what an authority has signed.
func (s *Store) RecordAnchor(ctx context.Context, r AnchorRecord) error {
	err := s.recordLast(ctx, ledger.Event{Type: ledger.TypeAnchor, Actor: systemActor, Details: r}, anchorMeta(r.Anchor))
	if err != nil || r.Signed.IsZero() {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compareStamp(ctx, r.Anchor, r.Signed)
}

// Anchored returns the last record of an anchor, the zero one if there is none.
func (s *Store) Anchored(ctx context.Context, name string) (r AnchorRecord, err error) {
	last, err := s.catalog.Meta(ctx, anchorMeta(name))
	if err == nil && last != "" {
		err = json.Unmarshal([]byte(last), &r)
	}
	return r, err
}
