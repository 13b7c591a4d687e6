// Package extract gets the text out of attachments without endangering the
// process that asks.
//
// A Pool feeds files to a few child processes, which are started once and used
// again: starting one takes as long as reading a dozen documents. A child may
// do nothing but read, write and compute (on Linux), and use no more memory or
// time than it was given; one that fails is killed and replaced, and the file that it failed over is
// reported with the reason. Package document does the reading.
package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/postkeep/postkeep/indexer/extract/document"
)

// ErrClosed means that the Pool was closed.
var ErrClosed = errors.New("extract: pool is closed")

// Options are the settings of a Pool. All but Command have defaults.
type Options struct {
	// Command is the program with its arguments that calls Serve. Required.
	Command []string
	// Workers is the number of children, each of which reads one file at a time.
	// They are started when there is something to do. 0 means runtime.GOMAXPROCS.
	Workers int
	// Timeout is how long a child may take for one file once it has all of it.
	// 0 means DefaultTimeout.
	Timeout time.Duration
	// CPUTime is the processor time that a child may take for one file. On a busy
	// machine it is the fairer measure. 0 means a third of Timeout.
	CPUTime time.Duration
	// MaxInputBytes is the size of a file above which it is not read, or only its
	// beginning where that has a meaning. 0 means DefaultMaxInputBytes.
	MaxInputBytes int64
	// MaxTextBytes is how much text of one file is returned. 0 means
	// DefaultMaxTextBytes.
	MaxTextBytes int
	// MemoryBytes is the memory that a child may use. 0 means 256 MiB and six
	// times MaxInputBytes.
	MemoryBytes int64
	// Unconfined allows children that the system does not confine as it should. By
	// default Extract fails with ErrUnconfined then.
	Unconfined bool
	// Logger hears of children that failed; nil discards.
	Logger *slog.Logger
}

// Defaults of Options.
const (
	// DefaultTimeout is some hundred times what a document of many pages takes.
	DefaultTimeout = 30 * time.Second
	// DefaultMaxInputBytes is above what most mail servers let through.
	DefaultMaxInputBytes = 32 << 20
	// DefaultMaxTextBytes is several novels.
	DefaultMaxTextBytes = document.DefaultTextBytes
)

const (
	// baseMemory is what a child may use besides the file.
	baseMemory = 256 << 20
	// memoryPerInput is how often a file may be in memory: packed, unpacked twice,
	// and as the objects made of it.
	memoryPerInput = 6
	// filesPerChild is the number of files after which a child is replaced, so
	// that what libraries leak does not add up.
	filesPerChild = 2000
)

// Result is what was found in a file.
type Result struct {
	// Text is valid UTF-8. It may be empty: not every file has text.
	Text string
	// Reason says in a few words why Text is not all there is, "" if it is.
	Reason string
	// Encrypted means that something in the file cannot be read without a key.
	Encrypted bool
	// Kind is what the file is, "" if no text is looked for in such files.
	Kind string
	// Off means that the file was not read because files are not to be read.
	Off bool
}

// Pool is a number of children. Its methods are safe for concurrent use.
type Pool struct {
	opts  Options
	slots chan *child // one item for each worker; nil for one that does not run

	closing   chan struct{}
	closeOnce sync.Once

	mu          sync.Mutex
	confinement *Confinement // of the last child that was started; nil before. Guarded by mu
}

