package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/blevesearch/vellum"
	zap "github.com/blevesearch/zapx/v17"
	"github.com/klauspost/compress/snappy"
)

// builder puts a segment together. It keeps its memory for the next one.
//
// A segment is the stored fields of the documents; of each field the postings, the dictionary and the values of the
// documents; and a table of the fields. Bleve's zap.md describes it, and for what it leaves out the source of zapx is
// the reference.
type builder struct {
	docs []numbered // in order
	out  []byte     // the segment

	dict    dictionary
	pids    []uint32  // of each term of each document
	refs    []posting // of all terms, those of one together
	numbers []byte    // frequencies or places of a term
	bounds  []uint32  // of the chunks in numbers
	docNums []uint32
	values  [][]byte
	fst     *vellum.Builder
	fstBuf  bytes.Buffer
	scratch []byte
}

// numbered is a document of the segment.
type numbered struct {
	*Terms
	id string
}

// posting is a term in a document.
type posting struct{ doc, freq, from, to uint32 }

const (
	// noValues stands for the place of the values of a field that has none.
	noValues = math.MaxUint64
	// textSection is zapx's number of what is written here of a field. The others are for synonyms, shapes and vectors.
	textSection = zap.SectionInvertedTextIndex
)

// build returns the segment of documents of the same schema, and the offsets that zapx wants to know.
func (b *builder) build(docs []numbered) (out []byte, stored, sections uint64, err error) {
	size := 0
	for _, d := range docs {
		size += len(d.places) + 4*len(d.terms) // a guess
	}
	b.docs, b.out = docs, slices.Grow(b.out[:0], size)
	defer b.release()
	fields := docs[0].schema.fields
	stored = b.writeStored(docs[0].schema.stored)
	addresses := make([]uint64, len(fields))
	for id, f := range fields {
		if addresses[id], err = b.writeField(id, f); err != nil {
			return nil, 0, 0, err
		}
	}
	sections = b.writeTable(fields, addresses)
	return slices.Clone(b.out), stored, sections, nil
}

// release forgets the documents.
func (b *builder) release() {
	b.docs = nil
	clear(b.values[:cap(b.values)])
}

// writeStored writes the ids and the stored fields, and returns where the table of them is.
func (b *builder) writeStored(field int) uint64 {
	offsets := make([]uint64, len(b.docs))
	var meta []byte
	for i, d := range b.docs {
		offsets[i] = uint64(len(b.out))
		meta = binary.AppendUvarint(meta[:0], uint64(len(d.id)))
		if d.stored != nil {
			meta = append(binary.AppendUvarint(meta, uint64(field)), 't', 0)
			meta = append(binary.AppendUvarint(meta, uint64(len(d.stored))), 0)
		}
		b.scratch = snappy.Encode(b.scratch[:cap(b.scratch)], d.stored)
		b.uvarint(uint64(len(meta)))
		b.uvarint(uint64(len(d.id) + len(b.scratch)))
		b.out = append(append(append(b.out, meta...), d.id...), b.scratch...)
	}
	at := uint64(len(b.out))
	for _, o := range offsets {
		b.out = binary.BigEndian.AppendUint64(b.out, o)
	}
	b.uvarint(0) // documents in documents
	return at
}

func (b *builder) uvarint(n uint64) { b.out = binary.AppendUvarint(b.out, n) }

// writeField writes what there is of a field and returns where it begins.
func (b *builder) writeField(id int, f Field) (address uint64, err error) {
	if err := b.beginDictionary(); err != nil {
		return 0, err
	}
	if id == 0 {
		err = b.writeIDs()
	} else {
		b.collect(id)
		err = b.writePostings(id, f)
	}
	if err != nil {
		return 0, err
	}
	if err := b.fst.Close(); err != nil {
		return 0, err
	}
	dictionary := uint64(len(b.out))
	b.uvarint(uint64(b.fstBuf.Len()))
	b.out = append(b.out, b.fstBuf.Bytes()...)
	from, to := uint64(noValues), uint64(noValues)
	if f.Options.IncludeDocValues() {
		from = uint64(len(b.out))
		b.writeValues(id)
		to = uint64(len(b.out))
	}
	address = uint64(len(b.out))
	for _, n := range []uint64{from, to, dictionary} {
		b.uvarint(n)
	}
	return address, nil
}

func (b *builder) beginDictionary() (err error) {
	b.pids = b.pids[:0]
	b.fstBuf.Reset()
	if b.fst == nil {
		// As zapx makes them: without a search for suffixes in common.
		b.fst, err = vellum.New(&b.fstBuf, &vellum.BuilderOpts{Encoder: 1, RegistryTableSize: 0, RegistryMRUSize: 1})
		return err
	}
	return b.fst.Reset(&b.fstBuf)
}

// collect makes the dictionary of a field, and the postings of each of its terms.
func (b *builder) collect(id int) {
	b.dict.reset()
	for _, d := range b.docs {
		f := d.fields[id]
		from := d.textFrom(f.from)
		for _, t := range d.terms[f.from:f.to] {
			b.pids = append(b.pids, b.dict.pid(d.text[from:t.text]))
			from = t.text
		}
	}
	b.dict.sort()
	b.refs = slices.Grow(b.refs[:0], len(b.pids))[:len(b.pids)]
	n := 0
	for i, d := range b.docs {
		f := d.fields[id]
		from := d.placesFrom(f.from)
		for _, t := range d.terms[f.from:f.to] {
			at := &b.dict.entries[b.pids[n]].next
			b.refs[*at] = posting{uint32(i), t.freq, from, t.places}
			from = t.places
			*at++
			n++
		}
	}
}

