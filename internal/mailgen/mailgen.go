// Package mailgen makes mail that looks like a company's: several languages,
// charsets and structures, attachments, threads, reports, and some that is broken.
//
// Everything is deterministic: the same options give the same bytes, message
// by message, in any order. The text comes from small word lists of our own.
package mailgen

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// Options describe the mail to make. The zero value is usable.
type Options struct {
	// Seed selects the mail.
	Seed uint64
	// Start is the date of the first message; 2026-01-05 08:00 UTC if zero.
	Start time.Time
	// Interval is the mean time between two messages; 20 minutes if zero.
	Interval time.Duration
	// Count is how many messages All yields.
	Count int
	// Domain is that of the recipients; example.com if empty.
	Domain string
	// Mailboxes are the local parts of the recipients; sales, support and
	// archive if empty.
	Mailboxes []string
}

func (o Options) withDefaults() Options {
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)
	}
	if o.Interval == 0 {
		o.Interval = 20 * time.Minute
	}
	if o.Domain == "" {
		o.Domain = "example.com"
	}
	if len(o.Mailboxes) == 0 {
		o.Mailboxes = []string{"sales", "support", "archive"}
	}
	return o
}

// A Generator makes messages. It is safe for concurrent use.
type Generator struct {
	opts     Options
	lexicons map[string]*lexicon
	cycle    []spec // message i is of the kind cycle[i%len(cycle)]
	thread   []int  // the places in the cycle that form one thread, ascending
}

// New returns a generator.
func New(opts Options) (*Generator, error) {
	if opts.Count < 0 || opts.Interval < 0 {
		return nil, errors.New("mailgen: count and interval must not be negative")
	}
	g := &Generator{opts: opts.withDefaults(), lexicons: make(map[string]*lexicon)}
	var err error
	if g.lexicons, err = readLexicons(); err != nil {
		return nil, fmt.Errorf("mailgen: %w", err)
	}
	for _, s := range specs() {
		for range s.weight {
			g.cycle = append(g.cycle, s)
		}
	}
	shuffle := rand.New(rand.NewPCG(opts.Seed, ^uint64(0)))
	shuffle.Shuffle(len(g.cycle), func(i, j int) { g.cycle[i], g.cycle[j] = g.cycle[j], g.cycle[i] })
	for i, s := range g.cycle {
		if s.kind == Thread {
			g.thread = append(g.thread, i)
		}
	}
	return g, nil
}

// All yields messages 0 to Count-1 with their numbers.
func (g *Generator) All() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for i := range g.opts.Count {
			if !yield(i, g.Message(i)) {
				return
			}
		}
	}
}

// Message returns message i, for any i from 0, as POP3 delivers it: with CRLF line
// ends, except in the kinds that are broken. The caller owns the bytes.
func (g *Generator) Message(i int) []byte {
	e := g.envelope(i)
	return e.spec.build(g, e)
}

// Kind returns what message i is an example of.
func (g *Generator) Kind(i int) Kind { return g.spec(i).kind }

// Mailbox returns which of the mailboxes message i is for.
func (g *Generator) Mailbox(i int) string { return g.envelope(i).mailbox }

func (g *Generator) spec(i int) spec { return g.cycle[i%len(g.cycle)] }

// An address is a person at a place.
type address struct{ name, addr string }

// An envelope is what is known of a message before its content, from its number alone.
type envelope struct {
	rng     *rand.Rand
	spec    spec
	lex     *lexicon
	domain  string // of the recipient
	mailbox string // of the recipient
	from    address
	to      string
	subject string
	date    time.Time
	id      string // Message-ID with angle brackets
	// parents are the Message-IDs of the thread so far, the first one first.
	parents []string
}

func (g *Generator) envelope(i int) *envelope {
	e := &envelope{spec: g.spec(i), domain: g.opts.Domain, rng: rand.New(rand.NewPCG(g.opts.Seed, uint64(i)))}
	unique := e.rng.Uint64()
	e.lex = g.lexicons[pick(e.rng, e.spec.languages)]
	e.mailbox = pick(e.rng, g.opts.Mailboxes)
	e.to = e.mailbox + "@" + e.domain
	jitter := time.Duration(e.rng.Int64N(int64(g.opts.Interval/2 + 1)))
	e.date = g.opts.Start.Add(time.Duration(i)*g.opts.Interval + jitter).Truncate(time.Second)
	parents := g.parents(i)
	if len(parents) > 0 { // a reply is in the language and the mailbox of the thread
		root := g.envelope(parents[0])
		e.lex, e.mailbox, e.to, e.subject = root.lex, root.mailbox, root.to, "Re: "+root.subject
		for _, p := range parents {
			e.parents = append(e.parents, g.envelope(p).id)
		}
	} else {
		e.subject = e.lex.expand(e.rng, pick(e.rng, e.lex.subjects))
	}
	e.date = e.date.In(e.lex.zone)
	p := pick(e.rng, e.lex.people)
	e.from = address{p.name, p.local + "@" + e.lex.domain}
	e.id = fmt.Sprintf("<%016x.%d@%s>", unique, i, e.lex.domain)
	return e
}

// parents returns the numbers of the earlier messages of the thread of message i.
func (g *Generator) parents(i int) []int {
	if g.Kind(i) != Thread {
		return nil
	}
	first := i - i%len(g.cycle)
	var earlier []int
	for _, place := range g.thread {
		if first+place < i {
			earlier = append(earlier, first+place)
		}
	}
	return earlier
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }
