package indexer

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/postkeep/postkeep/indexer/segment"
)

// Bleve reports the death of its goroutines to a function that is found by
// name in a package variable, which it reads without a lock: there is no way but
// to register one function at the start of the process, and to tell the indexes
// apart by their path.
// Segments are made by package segment, which Bleve knows in the same way.
func init() {
	scorch.RegistryAsyncErrorCallbacks[asyncErrorName] = asyncErrors.report
	scorch.RegisterSegmentPlugin(&segment.Plugin{}, true)
}

const asyncErrorName = "postkeep"

var asyncErrors asyncErrorTable

type asyncErrorTable struct {
	mu       sync.Mutex
	handlers map[string]*asyncErrorHandler // by path; guarded by mu
}

// asyncErrorHandler is the index that is told of an error.
type asyncErrorHandler struct {
	handle  func(error)
	closing chan struct{} // closed when the index is closed
	pause   time.Duration // after the last error; guarded by the table's mu
	last    time.Time     // of the last error; guarded by the table's mu
}

// next is how long Bleve has to wait after another error. After a while without one it begins anew. It is called with the table's mu held.
func (h *asyncErrorHandler) next(now time.Time) time.Duration {
	if now.Sub(h.last) > 2*lastPersistPause {
		h.pause = 0
	}
	h.pause, h.last = min(max(2*h.pause, firstPersistPause), lastPersistPause), now
	return h.pause
}

const (
	// firstPersistPause and lastPersistPause are how long Bleve's persister and merger wait before they try again what failed: by
	// themselves they do not wait at all, and call a failing fsync thousands of times a second.
	firstPersistPause = 20 * time.Millisecond
	lastPersistPause  = 5 * time.Second
)

func (t *asyncErrorTable) register(path string, handle func(error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handlers == nil {
		t.handlers = map[string]*asyncErrorHandler{}
	}
	t.handlers[filepath.Clean(path)] = &asyncErrorHandler{handle: handle, closing: make(chan struct{})}
}

// unregister comes before the index is closed, which waits for the persister.
func (t *asyncErrorTable) unregister(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	path = filepath.Clean(path)
	if h := t.handlers[path]; h != nil {
		close(h.closing)
		delete(t.handlers, path)
	}
}

// report is called by the goroutine of Bleve that had the error, and returns when that may go on.
func (t *asyncErrorTable) report(err error, path string) {
	if errors.Is(err, scorch.ErrCleanup) {
		return // old files that stay do no harm, and go at the next start
	}
	t.mu.Lock()
	h := t.handlers[filepath.Clean(path)]
	var pause time.Duration
	if h != nil {
		pause = h.next(time.Now())
	}
	t.mu.Unlock()
	if h == nil {
		return
	}
	if !errors.Is(err, scorch.ErrPersist) {
		h.handle(err)
		return
	}
	// With a full disk the batch fails as well and is tried again; a rebuild would need even more room.
	if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		h.handle(err)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.closing:
	}
}
