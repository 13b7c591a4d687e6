package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
)

func TestErasedDetailsAreGoneAndEverythingElseIsProved(t *testing.T) {
	ctx := context.Background()
	l, opt := newLedger(t)
	const canary = "canary@example.com"
	secret := Event{Type: TypeSearch, Actor: "a", Details: map[string]string{"query": canary}}
	mustAppend(t, l, event(0), secret, event(2), secret, event(4))
	proof, err := l.Prove(ctx, []int64{0, 1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	before := snapshotDir(t, opt.Dir)
	for range 2 { // the second time nothing changes
		if err := l.Erase(ctx, []int64{3, 1, 3}); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, l, event(5))
	for _, reopened := range []bool{false, true} {
		if reopened {
			mustClose(t, l)
			l = mustOpen(t, opt)
		}
		mustVerify(t, l)
		for i, e := range entries(t, l, 0) {
			if erased := i == 1 || i == 3; e.Erased != erased || (e.Details == nil) != erased || e.Damaged {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		if result, err := l.Verify(ctx, VerifyOptions{Deep: true}); err != nil || result.Erased != 2 {
			t.Errorf("%+v, %v", result, err)
		}
	}
	for name, data := range snapshotDir(t, opt.Dir) {
		for _, gone := range []string{canary, proof.Events[1].Salt, proof.Events[3].Salt} {
			if strings.Contains(data, gone) {
				t.Errorf("%q is still in %s", gone, name)
			}
		}
		if name != checkpointName && len(data) < len(before[name]) {
			t.Errorf("%s has become shorter", name)
		}
		if name == erasingName {
			t.Error("the list of the erasure is left")
		}
	}
	again, err := l.Prove(ctx, []int64{0, 1, 2, 3, 4}, []byte(proof.Checkpoint))
	if err != nil {
		t.Fatal(err)
	}
	proven, err := VerifyProof(encoded(t, again), l.Verifier())
	if err != nil || proven.Events[1].Details != nil || proven.Events[1].Actor != "a" || proven.Events[2].Details == nil {
		t.Errorf("%+v, %v", proven, err)
	}
	// What was handed out before is still proved by itself.
	if proven, err = VerifyProof(encoded(t, proof), l.Verifier()); err != nil || !strings.Contains(string(proven.Events[1].Details), canary) {
		t.Errorf("%+v, %v", proven, err)
	}
}

func TestEraseRefusesWhatItCannotErase(t *testing.T) {
	ctx := context.Background()
	l, opt := newLedger(t)
	mustAppend(t, l, eventSeries(0, 5)...)
	for _, index := range []int64{-1, 5} {
		if err := l.Erase(ctx, []int64{1, index}); !errors.Is(err, ErrNoEvent) {
			t.Errorf("erase %d: %v", index, err)
		}
	}
	if e, _ := l.Entry(ctx, 1); e.Erased {
		t.Error("erased although the call was refused")
	}
	name := filepath.Join(opt.Dir, detailsName)
	writeFile(t, name, strings.Replace(readFile(t, name), `{"index":2,`, `{"jndex":2,`, 1))
	if err := l.Erase(ctx, []int64{1, 2, 3}); !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), "event 2 ") {
		t.Errorf("erase of a damaged line: %v", err)
	}
	for i, e := range entries(t, l, 0) {
		if e.Erased != (i == 1 || i == 3) || e.Damaged != (i == 2) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	mustClose(t, l)
	if err := l.Erase(ctx, []int64{1}); !errors.Is(err, ErrClosed) {
		t.Errorf("erase after close: %v", err)
	}
	opt.ReadOnly = true
	if err := mustOpen(t, opt).Erase(ctx, []int64{1}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("erase read-only: %v", err)
	}
}

// Whatever fails while details are erased, afterwards they are erased or as they
// were, no others are touched, and erasing can be repeated.
func TestEveryFaultWhileErasingLeavesDetailsWholeOrErased(t *testing.T) {
	t.Parallel()
	victims := []int64{1, 2, 4}
	for _, mode := range []disktest.Mode{disktest.Fail, disktest.FailPersisted, disktest.Torn} {
		for _, torn := range offsets(140) {
			if mode != disktest.Torn && torn > 0 {
				break
			}
			for k := 1; ; k++ {
				rec, opt := newRecorder(t)
				opt.FS = rec
				mustCreate(t, opt)
				l := mustOpen(t, opt)
				mustAppend(t, l, eventSeries(0, 6)...)
				mustClose(t, l)
				faulty := disktest.NewFaulty(rec, disktest.Fault{At: k, Mode: mode, Bytes: torn, Crash: k%2 == 0})
				opt.FS = faulty
				l = mustOpen(t, opt)
				err := l.Erase(context.Background(), victims)
				op, fired := faulty.Fired()
				if fired == (err == nil) {
					t.Fatalf("%v is reported as %v", op, err)
				}
				if fired && !errors.Is(err, ErrBroken) {
					t.Errorf("%v is reported as %v", op, err)
				}
				if err := l.Erase(context.Background(), victims); fired && !errors.Is(err, ErrBroken) {
					t.Errorf("goes on after %v: %v", op, err)
				}
				dir := t.TempDir()
				if err := rec.CrashImage(dir); err != nil {
					t.Fatal(err)
				}
				checkErased(t, moved(opt, dir), victims, err == nil)
				opt.FS = quick{disk.OS()} // the process starts again without a power cut
				checkErased(t, opt, victims, err == nil)
				if t.Failed() {
					t.Fatalf("%v of operation %d, %v, %d bytes", mode, k, op, torn)
				}
				if !fired {
					if k < 8 {
						t.Fatalf("only %d operations", k-1)
					}
					break
				}
			}
		}
	}
}

// checkErased opens the ledger of six events; all or some of the victims are erased.
func checkErased(t testing.TB, opt Options, victims []int64, all bool) {
	t.Helper()
	l := mustOpen(t, opt)
	defer mustClose(t, l)
	mustVerify(t, l)
	for i, e := range entries(t, l, 0) {
		victim := slices.Contains(victims, e.Index)
		switch {
		case e.Damaged || e.Erased && !victim || all && victim && !e.Erased:
			t.Errorf("event %d: %+v", i, e)
		case !e.Erased:
			checkEntry(t, e, int64(i), event(i))
		}
	}
	if _, err := os.Stat(filepath.Join(opt.Dir, erasingName)); err == nil {
		t.Error("the erasure was not finished")
	}
	if err := l.Erase(context.Background(), victims); err != nil {
		t.Error(err)
	}
	mustAppend(t, l, event(6))
	mustVerify(t, l)
}

func TestAnAlteredListOfDetailsToEraseErasesNothing(t *testing.T) {
	opt, _, three := smallLedger(t)
	list, err := encodeErasing([]int64{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(opt.Dir, erasingName)
	for at := range list {
		flipped := bytes.Clone(list)
		flipped[at] ^= 1
		writeFile(t, name, string(flipped))
		if _, err := Open(context.Background(), opt); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	if readFile(t, filepath.Join(opt.Dir, detailsName)) != three[detailsName] {
		t.Error("something was erased")
	}
	writeFile(t, name, string(list))
	l := mustOpen(t, opt)
	if e, err := l.Entry(context.Background(), 2); err != nil || !e.Erased {
		t.Errorf("%+v, %v", e, err)
	}
}

// A reader sees details either whole or erased.
func TestReadersAreNotDisturbedByErasing(t *testing.T) {
	l, _ := newLedger(t)
	const size = 400
	mustAppend(t, l, eventSeries(0, size)...)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range int64(size / 4) {
			if err := l.Erase(context.Background(), []int64{n, size - 1 - n}); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for range 20 {
				for i, e := range entries(t, l, 0) {
					if e.Damaged {
						t.Errorf("event %d: %+v", i, e)
					}
				}
				mustVerify(t, l)
			}
		})
	}
	wg.Wait()
}
