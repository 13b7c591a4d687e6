package document

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/ledongthuc/pdf"
)

const (
	// maxPageNodes is the number of nodes of the page tree that are visited: pages,
	// and what groups them. Trees that hold themselves have no end.
	maxPageNodes = 50_000
	// maxPageDepth is the depth of the page tree and of other trees.
	maxPageDepth = 50
	// maxForms is how many times content refers to other content.
	maxForms = 10_000
	// maxFormDepth is how deep.
	maxFormDepth = 12
)

var (
	errUnmapped = errors.New("text in a font that does not say what its characters are")
	errPictures = errors.New("no text in it, it may be scanned")
)

// pdfReader reads the pages of one document (ISO 32000-1). The library parses
// objects and undoes filters and encryption; what content means is found out here,
// because words stand where their glyphs are put, not in the order of bytes.
type pdfReader struct {
	*reader
	fonts    map[string]*pdfFont // by the text of the dictionary, whose references identify it
	nodes    int
	forms    int
	path     []string // forms that are being shown, each within the one before
	shown    bool     // there was text
	unmapped bool
}

// pdf reads a document: properties, pages with notes and form fields, embedded
// files. One in which nothing can be found is read once more with another cross-reference table.
func (r *reader) pdf(data []byte, where string, depth int) error {
	data = tidyPDF(data)
	p := &pdfReader{reader: r, fonts: make(map[string]*pdfFont)}
	err := p.guard(func() error { return p.read(data, where, depth) })
	if !errors.Is(err, errDamaged) || p.shown || r.stopped() != nil {
		return err
	}
	repaired := r.repairPDF(data)
	if repaired == nil {
		return err
	}
	p = &pdfReader{reader: r, fonts: make(map[string]*pdfFont)}
	if again := p.guard(func() error { return p.read(repaired, where, depth) }); p.shown || !errors.Is(again, errDamaged) {
		return again
	}
	return err
}

func (p *pdfReader) read(data []byte, where string, depth int) error {
	doc, err := pdf.NewReader(bytes.NewReader(data), int64(len(data)))
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "encrypt"):
		return errEncrypted
	default:
		return fmt.Errorf("%w (%w)", errDamaged, err)
	}
	for _, key := range []string{"Title", "Subject", "Author", "Keywords"} {
		p.field(doc.Trailer().Key("Info").Key(key).Text())
	}
	root := doc.Trailer().Key("Root")
	pages := root.Key("Pages")
	if pages.Kind() != pdf.Dict {
		return fmt.Errorf("%w (no pages)", errDamaged)
	}
	err = p.guard(func() error { return p.pages(pages, pdf.Value{}, 0) })
	if err == nil {
		err = p.guard(func() error { return p.embedded(root.Key("Names").Key("EmbeddedFiles"), where, depth, 0) })
	}
	switch {
	case err != nil:
		return err
	case p.unmapped:
		return errUnmapped
	case !p.shown && p.nodes > 0 && !p.full:
		return errPictures
	}
	return nil
}

// tidyPDF takes off what stands before the header and behind the end, which
// mail programs and downloads leave there, and writes a version that the library
// takes: it knows 1.0 to 1.7, on a line of its own.
func tidyPDF(data []byte) []byte {
	const header, end = "%PDF-1.7\n", "%%EOF"
	if i := bytes.Index(data, []byte("%PDF-")); i > 0 {
		data = data[i:]
	}
	if i := bytes.LastIndex(data, []byte(end)); i >= 0 {
		data = data[:i+len(end)]
	}
	if len(data) < len(header) {
		return data
	}
	return append([]byte(header), data[len(header):]...)
}

// guard turns a panic of the library, which is how it reports errors, into an
// error, so that the rest is read.
func (p *pdfReader) guard(f func() error) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("%w (%v)", errDamaged, x)
		}
	}()
	return f()
}

// pages walks the page tree. Resources are inherited.
func (p *pdfReader) pages(node, resources pdf.Value, depth int) error {
	p.nodes++
	if p.nodes > maxPageNodes || depth > maxPageDepth {
		return fmt.Errorf("%w (page tree without end)", errDamaged)
	}
	if err := p.stopped(); err != nil {
		return err
	}
	if node.Kind() != pdf.Dict {
		return fmt.Errorf("%w (a page is missing)", errDamaged)
	}
	if own := node.Key("Resources"); own.Kind() == pdf.Dict {
		resources = own
	}
	kids := node.Key("Kids")
	if kids.Kind() != pdf.Array {
		return p.guard(func() error { return p.page(node, resources) })
	}
	var failed error
	for i := range kids.Len() {
		if err := p.pages(kids.Index(i), resources, depth+1); err != nil {
			if p.nodes > maxPageNodes || p.stopped() != nil {
				return err
			}
			failed = err // the other pages may be sound
		}
	}
	return failed
}

