package indexer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/document"
	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/blevesearch/bleve/v2/mapping"
	index "github.com/blevesearch/bleve_index_api"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/setsum"
)

const (
	// formatVersion is the version of the layout of the directory, and of what
	// searches need of documents: what has another one cannot be searched.
	formatVersion = 2
	// mappingVersion goes up whenever documents are made in another way: other
	// words, another parser result that is worth a rebuild. A generation with another
	// one answers until it has been rebuilt.
	mappingVersion = 9

	generationFile = "generation.json"
	bleveDir       = "bleve"
	snippetsName   = "snippets"

	// boltTimeout bounds waiting for another process to let go of the index.
	boltTimeout = 5 * time.Second
	// batchTimeout bounds a batch. The slowest one waits for a merge of
	// gigabytes; a dead goroutine of Bleve makes it wait for ever.
	batchTimeout = 5 * time.Minute
	// closeTimeout bounds closing, which waits for Bleve's goroutines.
	closeTimeout = time.Minute
)

// manifest is generation.json. It is written last when a generation is made:
// a directory without it was not finished.
type manifest struct {
	Format  int       `json:"format"`
	Mapping int       `json:"mapping"`
	Created time.Time `json:"created"`
}

// state is what changes with every batch. It is kept in Bleve, in the same
// batch, so that it always agrees with the documents.
type state struct {
	// Position is the ledger index up to which the generation is complete.
	Position int64 `json:"position"`
	// Complete means that the generation once held all that the archive did: it
	// is not being built.
	Complete bool `json:"complete"`
	// From and To bound the times received of the documents, NewestDate their date.
	From       time.Time `json:"from,omitzero"`
	To         time.Time `json:"to,omitzero"`
	NewestDate time.Time `json:"newest_date,omitzero"`
	// Reports says that some may be journal reports of the same message.
	Reports bool `json:"reports,omitempty"`
	// Unread says that attachments of some were not read because none were to be.
	Unread bool `json:"unread,omitempty"`
	// Snippets is the size of the snippets file.
	Snippets int64 `json:"snippets"`
	// Deposits is the sum of those that the documents are made of.
	Deposits setsum.Sum `json:"deposits"`
	// Newest is the highest ledger index of the first deposit of a document, if there are any.
	Newest int64 `json:"newest"`
}

// extended is s with the bounds of one more document.
func (s state) extended(e *entry) state {
	s = s.receivedAt(e.item.Received)
	for _, d := range e.item.Deposits {
		s = s.receivedAt(d.Received)
	}
	if e.date.After(s.NewestDate) {
		s.NewestDate = e.date.UTC()
	}
	s.Reports = s.Reports || e.report
	s.Unread = s.Unread || e.unread
	s.Newest = max(s.Newest, e.item.First)
	s.Deposits.Merge(sumOf(e.item))
	return s
}

func (s state) receivedAt(t time.Time) state {
	if s.From.IsZero() || t.Before(s.From) {
		s.From = t.UTC()
	}
	if t.After(s.To) {
		s.To = t.UTC()
	}
	return s
}

// stateKey is the key of the state in Bleve's internal storage.
const stateKey = "postkeep.state"

// generation is one Bleve index with its snippets. Its methods are safe for
// concurrent use, but only one goroutine may commit.
type generation struct {
	dir      string
	mapping  int
	born     bool // made by this process
	log      *slog.Logger
	onFail   func()
	bleve    bleve.Index
	snippets *snippetFile
	state    atomic.Pointer[state]
	columns  columns
	tidied   bool // merging down was tried; the worker's

	failOnce sync.Once
	failed   chan struct{} // closed when the generation is unusable
	cause    error         // set before failed is closed
}

// readable reports whether this version of the package can search the generation.
func (m manifest) readable() bool { return m.Format == formatVersion }

// maxManifest bounds reading a file that is a hundred bytes if nobody touched it.
const maxManifest = 64 << 10

func readManifest(dir string) (manifest, error) {
	var m manifest
	name := filepath.Join(dir, generationFile)
	data, err := disk.ReadFile(disk.OS(), name, maxManifest)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("read %s: %w", name, err)
	}
	return m, nil
}

