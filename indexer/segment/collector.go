package segment

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// Collector makes Terms. It keeps its memory for those of the next document, and is not safe for concurrent use.
type Collector struct {
	schema *Schema
	seed   maphash.Seed
	doc    Terms // those that are being made, with room for more
	field  int   // the one that is being made

	// table finds the terms of the field: its first size slots, those of another stamp being empty.
	table  []slot
	size   uint32
	stamp  uint32
	hashes []uint32 // of the terms of the document
	// occurrences are those of all terms of the field, in the order of the text; nothing for a field without places.
	occurrences []occurrence
	// Used by pack.
	ends      []uint32
	positions []uint32
}

type slot struct{ stamp, term uint32 }

type occurrence struct{ term, position uint32 }

// smallTable is the size of the table of a field with few terms.
const smallTable = 64

// NewCollector returns a collector for documents of a schema.
func NewCollector(s *Schema) *Collector {
	return &Collector{schema: s, seed: maphash.MakeSeed(), table: make([]slot, smallTable), doc: Terms{schema: s, fields: make([]span, len(s.fields))}}
}

// maxKept is how many terms, and 16 times as many bytes of text, a collector keeps room for: more than nearly every message has.
const maxKept = 1 << 16

// Begin begins with a document. What was collected and not taken is dropped.
func (c *Collector) Begin() {
	if cap(c.doc.terms) > maxKept || cap(c.doc.text) > 16*maxKept || cap(c.occurrences) > 8*maxKept {
		*c = *NewCollector(c.schema)
	}
	clear(c.doc.fields)
	c.doc.terms, c.doc.text, c.doc.places = c.doc.terms[:0], c.doc.text[:0], c.doc.places[:0]
	c.hashes, c.field, c.occurrences = c.hashes[:0], 0, c.occurrences[:0]
}

// Field ends the field before, and begins with another one of the schema, once a document. A name that the schema does not have is a
// mistake of the caller.
func (c *Collector) Field(name string) {
	c.pack()
	c.field = c.schema.ids[name]
	n := uint32(len(c.doc.terms))
	c.doc.fields[c.field] = span{from: n, to: n}
	c.size = smallTable
	c.nextStamp()
}

func (c *Collector) nextStamp() {
	if c.stamp++; c.stamp == 0 {
		clear(c.table)
		c.stamp = 1
	}
}

// Length is the number of words that were added to the field.
func (c *Collector) Length() int { return int(c.doc.fields[c.field].length) }

// Add counts a term at a position, which is not negative, and reports whether it is the first of its kind in the
// field. The bytes of the term are copied.
func (c *Collector) Add(term []byte, position int) (first bool) {
	i, first := c.count(term)
	c.doc.fields[c.field].length++
	if c.schema.fields[c.field].Options.IncludeTermVectors() {
		c.occurrences = append(c.occurrences, occurrence{i, uint32(position)})
	}
	return first
}

// Mark counts a term that has no position, and is no word of the field.
func (c *Collector) Mark(term []byte) { c.count(term) }

// count returns the number of a term in the document.
func (c *Collector) count(text []byte) (i uint32, first bool) {
	f, terms := &c.doc.fields[c.field], c.doc.terms
	hash := uint32(maphash.Bytes(c.seed, text))
	at := hash & (c.size - 1)
	for ; c.table[at].stamp == c.stamp; at = (at + 1) & (c.size - 1) {
		i := c.table[at].term
		if c.hashes[i] == hash && string(c.doc.text[c.doc.textFrom(i):terms[i].text]) == string(text) {
			terms[i].freq++
			return i, false
		}
	}
	c.table[at] = slot{c.stamp, f.to}
	c.doc.text = append(c.doc.text, text...)
	c.doc.terms = append(terms, term{text: uint32(len(c.doc.text)), freq: 1})
	c.hashes = append(c.hashes, hash)
	f.to++
	if 2*(f.to-f.from) > c.size {
		c.grow(*f)
	}
	return f.to - 1, true
}

// grow makes the table of the field twice as large.
func (c *Collector) grow(f span) {
	if c.size *= 2; int(c.size) > len(c.table) {
		c.table = make([]slot, c.size)
	}
	c.nextStamp()
	for i := f.from; i < f.to; i++ {
		at := c.hashes[i] & (c.size - 1)
		for c.table[at].stamp == c.stamp {
			at = (at + 1) & (c.size - 1)
		}
		c.table[at] = slot{c.stamp, i}
	}
}

// pack ends the field: it writes the places of its terms.
func (c *Collector) pack() {
	f := c.doc.fields[c.field]
	terms := c.doc.terms[f.from:f.to]
	// Sorted by term, in the order of the text.
	c.ends = append(c.ends[:0], make([]uint32, len(terms)+1)...)
	for _, o := range c.occurrences {
		c.ends[o.term-f.from+1]++
	}
	for i := range terms {
		c.ends[i+1] += c.ends[i]
	}
	c.positions = slices.Grow(c.positions[:0], len(c.occurrences))[:len(c.occurrences)]
	for _, o := range c.occurrences {
		at := &c.ends[o.term-f.from]
		c.positions[*at] = o.position
		*at++
	}
	from := uint32(0)
	for i := range terms {
		c.doc.places = appendPlaces(c.doc.places, c.positions[from:c.ends[i]])
		terms[i].places, from = uint32(len(c.doc.places)), c.ends[i]
	}
	c.occurrences = c.occurrences[:0]
}

// appendPlaces writes all places of a term as one location of Bleve in the form that takes the least room: its
// position is the first place, its start how far the second is behind it, its end how far the third is behind that, its
// array positions the same for all others. One of its own for each place would take five numbers.
// Nothing of Bleve looks at them.
func appendPlaces(b []byte, positions []uint32) []byte {
	if len(positions) == 0 {
		return b
	}
	before := uint64(0)
	for _, p := range positions[:min(len(positions), 3)] {
		b = binary.AppendUvarint(b, uint64(p)-before)
		before = uint64(p)
	}
	for range 3 - len(positions) {
		b = append(b, 0)
	}
	rest := positions[min(len(positions), 3):]
	b = binary.AppendUvarint(b, uint64(len(rest)))
	for _, p := range rest {
		b = binary.AppendUvarint(b, uint64(p)-before)
		before = uint64(p)
	}
	return b
}

// Terms ends the document and returns its terms.
func (c *Collector) Terms() *Terms {
	c.pack()
	c.field = 0 // which has no terms
	return &Terms{
		schema: c.schema, fields: slices.Clone(c.doc.fields),
		terms: slices.Clone(c.doc.terms), text: slices.Clone(c.doc.text), places: slices.Clone(c.doc.places),
	}
}
