package segment

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	index "github.com/blevesearch/bleve_index_api"
	"github.com/klauspost/compress/snappy"
)

// writeDocuments writes the numbers of the documents as a Roaring bitmap (RoaringFormatSpec): those of few
// documents of the first 65,536, which nearly all are, without making one.
func (b *builder) writeDocuments(postings []posting) {
	const (
		noRuns   = 12346 // cookie
		most     = 4096  // more take a bitmap
		overhead = 16
	)
	if last := postings[len(postings)-1].doc; len(postings) > most || last >= 1<<16 {
		b.docNums = b.docNums[:0]
		for _, p := range postings {
			b.docNums = append(b.docNums, p.doc)
		}
		set := roaring.BitmapOf(b.docNums...)
		b.uvarint(set.GetSerializedSizeInBytes())
		// Appending to memory does not fail.
		w := bytes.NewBuffer(b.out)
		_, _ = set.WriteTo(w)
		b.out = w.Bytes()
		return
	}
	b.uvarint(uint64(overhead + 2*len(postings)))
	for _, n := range []uint32{noRuns, 1} { // one container
		b.out = binary.LittleEndian.AppendUint32(b.out, n)
	}
	b.out = binary.LittleEndian.AppendUint16(b.out, 0) // from document 0 on
	b.out = binary.LittleEndian.AppendUint16(b.out, uint16(len(postings)-1))
	b.out = binary.LittleEndian.AppendUint32(b.out, overhead) // where it begins
	for _, p := range postings {
		b.out = binary.LittleEndian.AppendUint16(b.out, uint16(p.doc))
	}
}

// valuesChunk is how many documents have their values compressed together.
const valuesChunk = 1024

// writeValues writes the terms of each document in order, compressed by chunks, and where the chunks end.
func (b *builder) writeValues(id int) {
	start := len(b.out)
	var ends []uint64
	var meta, data []byte
	for from := 0; from < len(b.docs); from += valuesChunk {
		meta, data = meta[:0], data[:0]
		count := uint64(0)
		for i, d := range b.docs[from:min(from+valuesChunk, len(b.docs))] {
			before := len(data)
			if data = b.appendValues(data, d.Terms, id); len(data) > before {
				count++
				meta = binary.AppendUvarint(meta, uint64(from+i))
				meta = binary.AppendUvarint(meta, uint64(len(data)))
			}
		}
		if count > 0 {
			b.uvarint(count)
			b.out = append(b.out, meta...)
			b.scratch = snappy.Encode(b.scratch[:cap(b.scratch)], data)
			b.out = append(b.out, b.scratch...)
		}
		ends = append(ends, uint64(len(b.out)-start))
	}
	at := len(b.out)
	for _, end := range ends {
		b.uvarint(end)
	}
	b.out = binary.BigEndian.AppendUint64(b.out, uint64(len(b.out)-at))
	b.out = binary.BigEndian.AppendUint64(b.out, uint64(len(ends)))
}

func (b *builder) appendValues(data []byte, d *Terms, id int) []byte {
	f := d.fields[id]
	from := d.textFrom(f.from)
	b.values = b.values[:0]
	for _, t := range d.terms[f.from:f.to] {
		b.values = append(b.values, d.text[from:t.text])
		from = t.text
	}
	slices.SortFunc(b.values, bytes.Compare)
	for _, v := range b.values {
		data = append(append(data, v...), index.DocValueTermSeparator)
	}
	return data
}
