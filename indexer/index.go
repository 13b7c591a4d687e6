// Package indexer finds archived messages: it reads, parses and indexes what
// the archive has taken in, and answers queries.
//
// The index is derived data. A Worker keeps it complete up to a ledger index,
// which is stored with the documents in the same batch, so that a crash
// repeats work and never loses any. An index that cannot be opened, or that
// fails, is moved aside and built again from the archive; until that is done
// searches say that they are partial.
//
// Bleve does the searching, behind a mapping of our own: documents are built
// field by field from words that package words finds. docs/formats/index.md
// describes the files.
package indexer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrUnusable means that the index has failed and waits for the worker to
	// build it again.
	ErrUnusable = errors.New("search index has failed and will be rebuilt")
	// ErrClosed means that the Index was closed.
	ErrClosed = errors.New("search index is closed")
	// ErrLocked means that another process has the index open.
	ErrLocked = errors.New("search index is in use by another process")
)

// Options are what an Index needs.
type Options struct {
	// Dir is the directory of the index, made if missing. It must be there for
	// the index alone.
	Dir string
	// Location is the time zone whose days queries mean; nil is time.Local.
	Location *time.Location
	// Now tells the time for queries like 30d; nil is time.Now.
	Now func() time.Time
	// Held returns the ids of the messages that holds keep from disposal, for
	// is:held. With nil such a query is ErrNoHolds.
	Held func(ctx context.Context) ([]string, error)
	// Logger hears of failures; nil discards.
	Logger *slog.Logger
}

// Index is the search index of an archive. Its methods are safe for concurrent
// use.
type Index struct {
	opts     Options
	eachPage int // less in tests

	// mu is held for reading by whoever uses gen, for writing to replace it.
	mu  sync.RWMutex
	gen *generation // nil after Close

	// moved is closed and replaced whenever the position moves.
	movedMu sync.Mutex
	moved   chan struct{}
	urgent  chan struct{} // told when somebody waits; has room for one
}

// Open opens the index in opts.Dir, or makes an empty one: if there is none, if
// it was made by another version, or if it is damaged. A damaged one is kept
// beside it with the suffix .damaged. ctx bounds nothing but the start.
func Open(ctx context.Context, opts Options) (*Index, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts.Location == nil {
		opts.Location = time.Local
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opts.Dir, disk.DirPerm); err != nil {
		return nil, fmt.Errorf("open search index: %w", err)
	}
	x := &Index{opts: opts, eachPage: eachPage, moved: make(chan struct{}), urgent: make(chan struct{}, 1)}
	if err := x.open(); err != nil {
		return nil, err
	}
	return x, nil
}

// open opens the newest generation or creates one.
func (x *Index) open() error {
	dirs, err := x.generations()
	if err != nil {
		return err
	}
	if len(dirs) > 0 {
		newest := dirs[len(dirs)-1]
		g, err := openGeneration(newest, x.opts.Logger)
		switch {
		case err == nil:
			x.gen = g
			dirs = dirs[:len(dirs)-1]
		case errors.Is(err, bolterrors.ErrTimeout):
			return fmt.Errorf("%w: %s", ErrLocked, newest)
		case isEnvironment(err):
			return err
		default:
			x.opts.Logger.Warn("search index is rebuilt", "index", newest, "reason", err)
		}
	}
	// What is left of earlier generations goes before there is a new one, so
	// that at no time two are taken for current.
	for _, dir := range dirs {
		if err := x.discard(dir); err != nil {
			return err
		}
	}
	if x.gen == nil {
		return x.create()
	}
	return nil
}

