package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
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
		if e.Damaged {
			l.refill(s, &e)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// A sidecar reads details.jsonl alongside the events.
type sidecar struct {
	walker
	line placed // the last one that was read; index is -1 before the first
	done bool   // there is no further line
}

func newSidecar(lines *lineReader, from, size int64) *sidecar {
	return &sidecar{walker: walker{lines: lines, want: from, size: size, end: lines.off}, line: placed{index: -1}}
}

// openSidecar returns a sidecar for the events from one on.
func (l *Log) openSidecar(s state, from int64) (*sidecar, error) {
	lines, err := find(l.details, s.detailsEnd, from)
	if errors.Is(err, ErrDamaged) {
		return newSidecar(newLineReader(l.details, 0, s.detailsEnd), 0, s.size), nil // at passes over the others
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", detailsName, err)
	}
	return newSidecar(lines, from, s.size), nil
}

// at moves to the line of an event and reports whether there is one. The events
// must come in order.
func (s *sidecar) at(index int64) (bool, error) {
	for !s.done && s.line.index < index {
		line, err := s.next()
		if errors.Is(err, io.EOF) {
			s.done = true
			break
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", detailsName, err)
		}
		s.line = line
	}
	return !s.done && s.line.index == index, nil
}

// fill sets the details of an event. The events must come in order.
func (s *sidecar) fill(e *Entry) error {
	found, err := s.at(e.Index)
	if found {
		e.setDetails(s.line.line)
	} else {
		e.Damaged = true
	}
	return err
}
