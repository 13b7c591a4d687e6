package document

import (
	"archive/zip"
	"cmp"
	"encoding/xml"
	"fmt"
	"path"
	"slices"
	"strings"
)

var errMissing = fmt.Errorf("%w (a part is missing)", errDamaged)

// bundle is an office document: parts in a zip file.
type bundle struct {
	*reader
	files map[string]*zip.File // by bundleName
	order []*zip.File
	where string
	depth int
}

// bundleName makes part names comparable (ECMA-376 part 2 section 6.2.2: ASCII
// case is ignored). Some producers write backslashes.
func bundleName(name string) string {
	return strings.ToLower(strings.TrimPrefix(path.Clean(strings.ReplaceAll(name, `\`, "/")), "/"))
}

// part returns the content of a part, nil if there is none. What is wrong with
// it is noted.
func (b *bundle) part(name string) []byte {
	f := b.files[bundleName(name)]
	if f == nil || b.stopped() != nil {
		return nil
	}
	data, err := b.unzip(f)
	if err != nil {
		b.note(b.where, err)
	}
	return data
}

// relation is a reference of one part to another (ECMA-376 part 2 section 6.5).
type relation struct {
	id, kind, target string
	external         bool
}

// relations returns what a part refers to, "" being the document.
func (b *bundle) relations(part string) []relation {
	dir, base := path.Split(part)
	var list []relation
	_ = b.xml(b.part(dir+"_rels/"+base+".rels"), xmlHandler{start: func(name string, attrs []xml.Attr) { // as far as it can be read
		if name != "Relationship" {
			return
		}
		rel := relation{
			id:       attribute(attrs, "Id"),
			kind:     path.Base(attribute(attrs, "Type")), // transitional and strict ones differ in front
			target:   attribute(attrs, "Target"),
			external: attribute(attrs, "TargetMode") == "External",
		}
		if !rel.external {
			if !strings.HasPrefix(rel.target, "/") {
				rel.target = path.Join(dir, rel.target)
			}
			rel.target = strings.TrimPrefix(rel.target, "/")
		}
		list = append(list, rel)
	}})
	return list
}

// mainRelations returns what the main part refers to. Where that is missing, or cannot
// be read, the names that Office gives to parts say it, and nothing has an id.
func (b *bundle) mainRelations(main string) []relation {
	if list := b.relations(main); len(list) > 0 {
		return list
	}
	var list []relation
	for _, f := range b.order {
		base, isXML := strings.CutSuffix(path.Base(bundleName(f.Name)), ".xml")
		if !isXML || !strings.HasPrefix(bundleName(f.Name), bundleName(path.Dir(main))+"/") {
			continue
		}
		kind := strings.TrimRight(base, "0123456789")
		if kind == "sheet" {
			kind = "worksheet"
		}
		list = append(list, relation{kind: kind, target: f.Name})
	}
	slices.SortStableFunc(list, func(a, b relation) int { // slide2 before slide10
		return cmp.Or(cmp.Compare(len(a.target), len(b.target)), strings.Compare(a.target, b.target))
	})
	return list
}

// related returns the targets of one kind, in order.
func related(list []relation, kind string) []string {
	var targets []string
	for _, rel := range list {
		if strings.EqualFold(rel.kind, kind) && !rel.external {
			targets = append(targets, rel.target)
		}
	}
	return targets
}

// openXML reads a document of Office 2007 and later (ECMA-376).
func (b *bundle) openXML() error {
	b.properties("docProps/core.xml")
	main := related(b.relations(""), "officeDocument")
	if len(main) == 0 {
		main = []string{"word/document.xml", "xl/workbook.xml", "ppt/presentation.xml"}
	}
	main = slices.DeleteFunc(main, func(name string) bool { return b.files[bundleName(name)] == nil })
	if len(main) == 0 {
		return errDamaged
	}
	var err error
	switch kind := main[0]; {
	case path.Ext(kind) == ".bin":
		b.note(b.where, errBinaryWorkbook)
	case strings.HasPrefix(bundleName(kind), "xl/"):
		err = b.workbook(main[0])
	case strings.HasPrefix(bundleName(kind), "ppt/"):
		err = b.presentation(main[0])
	default:
		err = b.wordDocument(main[0])
	}
	if err == nil {
		err = b.embedded()
	}
	return err
}

// embedded reads the documents inside the document.
func (b *bundle) embedded() error {
	for _, f := range b.order {
		name := bundleName(f.Name)
		if !strings.Contains(name, "/embeddings/") || strings.HasSuffix(name, ".rels") {
			continue
		}
		if err := b.stopped(); err != nil {
			return err
		}
		b.member(File{Name: path.Base(f.Name), Data: b.part(f.Name)}, b.where, b.depth)
	}
	return nil
}

// properties reads the title, subject, author and keywords of a document.
func (b *bundle) properties(part string) {
	wanted := false
	_ = b.xml(b.part(part), xmlHandler{ // as far as it can be read
		start: func(name string, _ []xml.Attr) {
			switch name {
			case "title", "subject", "creator", "initial-creator", "keywords", "keyword", "description", "category":
				wanted = true
			}
		},
		end: func(string) { wanted = false },
		text: func(s string) {
			if wanted {
				b.field(s)
			}
		},
	})
}

// wordDocument reads a text document: headers, body, notes, comments.
func (b *bundle) wordDocument(main string) error {
	rels := b.mainRelations(main)
	parts := slices.Concat(related(rels, "header"), []string{main}, related(rels, "footer"), related(rels, "footnotes"),
		related(rels, "endnotes"), related(rels, "comments"))
	for _, part := range parts {
		if err := b.runs(part); err != nil {
			return err
		}
	}
	b.links(rels)
	return nil
}

// presentation reads the slides in their order, each with its notes.
func (b *bundle) presentation(main string) error {
	rels := b.mainRelations(main)
	var slides []string
	err := b.xml(b.part(main), xmlHandler{start: func(name string, attrs []xml.Attr) {
		if name == "sldId" {
			slides = append(slides, targetOf(rels, attribute(attrs, "id")))
		}
	}})
	if len(slides) == 0 || slices.Contains(slides, "") {
		slides = related(rels, "slide")
	}
	for _, slide := range append(slides, related(rels, "notesSlide")...) { // of the main part, where nothing says of which slide
		if b.files[bundleName(slide)] == nil {
			b.note(b.where, errMissing)
		}
		if err := b.runs(slide); err != nil {
			return err
		}
		more := b.relations(slide)
		for _, part := range slices.Concat(related(more, "notesSlide"), related(more, "comments"), related(more, "diagramData")) {
			if err := b.runs(part); err != nil {
				return err
			}
		}
		b.links(more)
	}
	return err
}

func targetOf(rels []relation, id string) string {
	for _, rel := range rels {
		if rel.id == id && !rel.external {
			return rel.target
		}
	}
	return ""
}

// links adds the addresses that a part links to.
func (b *bundle) links(rels []relation) {
	for _, rel := range rels {
		if rel.external && rel.kind == "hyperlink" {
			b.field(rel.target)
		}
	}
}

// runs reads the text of a part: WordprocessingML and DrawingML agree on the
// names that matter.
func (b *bundle) runs(part string) error {
	if err := b.stopped(); err != nil {
		return err
	}
	inText, skip, gone := false, 0, 0
	var removed strings.Builder // what tracked changes take out: it must not split the words around it
	err := b.xml(b.part(part), xmlHandler{
		start: func(name string, attrs []xml.Attr) {
			switch name {
			case "t", "delText", "text":
				inText = true
			case "tab":
				b.separate('\t')
			case "br", "cr":
				b.newline()
			case "noBreakHyphen":
				b.text("-")
			case "del", "moveFrom":
				gone++
			case "Fallback": // says the same once more, for old programs
				skip++
			case "docPr", "cNvPr":
				b.field(attribute(attrs, "descr")) // stands for a picture
			}
		},
		end: func(name string) {
			switch name {
			case "t", "delText", "text":
				inText = false
			case "p", "tr", "cm":
				b.apart(&removed)
				b.newline()
			case "del", "moveFrom":
				gone--
				removed.WriteByte(' ')
			case "Fallback":
				skip--
			}
		},
		text: func(s string) {
			switch {
			case !inText || skip > 0:
			case gone > 0:
				removed.WriteString(s)
			default:
				b.text(s)
			}
		},
	})
	b.apart(&removed)
	b.newline()
	return err
}

// apart writes what was collected behind the text, as words of their own.
func (b *bundle) apart(text *strings.Builder) {
	if s := strings.TrimSpace(text.String()); s != "" {
		b.separate(' ')
		b.text(s)
	}
	text.Reset()
}
