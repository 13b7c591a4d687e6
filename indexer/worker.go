package indexer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer/extract"
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
	// LastDeposit is the ledger index of the newest deposit, -1 if there is none.
	LastDeposit(ctx context.Context) (int64, error)
	// Live is what the archive has, for a comparison.
	Live(ctx context.Context) (archive.Live, error)
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
	// RollDocuments is the number of messages at which a generation is closed
	// and another one begun. 0 means DefaultRollDocuments.
	RollDocuments int
	// Interval is how long the worker sleeps without being woken, in case a
	// wake-up was lost. 0 means DefaultInterval.
	Interval time.Duration
	// Gather is how long the worker waits for more after a wake-up: Bleve merges
	// after every batch, which is most of the work when batches are tiny. Whoever
	// calls Index.Wait ends the waiting. 0 means DefaultGather.
	Gather time.Duration
	// Extractor reads attached files; with nil those that may have text are not read, and their messages are partial.
	Extractor Extractor
	// Rereading is called before messages that are in the index are read in another way than they were: what depends on
	// that can note what is found now. While it fails nothing is indexed; with archive.ErrReadOnly what is there stays as it is.
	Rereading func(context.Context) error
	// Logger hears of messages that could not be read and of retries; nil discards.
	Logger *slog.Logger
}

// Defaults of WorkerOptions. With batches of list mail of this size indexing takes 280 MiB; smaller
// ones are merged more often, which takes a third more time with 500 messages, and larger ones are not faster.
const (
	DefaultBatchMessages  = 2000
	DefaultBatchTextBytes = 16 << 20
	DefaultRollDocuments  = 100_000
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
	reads   bool // attached files
	// announced says that Rereading was called, frozen that nobody could note what is found.
	announced, frozen bool
	merges            sync.WaitGroup // of closed generations
	parsers           sync.Pool      // of *mailparse.Parser

	analyzer *analyzer
}

