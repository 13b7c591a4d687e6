package indexer

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

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
	handlers map[string]func(error)
}

func (t *asyncErrorTable) register(path string, handle func(error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handlers == nil {
		t.handlers = map[string]func(error){}
	}
	t.handlers[filepath.Clean(path)] = handle
}

func (t *asyncErrorTable) unregister(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.handlers, filepath.Clean(path))
}

func (t *asyncErrorTable) report(err error, path string) {
	if errors.Is(err, scorch.ErrCleanup) {
		return // old files that stay do no harm, and go at the next start
	}
	if errors.Is(err, scorch.ErrPersist) && strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return // the batch fails as well and is tried again; a rebuild would need even more room
	}
	t.mu.Lock()
	handle := t.handlers[filepath.Clean(path)]
	t.mu.Unlock()
	if handle != nil {
		handle(err)
	}
}