// New returns a Pool. Nothing is started yet.
func New(opts Options) (*Pool, error) {
	if len(opts.Command) == 0 {
		return nil, errors.New("extract: no command")
	}
	if opts.Workers <= 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.CPUTime <= 0 {
		opts.CPUTime = opts.Timeout / 3
	}
	if opts.MaxInputBytes <= 0 {
		opts.MaxInputBytes = DefaultMaxInputBytes
	}
	if opts.MaxTextBytes <= 0 {
		opts.MaxTextBytes = DefaultMaxTextBytes
	}
	if opts.MemoryBytes <= 0 {
		opts.MemoryBytes = baseMemory + memoryPerInput*opts.MaxInputBytes
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Pool{opts: opts, slots: make(chan *child, opts.Workers), closing: make(chan struct{})}
	for range opts.Workers {
		p.slots <- nil
	}
	return p, nil
}

// Extract reads a file from r and returns its text. name and mediaType are what
// the sender says, size is the number of bytes or -1. Files in which no text is
// looked for cost nothing but a look at their beginning; r is not always read
// to its end. What is wrong with the file is in Result.Reason; the error is that
// of r, of ctx, or of a child that cannot be started.
func (p *Pool) Extract(ctx context.Context, name, mediaType string, size int64, r io.Reader) (Result, error) {
	head, err := sniff(name, r)
	if err != nil {
		return Result{}, err
	}
	kind := document.Detect(head, mediaType, name)
	if kind == document.KindNone {
		return Result{}, nil
	}
	if kind == document.KindOther {
		return Result{Kind: string(kind), Reason: document.ReasonOther}, nil // without asking a child
	}
	if size > p.opts.MaxInputBytes && !kind.ReadableInPart() {
		return Result{Kind: string(kind), Reason: fmt.Sprintf("larger than %d MiB, not read", p.opts.MaxInputBytes>>20)}, nil
	}
	c, err := p.acquire(ctx)
	if err != nil {
		return Result{}, err
	}
	res, err := c.extract(ctx, name, mediaType, head, r)
	if c.failed || c.files >= filesPerChild {
		c.stop()
		c = nil
	}
	p.slots <- c
	if err != nil {
		return Result{}, fmt.Errorf("extract: %q: %w", name, err)
	}
	if res.Reason != "" {
		p.opts.Logger.Debug("attachment was not read completely", "name", name, "kind", res.Kind, "reason", res.Reason)
	}
	return res, nil
}

// acquire waits for a child, and starts it if it does not run.
func (p *Pool) acquire(ctx context.Context) (*child, error) {
	select {
	case <-p.closing:
		return nil, ErrClosed
	default:
	}
	if k := p.known(); k != nil && k.Unconfined != "" && !p.opts.Unconfined {
		return nil, fmt.Errorf("%w: without %s", ErrUnconfined, k.Unconfined) // another one would not be either
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closing:
		return nil, ErrClosed
	case c := <-p.slots:
		if c != nil {
			return c, nil
		}
		c, err := startChild(ctx, p.opts)
		if c != nil {
			p.mu.Lock()
			p.confinement = &c.confinement
			p.mu.Unlock()
		}
		if err != nil {
			p.slots <- nil
			return nil, fmt.Errorf("extract: start %s: %w", strings.Join(p.opts.Command, " "), err)
		}
		return c, nil
	}
}

// Confinement says how children are confined. If none was started yet, one is.
// The error is ErrUnconfined if no child may run, which is described all the same,
// or that of a child that cannot be started.
func (p *Pool) Confinement(ctx context.Context) (Confinement, error) {
	known := p.known()
	if known == nil {
		c, err := p.acquire(ctx)
		if err != nil && !errors.Is(err, ErrUnconfined) {
			return Confinement{}, err
		}
		if err == nil {
			p.slots <- c
		}
		if known = p.known(); known == nil {
			return Confinement{}, errors.New("extract: a process did not say how it is confined")
		}
	}
	if known.Unconfined != "" && !p.opts.Unconfined {
		return *known, fmt.Errorf("%w: without %s", ErrUnconfined, known.Unconfined)
	}
	return *known, nil
}

func (p *Pool) known() *Confinement {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.confinement
}

// Close ends all children, and waits for files that are being read: cancel their
// contexts first. It is idempotent.
func (p *Pool) Close() {
	p.closeOnce.Do(func() {
		close(p.closing)
		for range p.opts.Workers {
			if c := <-p.slots; c != nil {
				c.stop()
			}
		}
	})
}
