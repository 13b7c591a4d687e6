package indexer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/blevesearch/bleve/v2/index/scorch"
)

// Whoever waits for a worker that fails every time hears of it instead of waiting for ever.
func TestWaitingEndsWhenTheWorkerStalls(t *testing.T) {
	a := newMemory()
	a.put("one", "box", "From: a@example.com\n\nhello\n")
	a.full = fmt.Errorf("catalog: %w", syscall.ENOSPC)
	x := start(t, t.TempDir(), a, WorkerOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for what, wait := range map[string]func() error{
		"Wait":    func() error { return x.Wait(ctx, 0) },
		"Rebuild": func() error { return x.Rebuild(ctx) },
	} {
		if err := wait(); !errors.Is(err, ErrStalled) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v, want ErrStalled because of ENOSPC", what, err)
		}
	}
	stalled := x.Stalled()
	for err := stalled(); !errors.Is(err, ErrStalled); err = stalled() {
		select {
		case <-ctx.Done():
			t.Fatal("the worker has stalled, and nobody was told")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Bleve tries a failing fsync again without a pause; the report of the error is where it is made to wait.
func TestBleveWaitsAfterAnErrorOfTheDisk(t *testing.T) {
	var table asyncErrorTable
	var heard atomic.Int32
	table.register("index", func(error) { heard.Add(1) })
	failed := scorch.NewScorchError("persister", "got err persisting snapshot: sync: input/output error", scorch.ErrPersist)
	began := time.Now()
	const tries = 5 // 20 + 40 + 80 + 160 + 320 ms
	for range tries {
		table.report(failed, "index")
	}
	if took := time.Since(began); took < 31*firstPersistPause {
		t.Errorf("%d failures in a row took %s, want pauses that grow", tries, took)
	}
	if heard.Load() != tries {
		t.Errorf("the generation heard of %d errors, want %d", heard.Load(), tries)
	}
	// Closing does not wait for the pause.
	table.mu.Lock()
	h := table.handlers["index"]
	h.pause, h.last = lastPersistPause, time.Now()
	table.mu.Unlock()
	returned := make(chan time.Duration)
	go func() {
		began := time.Now()
		table.report(failed, "index")
		returned <- time.Since(began)
	}()
	for heard.Load() == tries {
		runtime.Gosched()
	}
	table.unregister("index")
	if took := <-returned; took >= lastPersistPause {
		t.Errorf("the pause ended after %s, although the index was closed", took)
	}
}
