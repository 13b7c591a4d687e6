package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/postkeep/postkeep/archive/disk"
)

// hashSync is how many leaves may follow the last fsync of the stored hashes.
// They are derived, so a lost one costs no more than hashing its leaf again: Open
// does that with all leaves since the last multiple of hashSync, about 40 ms.
const hashSync = 32 << 10

// clockTolerance is how far the clock may go back, as when it is adjusted,
// before that is worth a warning.
const clockTolerance = time.Second

// clockNoted is how far the clock may be behind the time that an event gets before the event says
// what the clock read: what counts in days does not need less.
const clockNoted = time.Hour

// A moment is when events are recorded.
type moment struct {
	time  time.Time // that they get, never before that of an earlier event
	clock time.Time // what the clock reads
}

// A Log is an open ledger. All methods may be called concurrently. The caller
// sees to it that no other process has the ledger open for writing.
type Log struct {
	opt      Options
	verifier note.Verifier
	vkey     string
	signer   note.Signer // nil if read-only

	events, details, hashes disk.File

	damage   error
	recovery Recovery

	queueMu sync.Mutex
	queue   []*request // waiting for a commit

	commitMu sync.Mutex // held by the one who writes; guards what follows
	tree     tree
	last     moment // of the last event
	behind   bool   // the clock is, and that was logged
	broken   error
	closed   bool

	stateMu sync.RWMutex // guards what follows, which readers see
	state   state
}

// A state is a consistent view of the files.
type state struct {
	size                  int64 // events
	eventsEnd, detailsEnd int64 // in bytes
	checkpoint            []byte
	last                  moment // of the last event
}

// Recovery says what Open had to repair after a crash.
type Recovery struct {
	// CutEvents and CutDetails are the bytes of unfinished writes that were cut off.
	CutEvents, CutDetails int64
	// Signed is the number of events that were complete but not covered by the checkpoint.
	Signed int64
}

// A request is one Append that waits for its commit.
type request struct {
	events []prepared
	raw    []Event
	done   bool
	first  int64
	err    error
}

// Append records events and makes them durable together: it returns the index
// of the first one after events and details were fsynced, and the checkpoint
// that covers them was replaced. Concurrent calls share one commit. The time of
// the events is that of the commit, or that of the last event if the clock is behind it.
//
// After ErrInvalid nothing was written. After any other error some of the events may be in
// the ledger when it is opened again; a failed write or fsync also makes the Log
// refuse everything further with ErrBroken. A wait for the disk is not
// interrupted by ctx.
func (l *Log) Append(ctx context.Context, events []Event) (first int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if l.opt.ReadOnly {
		return 0, ErrReadOnly
	}
	req := &request{events: make([]prepared, len(events)), raw: events}
	for i, e := range events {
		if req.events[i], err = prepare(e, l.opt.Rand); err != nil {
			return 0, err
		}
	}
	l.queueMu.Lock()
	l.queue = append(l.queue, req)
	l.queueMu.Unlock()

	// Whoever comes first commits for all who have queued up meanwhile.
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	if !req.done {
		l.queueMu.Lock()
		batch := l.queue
		l.queue = nil
		l.queueMu.Unlock()
		err := l.commit(batch)
		for _, r := range batch {
			r.done, r.err = true, err
		}
	}
	return req.first, req.err
}

