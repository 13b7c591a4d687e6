package indexer

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/blevesearch/bleve/v2"
	index "github.com/blevesearch/bleve_index_api"
)

// anyIndex has a name of its own because bleve.Index has a method Index.
type anyIndex = bleve.Index

// stuck is a Bleve index one of whose goroutines has died.
type stuck struct {
	anyIndex
	entered, release chan struct{}
}

func (s *stuck) Batch(*bleve.Batch) error {
	close(s.entered)
	<-s.release
	return nil
}

func TestBatchDoesNotWaitForADeadIndex(t *testing.T) {
	s := &stuck{entered: make(chan struct{}), release: make(chan struct{})}
	defer close(s.release)
	g := newGeneration(t.TempDir(), slog.New(slog.DiscardHandler), func() {})
	g.bleve = s
	defer asyncErrors.unregister(g.storePath())
	go func() {
		<-s.entered
		asyncErrors.report(errors.New("merger panicked"), g.storePath())
	}()
	if err := g.batch(t.Context(), nil); !errors.Is(err, ErrUnusable) {
		t.Errorf("batch: %v", err)
	}
}

// panicking is a Bleve index over damaged files.
type panicking struct{ anyIndex }

func (panicking) Batch(*bleve.Batch) error { panic("slice bounds out of range") }
func (panicking) Advanced() (index.Index, error) {
	panic("slice bounds out of range")
}

func TestPanicsOfBleveAreErrors(t *testing.T) {
	g := newGeneration(t.TempDir(), slog.New(slog.DiscardHandler), func() {})
	g.bleve = panicking{}
	g.state.Store(&state{})
	defer asyncErrors.unregister(g.storePath())
	slots := []*slot{{last: open, gen: g}}
	if _, err := collect(t.Context(), slots, nil, plan{size: 1}); err == nil || g.usable() != nil {
		t.Errorf("search: %v", err) // one bad query must not cost the index
	}
	if err := g.batch(t.Context(), nil); !errors.Is(err, ErrUnusable) {
		t.Errorf("batch: %v", err)
	}
	if lackingReason(slots) == "" {
		t.Error("a search after the batch does not say that it is partial")
	}
}
