package archive

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

// hookFS calls reading, once armed and only once, when the ledger's events are read.
type hookFS struct {
	disk.FS
	armed   atomic.Bool
	reading func()
}

func (h *hookFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	if err == nil && filepath.Base(name) == "events.jsonl" {
		f = &hookFile{f, h}
	}
	return f, err
}

type hookFile struct {
	disk.File
	fs *hookFS
}

func (f *hookFile) ReadAt(p []byte, at int64) (int, error) {
	if f.fs.armed.CompareAndSwap(true, false) {
		f.fs.reading()
	}
	return f.File.ReadAt(p, at)
}

func openHooked(t *testing.T) (*Store, *hookFS, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	hook := &hookFS{FS: disk.OS()}
	return reopen(t, dir, Options{FS: hook}), hook, dir
}

func undescribed(context.Context, *Store) error { return nil }

// TestMailThatArrivesDuringARebuildIsInTheNewCatalog puts mail at the moment when the rebuild has asked for the size of the ledger and
// begins to read it.
func TestMailThatArrivesDuringARebuildIsInTheNewCatalog(t *testing.T) {
	s, hook, _ := openHooked(t)
	first := mustPut(t, s, delivery("sales", "1", "before"))
	var during []Receipt
	hook.reading = func() { during = mustPut(t, s, delivery("sales", "2", "during"), delivery("support", "3", "during")) }
	hook.armed.Store(true)
	if err := s.RebuildCatalog(t.Context(), undescribed); err != nil {
		t.Fatal(err)
	}
	if len(during) != 2 {
		t.Fatal("no mail came during the rebuild")
	}
	for _, r := range append(first, during...) {
		held, err := s.catalog.ByIndex(t.Context(), r.Index-1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(held) != 1 || held[0].Index != r.Index || held[0].ID != r.ID {
			t.Errorf("deposit %d of %.8s was receipted and is not in the rebuilt catalog", r.Index, r.ID)
		}
	}
	if got := content(t, s, during[0].ID); got != "during" {
		t.Errorf("receipted during the rebuild: got %q", got)
	}
}

// TestALostDepositIsNotForgottenWhenTheReplayIsInterrupted ends a replay between two of its transactions: the first has passed over
// a deposit with damaged details, which is to be read from its volume later.
func TestALostDepositIsNotForgottenWhenTheReplayIsInterrupted(t *testing.T) {
	s, hook, dir := openHooked(t)
	lost := mustPut(t, s, delivery("sales", "1", "its details are damaged"))[0]
	events := make([]ledger.Event, 3*replayBatch)
	for i := range events {
		events[i] = ledger.Event{Type: ledger.TypeView, Actor: "t"}
	}
	if _, err := s.ledger.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, delivery("sales", "2", "behind"))
	alterDetails(t, dir, lost.Index)
	made := &Store{dir: dir, opts: s.opts, ledger: s.ledger, volumes: s.volumes}
	var err error
	if made.catalog, err = catalog.Open(t.Context(), filepath.Join(dir, rebuildName)); err != nil {
		t.Fatal(err)
	}
	defer made.catalog.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	hook.reading = func() {
		at, err := made.catalog.Position(t.Context())
		hook.armed.Store(at == 0)
		if at > 0 || err != nil {
			stop()
		}
	}
	hook.armed.Store(true)
	if err := made.replay(ctx); err == nil {
		t.Fatal("the replay was not interrupted")
	}
	if err := errors.Join(made.replay(t.Context()), made.refill(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := content(t, made, lost.ID); got != "its details are damaged" {
		t.Errorf("got %q", got)
	}
}

// alterDetails flips a bit in the line of an event in the ledger's sidecar.
func alterDetails(t *testing.T, dir string, index int64) {
	t.Helper()
	sidecar := filepath.Join(dir, ledgerName, "details.jsonl")
	data, err := os.ReadFile(sidecar)
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.SplitAfter(data, []byte("\n"))[index]
	line[len(line)/2] ^= 1
	if err := os.WriteFile(sidecar, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// arriving is an index that gets mail right after it was asked how far it is, and has not taken it in yet.
type arriving struct {
	*shelf
	arrive func()
	at     int64
}

func (a *arriving) Position() int64 {
	if a.arrive == nil {
		return a.at
	}
	a.at = a.shelf.Position()
	if arrive := a.arrive; a.s.mu.TryLock() { // else nobody can put
		a.s.mu.Unlock()
		a.arrive = nil
		arrive()
	}
	return a.at
}

// TestAPlanListsNothingThatCameAfterTheIndexWasFoundComplete has mail arrive between the question and the listing: no hold was asked
// about it.
func TestAPlanListsNothingThatCameAfterTheIndexWasFoundComplete(t *testing.T) {
	d := deskFor(t)
	early, late := delivery("sales", "1", "Subject: before\r\n\r\nx"), delivery("sales", "2", "Subject: late\r\n\r\nx")
	dated := func(id string) {
		if err := d.s.Describe(t.Context(), []Description{{ID: id, Summary: Summary{Parser: 1, Date: received}}}); err != nil {
			t.Error(err)
		}
	}
	d.put(early)
	dated(early.ID)
	d.rule(retention.Rule{Name: "date", Max: fiveDays, Basis: retention.Date})
	d.now = d.now.Add(6 * day)
	index := &arriving{shelf: d.index, arrive: func() {
		d.put(late)
		dated(late.ID)
	}}
	d.c.opts.Search = index
	p, err := d.c.Plan(t.Context(), "olga", true)
	if err != nil {
		t.Fatal(err)
	}
	if p.Due != 1 {
		t.Errorf("the plan has %d deposits, want the one that was there", p.Due)
	}
}