// commit writes the requests and sets their first index.
func (l *Log) commit(batch []*request) error {
	switch {
	case l.closed:
		return ErrClosed
	case l.broken != nil:
		return fmt.Errorf("%w: %w", ErrBroken, l.broken)
	}
	now, err := l.now()
	if err != nil {
		return err
	}
	w := writes{tree: l.tree}
	for _, r := range batch {
		r.first = w.tree.size
		for i := range r.events {
			w.add(&r.events[i], now)
		}
	}
	if w.tree.size == l.tree.size {
		return nil
	}
	next, err := l.write(&w, now)
	if err != nil {
		l.broken = err
		l.opt.Logger.Error("ledger write failed", "dir", l.opt.Dir, "err", err)
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	l.tree, l.last = w.tree, now
	l.stateMu.Lock()
	l.state = next
	l.stateMu.Unlock()
	if l.opt.Committed != nil {
		for _, r := range batch {
			l.opt.Committed(r.first, r.raw)
		}
	}
	return nil
}

// now returns the time for the next events.
func (l *Log) now() (moment, error) {
	clock := l.opt.Now().Round(0).UTC() // without the monotonic reading
	now := clock
	late := l.last.time.Sub(now)
	if late > clockTolerance && !l.behind {
		l.opt.Logger.Warn("the clock is behind the last event of the ledger: events get its time until the clock has caught up", "dir", l.opt.Dir, "behind", late)
	}
	l.behind = late > clockTolerance
	if late > 0 {
		now = l.last.time
	}
	if y := clock.Year(); y < 1 || y > 9999 {
		return moment{}, fmt.Errorf("ledger: the clock reads %v: set it", clock)
	}
	return moment{now, clock}, nil
}

// writes is what a commit is about to append to the files.
type writes struct {
	tree                    tree
	events, details, hashes []byte
}

func (w *writes) add(p *prepared, at moment) {
	w.details = append(p.appendSide(w.details, w.tree.size), '\n')
	start := len(w.events)
	w.events = p.appendLeaf(w.events, w.tree.size, at)
	w.hashes = w.tree.add(tlog.RecordHash(w.events[start:]), w.hashes)
	w.events = append(w.events, '\n')
}

// write does what docs/formats/ledger.md calls the commit order.
func (l *Log) write(w *writes, at moment) (state, error) {
	s := l.snapshot()
	if err := writeSync(l.details, w.details, s.detailsEnd); err != nil {
		return s, err
	}
	if err := writeSync(l.events, w.events, s.eventsEnd); err != nil {
		return s, err
	}
	if _, err := l.hashes.WriteAt(w.hashes, storedCount(s.size)*tlog.HashSize); err != nil {
		return s, err
	}
	if s.size/hashSync != w.tree.size/hashSync {
		if err := l.hashes.Sync(); err != nil {
			return s, err
		}
	}
	msg, err := l.replaceCheckpoint(&w.tree)
	return state{
		size:       w.tree.size,
		eventsEnd:  s.eventsEnd + int64(len(w.events)),
		detailsEnd: s.detailsEnd + int64(len(w.details)),
		checkpoint: msg,
		last:       at,
	}, err
}

func writeSync(f disk.File, data []byte, at int64) error {
	if _, err := f.WriteAt(data, at); err != nil {
		return err
	}
	return f.Sync()
}

func (l *Log) replaceCheckpoint(t *tree) ([]byte, error) {
	msg, err := sign(t, l.signer)
	if err != nil {
		return nil, err
	}
	return msg, disk.WriteFile(l.opt.FS, filepath.Join(l.opt.Dir, checkpointName), msg, disk.FilePerm)
}

func (l *Log) snapshot() state {
	l.stateMu.RLock()
	defer l.stateMu.RUnlock()
	return l.state
}

// Size returns the number of events, which is the index of the next one.
func (l *Log) Size() int64 { return l.snapshot().size }

// Last returns the time of the last event, zero if there is none or the ledger
// is damaged. A clock that is far from it has been set wrongly now or then.
func (l *Log) Last() time.Time { return l.snapshot().last.time }

// LastClock returns what the clock read at the last event, zero if there is none or the ledger is damaged.
func (l *Log) LastClock() time.Time { return l.snapshot().last.clock }

// Checkpoint returns the signed note of the last commit, nil if the ledger is
// damaged and has none. The caller must not change it.
func (l *Log) Checkpoint() []byte { return l.snapshot().checkpoint }

// Verifier returns the public key in the form of golang.org/x/mod/sumdb/note.
func (l *Log) Verifier() string { return l.vkey }

// Damage returns what Open without ReadOnly would have failed with, nil for a
// sound ledger.
func (l *Log) Damage() error { return l.damage }

// Recovery returns what Open had to repair.
func (l *Log) Recovery() Recovery { return l.recovery }

// Close waits for a running commit and closes the files; reads after it fail.
// Closing again does nothing.
func (l *Log) Close() error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, f := range []disk.File{l.events, l.details, l.hashes} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
