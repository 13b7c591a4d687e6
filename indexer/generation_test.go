package indexer

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/blevesearch/bleve/v2"
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
	g := newGeneration(t.TempDir(), slog.New(slog.DiscardHandler))
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
func (panicking) SearchInContext(context.Context, *bleve.SearchRequest) (*bleve.SearchResult, error) {
	panic("slice bounds out of range")
}

func TestPanicsOfBleveAreErrors(t *testing.T) {
	g := newGeneration(t.TempDir(), slog.New(slog.DiscardHandler))
	g.bleve = panicking{}
	defer asyncErrors.unregister(g.storePath())
	if _, err := g.search(t.Context(), nil); err == nil || errors.Is(err, ErrUnusable) {
		t.Errorf("search: %v", err) // one bad query must not cost the index
	}
	if err := g.batch(t.Context(), nil); !errors.Is(err, ErrUnusable) {
		t.Errorf("batch: %v", err)
	}
	if _, err := g.search(t.Context(), nil); !errors.Is(err, ErrUnusable) {
		t.Errorf("search after the batch: %v", err)
	}
}
