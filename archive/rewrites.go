package archive

import (
	"context"
	"errors"
	"sync"
)

// errGiveWay ends the reading of a file that somebody wants to replace.
var errGiveWay = errors.New("the file is to be replaced")

// A turn is taken by who writes a sealed volume anew, and by who reads its file for long: that one gives way.
type turn struct {
	taken chan struct{} // has room for one

	mu      sync.Mutex
	waiting int                     // who do not give way
	yield   context.CancelCauseFunc // of the one who has it, nil unless that gives way
}

func newTurn() *turn { return &turn{taken: make(chan struct{}, 1)} }

// lock waits for the turn. The caller calls unlock.
func (t *turn) lock(ctx context.Context) error {
	t.wait(1)
	defer t.wait(-1)
	select {
	case t.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) wait(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting += n; t.waiting > 0 && t.yield != nil {
		t.yield(errGiveWay)
	}
}

func (t *turn) unlock() { <-t.taken }

// lend waits for the turn like lock. The context that it returns ends with errGiveWay as its cause when somebody else wants
// the turn. The caller calls done in any case.
func (t *turn) lend(ctx context.Context) (_ context.Context, done func(), err error) {
	select {
	case t.taken <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	ctx, yield := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.yield = yield; t.waiting > 0 {
		yield(errGiveWay)
	}
	return ctx, func() {
		t.mu.Lock()
		t.yield = nil
		t.mu.Unlock()
		yield(nil)
		t.unlock()
	}, nil
}
