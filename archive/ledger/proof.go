package ledger

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ProofFormat begins every proof. A change that an old verifier would misread gets a new one.
const ProofFormat = "postkeep-proof/1"

// ErrProof means that a proof does not prove what it says.
var ErrProof = errors.New("invalid proof")

// A Proof shows that events are in a ledger, and that the ledger continues what
// earlier checkpoints signed. It is checked with VerifyProof, or by anybody who
// reads docs/formats/ledger.md. Its parts can be kept apart from each other, in a
// manifest of any size: make them with a Prover and check them with a ProofVerifier.
type Proof struct {
	Format     string         `json:"format"` // ProofFormat
	Key        string         `json:"key"`    // public key, as in ledger.pub
	Checkpoint string         `json:"checkpoint"`
	Earlier    []EarlierProof `json:"earlier,omitempty"`
	Events     []EventProof   `json:"events,omitempty"`
}

// An EventProof shows that an event is in the tree of a checkpoint.
type EventProof struct {
	Index int64  `json:"index"`
	Event string `json:"event"` // the line of events.jsonl without its newline
	// Path is the inclusion proof of RFC 6962 section 2.1.1.
	Path []tlog.Hash `json:"path"`
	// Salt (hex) and Details (JSON text) disclose the details. Both are absent if
	// they are withheld or were erased.
	Salt    string `json:"salt,omitempty"`
	Details string `json:"details,omitempty"`
}

// An EarlierProof shows that the tree of a checkpoint continues an earlier one.
type EarlierProof struct {
	Checkpoint string `json:"checkpoint"`
	// Path is the consistency proof of RFC 6962 section 2.1.2.
	Path []tlog.Hash `json:"path"`
}

// A Prover makes proofs for the checkpoint that was current when it was made.
// Its methods may be called concurrently, until the Log is closed.
type Prover struct {
	l     *Log
	state state
	cp    checkpoint
}

// Prover returns a Prover. It fails with ErrCheckpoint if the ledger has no valid checkpoint.
func (l *Log) Prover() (*Prover, error) {
	s := l.snapshot()
	cp, err := parseCheckpoint(s.checkpoint, l.verifier)
	if err != nil {
		return nil, err
	}
	return &Prover{l: l, state: s, cp: cp}, nil
}

// Size returns how many events the checkpoint covers.
func (p *Prover) Size() int64 { return p.cp.size }

// ProverFor returns a Prover for a checkpoint that this ledger has signed, the
// current one or an earlier one. A checkpoint that another key has signed is
// ErrCheckpoint; one of more events than there are, ErrShort.
func (l *Log) ProverFor(signed []byte) (*Prover, error) {
	s := l.snapshot()
	cp, err := parseCheckpoint(signed, l.verifier)
	if err != nil {
		return nil, err
	}
	if cp.size > s.size {
		return nil, fmt.Errorf("%w: it has %d events, the checkpoint %d", ErrShort, s.size, cp.size)
	}
	s.checkpoint = signed
	return &Prover{l: l, state: s, cp: cp}, nil
}

// Proof returns a proof without events.
func (p *Prover) Proof() Proof {
	return Proof{Format: ProofFormat, Key: p.l.vkey, Checkpoint: string(p.state.checkpoint)}
}

// Event proves an event. With disclose the proof tells its details, unless they
// were erased. An index that the checkpoint does not cover is ErrNoEvent; a ledger
// from which the event cannot be proved is ErrDamaged.
func (p *Prover) Event(ctx context.Context, index int64, disclose bool) (proof EventProof, err error) {
	err = p.Events(ctx, []int64{index}, disclose, func(_ Entry, e EventProof) error {
		proof = e
		return nil
	})
	return proof, err
}

// Events hands events with their proofs to fn, as Event does, in the order of the indexes. It is quickest where these
// are near each other. The entries have details where the proofs disclose them.
func (p *Prover) Events(ctx context.Context, indexes []int64, disclose bool, fn func(Entry, EventProof) error) error {
	e := proving{
		Prover: p, disclose: disclose, nodes: nodes{f: p.l.hashes, kept: map[nodePlace]tlog.Hash{}},
		events: cursor{f: p.l.events, size: p.state.eventsEnd}, details: cursor{f: p.l.details, size: p.state.detailsEnd},
	}
	for part := range slices.Chunk(indexes, gathered) {
		if e.events.gather(part); disclose {
			e.details.gather(part)
		}
		for _, index := range part {
			if err := ctx.Err(); err != nil {
				return err
			}
			entry, proof, err := e.event(index)
			if err != nil {
				return err
			}
			if err := fn(entry, proof); err != nil {
				return err
			}
		}
	}
	return nil
}

