package indexer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/mailparse"
	"golang.org/x/sync/errgroup"
)

// Archive is what a Worker reads from, and writes what it found to.
// *archive.Store is one.
type Archive interface {
	// Since lists messages that have deposits with a ledger index above after:
	// those of the next limit deposits, one item per message. Who has dealt with
	// all of a listing is complete up to the highest Index in it.
	Since(ctx context.Context, after int64, limit int) ([]archive.Indexable, error)
	// OpenMessage returns the bytes of a message.
	OpenMessage(ctx context.Context, id string) (io.ReadCloser, error)
	// Undescribed lists messages that Describe was never told of, at most limit.
	Undescribed(ctx context.Context, limit int) ([]archive.Indexable, error)
	// Describe stores summaries for lists of results. It may be told the same again.
	Describe(ctx context.Context, descriptions []archive.Description) error
}

// WorkerOptions are the settings of a Worker. The zero value takes the
// defaults.
type WorkerOptions struct {
	// Parsers is the number of messages that are read and parsed at a time.
	// 0 means runtime.GOMAXPROCS, twice that with an Extractor: some wait for it.
	Parsers int
	// BatchMessages and BatchTextBytes end a batch; memory grows with its text
	// (up to three batches are in memory: parsed, built, being merged).
	// 0 means DefaultBatchMessages and DefaultBatchTextBytes.
	BatchMessages  int
	BatchTextBytes int
	// Interval is how long the worker sleeps without being woken, in case a
	// wake-up was lost. 0 means DefaultInterval.
	Interval time.Duration
	// Gather is how long the worker waits for more after a wake-up: Bleve merges
	// after every batch, which is most of the work when batches are tiny. Whoever
	// calls Index.Wait ends the waiting. 0 means DefaultGather.
	Gather time.Duration
	// Extractor reads attached files; nil leaves them out.
	Extractor Extractor
	// Logger hears of messages that could not be read and of retries; nil discards.
	Logger *slog.Logger
}

// Defaults of WorkerOptions. A batch of list mail of this size keeps anonymous
// memory under 450 MiB; larger ones need proportionally more and are no faster.
const (
	DefaultBatchMessages  = 500
	DefaultBatchTextBytes = 8 << 20
	DefaultInterval       = 30 * time.Second
	DefaultGather         = time.Second
)

// Failures are tried again after firstRetry, then twice as long each time, up
// to lastRetry: a full disk or a locked database needs minutes, not hours.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// Worker keeps an Index complete.
type Worker struct {
	index   *Index
	archive Archive
	wake    <-chan struct{}
	opts    WorkerOptions
}

// NewWorker returns a worker that brings x up to date with a whenever it
// receives from wake.
func NewWorker(x *Index, a Archive, wake <-chan struct{}, opts WorkerOptions) *Worker {
	if opts.Parsers <= 0 {
		opts.Parsers = runtime.GOMAXPROCS(0)
		if opts.Extractor != nil {
			opts.Parsers *= 2
		}
	}
	if opts.BatchMessages <= 0 {
		opts.BatchMessages = DefaultBatchMessages
	}
	if opts.BatchTextBytes <= 0 {
		opts.BatchTextBytes = DefaultBatchTextBytes
	}
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	if opts.Gather <= 0 {
		opts.Gather = DefaultGather
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Worker{index: x, archive: a, wake: wake, opts: opts}
}

// Run works until ctx is done, which is no error, or the Index is closed. What
// else goes wrong is logged and tried again; a failed index is built anew.
func (w *Worker) Run(ctx context.Context) error {
	retry, described := firstRetry, false
	for {
		pause := w.opts.Interval
		err := w.catchUp(ctx)
		if err == nil && !described {
			err = w.describe(ctx)
			described = err == nil
		}
		if errors.Is(err, ErrUnusable) {
			w.opts.Logger.Warn("rebuilding the search index", "reason", err)
			err = errors.Join(err, w.index.rebuild())
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClosed):
			return err
		case err != nil:
			pause = retry
			retry = min(2*retry, lastRetry)
			w.opts.Logger.Error("indexing failed, will be tried again", "after", pause, "error", err)
		default:
			retry = firstRetry
		}
		if !w.sleep(ctx, pause, err == nil) {
			return nil
		}
	}
}

// sleep returns false when ctx is done. It can be woken if wakeable.
func (w *Worker) sleep(ctx context.Context, pause time.Duration, wakeable bool) bool {
	wake := w.wake
	if !wakeable {
		wake = nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
		return w.gather(ctx)
	}
	return true
}

// gather lets a batch become larger, unless somebody waits for it.
func (w *Worker) gather(ctx context.Context) bool {
	timer := time.NewTimer(w.opts.Gather)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-w.index.urgent:
	}
	return true
}