func (p *pdfReader) page(page, resources pdf.Value) error {
	data, failed := p.content(page.Key("Contents"))
	p.run(data, resources, identity, 0)
	p.newline()
	annotations := page.Key("Annots")
	for i := range min(annotations.Len(), maxMembers) {
		if p.full {
			break
		}
		if err := p.guard(func() error { return p.annotation(annotations.Index(i)) }); err != nil {
			failed = err
		}
	}
	p.newline()
	return failed
}

// annotation reads a note, a link or a form field as it is shown.
func (p *pdfReader) annotation(a pdf.Value) error {
	p.field(a.Key("Contents").Text())
	p.field(a.Key("A").Key("URI").Text())
	shown := a.Key("AP").Key("N")
	if state := a.Key("AS").Name(); shown.Kind() == pdf.Dict && state != "" {
		shown = shown.Key(state)
	}
	if shown.Kind() != pdf.Stream {
		return nil
	}
	data, err := p.content(shown)
	p.run(data, shown.Key("Resources"), identity, 0)
	p.newline()
	return err
}

// content returns the content stream, or several as one. What can be read of a
// damaged one is returned with the error.
func (p *pdfReader) content(v pdf.Value) ([]byte, error) {
	if v.Kind() == pdf.Stream {
		var data []byte
		err := p.guard(func() error {
			in := v.Reader()
			defer in.Close()
			var err error
			data, err = p.prefix(in)
			return err
		})
		return data, err
	}
	var all []byte
	var failed error
	for i := range v.Len() {
		if v.Index(i).Kind() != pdf.Stream {
			continue
		}
		data, err := p.content(v.Index(i))
		if err != nil {
			failed = err
		}
		all = append(append(all, data...), '\n')
		if int64(len(all)) > p.limits.MemberBytes {
			return all, errUnpacked
		}
	}
	return all, failed
}

// embedded reads the files in a name tree.
func (p *pdfReader) embedded(tree pdf.Value, where string, depth, level int) error {
	p.nodes++
	if level > maxPageDepth || p.nodes > maxPageNodes {
		return fmt.Errorf("%w (name tree without end)", errDamaged)
	}
	names := tree.Key("Names")
	for i := 1; i < names.Len(); i += 2 {
		if err := p.stopped(); err != nil {
			return err
		}
		spec := names.Index(i)
		if spec.IsNull() {
			return fmt.Errorf("%w (an embedded file is missing)", errDamaged)
		}
		f := File{Name: spec.Key("UF").Text()}
		if f.Name == "" {
			f.Name = spec.Key("F").Text()
		}
		data, err := p.content(spec.Key("EF").Key("F"))
		if err != nil {
			return err
		}
		f.Data = data
		p.shown = true
		p.member(f, where, depth)
	}
	kids := tree.Key("Kids")
	for i := range kids.Len() {
		if err := p.embedded(kids.Index(i), where, depth, level+1); err != nil {
			return err
		}
	}
	return nil
}

// matrix is [a b c d e f] of ISO 32000-1 section 8.3.3.
type matrix [6]float64

var identity = matrix{1, 0, 0, 1, 0, 0}

// mul returns the matrix that applies m and then n.
func (m matrix) mul(n matrix) matrix {
	return matrix{
		m[0]*n[0] + m[1]*n[2], m[0]*n[1] + m[1]*n[3],
		m[2]*n[0] + m[3]*n[2], m[2]*n[1] + m[3]*n[3],
		m[4]*n[0] + m[5]*n[2] + n[4], m[4]*n[1] + m[5]*n[3] + n[5],
	}
}

// gaps between the end of one piece of text and the start of the next, in parts
// of the font size.
const (
	wordGap = 0.16 // half of a narrow space
	lineGap = 0.5  // superscripts stay on their line
	backGap = 1.0  // text further back begins something else
)

// place writes what separates a piece of text at m from the one that ended at
// end: nothing inside a word.
func (p *pdfReader) place(end *[2]float64, m matrix, size float64) {
	scale := math.Hypot(m[0], m[1])
	if unit := size * scale; end != nil && unit > 0 {
		dx, dy := m[4]-end[0], m[5]-end[1]
		along := (dx*m[0] + dy*m[1]) / scale / unit
		across := (dy*m[0] - dx*m[1]) / scale / unit
		switch {
		case math.Abs(across) > lineGap || along < -backGap:
			p.newline()
		case along > wordGap:
			p.separate(' ')
		}
	} else {
		p.newline()
	}
}
