package indexer

import (
	"errors"
	"fmt"
	"testing"
)

func TestEachNeverTakesLessForAll(t *testing.T) {
	a := newMemory()
	for i := range 20 {
		a.put(fmt.Sprint("m", i), "box", "Subject: x\n\nhello\n")
	}
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	if err := r.use(func(slots []*slot) error {
		slots[0].gen.fail(errors.New("the disk is gone"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := r.Each(t.Context(), "hello", nil, func(string) error { n++; return nil }); err == nil && n < 20 {
		t.Errorf("%d of 20 messages are taken for all", n)
	}
}

func TestEachTrustsNoGenerationOfAnEarlierVersion(t *testing.T) {
	a := newMemory()
	a.put("m", "box", "Subject: x\n\nhello\n")
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	each := func() error { return r.Each(t.Context(), "hello", nil, func(string) error { return nil }) }
	if err := each(); err != nil {
		t.Fatal(err)
	}
	if err := r.use(func(slots []*slot) error {
		slots[0].gen.mapping--
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := each(); !errors.Is(err, ErrLacking) {
		t.Errorf("%v", err)
	}
}