// proving is the proving of some events. What neighbours have in common is read once.
type proving struct {
	*Prover
	disclose        bool
	events, details cursor
	nodes           nodes
}

func (p *proving) event(index int64) (Entry, EventProof, error) {
	if index < 0 || index >= p.cp.size {
		return Entry{}, EventProof{}, fmt.Errorf("%w: %d of %d", ErrNoEvent, index, p.cp.size)
	}
	line, err := p.events.line(index)
	if err != nil {
		return Entry{}, EventProof{}, fmt.Errorf("%s: %w", eventsName, err)
	}
	e, proof, err := p.prove(index, line)
	if err != nil || !p.disclose {
		return e, proof, err
	}
	if line, err = p.details.line(index); err != nil {
		return e, proof, fmt.Errorf("%s: %w", detailsName, err)
	}
	proof.Salt = hex.EncodeToString(e.setDetails(line))
	if e.Damaged {
		return e, proof, fmt.Errorf("%w: the details of event %d are damaged", ErrDiverged, index)
	}
	proof.Details = string(e.Details)
	return e, proof, nil
}

// prove proves the event that has the line.
func (p *proving) prove(index int64, line []byte) (Entry, EventProof, error) {
	e, err := parseLeaf(line, index)
	if err != nil {
		return e, EventProof{}, err
	}
	path, err := tlog.ProveRecord(p.cp.size, index, &p.nodes)
	if err != nil {
		return e, EventProof{}, err
	}
	// In JSON the path is an array even if it is empty.
	proof := EventProof{Index: index, Event: string(line), Path: append([]tlog.Hash{}, path...)}
	if err := tlog.CheckRecord(proof.Path, p.cp.size, p.cp.root, index, tlog.RecordHash(line)); err != nil {
		return e, EventProof{}, fmt.Errorf("%w: event %d cannot be proved: its line or a stored hash is not what was signed", ErrDiverged, index)
	}
	return e, proof, nil
}

// Earlier proves that the ledger continues a checkpoint that it has signed
// before. If it does not, the error is ErrShort or ErrDiverged; if the checkpoint is
// not signed by its key, ErrCheckpoint.
func (p *Prover) Earlier(earlier []byte) (EarlierProof, error) {
	old, err := parseCheckpoint(earlier, p.l.verifier)
	if err != nil {
		return EarlierProof{}, err
	}
	if old.size > p.cp.size {
		return EarlierProof{}, fmt.Errorf("%w: it has %d events, the other checkpoint %d", ErrShort, p.cp.size, old.size)
	}
	proof := EarlierProof{Checkpoint: string(earlier), Path: []tlog.Hash{}}
	if old.size > 0 {
		if proof.Path, err = tlog.ProveTree(p.cp.size, old.size, hashReader(p.l.hashes)); err != nil {
			return EarlierProof{}, err
		}
	}
	if err := checkEarlier(p.cp, old, proof.Path); err != nil {
		return EarlierProof{}, fmt.Errorf("%w: the first %d events are not those that the other checkpoint signed, or a stored hash is wrong", ErrDiverged, old.size)
	}
	return proof, nil
}

// Prove returns a proof of events, with their details, and of earlier
// checkpoints, for the current checkpoint.
func (l *Log) Prove(ctx context.Context, indexes []int64, earlier ...[]byte) (Proof, error) {
	prover, err := l.Prover()
	if err != nil {
		return Proof{}, err
	}
	proof := prover.Proof()
	for _, old := range earlier {
		e, err := prover.Earlier(old)
		if err != nil {
			return Proof{}, err
		}
		proof.Earlier = append(proof.Earlier, e)
	}
	for _, index := range indexes {
		e, err := prover.Event(ctx, index, true)
		if err != nil {
			return Proof{}, err
		}
		proof.Events = append(proof.Events, e)
	}
	return proof, nil
}

// Encode writes the proof as JSON, readable by people.
func (p Proof) Encode(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(p)
}

// checkEarlier checks a consistency proof.
func checkEarlier(cp, old checkpoint, path []tlog.Hash) error {
	switch {
	case old.size > cp.size:
		return fmt.Errorf("%w: the earlier checkpoint has %d events, the later %d", ErrProof, old.size, cp.size)
	case old.size > 0:
		if err := tlog.CheckTree(path, cp.size, cp.root, old.size, old.root); err != nil {
			return fmt.Errorf("%w: the checkpoint of %d events does not continue that of %d: %w", ErrProof, cp.size, old.size, err)
		}
	case old.root != new(tree).root() || len(path) > 0:
		return fmt.Errorf("%w: the checkpoint of no events has a root of some", ErrProof)
	}
	return nil
}

