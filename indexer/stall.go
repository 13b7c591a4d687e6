package indexer

import (
	"errors"
	"fmt"
	"sync"
)

// ErrStalled means that the worker gets no further: what it waits for is not going to come by itself.
var ErrStalled = errors.New("the search index gets no further")

// stalledAfter is how many failures in a row end the waiting of others. The worker makes them within seconds, and goes on trying
// when nobody waits any more: a database that is locked for a moment is no reason to give up, a full disk is.
const stalledAfter = 3

// failures counts what kept the worker from its work.
type failures struct {
	mu    sync.Mutex
	total int   // of the process; guarded by mu
	row   int   // since the last success; guarded by mu
	last  error // guarded by mu
}

// note takes in how a step of the worker ended, and reports whether those who wait have to hear of it.
func (f *failures) note(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.row, f.last = 0, nil
		return false
	}
	f.total++
	f.row++
	f.last = err
	return f.row >= stalledAfter
}

// count is the number of failures so far.
func (f *failures) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// since returns ErrStalled if the worker has stalled, and failed again after the first n failures.
func (f *failures) since(n int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.row < stalledAfter || f.total <= n {
		return nil
	}
	return fmt.Errorf("%w, it failed %d times and is tried again every minute: %w", ErrStalled, f.row, f.last)
}
