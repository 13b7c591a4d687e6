package setsum

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func id(n int) string { return fmt.Sprintf("%064x", n) }

func TestASumDependsOnTheSetAlone(t *testing.T) {
	order := make([]int, 500)
	for i := range order {
		order[i] = i
	}
	var want Sum
	for _, n := range order {
		want.Add(int64(n), id(n), "sales")
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	var got Sum
	for _, n := range order {
		got.Add(int64(n), id(n), "sales")
		got.Add(int64(n), id(n), "gone")
		got.Remove(int64(n), id(n), "gone")
	}
	if got != want {
		t.Errorf("in another order, with some that were removed: %v, want %v", got, want)
	}
	for _, n := range order {
		got.Remove(int64(n), id(n), "sales")
	}
	if got != (Sum{}) {
		t.Errorf("with all removed: %v", got)
	}
}

func TestSetsThatDifferHaveOtherSums(t *testing.T) {
	sum := func(indexes ...int) (s Sum) {
		for _, n := range indexes {
			s.Add(int64(n), id(n), "sales")
		}
		return s
	}
	other := func(index int64, id, mailbox string) Sum {
		s := sum(1, 2)
		s.Add(index, id, mailbox)
		return s
	}
	want := sum(1, 2, 3)
	for name, got := range map[string]Sum{
		"one missing":                   sum(1, 2),
		"one missing, one doubled":      sum(1, 2, 2),
		"two doubled, nothing missing":  sum(1, 2, 3, 3, 3),
		"another index":                 other(4, id(3), "sales"),
		"another message":               other(3, id(4), "sales"),
		"another mailbox":               other(3, id(3), "sale"),
		"a mailbox that begins with it": other(3, id(3), "sales2"),
	} {
		if got == want {
			t.Errorf("%s: the sum is the same", name)
		}
	}
}

func TestTotalsNameTheMailboxesThatDiffer(t *testing.T) {
	a, b := Totals{}, Totals{}
	a.Add(1, id(1), "sales")
	b.Add(1, id(1), "sales")
	a.Add(2, id(2), "legal")
	b.Add(3, id(3), "support")
	b["empty"] = Sum{}
	if got := a.Differ(b); !slices.Equal(got, []string{"legal", "support"}) {
		t.Errorf("they differ in %v", got)
	}
	a.Remove(2, id(2), "legal")
	b.Remove(3, id(3), "support")
	if got := a.Differ(b); len(got) > 0 || a.All() != b.All() {
		t.Errorf("they differ in %v", got)
	}
}

func TestASumIsReadBackAsItWasWritten(t *testing.T) {
	var want, got Sum
	for n := range 20 {
		want.Add(int64(n), id(n), "sales")
	}
	text, err := want.MarshalText()
	if err == nil {
		err = got.UnmarshalText(text)
	}
	if err != nil || got != want {
		t.Errorf("%s is read as %v, %v", text, got, err)
	}
	if back, err := New(want.N, want.Hash()); err != nil || back != want {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{"", "1", "1:", "x:" + id(0), "1:" + id(0)[1:], "1:" + id(0) + "00"} {
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	var s Sum
	message := id(7)
	for b.Loop() {
		s.Add(s.N, message, "sales@example.com")
	}
}
