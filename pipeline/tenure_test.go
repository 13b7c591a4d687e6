package pipeline

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postkeep/postkeep/archive"
)

// a copy of the archive, as its ledger describes it.
type copied struct {
	Holder
	events atomic.Int64
	taken  atomic.Int64 // the epoch that a take-over began
}

func newCopied(name, boot string, epoch, events int64) *copied {
	c := &copied{}
	c.events.Store(events)
	c.Holder = Holder{Epoch: epoch, Name: name, Where: "/srv/" + name, Boot: boot, Events: c.events.Load}
	return c
}

func (c *copied) takingOver() Holder {
	h := c.Holder
	h.TakeOver = func(_ context.Context, above int64, _ string) (int64, error) {
		c.taken.Store(above + 1)
		return above + 1, nil
	}
	return h
}

func serve(t *testing.T, bus *Bus, h Holder) *Tenure {
	t.Helper()
	tenure, err := bus.Serve(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tenure.Release(context.Background()) })
	return tenure
}

func wantRefused(t *testing.T, bus *Bus, h Holder, why string) {
	t.Helper()
	tenure, err := bus.Serve(t.Context(), h)
	var other *TenureError
	if !errors.As(err, &other) || !strings.Contains(err.Error(), why) {
		t.Errorf("error %v, want one with %q", err, why)
	}
	if err == nil {
		_ = tenure.Release(context.Background())
	}
}

func TestOneCopyOfAnArchiveIsServed(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus := b.connect(t)
		first := newCopied("first", "boot", 1, 10)
		tenure := serve(t, bus, first.Holder)
		clone := newCopied("clone", "boot", 1, 10)
		wantRefused(t, bus, clone.Holder, "/srv/first")

		// A crash: nobody releases it, and the same copy in the same run of the machine has it back at once, under the same epoch.
		again := serve(t, bus, first.Holder)
		if _, err := tenure.Confirm(t.Context()); !errors.Is(err, ErrStale) {
			t.Errorf("the one before: %v", err)
		}
		first.events.Store(20)
		if term, err := again.Confirm(t.Context()); err != nil || term != (Term{1, 20}) {
			t.Errorf("%v %v", term, err)
		}
		if err := again.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, bus, clone.Holder, "may lack") // also when nobody serves it now
		first.events.Store(19)
		wantRefused(t, bus, first.Holder, "older copy")
		first.events.Store(20)

		// The clone is taken over on purpose, and the first may not come back.
		taken := serve(t, bus, clone.takingOver())
		if n := clone.taken.Load(); n != 2 {
			t.Errorf("epoch %d", n)
		}
		wantRefused(t, bus, first.Holder, "/srv/clone")
		if err := taken.ended(); err != nil {
			t.Error(err)
		}
	})
}

func TestAHolderOnAnotherMachineIsWaitedFor(t *testing.T) {
	b := &bench{opts: Options{URL: startExternal(t).ClientURL(), Identity: testIdentity, MaxStoreBytes: 64 << 20, Logger: testLog(t)}, timing: quick()}
	one, two := b.connect(t), b.connect(t)
	tenure := serve(t, one, newCopied("same", "boot one", 1, 1).Holder)
	wantRefused(t, two, newCopied("same", "boot two", 1, 1).Holder, "serves it now")
	wantRefused(t, two, newCopied("same", "", 1, 1).Holder, "serves it now")
	// Dead: the record stays as it is, and that is seen.
	tenure.cancel()
	tenure.wg.Wait()
	serve(t, two, newCopied("same", "boot two", 1, 1).Holder)
	if _, err := tenure.Confirm(t.Context()); !errors.Is(err, ErrStale) {
		t.Errorf("confirmed: %v", err)
	}
}

func TestALostRecordIsWrittenAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus := b.connect(t)
		tenure := serve(t, bus, newCopied("a", "boot", 7, 70).Holder)
		if err := bus.tenures.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if term, err := tenure.Confirm(t.Context()); err != nil || term.Epoch != 7 {
			t.Errorf("%v %v", term, err)
		}
		if err := bus.js.DeleteStream(t.Context(), bus.stream(streamTenure)); err != nil {
			t.Fatal(err)
		}
		if _, err := bus.declare(t.Context()); err != nil {
			t.Fatal(err)
		}
		// What an older holder, which was paused, writes into the empty stream does not count.
		older := serve(t, bus, newCopied("b", "boot", 3, 300).Holder)
		if term, err := tenure.Confirm(t.Context()); err != nil || term.Epoch != 7 {
			t.Errorf("%v %v", term, err)
		}
		if _, err := older.Confirm(t.Context()); !errors.Is(err, ErrStale) {
			t.Errorf("the older one: %v", err)
		}
	})
}

// TestAPausedWorkerSendsNoReceipts stops the worker between storing and receipting, and lets another copy take over meanwhile.
func TestAPausedWorkerSendsNoReceipts(t *testing.T) {
	b := &bench{opts: Options{URL: startExternal(t).ClientURL(), Identity: testIdentity, MaxStoreBytes: 64 << 20, Logger: testLog(t)}, timing: quick()}
	old, bus := b.connect(t), b.connect(t)
	oldStore, store := newFakeStore(), newFakeStore()
	original, clone := newCopied("original", "boot one", 1, 10), newCopied("clone", "boot two", 1, 10)
	tenure := serve(t, old, original.Holder)
	paused, goOn := make(chan struct{}), make(chan struct{})
	oldStore.after = func(int) error { close(paused); <-goOn; return nil }
	stop := runHolding(t, old, oldStore, tenure)
	poller := b.connect(t)
	_, term, err := poller.Known(t.Context(), "a", nil)
	if err != nil || term.Epoch != 1 || poller.Valid(t.Context(), term) != nil {
		t.Fatalf("%v %v", term, err)
	}
	s := openSession(t, poller, "a")
	publish(t, s, 1, []byte("one"))
	<-paused

	taken := serve(t, bus, clone.takingOver())
	if err := poller.Valid(t.Context(), term); !errors.Is(err, ErrStale) {
		t.Errorf("what the original said is valid: %v", err)
	}
	close(goOn)
	if err := tenure.Run(t.Context()); !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "/srv/clone") {
		t.Errorf("the original stops with %v", err)
	}
	stop()
	runHolding(t, bus, store, taken)
	for r := next(t, s.Receipts()); ; r = next(t, s.Receipts()) {
		if r.Err != "" { // temporary
			continue
		}
		if r.Refused != "" || store.stored() != 1 || poller.terms.get().Epoch != 2 {
			t.Errorf("receipt %+v, %d stored by the clone, %v", r, store.stored(), poller.terms.get())
		}
		break
	}
}

// TestReceiptsOfAnOlderTermAreRefused sends what a worker would that does not know that it is over.
func TestReceiptsOfAnOlderTermAreRefused(t *testing.T) {
	bus := (&bench{opts: embedded(t), timing: quick()}).connect(t)
	if err := bus.terms.admit(Term{2, 100}, Term{}); err != nil {
		t.Fatal(err)
	}
	s := openSession(t, bus, "a")
	a := NewArchiver(bus, newFakeStore(), ArchiverOptions{})
	for n, test := range []struct {
		term Term
		good bool
	}{{Term{1, 500}, false}, {Term{2, 99}, false}, {Term{}, false}, {Term{2, 100}, true}, {Term{3, 1}, true}, {Term{2, 101}, false}} {
		if err := a.send(outbox{s.inbox: {{Number: n, Receipt: archive.Receipt{ID: "id", Index: 5}}}}, test.term); err != nil {
			t.Fatal(err)
		}
		if r := next(t, s.Receipts()); r.Number != n || (r.Err == "") != test.good {
			t.Errorf("%v: receipt %+v", test.term, r)
		}
	}
}

func runHolding(t *testing.T, bus *Bus, store Store, tenure *Tenure) (stop func()) {
	t.Helper()
	return run(t, NewArchiver(bus, store, ArchiverOptions{Tenure: tenure, Logger: bus.log}))
}
