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
	ActionUser    = ActionType(ledger.TypeUser)
	ActionConfig  = ActionType(ledger.TypeConfig)
)

// noIndex stands for the ledger index of what is not in the ledger.
const noIndex = -1

// Record writes the action to the ledger and returns its index. When Record
// fails the action must not happen: nobody reads mail without a trace. Where the data directory cannot be written to, it goes to
// a file of its own, and the index is -1.
func (s *Store) Record(ctx context.Context, a Action) (int64, error) {
	if s.outside() {
		return noIndex, s.note(a)
	}
	if s.unsigned != nil { // with short volumes the ledger still takes events
		return 0, fmt.Errorf("%w: %w", ErrReadOnly, s.unsigned)
	}
	if s.jumped() != nil {
		s.mu.Lock()
		err := s.noteClock(ctx)
		s.mu.Unlock()
		if err != nil {
			return 0, err
		}
	}
	// Not under the writer's lock: actions at the same time share their fsyncs,
	// and the catalog takes nothing of them in.
	event := ledger.Event{Type: ledger.Type(a.Type), Actor: a.Actor, IDs: a.IDs, Details: a.Details}
	index, err := s.ledger.Append(context.WithoutCancel(ctx), []ledger.Event{event})
	switch {
	case errors.Is(err, ledger.ErrBroken):
		return 0, s.breaks(fmt.Errorf("ledger: %w", err))
	case err != nil:
		return 0, fmt.Errorf("ledger: %w", err)
	}
	return index, nil
}

// queuedReport waits for the commit that writes it.
type queuedReport struct {
	report  *PollReport
	details json.RawMessage
	done    chan error // has room
}

// RecordPoll keeps the report of a poll, in ledger and catalog. A report whose
// numbers do not add up is kept as inconsistent. Reports that come while one is
// being written are written together.
func (s *Store) RecordPoll(_ context.Context, r PollReport) error {
	r.Inconsistent = r.Inconsistent || !r.Consistent()
	details, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record poll of %s: %w", r.Mailbox, err)
	}
	q := &queuedReport{report: &r, details: details, done: make(chan error, 1)}
	s.queue.Lock()
	s.reports = append(s.reports, q)
	s.queue.Unlock()

	s.mu.Lock()
	s.queue.Lock()
	batch := s.reports
	s.reports = nil
	s.queue.Unlock()
	if len(batch) > 0 {
		err := s.recordPolls(batch)
		for _, b := range batch {
			b.done <- err
		}
	}
	s.mu.Unlock()
	return <-q.done // it was in this batch or in one before
}

// recordPolls is called with mu held. What was begun is finished, so that
// nobody's context ends the report of another.
func (s *Store) recordPolls(batch []*queuedReport) error {
	if err := s.whole(); err != nil {
		return err
	}
	if s.unsigned != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, s.unsigned)
	}
	ctx := context.Background()
	if err := s.noteClock(ctx); err != nil {
		return err
	}
	events := make([]ledger.Event, len(batch))
	for i, b := range batch {
		events[i] = ledger.Event{Type: ledger.TypePoll, Actor: systemActor, Details: b.details}
	}
	first, err := s.ledger.Append(ctx, events)
	switch {
	case errors.Is(err, ledger.ErrBroken):
		return s.breaks(fmt.Errorf("ledger: %w", err))
	case err != nil:
		return fmt.Errorf("ledger: %w", err)
	}
	change := catalog.Change{Position: first + int64(len(batch))}
	for i, b := range batch {
		addPoll(&change, first+int64(i), b.report, b.details)
	}
	if err := s.catalog.Apply(ctx, change); err != nil {
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
	Key        string        `json:"key"`        // public key of the ledger, as in ledger.pub
	Identity   string        `json:"identity"`   // of the installation
	Epoch      Epoch         `json:"epoch"`      // zero if the archive has never been claimed
	// Copied is why the data directory counts as a copy of another one, "" if it does not.
	Copied string `json:"copied,omitempty"`
	// Outside is why what is done is noted outside of the ledger, so that the trail in it is partial; "" if it is not.
	Outside string `json:"outside,omitempty"`
	// SetAside are files, in the data directory, with whole messages that recovery found behind damage and cut off.
	SetAside []string `json:"set_aside,omitempty"`
	// ReadOnly is why nothing new is taken, "" when it is.
	ReadOnly string `json:"read_only,omitempty"`
	// Clock is the last jump of the clock if nobody has confirmed it yet: nothing is disposed of.
	Clock *ClockJump `json:"clock,omitempty"`
	// Verified is the last verification that was recorded, nil if there is none.
	Verified *VerifyReport `json:"verified,omitempty"`
	// DeadLetter is the last message that could not be taken, nil if there is none; its Number says how many there were.
	DeadLetter *DeadLetter `json:"dead_letter,omitempty"`
}

// Status returns the state of the archive.
func (s *Store) Status(ctx context.Context) (Status, error) {
	st := Status{Volumes: s.volumes.Volumes(), Events: s.ledger.Size(), Checkpoint: string(s.ledger.Checkpoint()), Key: s.ledger.Verifier(), Identity: s.Identity(), Epoch: s.Epoch()}
	var err error
	if st.Messages, st.Bytes, st.Deposits, err = s.catalog.Counts(ctx); err != nil {
		return Status{}, err
	}
	if err := s.ReadOnly(); err != nil {
		st.ReadOnly = err.Error()
	}
	if s.copied != nil {
		st.Copied, st.Outside = s.copied.Error(), s.copied.Error()
	}
	if s.medium != nil {
		st.Outside = s.medium.Error()
	}
	if st.SetAside, err = s.SetAside(); err != nil {
		return st, err
	}
	if st.Clock, err = s.ClockJump(ctx); err != nil {
		return st, err
	}
	if st.DeadLetter, err = s.lastDeadLetter(ctx); err != nil {
		return st, err
	}
	last, err := s.catalog.Meta(ctx, verifyMeta)
	if err == nil && last != "" {
		err = json.Unmarshal([]byte(last), &st.Verified)
	}
	return st, err
}
