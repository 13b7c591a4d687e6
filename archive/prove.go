package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
)

// A Deposited is a deposit as the ledger has it.
type Deposited struct {
	Deposit
	// Index is the deposit's event in the ledger.
	Index int64
}

// An ExportBegun is what the ledger says of an export before any message
// leaves the archive.
type ExportBegun struct {
	Stage    string `json:"stage"`           // stageBegun or stageCovers
	Begun    int64  `json:"begun,omitempty"` // of stageCovers: the index of the first event
	Query    string `json:"query"`
	Format   string `json:"format"`
	Messages uint64 `json:"messages"`       // that the query found
	Skip     int64  `json:"skip,omitempty"` // how many of them an earlier, interrupted export has
	// Deposits are ledger indexes, ascending: one of a deposit of each message that leaves.
	Deposits Runs `json:"deposits,omitempty"`
}

// An ExportSealed is what the ledger says of a finished export: with the hash of
// its manifest every byte of it. Without IDs it was written by an older version, which recorded the hash that the client told.
type ExportSealed struct {
	Stage    string `json:"stage"` // stageSealed
	Begun    int64  `json:"begun"` // ledger index of the ExportBegun
	Query    string `json:"query"`
	Format   string `json:"format"`
	Manifest string `json:"manifest_sha256"` // lower-case hex
	Messages int64  `json:"messages"`        // that the manifest lists
	// IDs is the SHA-256 of their ids in the order of the manifest, each followed by a line feed, in lower-case hex.
	IDs string `json:"ids_sha256,omitempty"`
}

// openExports are those that were begun and neither sealed nor given up: each is sealed once at most, by the process that made it.
type openExports struct {
	mu    sync.Mutex
	begun map[int64]bool // guarded by mu
}

func (o *openExports) add(begun int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.begun == nil {
		o.begun = map[int64]bool{}
	}
	o.begun[begun] = true
}

// take reports whether the export was open, which it is no more.
func (o *openExports) take(begun int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.begun[begun]
	delete(o.begun, begun)
	return was
}

const (
	stageBegun  = "begun"
	stageCovers = "covers" // more of the deposits
	stageSealed = "sealed"
)

// A Seal is where the ledger has a finished export, and a checkpoint that covers it.
type Seal struct {
	Index      int64     `json:"index"`
	Time       time.Time `json:"time"`
	Key        string    `json:"key"` // public key of the ledger
	Checkpoint string    `json:"checkpoint"`
}

var (
	// ErrNoExport means that no export began with the given event, or that it was sealed or given up already.
	ErrNoExport = errors.New("no such export")
	// ErrExportRequest means that a manifest hash or a checkpoint is none.
	ErrExportRequest = errors.New("cannot seal or prove an export")
)

// depositsPerEvent keeps the details of an event of an export below what the ledger
// takes, however far apart its deposits are.
const depositsPerEvent = 40_000

// BeginExport records that messages are about to leave the archive, and returns
// the index by which the export is sealed later. deposits has the ledger index of a deposit of each
// of them, in any order; it is sorted. BeginExport fills in the stage and the deposits. The caller seals the export or gives it up.
func (s *Store) BeginExport(ctx context.Context, actor string, e ExportBegun, deposits []int64) (int64, error) {
	slices.Sort(deposits)
	n := min(len(deposits), depositsPerEvent)
	e.Stage, e.Deposits = stageBegun, NewRuns(deposits[:n])
	begun, err := s.Record(ctx, Action{Type: ActionExport, Actor: actor, Details: e})
	for part := range slices.Chunk(deposits[n:], depositsPerEvent) {
		if err != nil {
			return 0, err
		}
		e.Stage, e.Begun, e.Deposits = stageCovers, begun, NewRuns(part)
		_, err = s.Record(ctx, Action{Type: ActionExport, Actor: actor, Details: e})
	}
	if err == nil {
		s.exports.add(begun)
	}
	return begun, err
}

// GiveUpExport ends an export that is not sealed, and does nothing to others.
func (s *Store) GiveUpExport(begun int64) { s.exports.take(begun) }

// SealExport records the manifest of an export that began with the event begun, once: the manifest is the one that this process has
// made, never one that a client tells of. e has the hashes and the number of messages; SealExport fills in the rest. Where the data
// directory cannot be written to, nothing is signed, and the index of the Seal is -1.
func (s *Store) SealExport(ctx context.Context, actor string, begun int64, e ExportSealed) (Seal, error) {
	for _, hash := range []string{e.Manifest, e.IDs} {
		if !validID(hash) {
			return Seal{}, fmt.Errorf("%w: %.100q is not a SHA-256 in lower-case hexadecimal", ErrExportRequest, hash)
		}
	}
	if !s.exports.take(begun) {
		return Seal{}, fmt.Errorf("%w: %d", ErrNoExport, begun)
	}
	e.Stage, e.Begun = stageSealed, begun
	if s.outside() {
		err := s.note(Action{Type: ActionExport, Actor: actor, Details: e})
		return Seal{Index: noIndex}, err
	}
	var b ExportBegun
	event, err := s.ledger.Entry(ctx, begun)
	if errors.Is(err, ledger.ErrNoEvent) {
		return Seal{}, fmt.Errorf("%w: %d", ErrNoExport, begun)
	}
	if err != nil {
		return Seal{}, err
	}
	if event.Type != ledger.TypeExport || event.Actor != actor || json.Unmarshal(event.Details, &b) != nil || b.Stage != stageBegun {
		return Seal{}, fmt.Errorf("%w: %d", ErrNoExport, begun)
	}
	e.Query, e.Format = b.Query, b.Format
	index, err := s.Record(ctx, Action{Type: ActionExport, Actor: actor, Details: e})
	if err != nil {
		return Seal{}, err
	}
	if event, err = s.ledger.Entry(ctx, index); err != nil {
		return Seal{}, err
	}
	return Seal{Index: index, Time: event.Time, Key: s.ledger.Verifier(), Checkpoint: string(s.ledger.Checkpoint())}, nil
}

// ProveExport calls fn with the inclusion proofs of deposits, and of exports of the
// actor, in the tree of a checkpoint that the ledger has signed, with their details
// unless these were erased. Other events, and deposits that may does not let pass, are
// not disclosed: ErrNoExport. A nil may lets all pass.
func (s *Store) ProveExport(ctx context.Context, actor, checkpoint string, indexes []int64, may func(Deposit) bool, fn func(ledger.EventProof) error) error {
	prover, err := s.ledger.ProverFor([]byte(checkpoint))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrExportRequest, err)
	}
	return prover.Events(ctx, indexes, true, func(event ledger.Entry, proof ledger.EventProof) error {
		ok := event.Type == ledger.TypeExport && event.Actor == actor || deposits(event)
		if ok && deposits(event) && may != nil {
			var d depositDetails
			ok = json.Unmarshal(event.Details, &d) == nil && may(d.Deposit)
		}
		if !ok {
			return fmt.Errorf("%w: event %d is nothing that was exported", ErrNoExport, event.Index)
		}
		return fn(proof)
	})
}
