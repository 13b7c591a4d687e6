package indexer

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/setsum"
)

// sums fails the test unless the index has the deposits of the archive, and each generation those that its documents say they have.
func (r *running) sums() {
	r.t.Helper()
	live, err := r.a.Live(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if has := r.Deposits(); has != live.Deposits {
		r.t.Errorf("the index has the deposits %v, want %v", has, live.Deposits)
	}
	var ids []string
	for _, d := range r.a.deposits {
		ids = append(ids, d.ID)
	}
	for _, s := range r.slots {
		var said setsum.Sum
		seen := map[string]bool{}
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			one, err := s.gen.depositsOf([]string{id})
			if err != nil {
				r.t.Fatal(err)
			}
			said.Merge(one)
		}
		if kept := s.gen.state.Load().Deposits; kept != said {
			r.t.Errorf("%s keeps the sum %v, its documents give %v", s.gen.dir, kept, said)
		}
	}
}

func TestTheSumOfTheIndexIsThatOfItsDeposits(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 25)
	again := func(n int) {
		for i := range n {
			a.put(fmt.Sprint("m", i), "other", fmt.Sprintf("Subject: common\n\nword%d shared\n", i))
		}
	}
	again(5)
	r := start(t, dir, a, small).catchUp().complete()
	r.sums()
	again(9) // replaces documents of closed generations
	r.catchUp()
	r.sums()
	if err := r.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.complete().sums()
	r.stop()
	r = start(t, dir, a, small)
	r.sums()
}

// TestAnIndexThatLacksDepositsIsRebuilt has an index that noted a position beyond what it had taken in.
func TestAnIndexThatLacksDepositsIsRebuilt(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 4)
	x, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	all, err := a.Since(t.Context(), -1, 10)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWorker(x, a, nil, WorkerOptions{})
	entries, err := w.parse(t.Context(), all[:3])
	if err == nil {
		err = x.commit(t.Context(), batch{entries: entries, position: a.last(), complete: true, whole: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, a, WorkerOptions{})
	r.until(func() bool { return r.Count() == 4 && r.Doubt() == nil })
	r.sums()
	if names, _ := filepath.Glob(filepath.Join(dir, "gen-*")); len(names) != 1 {
		t.Errorf("left are %v", names)
	}
}

func FuzzDecodeDeposits(f *testing.F) {
	f.Add(encodeDeposits(nil, nil))
	f.Add(encodeDeposits(nil, []archive.Arrival{{Mailbox: "a", Index: 7}, {Mailbox: "b", Index: 5}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		sum, err := decodeDeposits(b, id("m"))
		if err == nil && sum.N > int64(len(b)) {
			t.Errorf("%d deposits in %d bytes", sum.N, len(b))
		}
	})
}
