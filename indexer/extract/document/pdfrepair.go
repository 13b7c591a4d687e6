package document

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/ledongthuc/pdf"
)

const (
	// maxPDFObject is the highest number of an object that is found without a
	// cross-reference table. Each takes some bytes in the table of the library.
	maxPDFObject = 1 << 20
	// maxPDFHead is how much of an object is looked at to tell what it is.
	maxPDFHead = 1 << 10
)

// pdfObjects is where the objects of a file are, found by looking for what they
// begin with: the cross-reference table (ISO 32000-1 section 7.5.4) is missing or wrong.
type pdfObjects struct {
	at      map[int]pdfObject
	root    int   // the catalog, 0 if it was not found
	streams []int // object streams (section 7.5.7)
}

type pdfObject struct{ offset, generation int }

// pdfRoot is what refers to the catalog, in a trailer or in the dictionary of a cross-reference stream.
var pdfRoot = regexp.MustCompile(`^/Root\s+(\d{1,7})\s+\d{1,5}\s+R`)

// findPDFObjects finds the objects that are not in object streams. The last one of a number
// counts, for files are changed by appending.
func findPDFObjects(data []byte) pdfObjects {
	o := pdfObjects{at: make(map[int]pdfObject)}
	catalog, pos := 0, 0
	for {
		i := bytes.Index(data[pos:], []byte("obj"))
		if i < 0 {
			break
		}
		pos += i + len("obj")
		offset, id, generation, ok := objectHead(data[:pos-len("obj")])
		if !ok {
			continue
		}
		o.at[id] = pdfObject{offset, generation}
		head := data[pos:min(len(data), pos+maxPDFHead)]
		if end := bytes.Index(head, []byte("endobj")); end >= 0 {
			head = head[:end]
		}
		head, _, isStream := bytes.Cut(head, []byte("stream"))
		switch {
		case bytes.Contains(head, []byte("/Catalog")):
			catalog = id
		case isStream && bytes.Contains(head, []byte("/ObjStm")):
			o.streams = append(o.streams, id)
		}
		if isStream { // what looks like an object in it is none
			if end := bytes.Index(data[pos:], []byte("endstream")); end >= 0 {
				pos += end
			}
		}
	}
	for end := len(data); o.root == 0; {
		if end = bytes.LastIndex(data[:end], []byte("/Root")); end < 0 {
			break
		}
		if m := pdfRoot.FindSubmatch(data[end:min(len(data), end+64)]); m != nil {
			o.root, _ = strconv.Atoi(string(m[1])) // of digits
		}
	}
	if _, ok := o.at[o.root]; !ok && catalog > 0 {
		o.root = catalog
	}
	return o
}

// objectHead reads the number and the generation that data ends with, and where they begin.
func objectHead(data []byte) (offset, id, generation int, ok bool) {
	generation, data, ok = lastNumber(data)
	if ok {
		id, data, ok = lastNumber(data)
	}
	return len(data), id, generation, ok && id > 0 && id <= maxPDFObject && generation <= 1<<16-1
}

// lastNumber reads the number at the end of data, and returns what stands before it.
func lastNumber(data []byte) (n int, rest []byte, ok bool) {
	const digits = 7
	data = bytes.TrimRight(data, " \t\r\n\f\x00")
	start := len(data)
	for start > 0 && len(data)-start < digits && data[start-1] >= '0' && data[start-1] <= '9' {
		start--
	}
	n, err := strconv.Atoi(string(data[start:]))
	return n, data[:start], err == nil
}

// repairPDF writes a cross-reference table for a file that has none that is right, nil
// if no pages can be found.
func (r *reader) repairPDF(data []byte) []byte {
	o := findPDFObjects(data)
	if len(o.streams) > 0 {
		data = r.unpackObjects(o, data)
		o = findPDFObjects(data)
	}
	if _, ok := o.at[o.root]; !ok {
		return nil
	}
	return o.file(data)
}

// file appends a cross-reference table and a trailer that also names the object streams.
func (o pdfObjects) file(data []byte) []byte {
	b := bytes.NewBuffer(slices.Clip(data))
	b.WriteByte('\n')
	start, last := b.Len(), 0
	b.WriteString("xref\n0 1\n0000000000 65535 f \n")
	for _, id := range slices.Sorted(maps.Keys(o.at)) {
		fmt.Fprintf(b, "%d 1\n%010d %05d n \n", id, o.at[id].offset, o.at[id].generation)
		last = id
	}
	fmt.Fprintf(b, "trailer\n<</Size %d/Root %d %d R/ObjStms[", last+1, o.root, o.at[o.root].generation)
	for _, id := range o.streams {
		fmt.Fprintf(b, "%d %d R ", id, o.at[id].generation)
	}
	fmt.Fprintf(b, "]>>\nstartxref\n%d\n%%%%EOF\n", start)
	return b.Bytes()
}

// unpackObjects appends the objects that are in object streams, as if they never had been there.
func (r *reader) unpackObjects(o pdfObjects, data []byte) []byte {
	file := o.file(data)
	p := &pdfReader{reader: r}
	_ = p.guard(func() error { // as far as they can be read
		doc, err := pdf.NewReader(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return err
		}
		streams := doc.Trailer().Key("ObjStms")
		for i := range streams.Len() {
			if err := r.stopped(); err != nil {
				return err
			}
			_ = p.guard(func() error {
				content, err := p.content(streams.Index(i))
				changed := func(id int) bool { return o.at[id].offset > o.at[o.streams[i]].offset }
				data = appendObjects(data, content, int(streams.Index(i).Key("First").Int64()), changed, int(r.limits.MemberBytes))
				return err
			})
		}
		return nil
	})
	return data
}

// appendObjects appends the objects of an object stream, but those that have changed since, until
// data has limit bytes. First come pairs of number and offset, then, from first on, the objects.
func appendObjects(data, content []byte, first int, changed func(id int) bool, limit int) []byte {
	if first < 0 || first > len(content) {
		return data
	}
	data = slices.Clip(data)
	pairs, objects := bytes.Fields(content[:first]), content[first:]
	for len(pairs) > 1 && len(data) < limit {
		id, err := strconv.Atoi(string(pairs[0]))
		from, err2 := strconv.Atoi(string(pairs[1]))
		pairs = pairs[2:]
		if err != nil || err2 != nil || from < 0 || from > len(objects) || changed(id) {
			continue
		}
		to := len(objects)
		if len(pairs) > 1 {
			if next, err := strconv.Atoi(string(pairs[1])); err == nil && next >= from && next <= to {
				to = next
			}
		}
		data = fmt.Appendf(data, "\n%d 0 obj\n%s\nendobj\n", id, objects[from:to])
	}
	return data
}
