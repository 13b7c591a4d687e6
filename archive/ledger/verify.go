package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/time/rate"
)

const (
	// maxDamages is how many damages VerifyAll lists: more do not say more.
	maxDamages = 100
	// paceSize is how many bytes are read between two looks at the context, the
	// rate and the progress.
	paceSize = 64 << 10
)

// A Damage is one place where the ledger is not what was signed.
type Damage struct {
	File string // name in the directory of the ledger, or of the keys
	// Index is the first event that is hit, -1 for the file as a whole, and
	// Events how many are; 0 are bytes that belong to no event.
	Index, Events int64
	// Offset and Length are the bytes of File where the damage is. Length is 0 where
	// something is missing, and for the file as a whole.
	Offset, Length int64
	// Repairable means that nothing is lost: what is damaged is derived from
	// what is sound, and made again when the ledger is opened for writing.
	Repairable bool
	Err        error // is ErrDamaged
}

func (d *Damage) Error() string {
	switch {
	case d.Index < 0:
		return fmt.Sprintf("%s: %v", d.File, d.Err)
	case d.Events > 1:
		return fmt.Sprintf("%s: events %d to %d, bytes %d to %d: %v", d.File, d.Index, d.Index+d.Events-1, d.Offset, d.Offset+d.Length, d.Err)
	}
	return fmt.Sprintf("%s: event %d, bytes %d to %d: %v", d.File, d.Index, d.Offset, d.Offset+d.Length, d.Err)
}

// Unwrap returns Err.
func (d *Damage) Unwrap() error { return d.Err }

// VerifyOptions says what Verify does.
type VerifyOptions struct {
	// Deep also hashes the details.
	Deep bool
	// From is the index at which to go on, VerifyResult.Next of an earlier call.
	// Verify begins at 0 all the same if what was verified before, as far as the
	// stored hashes tell, is not what the checkpoint signs now.
	From int64
	// BytesPerSecond limits the reading; 0 means that it is not limited.
	BytesPerSecond int64
	// Erasable reports whether details of events of a type may be erased; nil is all of them.
	Erasable func(Type) bool
	// Progress is called from time to time and at the end; nil is not.
	Progress func(VerifyResult)
	// Report is called with each damage, in the order in which they are found,
	// by the goroutine that called Verify; nil is not.
	Report func(*Damage)
}

// A VerifyResult is what a verification has found so far.
type VerifyResult struct {
	From, Next int64 // the events from From on and before Next were verified
	Size       int64 // of the ledger in events; -1 if the checkpoint does not tell
	Erased     int64 // events whose details are erased, if it was Deep
	Bytes      int64 // that were read
	Damages    int64
}

// Verify reads the whole ledger again: it hashes every event and compares with the
// checkpoint on disk and with the stored hashes, checks the signature, the
// files of the keys and that time never goes back, and with Deep
// compares every details with the hash in its event. Each damage is passed to Report; behind
// a broken line it goes on at the next one. What was found does not make an error:
// that means that the verification could not be finished, and with VerifyResult.Next it can go on
// later. Events committed meanwhile are not looked at.
func (l *Log) Verify(ctx context.Context, opt VerifyOptions) (VerifyResult, error) {
	v := verification{l: l, opt: opt, limit: rate.NewLimiter(rate.Inf, paceSize)}
	if opt.BytesPerSecond > 0 {
		v.limit.SetLimit(rate.Limit(opt.BytesPerSecond))
	}
	err := v.run(ctx)
	if opt.Progress != nil {
		opt.Progress(v.result)
	}
	return v.result, err
}

// VerifyAll is a deep Verify that returns an error if there is damage: it
// is ErrDamaged and joins one *Damage for each place, of which it lists maxDamages. Any
// other error means that the verification could not be done.
func (l *Log) VerifyAll(ctx context.Context) error {
	var damages []error
	_, err := l.Verify(ctx, VerifyOptions{Deep: true, Report: func(d *Damage) {
		if len(damages) < maxDamages {
			damages = append(damages, d)
		}
	}})
	switch {
	case err != nil:
		return err
	case len(damages) == 0:
		return l.damage
	}
	return errors.Join(damages...)
}

// CheckAgainst compares the ledger with a checkpoint that was saved earlier. It
// returns ErrShort if the ledger was truncated or rolled back behind it,
// ErrDiverged if it holds other events than those that were signed, ErrCheckpoint if the
// saved one is not signed by the ledger's key, and nil if the ledger continues it.
func (l *Log) CheckAgainst(ctx context.Context, saved []byte) error {
	old, err := parseCheckpoint(saved, l.verifier)
	if err != nil {
		return fmt.Errorf("the saved checkpoint: %w", err)
	}
	prover, err := l.Prover()
	if err == nil {
		if _, err = prover.Earlier(saved); err == nil || errors.Is(err, ErrShort) {
			return err
		}
	}
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	return l.rehash(ctx, old) // the stored hashes may be what is wrong
}

// rehash compares the events themselves with a checkpoint.
func (l *Log) rehash(ctx context.Context, cp checkpoint) error {
	end, err := l.events.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var t tree
	var hashes []byte
	for lines := newLineReader(l.events, 0, end); t.size < cp.size; {
		line, err := lines.next()
		if err = errors.Join(err, ctx.Err()); isEnd(err) {
			return fmt.Errorf("%w: it has %d whole events, the saved checkpoint %d", ErrShort, t.size, cp.size)
		} else if err != nil {
			return err
		}
		hashes = t.add(tlog.RecordHash(line), hashes[:0])
	}
	if t.root() != cp.root {
		return fmt.Errorf("%w: the first %d events are not those that the saved checkpoint signed", ErrDiverged, cp.size)
	}
	return nil
}
