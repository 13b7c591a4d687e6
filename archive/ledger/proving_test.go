package ledger

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestEventsOfAnyOrderAreProvedLikeEachByItself has more events than are gathered at once, and one whose details are not held.
func TestEventsOfAnyOrderAreProvedLikeEachByItself(t *testing.T) {
	l, _ := newLedger(t)
	events := eventSeries(0, gathered+200)
	events[gathered/2].Details = map[string]any{"long": strings.Repeat("x", 2*maxHeldLine)}
	mustAppend(t, l, events...)
	p, err := l.Prover()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var indexes []int64
	for _, n := range rng.Perm(len(events)) {
		indexes = append(indexes, int64(n))
	}
	indexes = append(indexes, indexes[0], indexes[0], gathered/2)
	at := 0
	err = p.Events(t.Context(), indexes, true, func(e Entry, got EventProof) error {
		want, err := p.Event(t.Context(), indexes[at], true)
		if err != nil || !reflect.DeepEqual(got, want) || e.Index != indexes[at] {
			t.Fatalf("proof %d is of event %d, want %d: %v", at, got.Index, indexes[at], err)
		}
		at++
		return nil
	})
	if err != nil || at != len(indexes) {
		t.Errorf("%d of %d proofs: %v", at, len(indexes), err)
	}
}

// TestDamagedEventEndsTheProofsInItsTurn damages a line that is read before its turn.
func TestDamagedEventEndsTheProofsInItsTurn(t *testing.T) {
	l, opt := newLedger(t)
	mustAppend(t, l, eventSeries(0, 40)...)
	mustClose(t, l)
	name := filepath.Join(opt.Dir, detailsName)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	lines[3][len(lines[3])-4] ^= 1
	writeFile(t, name, string(bytes.Join(lines, nil)))
	l = mustOpen(t, opt)
	p, err := l.Prover()
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	err = p.Events(context.Background(), []int64{30, 9, 3, 20}, true, func(e Entry, _ EventProof) error {
		got = append(got, e.Index)
		return nil
	})
	if !errors.Is(err, ErrDiverged) || !reflect.DeepEqual(got, []int64{30, 9}) {
		t.Errorf("proved %v before %v", got, err)
	}
}
