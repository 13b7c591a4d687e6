package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// maxDamages is how many damages VerifyAll lists: more do not say more.
const maxDamages = 100

// A Damage is one place where the ledger is not what was signed.
type Damage struct {
	File  string // name in the ledger's directory
	Index int64  // of the event, -1 for the file as a whole
	Err   error  // is ErrDamaged
}

func (d *Damage) Error() string {
	if d.Index < 0 {
		return fmt.Sprintf("%s: %v", d.File, d.Err)
	}
	return fmt.Sprintf("%s: event %d: %v", d.File, d.Index, d.Err)
}

// Unwrap returns Err.
func (d *Damage) Unwrap() error { return d.Err }

// VerifyAll reads the whole ledger: it hashes every event again and compares
// with the signed checkpoint on disk and with the stored hashes, and compares every
// details with the hash in its event. It returns nil or an error that is
// ErrDamaged and joins one *Damage for each place, of which it lists maxDamages; any other error
// means that the verification could not be done. Events committed meanwhile are not looked at.
func (l *Log) VerifyAll(ctx context.Context) error {
	v := verification{l: l}
	cp, err := v.begin()
	if err != nil {
		return err
	}
	if err := v.events(ctx, cp); err != nil {
		return err
	}
	if len(v.damages) == 0 {
		return l.damage
	}
	return errors.Join(v.damages...)
}

// A verification is one run of VerifyAll.
type verification struct {
	l       *Log
	state   state
	damages []error
	// nodes are the events with whose stored hashes something is wrong, leaves
	// those of them whose own hash is; both are cut off at maxDamages.
	nodes, leaves []int64
}

func (v *verification) report(file string, index int64, err error) {
	if len(v.damages) < maxDamages {
		v.damages = append(v.damages, &Damage{File: file, Index: index, Err: err})
	}
}

// begin fixes what is verified, and reads the checkpoint.
func (v *verification) begin() (cp checkpoint, err error) {
	v.l.commitMu.Lock()
	defer v.l.commitMu.Unlock()
	v.state = v.l.snapshot()
	cp, _, err = readCheckpoint(v.l.opt, v.l.verifier)
	switch {
	case errors.Is(err, ErrDamaged):
		v.report(checkpointName, -1, err)
		return checkpoint{size: -1}, nil
	case err != nil:
		return cp, err
	case cp.size > v.state.size:
		v.report(eventsName, -1, fmt.Errorf("%w: %d events of %d", ErrShort, v.state.size, cp.size))
	case cp.size < v.state.size && !v.l.opt.ReadOnly:
		v.report(checkpointName, -1, fmt.Errorf("%w: it covers %d events of %d", ErrCheckpoint, cp.size, v.state.size))
	}
	return cp, nil
}

// events verifies the events with their details and stored hashes.
func (v *verification) events(ctx context.Context, cp checkpoint) error {
	var (
		t       tree
		last    time.Time
		hashes  []byte
		badRoot bool
		lines   = newLineReader(v.l.events, 0, v.state.eventsEnd)
		details = sidecar{newLineReader(v.l.details, 0, v.state.detailsEnd)}
		stored  = bufio.NewReaderSize(io.NewSectionReader(v.l.hashes, 0, tlog.StoredHashCount(v.state.size)*tlog.HashSize), readSize)
	)
	for t.size < v.state.size && ctx.Err() == nil {
		index := t.size
		line, err := lines.next()
		if isEnd(err) {
			v.report(eventsName, index, fmt.Errorf("%w: %w", ErrDiverged, err))
			return nil
		}
		if err != nil {
			return err
		}
		hashes = t.add(tlog.RecordHash(line), hashes[:0])
		v.compare(index, hashes, stored)
		badRoot = badRoot || t.size == cp.size && t.root() != cp.root

		e, err := parseLeaf(line, index)
		if err == nil && e.Time.Before(last) {
			err = fmt.Errorf("%w: its time is before that of the event before", ErrDiverged)
		}
		if err != nil {
			v.report(eventsName, index, err)
			continue
		}
		last = e.Time
		if err := details.fill(&e); err != nil {
			return err
		}
		if e.Damaged {
			v.report(detailsName, index, fmt.Errorf("%w: the details do not have the hash in the event", ErrDiverged))
		}
	}
	v.blame(badRoot)
	return ctx.Err()
}

// compare notes where the hashes that an event adds are not the stored ones.
func (v *verification) compare(index int64, hashes []byte, stored io.Reader) {
	got := make([]byte, len(hashes))
	if _, err := io.ReadFull(stored, got); err == nil && bytes.Equal(got, hashes) {
		return
	}
	if len(v.nodes) < maxDamages {
		v.nodes = append(v.nodes, index)
	}
	if len(v.leaves) < maxDamages && !bytes.Equal(got[:tlog.HashSize], hashes[:tlog.HashSize]) {
		v.leaves = append(v.leaves, index)
	}
}

// blame says what a disagreement of events and stored hashes means: with the
// signed root the stored hashes are wrong, without it the events whose own hash differs.
func (v *verification) blame(badRoot bool) {
	if !badRoot {
		for _, index := range v.nodes {
			v.report(hashesName, index, fmt.Errorf("%w: a stored hash is wrong: delete the file, it is made again when the ledger is opened", ErrDamaged))
		}
		return
	}
	for _, index := range v.leaves {
		v.report(eventsName, index, fmt.Errorf("%w: the line does not have its stored hash", ErrDiverged))
	}
	v.report(eventsName, -1, fmt.Errorf("%w: the root is not that of the checkpoint", ErrDiverged))
}
