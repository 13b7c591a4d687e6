package indexer

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	index "github.com/blevesearch/bleve_index_api"
)

// maxColumns bounds the memory of all columns, in bytes. A message takes about 130, so that some 700,000 have
// room; of older ones the values are read from the index, which takes four times as long.
const maxColumns = 96 << 20

// columns keeps in memory what searches read of every hit: its times, and what it counts for in facets. In the index these values
// lie compressed, a thousand documents together, and half of the time of a search with facets went into taking them
// apart. They are of one view of a generation. A new one, as each batch of new mail makes it, begins without; they are made when as
// many values were read from the index as making them takes, so that a generation that grows all the time has none.
// The methods are safe for concurrent use.
type columns struct {
	pool *columnPool // nil for none at all

	mu     sync.Mutex
	of     index.IndexReader
	fields map[string]*column
	bytes  int64
	full   bool // there was no room
	busy   bool // somebody is making them

	read atomic.Int64 // documents read from the index since the view is this one
}

// columnPool is the room for the columns of all generations.
type columnPool struct{ used atomic.Int64 }

// take reports whether there was room.
func (p *columnPool) take(bytes int64) bool {
	if p.used.Add(bytes) <= maxColumns {
		return true
	}
	p.used.Add(-bytes)
	return false
}

// A column is the values of one field: of document n those that ords[starts[n]:starts[n+1]] says.
type column struct {
	starts, ords []uint32
	// Term i is text[ends[i]:ends[i+1]].
	ends []uint32
	text []byte
}

func (c *column) bytes() int64 {
	return 4*int64(cap(c.starts)+cap(c.ords)+cap(c.ends)) + int64(cap(c.text))
}

func (c *column) visit(field string, doc uint64, visit index.DocValueVisitor) {
	if doc+1 >= uint64(len(c.starts)) {
		return
	}
	for _, ord := range c.ords[c.starts[doc]:c.starts[doc+1]] {
		visit(field, c.text[c.ends[ord]:c.ends[ord+1]:c.ends[ord+1]])
	}
}

// values returns what reads fields of the documents of a view.
func (c *columns) values(of index.IndexReader, fields []string) (index.DocValueReader, error) {
	if c.pool == nil {
		return of.DocValueReader(fields)
	}
	documents, err := of.DocCount()
	if err != nil {
		return nil, err
	}
	found, missing := c.find(of, fields, documents)
	if len(missing) > 0 {
		made, err := makeColumns(of, missing)
		if err = errors.Join(err, c.keep(of, made)); err != nil {
			return nil, err
		}
		found, _ = c.find(of, fields, documents)
	}
	if found != nil {
		return found, nil
	}
	values, err := of.DocValueReader(fields)
	return &countedValues{values, &c.read}, err
}

// find returns the columns of all fields, or nil; and those that the caller has to make, and to keep.
func (c *columns) find(of index.IndexReader, fields []string, documents uint64) (found *columnValues, missing []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of != of {
		c.drop()
		c.of = of
	}
	found = &columnValues{fields: fields, columns: make([]*column, len(fields))}
	for i, f := range fields {
		if found.columns[i] = c.fields[f]; found.columns[i] == nil {
			missing = append(missing, f)
		}
	}
	switch {
	case len(missing) == 0:
		return found, nil
	case c.full || c.busy || uint64(c.read.Load()) < documents:
		return nil, nil
	}
	c.busy = true
	return nil, missing
}

// keep takes in columns of a view, if it is still the one and there is room.
func (c *columns) keep(of index.IndexReader, made map[string]*column) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of != of {
		return nil
	}
	c.busy = false
	var bytes int64
	for _, one := range made {
		bytes += one.bytes()
	}
	if !c.pool.take(bytes) {
		c.full = true
		return nil
	}
	c.bytes += bytes
	for name, one := range made {
		c.fields[name] = one
	}
	return nil
}

// drop forgets everything, with c.mu held.
func (c *columns) drop() {
	if c.pool != nil {
		c.pool.used.Add(-c.bytes)
	}
	c.of, c.fields, c.bytes, c.full, c.busy = nil, map[string]*column{}, 0, false, false
	c.read.Store(0)
}

// close gives the memory back.
func (c *columns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

// makeColumns reads the fields of all documents.
func makeColumns(of index.IndexReader, fields []string) (made map[string]*column, err error) {
	documents, err := of.DocIDReaderAll()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, documents.Close()) }()
	values, err := of.DocValueReader(fields)
	if err != nil {
		return nil, err
	}
	builders := make(map[string]*columnBuilder, len(fields))
	for _, f := range fields {
		builders[f] = &columnBuilder{known: map[string]uint32{}, column: column{ends: []uint32{0}}}
	}
	for {
		id, err := documents.Next()
		if err != nil {
			return nil, err
		}
		if id == nil {
			break
		}
		for _, b := range builders {
			if err := b.upTo(id.Value()); err != nil {
				return nil, err
			}
		}
		if err := values.VisitDocValues(id, func(field string, term []byte) { builders[field].add(term) }); err != nil {
			return nil, err
		}
	}
	made = make(map[string]*column, len(fields))
	for name, b := range builders {
		b.starts = append(b.starts, uint32(len(b.ords)))
		made[name] = &b.column
	}
	return made, nil
}

type columnBuilder struct {
	column
	known map[string]uint32
}

// upTo begins a document. Those between it and the one before were deleted.
func (b *columnBuilder) upTo(doc uint64) error {
	if doc < uint64(len(b.starts)) {
		return fmt.Errorf("document %d comes behind %d", doc, len(b.starts)-1)
	}
	for uint64(len(b.starts)) <= doc {
		b.starts = append(b.starts, uint32(len(b.ords)))
	}
	return nil
}

func (b *columnBuilder) add(term []byte) {
	ord, ok := b.known[string(term)]
	if !ok {
		ord = uint32(len(b.ends) - 1)
		b.known[string(term)] = ord
		b.text = append(b.text, term...)
		b.ends = append(b.ends, uint32(len(b.text)))
	}
	b.ords = append(b.ords, ord)
}

// columnValues is a DocValueReader of columns.
type columnValues struct {
	fields  []string
	columns []*column
}

func (v *columnValues) VisitDocValues(id index.IndexInternalID, visit index.DocValueVisitor) error {
	doc := id.Value()
	for i, c := range v.columns {
		c.visit(v.fields[i], doc, visit)
	}
	return nil
}

func (v *columnValues) BytesRead() uint64 { return 0 }

// countedValues counts the documents that are read from the index.
type countedValues struct {
	index.DocValueReader
	read *atomic.Int64
}

func (v *countedValues) VisitDocValues(id index.IndexInternalID, visit index.DocValueVisitor) error {
	v.read.Add(1)
	return v.DocValueReader.VisitDocValues(id, visit)
}
