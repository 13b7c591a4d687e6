package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/setsum"
)

const (
	// totalsName is where the ledger's totals are kept, so that opening need not read the whole ledger.
	totalsName = "totals.json"
	// totalsVersion is raised when an older file would be misread; it is then made anew from the ledger.
	totalsVersion = 1
	// maxTotals in bytes is that of some hundred thousand mailboxes.
	maxTotals = 64 << 20
	// keepTotals is after how many events they are written again: so many are read again after a crash, which takes a tenth of a second.
	keepTotals = 16 << 10
)

// ledgerTotals are the sums of the deposits that live by what the ledger says: those that it has and that no intent disposes of. They are
// made of its events alone, as these are committed, or as they are read, and never of the catalog, which is compared with them.
type ledgerTotals struct {
	fs   disk.FS
	path string
	log  *slog.Logger
	keep bool // write the file

	mu    sync.Mutex // guards what follows
	state totalsState
	kept  int64 // position of the file
	whole bool  // the state was made from the whole ledger by this process
}

// totalsState is what totals.json holds, in one line that is followed by one with its SHA-256.
type totalsState struct {
	Version int    `json:"version"`
	Ledger  string `json:"ledger"` // its verifier
	// Position is the number of events that were taken in.
	Position  int64         `json:"position"`
	Mailboxes setsum.Totals `json:"mailboxes"`
	// Lost are deposits whose details cannot be read, so that their mailbox is not known: the ids of their messages, by ledger index.
	Lost map[int64]string `json:"lost,omitempty"`
}

func newTotalsState(l *ledger.Log) totalsState {
	return totalsState{Version: totalsVersion, Ledger: l.Verifier(), Mailboxes: setsum.Totals{}, Lost: map[int64]string{}}
}

func (t totalsState) clone() totalsState {
	t.Mailboxes, t.Lost = maps.Clone(t.Mailboxes), maps.Clone(t.Lost)
	return t
}

// deposit takes in a deposit. mailbox is "" if it cannot be read.
func (t *totalsState) deposit(index int64, ids []string, mailbox string) {
	switch {
	case len(ids) == 0: // parts whose recipe was lost
	case mailbox == "":
		t.Lost[index] = ids[0]
	default:
		t.Mailboxes.Add(index, ids[0], mailbox)
	}
}

// dispose takes in an intent. skip says which deposits were never taken in, because they were erased before they were read.
func (t *totalsState) dispose(d *intentDetails, skip func(index int64) bool) {
	for _, one := range d.Deposits {
		if _, lost := t.Lost[one.Index]; lost {
			delete(t.Lost, one.Index)
		} else if !skip(one.Index) {
			t.Mailboxes.Remove(one.Index, one.ID, one.Mailbox)
		}
	}
}

// depositRecord is the record of a deposit as it goes into the ledger.
type depositRecord struct {
	json.RawMessage
	mailbox string
}

// committed takes in events as they are appended. If some before them were missed, they are read later.
func (t *ledgerTotals) committed(first int64, events []ledger.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Position != first {
		return
	}
	for i, e := range events {
		index := first + int64(i)
		switch d := e.Details.(type) {
		case depositRecord:
			t.state.deposit(index, e.IDs, d.mailbox)
		case depositDetails:
			t.state.deposit(index, e.IDs, d.Mailbox)
		case intentDetails:
			t.state.dispose(&d, func(int64) bool { return false })
		default:
			if e.Type == ledger.TypeDeposit || e.Type == ledger.TypeDisposalIntent || e.Type == ledger.TypeRecovered && len(e.IDs) > 0 {
				return // not as this version writes it: it is read
			}
		}
		t.state.Position = index + 1
	}
	if t.state.Position-t.kept >= keepTotals {
		t.save()
	}
}

// save writes the file, with mu held. It is a convenience: without it the ledger is read.
func (t *ledgerTotals) save() {
	if !t.keep || t.state.Position == t.kept {
		return
	}
	data, err := json.Marshal(t.state)
	if err == nil {
		data = fmt.Appendf(nil, "%s\n%x\n", data, sha256.Sum256(data))
		err = disk.WriteFile(t.fs, t.path, data, disk.FilePerm)
	}
	if err != nil {
		t.log.Warn("the totals of the ledger are not written: the ledger is read again when the archive is opened", "file", t.path, "error", err)
	}
	t.kept = t.state.Position // or else tried again later
}

// load reads the file. What it holds is of no use if it is damaged, or of another ledger.
func (t *ledgerTotals) load(l *ledger.Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.kept, t.whole = newTotalsState(l), 0, true
	data, err := disk.ReadFile(t.fs, t.path, maxTotals)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var state totalsState
	if err == nil {
		state, err = decodeTotals(data)
	}
	switch {
	case err != nil:
		t.log.Warn("the totals of the ledger are made anew from it", "file", t.path, "error", err)
	case state.Version == totalsVersion && state.Ledger == l.Verifier() && state.Position <= l.Size():
		t.state, t.kept, t.whole = state, state.Position, false
	}
}

func decodeTotals(data []byte) (totalsState, error) {
	state := totalsState{Mailboxes: setsum.Totals{}, Lost: map[int64]string{}}
	line, sum, _ := bytes.Cut(data, []byte("\n"))
	want := sha256.Sum256(line)
	if string(bytes.TrimSuffix(sum, []byte("\n"))) != hex.EncodeToString(want[:]) {
		return state, errors.New("it does not have the SHA-256 that it should have")
	}
	if err := json.Unmarshal(line, &state); err != nil {
		return state, err
	}
	return state, nil
}

// forget makes the totals begin at the first event again.
func (t *ledgerTotals) forget(l *ledger.Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.kept, t.whole = newTotalsState(l), 0, true
}

func (t *ledgerTotals) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.save()
}

// totalsNow returns the totals of the whole ledger. It reads what was not taken in yet. Nobody appends a deposit or an intent meanwhile.
func (s *Store) totalsNow(ctx context.Context) (totalsState, error) {
	for {
		t := s.totals
		t.mu.Lock()
		state := t.state.clone()
		t.mu.Unlock()
		size := s.ledger.Size()
		if state.Position >= size {
			return state, s.findLost(ctx, &state)
		}
		if err := s.readTotals(ctx, &state, size); err != nil {
			return state, err
		}
		t.mu.Lock()
		if t.state.Position < state.Position {
			t.state = state.clone()
		}
		t.mu.Unlock()
	}
}

// readTotals takes in the events below size that are not in the totals yet.
func (s *Store) readTotals(ctx context.Context, state *totalsState, size int64) error {
	erased := bitset{from: state.Position}
	err := s.readable(ctx, state.Position, size, func(e ledger.Entry) error {
		switch {
		case deposits(e) && e.Erased:
			erased.set(e.Index)
		case deposits(e):
			var d struct{ Mailbox string }
			_ = json.Unmarshal(e.Details, &d) // what cannot be read is lost
			state.deposit(e.Index, e.IDs, d.Mailbox)
		case e.Type == ledger.TypeDisposalIntent && e.Details != nil:
			var d intentDetails
			if err := json.Unmarshal(e.Details, &d); err != nil {
				return fmt.Errorf("ledger event %d: %w", e.Index, err)
			}
			state.dispose(&d, erased.has)
		}
		return nil
	}, func(int64, error) {}) // the archive is read-only then, and says why
	if err != nil {
		return fmt.Errorf("totals of the ledger: %w", err)
	}
	state.Position = size
	return nil
}

// findLost looks again at deposits that could not be read: somebody may have put the ledger's sidecar back. Of others the catalog may know
// the mailbox, which it has from the volumes; those are taken as it says.
func (s *Store) findLost(ctx context.Context, state *totalsState) error {
	for index, id := range state.Lost {
		e, err := s.ledger.Entry(ctx, index)
		if err != nil {
			return err
		}
		var d struct{ Mailbox string }
		if json.Unmarshal(e.Details, &d) != nil || d.Mailbox == "" {
			held, err := s.catalog.ByIndex(ctx, index-1, 1)
			if err != nil {
				return err
			}
			if len(held) == 0 || held[0].Index != index || held[0].ID != id || json.Unmarshal(held[0].Record, &d) != nil {
				continue
			}
		}
		delete(state.Lost, index)
		state.Mailboxes.Add(index, id, d.Mailbox)
	}
	return nil
}

// A bitset is a set of ledger indexes from one on: a bit for each event, so that a hundred million take 12 MiB.
type bitset struct {
	from  int64
	words []uint64
}

func (b *bitset) set(index int64) {
	n := index - b.from
	for int64(len(b.words)) <= n/64 {
		b.words = append(b.words, 0)
	}
	b.words[n/64] |= 1 << (n % 64)
}

func (b *bitset) has(index int64) bool {
	n := index - b.from
	return n >= 0 && n/64 < int64(len(b.words)) && b.words[n/64]&(1<<(n%64)) != 0
}

// totalsPath is where the totals of the archive in dir are kept.
func totalsPath(dir string) string { return filepath.Join(dir, totalsName) }
