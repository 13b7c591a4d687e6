// Package inorder works on several things at once, ahead of somebody who takes
// the results one after the other.
package inorder

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// Limits bound what is under way. All have to be above 0.
type Limits struct {
	// Workers is how many jobs are worked on at once.
	Workers int
	// Jobs is how many were taken and wait to be worked on, or for their turn.
	Jobs int
	// Bytes is what all jobs may cost that were taken and whose results were not consumed yet. One that costs
	// more waits until it is the only one.
	Bytes int64
}

// Do hands what produce takes to work, and the results to consume, in the order in which the jobs were taken. produce runs in a goroutine of
// its own, work in several, consume in that of the caller; all have ended when Do returns.
//
// take waits for room, and fails when the context ends or Do has failed: produce has to return then. The bytes are what a job
// holds from then on until its result was consumed.
//
// An error of consume ends Do, and so does one of work in the place of its result, and one of produce when everything before it was
// consumed: whatever is done ahead, the error is the one that comes first in order. The context of the others is
// cancelled then. When ctx ends nothing more is consumed. A panic of produce or work becomes one of Do, in the same order: who
// recovers from those of a request does so for what is done for it elsewhere.
func Do[J, R any](ctx context.Context, l Limits,
	produce func(ctx context.Context, take func(job J, bytes int64) error) error,
	work func(ctx context.Context, job J) (R, error),
	consume func(result R) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	room := semaphore.NewWeighted(l.Bytes)
	turns := make(chan *turn[R], l.Jobs)
	var (
		workers  errgroup.Group // which carries no error: they have an order
		produced turn[R]
	)
	workers.SetLimit(l.Workers)
	go func() {
		defer close(turns)
		defer produced.recover()
		produced.err = produce(ctx, func(job J, bytes int64) error {
			t := &turn[R]{done: make(chan struct{}), bytes: min(bytes, l.Bytes)}
			if err := room.Acquire(ctx, t.bytes); err != nil {
				return err
			}
			select {
			case turns <- t:
			case <-ctx.Done():
				return ctx.Err()
			}
			workers.Go(func() error {
				defer close(t.done)
				defer t.recover()
				t.result, t.err = work(ctx, job)
				return nil
			})
			return nil
		})
	}()
	defer func() {
		cancel()
		for range turns { // until produce has returned
		}
		_ = workers.Wait()
	}()
	for t := range turns {
		<-t.done
		if err := t.outcome(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := consume(t.result); err != nil {
			return err
		}
		room.Release(t.bytes)
	}
	return produced.outcome()
}

// A turn is the place of a job in the order.
type turn[R any] struct {
	done   chan struct{}
	result R
	err    error
	panic  string // with its stack
	bytes  int64
}

// recover is deferred.
func (t *turn[R]) recover() {
	if v := recover(); v != nil {
		t.panic = fmt.Sprintf("%v\n\n%s", v, debug.Stack())
	}
}

// outcome is called by the goroutine of Do.
func (t *turn[R]) outcome() error {
	if t.panic != "" {
		panic(t.panic)
	}
	return t.err
}
