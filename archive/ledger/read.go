package ledger

import (
	"context"
	"errors"
	"fmt"
)

// Read calls fn with the events from an index on, in order, up to those that
// were committed when it was called. It stops at the first error of fn and
// returns it. fn may keep the entry, and may call Append.
//
// Details that are damaged do not end the reading, see Entry.Damaged; an event
// that is not readable does, with ErrDiverged.
func (l *Log) Read(ctx context.Context, from int64, fn func(Entry) error) error {
	s := l.snapshot()
	return l.read(ctx, s, from, s.size, fn)
}

// Entry returns one event, or ErrNoEvent.
func (l *Log) Entry(ctx context.Context, index int64) (Entry, error) {
	s := l.snapshot()
	if index >= s.size {
		return Entry{}, fmt.Errorf("%w: %d of %d", ErrNoEvent, index, s.size)
	}
	var entry Entry
	err := l.read(ctx, s, index, index+1, func(e Entry) error {
		entry = e
		return nil
	})
	return entry, err
}

// read calls fn with the events of s in [from, to).
func (l *Log) read(ctx context.Context, s state, from, to int64, fn func(Entry) error) error {
	if from < 0 {
		return fmt.Errorf("%w: %d", ErrNoEvent, from)
	}
	if from >= to {
		return nil
	}
	lines, err := find(l.events, s.eventsEnd, from)
	if err != nil {
		return fmt.Errorf("%s: %w", eventsName, err)
	}
	details, err := l.openSidecar(s, from)
	if err != nil {
		return err
	}
	for index := from; index < to; index++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := lines.next()
		if isEnd(err) {
			return fmt.Errorf("%w: %s: event %d: %w", ErrDiverged, eventsName, index, err)
		}
		if err != nil {
			return err
		}
		e, err := parseLeaf(line, index)
		if err != nil {
			return fmt.Errorf("%s: %w", eventsName, err)
		}
		if err := details.fill(&e); err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// A sidecar reads details.jsonl alongside the events.
type sidecar struct{ lines *lineReader }

// openSidecar returns a sidecar for the events from one on.
func (l *Log) openSidecar(s state, from int64) (sidecar, error) {
	lines, err := find(l.details, s.detailsEnd, from)
	if errors.Is(err, ErrDamaged) {
		lines, err = newLineReader(l.details, 0, s.detailsEnd), nil // fill passes over the others
	}
	if err != nil {
		return sidecar{}, fmt.Errorf("%s: %w", detailsName, err)
	}
	return sidecar{lines}, nil
}

// fill sets the details of an event. The events must come in order.
func (s sidecar) fill(e *Entry) error {
	e.Damaged = true
	for {
		line, err := s.lines.next()
		if isEnd(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", detailsName, err)
		}
		switch n, ok := indexOf(line); {
		case ok && n < e.Index:
			continue
		case ok && n > e.Index: // the line of this event is missing
			s.lines.unread()
			return nil
		}
		e.setDetails(line)
		return nil
	}
}