// isEnvironment reports whether an index could not be opened for a reason
// that has nothing to do with its files.
func isEnvironment(err error) bool {
	for _, e := range []error{fs.ErrPermission, syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

const (
	generationPrefix = "gen-"
	damagedSuffix    = ".damaged"
)

// generations returns the directories of generations, oldest first.
func (x *Index) generations() ([]string, error) {
	entries, err := os.ReadDir(x.opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("open search index: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), generationPrefix) && !strings.HasSuffix(e.Name(), damagedSuffix) {
			dirs = append(dirs, filepath.Join(x.opts.Dir, e.Name()))
		}
	}
	return dirs, nil // ReadDir sorts
}

// discard gets a generation out of the way. A damaged one is kept for whoever
// wants to know why, the latest one only: it may be large. One that was never
// finished or is of another version tells nothing.
func (x *Index) discard(dir string) error {
	m, err := readManifest(dir)
	if err == nil && m.current() || err != nil && !errors.Is(err, fs.ErrNotExist) {
		damaged, err := filepath.Glob(filepath.Join(x.opts.Dir, generationPrefix+"*"+damagedSuffix))
		if err != nil {
			return err
		}
		for _, d := range damaged {
			if err := os.RemoveAll(d); err != nil {
				return fmt.Errorf("remove damaged search index: %w", err)
			}
		}
		if err := os.Rename(dir, dir+damagedSuffix); err != nil {
			return fmt.Errorf("move damaged search index aside: %w", err)
		}
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove old search index: %w", err)
	}
	return nil
}

// create makes an empty generation with a number above all that are there.
func (x *Index) create() error {
	names, err := filepath.Glob(filepath.Join(x.opts.Dir, generationPrefix+"*"))
	if err != nil {
		return err
	}
	last := 0
	for _, name := range names {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(name), generationPrefix+"%d", &n); err == nil {
			last = max(last, n)
		}
	}
	g, err := createGeneration(filepath.Join(x.opts.Dir, fmt.Sprintf("%s%06d", generationPrefix, last+1)), x.opts.Now(), x.opts.Logger)
	if err != nil {
		return err
	}
	x.gen = g
	return nil
}

// rebuild replaces a failed generation by an empty one.
func (x *Index) rebuild() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gen == nil {
		return ErrClosed
	}
	failed := x.gen
	if err := failed.close(); err != nil {
		x.opts.Logger.Warn("closing the failed search index", "index", failed.dir, "error", err)
	}
	if err := x.discard(failed.dir); err != nil {
		return err
	}
	return x.create()
}

// use calls f with the generation, which stays open meanwhile.
func (x *Index) use(f func(*generation) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.gen == nil {
		return ErrClosed
	}
	return f(x.gen)
}

// commit adds entries and moves the position, and tells those who wait for it.
func (x *Index) commit(ctx context.Context, entries []*entry, position int64, complete bool) error {
	return x.use(func(g *generation) error {
		next := *g.state.Load()
		next.Position = max(next.Position, position)
		next.Complete = next.Complete || complete
		if err := g.commit(ctx, entries, next); err != nil {
			return err
		}
		x.movedMu.Lock()
		defer x.movedMu.Unlock()
		close(x.moved)
		x.moved = make(chan struct{})
		return nil
	})
}

// current returns the state, and a channel that is closed when it changes.
func (x *Index) current() (state, <-chan struct{}, error) {
	x.movedMu.Lock()
	moved := x.moved
	x.movedMu.Unlock()
	var s state
	err := x.use(func(g *generation) error {
		s = *g.state.Load()
		return nil
	})
	return s, moved, err
}

// Position returns the ledger index up to which the index is complete, -1 if
// it is empty or closed.
func (x *Index) Position() int64 {
	s, _, err := x.current()
	if err != nil {
		return -1
	}
	return s.Position
}

// Wait returns when the index is complete up to the ledger index position. A
// Worker has to run meanwhile.
func (x *Index) Wait(ctx context.Context, position int64) error {
	for {
		s, moved, err := x.current()
		if err != nil || s.Position >= position {
			return err
		}
		select {
		case x.urgent <- struct{}{}:
		default:
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for the search index to reach %d, it is at %d: %w", position, s.Position, ctx.Err())
		}
	}
}

// Count returns the number of messages in the index, 0 if it is unusable.
func (x *Index) Count() (docs uint64) {
	_ = x.use(func(g *generation) (err error) { // there is nothing to count in a closed index
		docs, err = g.bleve.DocCount()
		return err
	})
	return docs
}

// Close closes the index. Stop the worker before. Close is idempotent.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gen == nil {
		return nil
	}
	err := x.gen.close()
	x.gen = nil
	x.movedMu.Lock()
	defer x.movedMu.Unlock()
	close(x.moved) // whoever waits finds the index closed
	x.moved = make(chan struct{})
	return err
}