// batch is entries that are committed together.
type batch struct {
	entries  []*entry
	position int64
	complete bool // there is nothing behind it
}

// catchUp indexes everything beyond the position. Parsing of a batch goes on
// while the one before it is built and written.
func (w *Worker) catchUp(ctx context.Context) error {
	s, _, err := w.index.current()
	if err != nil {
		return err
	}
	batches := make(chan batch)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(batches)
		return w.produce(ctx, s.Position, batches)
	})
	g.Go(func() error {
		for b := range batches {
			if len(b.entries) == 0 && s.Complete && b.complete {
				continue // nothing new, and known to be complete
			}
			if err := w.commit(ctx, b); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// produce sends batches until the archive has nothing more. The position moves
// with the last batch of a listing only: in a listing the indexes are in no order.
func (w *Worker) produce(ctx context.Context, position int64, batches chan<- batch) error {
	for {
		items, err := w.archive.Since(ctx, position, w.opts.BatchMessages)
		if err != nil {
			return err
		}
		next := position
		for _, item := range items {
			next = max(next, item.Index)
		}
		for {
			entries, err := w.parse(ctx, items)
			if err != nil {
				return err
			}
			items = items[len(entries):]
			b := batch{entries: entries, position: position}
			if len(items) == 0 {
				b.position, b.complete = next, len(entries) == 0
			}
			select {
			case batches <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
			if b.complete {
				return nil
			}
			if len(items) == 0 {
				break
			}
		}
		position = next
	}
}

// parse makes entries of the first items, as many as a batch holds.
func (w *Worker) parse(ctx context.Context, items []archive.Indexable) ([]*entry, error) {
	entries := make([]*entry, len(items))
	var next, text atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range w.opts.Parsers {
		g.Go(func() error {
			for ctx.Err() == nil && text.Load() < int64(w.opts.BatchTextBytes) {
				i := int(next.Add(1)) - 1
				if i >= len(items) {
					return nil
				}
				entries[i] = w.read(ctx, items[i])
				text.Add(int64(entries[i].textBytes))
			}
			return ctx.Err()
		})
	}
	err := g.Wait()
	return entries[:min(int(next.Load()), len(items))], err
}

// read makes the entry of a message. A message that cannot be read, or that
// the parser panics over, is indexed by what is known without it.
func (w *Worker) read(ctx context.Context, item archive.Indexable) (e *entry) {
	defer func() {
		if r := recover(); r != nil {
			w.opts.Logger.Error("parser panicked, message is indexed without its content", "id", item.ID, "panic", r)
			e = newEntry(item, nil, w.index.opts.Location)
		}
	}()
	m, err := w.open(ctx, item.ID)
	if err != nil && ctx.Err() == nil {
		w.opts.Logger.Error("message cannot be read, it is indexed as far as it goes", "id", item.ID, "error", err)
	}
	if err != nil && m != nil {
		m.Flags = withFlag(m.Flags, mailparse.FlagPartial)
	}
	return newEntry(item, m, w.index.opts.Location)
}

// open reads a message. It is nil if there is nothing to read, and comes with an
// error if that is not all of it.
func (w *Worker) open(ctx context.Context, id string) (m *mailparse.Message, err error) {
	body, err := w.archive.OpenMessage(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return w.parseMessage(ctx, id, body)
}

// describe makes up for summaries that the archive has lost: its catalog is
// derived, and was made anew.
func (w *Worker) describe(ctx context.Context) error {
	for {
		items, err := w.archive.Undescribed(ctx, w.opts.BatchMessages)
		if err != nil || len(items) == 0 {
			return err
		}
		entries, err := w.parse(ctx, items)
		if err != nil {
			return err
		}
		if err := w.archive.Describe(ctx, descriptionsOf(entries)); err != nil {
			return err
		}
	}
}

func descriptionsOf(entries []*entry) []archive.Description {
	out := make([]archive.Description, len(entries))
	for i, e := range entries {
		out[i] = archive.Description{ID: e.item.ID, Summary: e.summary}
	}
	return out
}

func withFlag(flags []string, flag string) []string {
	if slices.Contains(flags, flag) {
		return flags
	}
	return append(flags, flag)
}

// commit tells the archive first: what the index is said to hold is described
// for certain, and a crash in between repeats both.
func (w *Worker) commit(ctx context.Context, b batch) error {
	if len(b.entries) > 0 {
		if err := w.archive.Describe(ctx, descriptionsOf(b.entries)); err != nil {
			return err
		}
	}
	return w.index.commit(ctx, b.entries, b.position, b.complete)
}
