package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
)

// VerifyOptions are the options of a verification.
type VerifyOptions struct {
	// Deep reads every byte again: it compares every message, part and deposit with its SHA-256, the details in the sidecar with
	// the events, and the catalog with what the volumes hold. Without it events, sizes, seek tables and headers are compared.
	Deep bool
	// Volume is the only volume to verify, without ledger and catalog; 0 is all of them.
	Volume uint32
	// Checkpoints are signed notes of the ledger that were kept elsewhere: the ledger has to continue them.
	Checkpoints []SavedCheckpoint
	// Anchors give back checkpoints that were anchored, for the same comparison.
	Anchors []Anchored
	// BytesPerSecond limits how fast is read; 0 does not.
	BytesPerSecond int64
	// Scheduled says that nobody asked for it.
	Scheduled bool
	// Restart forgets how far an interrupted deep verification of the same kind had come.
	Restart bool
	// Progress is called from time to time, if it is not nil, by the goroutine that verifies.
	Progress func(VerifyProgress)
	// Damage is called for everything that is not as it should be, if it is not nil, also by that goroutine. What an interrupted
	// verification had found comes first.
	Damage func(Damage)
}

// A SavedCheckpoint is a checkpoint of the ledger that somebody has kept.
type SavedCheckpoint struct {
	Name string // for the report, such as its file
	Note []byte
}

// Anchored is where checkpoints were anchored.
type Anchored struct {
	Name string
	// Verify calls check with every checkpoint that is kept there, and returns how many are good.
	Verify func(ctx context.Context, check func(ctx context.Context, checkpoint []byte) error) (int, error)
}

// VerifyProgress is how far a verification is.
type VerifyProgress struct {
	Part    string `json:"part"`             // ledger, catalog or volume
	Volume  uint32 `json:"volume,omitempty"` // that is read
	Done    int64  `json:"done"`             // bytes
	Total   int64  `json:"total"`
	Damages int64  `json:"damages"`
}

// A Damage is something in the archive that is not as it should be.
type Damage struct {
	// File is relative to the data directory, or the name of a checkpoint or anchor.
	File string `json:"file"`
	// Offset and Bytes are the stretch of the file that is hit; 0 bytes where that is not known, or something is missing.
	Offset int64 `json:"offset,omitempty"`
	Bytes  int64 `json:"bytes,omitempty"`
	// Messages are ids that are hit, at most maxNamed of them, and More is how many there are besides.
	Messages []string `json:"messages,omitempty"`
	More     int64    `json:"more,omitempty"`
	// Repairable means that nothing is lost: what is hit is derived, and can be made anew.
	Repairable bool   `json:"repairable,omitempty"`
	What       string `json:"what"` // in words
}

// A VerifyReport is the result of a verification, as it is kept in the ledger.
type VerifyReport struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"` // zero while it is interrupted
	Deep     bool      `json:"deep"`
	Volume   uint32    `json:"volume,omitempty"` // the only one that was verified
	// Scheduled means that nobody asked for it.
	Scheduled bool `json:"scheduled,omitempty"`
	// Resumed means that it went on where it had been interrupted.
	Resumed bool `json:"resumed,omitempty"`

	Events      int64  `json:"events"`      // of the ledger
	Volumes     int    `json:"volumes"`     // looked at
	Messages    int64  `json:"messages"`    // whose bytes were compared with their SHA-256
	Entries     int64  `json:"entries"`     // of volumes that were read, messages, parts and deposits
	Bytes       int64  `json:"bytes"`       // that were read
	Checkpoints int    `json:"checkpoints"` // saved or anchored, that the ledger continues
	Checkpoint  string `json:"checkpoint"`  // of the ledger when the verification began

	Damages    int64    `json:"damages"`    // all that were found
	Repairable int64    `json:"repairable"` // of them, those where nothing is lost
	Damage     []Damage `json:"damage,omitempty"`
	Notes      []string `json:"notes,omitempty"` // what is no damage, but should be known
}

const (
	// maxListed is how many damages a report lists: it has to fit into a ledger event (1 MiB), also if all name as
	// many messages as they may.
	maxListed = 200
	// maxNamed is how many messages one damage names.
	maxNamed = 20
)

// ErrVerifying means that another verification is running.
var ErrVerifying = errors.New("the archive is being verified already")

// Verify compares what is on the disk with what was signed and what should be there, beside readers and the writer.
// What it finds is in the report and no error: that means that the verification could not be finished, and
// goes on where it was when it is called again with the same Deep and Volume. It takes memory for a frame and some rows.
//
// RecordVerification writes the result to the ledger.
func (s *Store) Verify(ctx context.Context, o VerifyOptions) (VerifyReport, error) {
	s.state.Lock()
	busy := s.verifying
	s.verifying = true
	s.state.Unlock()
	if busy {
		return VerifyReport{}, ErrVerifying
	}
	defer func() {
		s.state.Lock()
		s.verifying = false
		s.state.Unlock()
	}()
	v := newVerification(s, o)
	v.size = s.settled()
	return v.run(ctx)
}

// settled is the size of the ledger at a moment when catalog and volumes hold exactly what it says.
func (s *Store) settled() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.Size()
}

// VerifyDir verifies an archive that no process has open, and changes nothing in it: opening it as usual
// would be a recovery, which makes derived files anew and sets unfinished writes aside. Whatever cannot be opened is
// reported as damage, and the rest verified. ErrLocked means that the archive is open; ask its owner.
func VerifyDir(ctx context.Context, dir string, opts Options, o VerifyOptions) (VerifyReport, error) {
	opts.fill()
	opts.Reading = true
	s := &Store{dir: dir, opts: opts, rewrites: newTurn()}
	var err error
	if s.findMedium(); s.medium == nil {
		s.lock, err = acquire(dir)
	} else {
		err = s.lockMedium()
	}
	if err != nil {
		return VerifyReport{}, err
	}
	v := newVerification(s, o)
	v.offline = true
	if err = v.open(ctx); err == nil {
		v.report, err = v.run(ctx)
	}
	return v.report, errors.Join(err, v.store.Close(), v.dropSpare())
}

// ActionVerify is the event of a verification.
const ActionVerify = ActionType(ledger.TypeVerify)

// verifyMeta is where the catalog keeps the last verification.
const verifyMeta = "verify"

// RecordVerification writes the result of a verification to the ledger; Status shows the last one.
func (s *Store) RecordVerification(ctx context.Context, actor string, r VerifyReport) error {
	return s.recordLast(ctx, ledger.Event{Type: ledger.TypeVerify, Actor: actor, Details: r}, verifyMeta)
}

// recordLast writes an event of which the catalog keeps the last one.
func (s *Store) recordLast(ctx context.Context, e ledger.Event, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.whole(); err != nil {
		return err
	}
	if s.unsigned != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, s.unsigned)
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.noteClock(ctx); err != nil {
		return err
	}
	index, err := s.ledger.Append(ctx, []ledger.Event{e})
	switch {
	case errors.Is(err, ledger.ErrBroken):
		return s.breaks(fmt.Errorf("ledger: %w", err))
	case err != nil:
		return fmt.Errorf("ledger: %w", err)
	}
	entry, err := s.ledger.Entry(ctx, index)
	if err != nil {
		return s.breaks(err)
	}
	change := catalog.Change{Meta: map[string]string{key: string(entry.Details)}, Position: index + 1}
	if err := s.catalog.Apply(ctx, change); err != nil {
		return s.breaks(err)
	}
	return nil
}