// createGeneration makes an empty generation in dir, which must not exist. It is
// complete up to before the ledger index first.
func createGeneration(dir string, first int64, now time.Time, log *slog.Logger, onFail func()) (*generation, error) {
	if err := os.Mkdir(dir, disk.DirPerm); err != nil {
		return nil, fmt.Errorf("create index: %w", err)
	}
	g := newGeneration(dir, log, onFail)
	g.mapping, g.born = mappingVersion, true
	// The mapping is not used: documents are built field by field. It is there
	// because Bleve stores one, and to make documents that it would map find nothing.
	m := mapping.NewIndexMapping()
	m.DefaultMapping = mapping.NewDocumentDisabledMapping()
	var err error
	g.bleve, err = bleve.NewUsing(g.blevePath(), m, scorch.Name, scorch.Name, bleveConfig())
	if err != nil {
		asyncErrors.unregister(g.storePath())
		return nil, fmt.Errorf("create index %s: %w", dir, err)
	}
	if err := g.start(first, false); err != nil {
		return nil, err
	}
	data, err := json.Marshal(manifest{formatVersion, mappingVersion, now.UTC()})
	if err == nil {
		err = disk.WriteFile(disk.OS(), filepath.Join(dir, generationFile), append(data, '\n'), disk.FilePerm)
	}
	if err == nil {
		err = disk.OS().SyncDir(filepath.Dir(dir))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create index %s: %w", dir, err), g.close())
	}
	return g, nil
}

// openGeneration opens an existing generation. A panic of Bleve over damaged
// files is an error. Nothing is written if readOnly.
func openGeneration(dir string, first int64, readOnly bool, log *slog.Logger, onFail func()) (g *generation, err error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	if !m.readable() {
		return nil, fmt.Errorf("%s was made by another version", dir)
	}
	g = newGeneration(dir, log, onFail)
	g.mapping = m.Mapping
	store := g.storePath()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open index %s: panic: %v", dir, r)
		}
		if err != nil {
			asyncErrors.unregister(store)
			g = nil
		}
	}()
	config := bleveConfig()
	config["read_only"] = readOnly
	if g.bleve, err = bleve.OpenUsing(g.blevePath(), config); err != nil {
		return nil, fmt.Errorf("open index %s: %w", dir, err)
	}
	if err := g.start(first, readOnly); err != nil {
		return g, err
	}
	// Bleve passes over snapshots whose segments it cannot load, and may begin
	// with nothing: then the state, which every batch writes, is gone too, but
	// not the texts of the snippets.
	end, size := g.state.Load().Snippets, g.snippets.end
	if end == 0 && size > 0 || size < end {
		return g, errors.Join(fmt.Errorf("index %s lacks %d bytes of snippets, or its segments could not be loaded", dir, max(end-size, 0)), g.close())
	}
	if readOnly {
		return g, nil
	}
	// A batch that was not finished left its texts, maybe of messages that are
	// disposed of before they are indexed.
	if err := g.snippets.truncate(end); err != nil {
		return g, errors.Join(err, g.close())
	}
	return g, nil
}

func newGeneration(dir string, log *slog.Logger, onFail func()) *generation {
	g := &generation{dir: dir, log: log, onFail: onFail, failed: make(chan struct{})}
	asyncErrors.register(g.storePath(), g.fail)
	return g
}

func (g *generation) blevePath() string { return filepath.Join(g.dir, bleveDir) }

// storePath is where Bleve keeps its files, and what it calls itself in errors.
func (g *generation) storePath() string { return filepath.Join(g.blevePath(), "store") }

func bleveConfig() map[string]any {
	return map[string]any{
		"bolt_timeout":           boltTimeout.String(),
		"asyncErrorCallbackName": asyncErrorName,
	}
}

// start reads the state and opens the snippets; on error it closes Bleve.
func (g *generation) start(first int64, readOnly bool) (err error) {
	s := &state{Position: first - 1}
	data, err := g.bleve.GetInternal([]byte(stateKey))
	if err == nil && data != nil {
		err = json.Unmarshal(data, s)
	}
	g.state.Store(s)
	if err == nil {
		g.snippets, err = openSnippets(filepath.Join(g.dir, snippetsName), readOnly)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open index %s: %w", g.dir, err), g.close())
	}
	return nil
}

// fail makes the generation unusable for good.
func (g *generation) fail(cause error) {
	g.failOnce.Do(func() {
		g.cause = cause
		close(g.failed)
		g.log.Error("search index failed", "index", g.dir, "error", cause)
		g.onFail()
	})
}

// usable returns an error that is ErrUnusable after the generation failed.
func (g *generation) usable() error {
	select {
	case <-g.failed:
		return fmt.Errorf("%w: %s: %w", ErrUnusable, g.dir, g.cause)
	default:
		return nil
	}
}