// A ProofVerifier checks the parts of proofs against a checkpoint. It needs no
// ledger. Its methods may be called concurrently.
type ProofVerifier struct {
	verifier note.Verifier
	cp       checkpoint
}

// NewProofVerifier checks the signature of a checkpoint with a public key as in ledger.pub.
func NewProofVerifier(key, checkpoint string) (*ProofVerifier, error) {
	v, err := note.NewVerifier(strings.TrimSpace(key))
	if err != nil {
		return nil, fmt.Errorf("%w: public key: %w", ErrProof, err)
	}
	cp, err := parseCheckpoint([]byte(checkpoint), v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return &ProofVerifier{v, cp}, nil
}

// Origin returns the name of the ledger.
func (v *ProofVerifier) Origin() string { return v.verifier.Name() }

// Size returns how many events the checkpoint covers.
func (v *ProofVerifier) Size() int64 { return v.cp.size }

// Event checks the proof of an event and returns the event. Its details are nil
// if the proof does not disclose them.
func (v *ProofVerifier) Event(p EventProof) (Entry, error) {
	e, err := parseLeaf([]byte(p.Event), p.Index)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: event %d is malformed: %w", ErrProof, p.Index, err)
	}
	if p.Index >= v.cp.size {
		return Entry{}, fmt.Errorf("%w: the checkpoint covers %d events, not event %d", ErrProof, v.cp.size, p.Index)
	}
	if err := tlog.CheckRecord(p.Path, v.cp.size, v.cp.root, p.Index, tlog.RecordHash([]byte(p.Event))); err != nil {
		return Entry{}, fmt.Errorf("%w: event %d is not in the tree that was signed", ErrProof, p.Index)
	}
	if p.Salt == "" && p.Details == "" {
		return e, nil
	}
	salt, err := hex.DecodeString(p.Salt)
	if err != nil || len(salt) != saltSize || detailsHash(salt, []byte(p.Details)) != e.DetailsHash {
		return Entry{}, fmt.Errorf("%w: the details of event %d are not those that were recorded", ErrProof, p.Index)
	}
	e.Details = json.RawMessage(p.Details)
	return e, nil
}

// Earlier checks that the checkpoint continues an earlier one, and returns how
// many events that covers.
func (v *ProofVerifier) Earlier(p EarlierProof) (size int64, err error) {
	old, err := parseCheckpoint([]byte(p.Checkpoint), v.verifier)
	if err != nil {
		return 0, fmt.Errorf("%w: earlier checkpoint: %w", ErrProof, err)
	}
	return old.size, checkEarlier(v.cp, old, p.Path)
}

// A Proven is what a proof has shown.
type Proven struct {
	Key     string // the public key with which it was checked
	Origin  string // name of the ledger
	Size    int64  // number of events that the checkpoint covers
	Earlier []int64
	Events  []Entry
}

// VerifyProof checks an encoded proof, without a ledger. Key is the public key as it was
// learned elsewhere; if it is empty the one in the proof is used, and what is proven is only
// that whoever has that key signed all this: compare Proven.Key with a copy of
// ledger.pub. Every error is ErrProof.
func VerifyProof(data []byte, key string) (Proven, error) {
	var p Proof
	if err := json.Unmarshal(data, &p); err != nil {
		return Proven{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if p.Format != ProofFormat {
		return Proven{}, fmt.Errorf("%w: format %q, this version reads %q", ErrProof, p.Format, ProofFormat)
	}
	if key = strings.TrimSpace(key); key == "" {
		key = p.Key
	}
	if p.Key != key {
		return Proven{}, fmt.Errorf("%w: it is of another key, %.100q", ErrProof, p.Key)
	}
	v, err := NewProofVerifier(key, p.Checkpoint)
	if err != nil {
		return Proven{}, err
	}
	out := Proven{Key: key, Origin: v.Origin(), Size: v.Size()}
	for _, old := range p.Earlier {
		size, err := v.Earlier(old)
		if err != nil {
			return Proven{}, err
		}
		out.Earlier = append(out.Earlier, size)
	}
	for _, event := range p.Events {
		e, err := v.Event(event)
		if err != nil {
			return Proven{}, err
		}
		out.Events = append(out.Events, e)
	}
	return out, nil
}
