package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

// An Action is something that a person did with the archive.
type Action struct {
	Type  ActionType
	Actor string   // who, as the operating system or the login says
	IDs   []string // the messages it was done with
	// Details is kept as JSON in the erasable sidecar.
	Details any
}

// ActionType is the kind of an action.
type ActionType ledger.Type

// The actions that are recorded.
const (
	ActionSearch  = ActionType(ledger.TypeSearch)
	ActionView    = ActionType(ledger.TypeView)
	ActionExport  = ActionType(ledger.TypeExport)
	ActionRebuild = ActionType(ledger.TypeRebuild)
)

// Record writes the action to the ledger and returns its index. When Record
// fails the action must not happen: nobody reads mail without a trace.
func (s *Store) Record(ctx context.Context, a Action) (int64, error) {
	// Not under the writer's lock: actions at the same time share their fsyncs,
	// and the catalog takes nothing of them in.
	return s.append(ctx, ledger.Event{Type: ledger.Type(a.Type), Actor: a.Actor, IDs: a.IDs, Details: a.Details}, s.broke)
}

// append writes one event. broke is told of a failure that leaves the disk in
// an unknown state.
func (s *Store) append(ctx context.Context, e ledger.Event, broke func(error) error) (int64, error) {
	if s.unsigned != nil { // short volumes can still be searched and exported
		return 0, fmt.Errorf("%w: %w", ErrReadOnly, s.unsigned)
	}
	index, err := s.ledger.Append(context.WithoutCancel(ctx), []ledger.Event{e})
	switch {
	case errors.Is(err, ledger.ErrBroken):
		return 0, broke(fmt.Errorf("ledger: %w", err))
	case err != nil:
		return 0, fmt.Errorf("ledger: %w", err)
	}
	return index, nil
}

func (s *Store) broke(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.breaks(err)
}

// RecordPoll keeps the report of a poll, in ledger and catalog. A report whose
// numbers do not add up is kept as inconsistent.
func (s *Store) RecordPoll(ctx context.Context, r PollReport) error {
	r.Inconsistent = r.Inconsistent || !r.Consistent()
	details, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record poll of %s: %w", r.Mailbox, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	index, err := s.append(ctx, ledger.Event{Type: ledger.TypePoll, Actor: systemActor, Details: json.RawMessage(details)}, s.breaks)
	if err != nil {
		return err
	}
	err = s.catalog.Apply(context.WithoutCancel(ctx), catalog.Change{
		Polls:    []catalog.Poll{{Index: index, Mailbox: r.Mailbox, Report: details}},
		Position: index + 1,
	})
	if err != nil {
		return s.breaks(err)
	}
	return nil
}

// Status is the state of the archive in numbers.
type Status struct {
	Messages   int64         `json:"messages"`
	Bytes      int64         `json:"bytes"` // octets of the messages, each counted once
	Deposits   int64         `json:"deposits"`
	Volumes    []volume.Info `json:"volumes"`
	Events     int64         `json:"events"`     // in the ledger
	Checkpoint string        `json:"checkpoint"` // the signed note of the ledger
	// ReadOnly is why nothing new is taken, "" when it is.
	ReadOnly string `json:"read_only,omitempty"`
}

// Status returns the state of the archive.
func (s *Store) Status(ctx context.Context) (Status, error) {
	st := Status{Volumes: s.volumes.Volumes(), Events: s.ledger.Size(), Checkpoint: string(s.ledger.Checkpoint())}
	var err error
	if st.Messages, st.Bytes, st.Deposits, err = s.catalog.Counts(ctx); err != nil {
		return Status{}, err
	}
	if err := s.ReadOnly(); err != nil {
		st.ReadOnly = err.Error()
	}
	return st, nil
}