// commit adds the entries and moves the state, in one step.
func (g *generation) commit(ctx context.Context, entries []*entry, next state) error {
	if err := g.usable(); err != nil {
		return err
	}
	was, err := g.replaced(entries, next.Newest)
	if err != nil {
		return err
	}
	next.Deposits.Subtract(was)
	texts := make([]string, len(entries))
	for i, e := range entries {
		texts[i] = e.text
		next = next.extended(e)
	}
	places, err := g.snippets.append(texts)
	if err != nil {
		return err
	}
	next.Snippets = g.snippets.end
	b := g.bleve.NewBatch()
	for i, e := range entries {
		doc := document.NewDocument(e.item.ID)
		doc.AddField(e.doc.With(i, encodeDeposits(places[i].encode(), e.item.Deposits))) // a copy, because the terms may go into another generation too
		if err := b.IndexAdvanced(doc); err != nil {
			return fmt.Errorf("index %s: %w", e.item.ID, err)
		}
	}
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	b.SetInternal([]byte(stateKey), data)
	if err := g.batch(ctx, b); err != nil {
		return err
	}
	g.state.Store(&next)
	return nil
}

// holds returns those of the ids that the generation has a document of.
func (g *generation) holds(ids []string) (held []string, err error) {
	if err := g.usable(); err != nil {
		return nil, err
	}
	defer g.recovered("look up ids", &err)
	r, err := g.reader()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, id := range ids {
		n, err := r.InternalID(id)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", id, err)
		}
		if n != nil {
			held = append(held, id)
		}
	}
	return held, nil
}

// reader returns a view of the documents, which the caller closes.
func (g *generation) reader() (index.IndexReader, error) {
	idx, err := g.bleve.Advanced()
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", g.dir, err)
	}
	return idx.Reader()
}

// recovered makes a panic of Bleve, which damaged files cause, an error. It is
// for defer.
func (g *generation) recovered(what string, err *error) {
	if r := recover(); r != nil {
		g.log.Error("search index panicked", "doing", what, "index", g.dir, "panic", r)
		*err = fmt.Errorf("%s: the index %s may be damaged, rebuild it: panic: %v", what, g.dir, r)
	}
}

// size is the number of bytes on disk.
func (g *generation) size() (total int64, err error) {
	err = filepath.WalkDir(g.dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // merged away meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	return total, err
}

// batch executes b under watch: Bleve's Batch takes no context, and waits for
// ever for a goroutine that has died. The goroutine that calls it is waited for
// unless the generation fails, when nothing can end it.
func (g *generation) batch(ctx context.Context, b *bleve.Batch) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				err := fmt.Errorf("panic in batch: %v", r)
				g.fail(err)
				done <- err
			}
		}()
		done <- g.bleve.Batch(b)
	}()
	timeout := time.NewTimer(batchTimeout)
	defer timeout.Stop()
	select {
	case err := <-done:
		if failed := g.usable(); failed != nil || err == nil {
			return failed
		}
		return fmt.Errorf("index batch: %w", err)
	case <-g.failed:
		return g.usable()
	case <-timeout.C:
		g.fail(fmt.Errorf("a batch took longer than %s", batchTimeout))
		return g.usable()
	}
}

// close waits for Bleve's goroutines, for a while.
func (g *generation) close() error {
	asyncErrors.unregister(g.storePath()) // nobody hears of errors any more
	g.columns.close()
	var err error
	if g.snippets != nil {
		err = g.snippets.close()
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("panic while closing: %v", r)
			}
		}()
		done <- g.bleve.Close()
	}()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case e := <-done:
		return errors.Join(err, e)
	case <-timeout.C:
		return errors.Join(err, fmt.Errorf("close index %s: no answer for %s", g.dir, closeTimeout))
	}
}

// segments is the number of parts that a search goes through, 0 if that cannot be told.
func (g *generation) segments() (n int) {
	v, err := g.view()
	if err != nil {
		return 0
	}
	if s, ok := v.reader.(*scorch.IndexSnapshot); ok {
		n = len(s.Segments())
	}
	if v.reader.Close() != nil {
		return 0
	}
	return n
}

// mergeDown makes one segment of a generation that grows no more: it is smaller,
// and faster to search. Nothing depends on it.
func (g *generation) mergeDown(ctx context.Context) {
	done := make(chan error, 1)
	go func() {
		idx, err := g.bleve.Advanced()
		if s, ok := idx.(*scorch.Scorch); err == nil && ok {
			err = s.ForceMerge(ctx, nil)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil && ctx.Err() == nil {
			g.log.Warn("a closed part of the search index could not be merged", "index", g.dir, "error", err)
		}
	case <-g.failed: // when nothing can end it
	}
}