// oneHit marks a posting that is in the dictionary itself: of a term of one document, once, without a place.
const oneHit = 1 << 63

func oneHitOf(doc int, length uint32) uint64 { return oneHit | uint64(length)<<31 | uint64(doc) }

// writeIDs inserts the ids, each of which is a term of one document.
func (b *builder) writeIDs() error {
	order := make([]int, len(b.docs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(b.docs[i].id, b.docs[j].id) })
	for _, i := range order {
		if err := b.fst.Insert([]byte(b.docs[i].id), oneHitOf(i, 1)); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) writePostings(id int, f Field) error {
	from := uint32(0)
	for _, s := range b.dict.sorted {
		e := &b.dict.entries[s.pid]
		postings := b.refs[from:e.next]
		from = e.next
		if err := b.fst.Insert(b.dict.key(s.pid), b.writeTerm(id, f, postings)); err != nil {
			return err
		}
	}
	return nil
}

// writeTerm writes the postings of a term and returns what the dictionary says of it.
func (b *builder) writeTerm(id int, f Field, postings []posting) uint64 {
	if p := postings[0]; len(postings) == 1 && p.freq == 1 && p.from == p.to && !f.Options.SkipFreqNorm() {
		if length := b.docs[p.doc].fields[id].length; length > 0 { // 0 means something else there
			return oneHitOf(int(p.doc), length)
		}
	}
	// Chunks are for jumping over documents: so many that each has a thousand of the term at most.
	chunk := uint32(len(b.docs) / (len(postings)/1024 + 1))
	frequencies := b.writeFrequencies(id, f, postings, chunk)
	places := b.writePlaces(id, postings, chunk)
	at := uint64(len(b.out))
	b.uvarint(frequencies)
	b.uvarint(places)
	b.writeDocuments(postings)
	return at
}

func (b *builder) writeFrequencies(id int, f Field, postings []posting, chunk uint32) uint64 {
	b.beginNumbers()
	for _, p := range postings {
		b.upTo(p.doc / chunk)
		hasPlaces := uint64(0)
		if p.to > p.from {
			hasPlaces = 1
		}
		if f.Options.SkipFreqNorm() {
			b.numbers = append(b.numbers, byte(hasPlaces))
			continue
		}
		b.numbers = binary.AppendUvarint(b.numbers, uint64(p.freq)<<1|hasPlaces)
		b.numbers = binary.AppendUvarint(b.numbers, uint64(b.docs[p.doc].fields[id].length))
	}
	return b.writeNumbers(chunk)
}

func (b *builder) writePlaces(id int, postings []posting, chunk uint32) uint64 {
	var room [binary.MaxVarintLen64]byte
	field := binary.AppendUvarint(room[:0], uint64(id))
	b.beginNumbers()
	for _, p := range postings {
		if p.to > p.from {
			b.upTo(p.doc / chunk)
			b.numbers = binary.AppendUvarint(b.numbers, uint64(len(field))+uint64(p.to-p.from)) // bytes that follow
			b.numbers = append(append(b.numbers, field...), b.docs[p.doc].places[p.from:p.to]...)
		}
	}
	return b.writeNumbers(chunk)
}

func (b *builder) beginNumbers() { b.numbers, b.bounds = b.numbers[:0], b.bounds[:0] }

// upTo ends the chunks before one.
func (b *builder) upTo(chunk uint32) {
	for uint32(len(b.bounds)) < chunk {
		b.bounds = append(b.bounds, uint32(len(b.numbers)))
	}
}

// writeNumbers writes the numbers and where their chunks end, and returns where they are, 0 for none.
func (b *builder) writeNumbers(chunk uint32) uint64 {
	if len(b.numbers) == 0 {
		return 0
	}
	b.upTo(uint32(len(b.docs)-1)/chunk + 1)
	at := uint64(len(b.out))
	b.uvarint(uint64(len(b.bounds)))
	for _, end := range b.bounds {
		b.uvarint(uint64(end))
	}
	b.out = append(b.out, b.numbers...)
	return at
}

// writeTable writes where the fields begin, and returns where the table is.
func (b *builder) writeTable(fields []Field, addresses []uint64) uint64 {
	offsets := make([]uint64, len(fields))
	for i, f := range fields {
		offsets[i] = uint64(len(b.out))
		b.uvarint(uint64(len(f.Name)))
		b.out = append(b.out, f.Name...)
		b.uvarint(uint64(f.Options))
		b.uvarint(1) // section
		b.out = binary.BigEndian.AppendUint16(b.out, textSection)
		b.out = binary.BigEndian.AppendUint64(b.out, addresses[i])
	}
	at := uint64(len(b.out))
	b.uvarint(uint64(len(fields)))
	for _, o := range offsets {
		b.out = binary.BigEndian.AppendUint64(b.out, o)
	}
	return at
}