// NewWorker returns a worker that brings x up to date with a whenever it
// receives from wake.
func NewWorker(x *Index, a Archive, wake <-chan struct{}, opts WorkerOptions) *Worker {
	if opts.Extractor == nil {
		opts.Extractor = extract.Off{}
	}
	_, off := opts.Extractor.(extract.Off)
	if opts.Parsers <= 0 {
		opts.Parsers = runtime.GOMAXPROCS(0)
		if !off {
			opts.Parsers *= 2
		}
	}
	if opts.BatchMessages <= 0 {
		opts.BatchMessages = DefaultBatchMessages
	}
	if opts.BatchTextBytes <= 0 {
		opts.BatchTextBytes = DefaultBatchTextBytes
	}
	if opts.RollDocuments <= 0 {
		opts.RollDocuments = DefaultRollDocuments
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
	return &Worker{index: x, archive: a, wake: wake, opts: opts, reads: !off, analyzer: newAnalyzer(schema())}
}

// Run works until ctx is done, which is no error, or the Index is closed. What
// else goes wrong is logged and tried again; a failed index is built anew.
func (w *Worker) Run(ctx context.Context) error {
	b := &builder{Worker: w}
	defer w.merges.Wait()
	retry, described, mending := firstRetry, false, false
	for {
		pause := w.opts.Interval
		more, err := w.step(ctx, b)
		if err == nil && !described {
			err = w.describe(ctx)
			described = err == nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if w.index.failures.note(err) {
			w.index.notify()
		}
		mending = errors.Is(err, ErrUnusable) && !mending
		switch {
		case errors.Is(err, ErrClosed):
			return err
		case mending: // the next step builds the generation again, once without a pause
			continue
		case err != nil:
			pause = retry
			retry = min(2*retry, lastRetry)
			w.opts.Logger.Error("indexing failed, will be tried again", "after", pause, "error", err)
		case more:
			retry = firstRetry
			continue
		default:
			retry = firstRetry
		}
		if !w.sleep(ctx, pause, err == nil) {
			return nil
		}
	}
}

// step indexes what is new, and then does some of the other work. It reports
// whether there is more of that.
func (w *Worker) step(ctx context.Context, b *builder) (more bool, err error) {
	if err := w.index.use(func([]*slot) error { return nil }); err != nil {
		return false, err
	}
	if err := w.index.repair(); err != nil {
		return false, err
	}
	if err := w.announce(ctx); err != nil {
		return false, err
	}
	if w.reads {
		if err := w.index.markUnread(); err != nil {
			return false, err
		}
	}
	if err := b.serve(ctx); err != nil {
		return false, err
	}
	if err := b.catchUp(ctx); err != nil {
		return false, err
	}
	if w.frozen && len(b.waiting) == 0 {
		return false, b.answer()
	}
	if more, err = b.build(ctx); err != nil {
		return false, err
	}
	b.tidy(ctx)
	if err := b.answer(); err != nil {
		return false, err
	}
	return more || len(w.index.requests) > 0, b.compare(ctx)
}

// announce calls Rereading, once.
func (w *Worker) announce(ctx context.Context) error {
	if w.announced || w.index.Read(w.reads) {
		return nil
	}
	if w.opts.Rereading != nil {
		err := w.opts.Rereading(ctx)
		if w.frozen = errors.Is(err, archive.ErrReadOnly); w.frozen {
			w.opts.Logger.Warn("the search index is not rebuilt while the archive is read-only: what holds and rules find by it cannot be noted", "error", err)
		} else if err != nil {
			return fmt.Errorf("note what holds and rules find before messages are read in another way: %w", err)
		}
	}
	w.announced = true
	return nil
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
	case <-w.index.work:
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
	whole    bool // everything up to position is done with it
}

// listing is a part of what the archive has, in the order of deposits.
type listing struct {
	after, upTo int64                        // ledger indexes of the deposits
	most        int                          // calls of Since; 0 is no limit
	keep        func(archive.Indexable) bool // which messages are wanted
}

// catchUp indexes everything beyond the position, unless other work turns up.
func (b *builder) catchUp(ctx context.Context) error {
	s, _, err := b.index.current()
	if err != nil {
		return err
	}
	l := listing{after: s.Position, upTo: open, keep: b.wanted}
	return b.run(ctx, l, func(ctx context.Context, part batch) error {
		if len(part.entries) == 0 && s.Complete && part.complete {
			return nil // nothing new, and known to be complete
		}
		if err := b.describeEntries(ctx, part.entries); err != nil {
			return err
		}
		if err := b.index.commit(ctx, part); err != nil {
			return err
		}
		if part.whole {
			return b.index.roll(b.opts.RollDocuments)
		}
		return nil
	})
}

// run hands the batches of a listing to commit. Parsing of a batch goes on while
// the one before it is built and written.
func (w *Worker) run(ctx context.Context, l listing, commit func(context.Context, batch) error) error {
	batches := make(chan batch)
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(batches)
		return w.produce(inner, l, batches)
	})
	g.Go(func() error {
		for b := range batches {
			if err := commit(inner, b); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// produce sends batches until the archive has nothing more, or there is other
// work. The position moves with the last batch of a listing only: in a listing
// the indexes are in no order.
func (w *Worker) produce(ctx context.Context, l listing, batches chan<- batch) error {
	position := l.after
	for n := 0; l.most == 0 || n < l.most; n++ {
		if n > 0 && len(w.index.requests) > 0 {
			return nil
		}
		items, err := w.archive.Since(ctx, position, w.opts.BatchMessages)
		if err != nil {
			return err
		}
		last := batch{position: position, complete: len(items) == 0, whole: true}
		for _, item := range items {
			last.position = max(last.position, item.Index)
		}
		if last.position >= l.upTo {
			last.position, last.complete = l.upTo, true
		}
		items = slices.DeleteFunc(items, func(i archive.Indexable) bool { return !l.keep(i) })
		if err := w.send(ctx, items, position, last, batches); err != nil || last.complete {
			return err
		}
		position = last.position
	}
	return nil
}

// send parses items and sends them, position with all but the last batch, which
// is last.
func (w *Worker) send(ctx context.Context, items []archive.Indexable, position int64, last batch, batches chan<- batch) error {
	for {
		entries, err := w.parse(ctx, items)
		if err != nil {
			return err
		}
		items = items[len(entries):]
		b := batch{entries: entries, position: position}
		if len(items) == 0 {
			b = last
			b.entries = entries
		}
		select {
		case batches <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
		if len(items) == 0 {
			return nil
		}
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
			e = w.analyzer.newEntry(item, nil)
		}
	}()
	m, off, err := w.open(ctx, item.ID)
	if err != nil && ctx.Err() == nil {
		w.opts.Logger.Error("message cannot be read, it is indexed as far as it goes", "id", item.ID, "error", err)
	}
	if err != nil && m != nil {
		m.Flags = withFlag(m.Flags, mailparse.FlagPartial)
	}
	e = w.analyzer.newEntry(item, m)
	e.unread = off
	return e
}

// open reads a message. It is nil if there is nothing to read, and comes with an
// error if that is not all of it. off is that of parseMessage.
func (w *Worker) open(ctx context.Context, id string) (m *mailparse.Message, off bool, err error) {
	body, err := w.archive.OpenMessage(ctx, id)
	if err != nil {
		return nil, false, err
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

// describeEntries tells the archive before the index: what the index is said to
// hold is described for certain, and a crash in between repeats both.
func (w *Worker) describeEntries(ctx context.Context, entries []*entry) error {
	if len(entries) == 0 {
		return nil
	}
	return w.archive.Describe(ctx, descriptionsOf(entries))
}
