package document

import (
	"encoding/xml"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
)

var errBinaryWorkbook = errors.New("a binary workbook, not read")

// maxSharedStrings bounds the table of a workbook in number: each costs memory,
// though it be empty.
const maxSharedStrings = 1 << 20

// sheets reads the sheets of one workbook.
type sheets struct {
	*bundle
	shared []string
	styles cellStyles

	cellType string
	style    int
	value    strings.Builder
	inValue  bool
	phonetic bool // rPh: how the text is read aloud
}

// workbook reads sheets in their order, with names, comments and drawings.
func (b *bundle) workbook(main string) error {
	s := &sheets{bundle: b}
	rels := b.mainRelations(main)
	for _, part := range related(rels, "sharedStrings") {
		if err := s.readShared(part); err != nil {
			return err
		}
	}
	for _, part := range related(rels, "styles") {
		s.styles.read(b, part)
	}
	var list []sheet
	err := b.xml(b.part(main), xmlHandler{start: func(name string, attrs []xml.Attr) {
		switch name {
		case "sheet":
			list = append(list, sheet{attribute(attrs, "name"), targetOf(rels, attribute(attrs, "id"))})
		case "workbookPr":
			date1904 := attribute(attrs, "date1904")
			s.styles.date1904 = date1904 == "1" || date1904 == "true"
		}
	}})
	for _, sheet := range placed(list, related(rels, "worksheet")) {
		b.field(sheet.name)
		if b.files[bundleName(sheet.part)] == nil {
			b.note(b.where, errMissing)
			continue
		}
		if err := s.sheet(sheet.part); err != nil {
			return err
		}
		more := b.relations(sheet.part)
		for _, part := range slices.Concat(related(more, "comments"), related(more, "threadedComment"), related(more, "drawing")) {
			if err := b.runs(part); err != nil {
				return err
			}
		}
		b.links(more)
	}
	for _, part := range related(rels, "comments") { // where nothing says of which sheet
		if err := b.runs(part); err != nil {
			return err
		}
	}
	return err
}

// sheet is one that the workbook lists.
type sheet struct{ name, part string }

// placed gives sheets their parts in order, where nothing says which is whose.
func placed(list []sheet, parts []string) []sheet {
	if len(list) > 0 && !slices.ContainsFunc(list, func(s sheet) bool { return s.part == "" }) {
		return list
	}
	for i, part := range parts {
		if i == len(list) {
			list = append(list, sheet{})
		}
		list[i].part = part
	}
	return list
}

// readShared reads the texts that cells refer to by number.
func (s *sheets) readShared(part string) error {
	var item strings.Builder
	inText, phonetic := false, false
	return s.xml(s.part(part), xmlHandler{
		start: func(name string, _ []xml.Attr) {
			switch name {
			case "si":
				item.Reset()
			case "rPh":
				phonetic = true
			case "t":
				inText = true
			}
		},
		end: func(name string) {
			switch name {
			case "si":
				if len(s.shared) < maxSharedStrings {
					s.shared = append(s.shared, item.String())
				} else {
					s.note(s.where, errMembers)
				}
			case "rPh":
				phonetic = false
			case "t":
				inText = false
			}
		},
		text: func(text string) {
			if inText && !phonetic {
				item.WriteString(text)
			}
		},
	})
}

// sheet reads the cells of a sheet, a line for a row.
func (s *sheets) sheet(part string) error {
	if err := s.stopped(); err != nil {
		return err
	}
	if path.Ext(part) == ".bin" {
		return errBinaryWorkbook
	}
	err := s.xml(s.part(part), xmlHandler{
		start: s.startElement,
		end: func(name string) {
			switch name {
			case "v", "t", "oddHeader", "oddFooter":
				s.inValue = false
			case "rPh":
				s.phonetic = false
			case "c":
				s.endCell()
			case "row", "headerFooter":
				s.newline()
			}
		},
		text: func(text string) {
			if s.inValue && !s.phonetic {
				s.value.WriteString(text)
			}
		},
	})
	s.newline()
	return err
}

func (s *sheets) startElement(name string, attrs []xml.Attr) {
	switch name {
	case "c":
		s.cellType = attribute(attrs, "t")
		s.style, _ = strconv.Atoi(attribute(attrs, "s")) // 0 is what has no style
		s.value.Reset()
	case "v", "t":
		s.inValue = true
	case "rPh":
		s.phonetic = true
	}
}

// endCell writes a cell as it is shown.
func (s *sheets) endCell() {
	value := s.value.String()
	switch s.cellType {
	case "s":
		i, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil || i < 0 || i >= len(s.shared) {
			if len(s.shared) == 0 {
				s.note(s.where, errMissing)
			}
			return
		}
		value = s.shared[i]
	case "b":
		value = map[string]string{"1": "TRUE", "0": "FALSE"}[value]
	case "", "n":
		value = s.styles.show(value, s.style)
	}
	if value != "" {
		s.text(value)
		s.separate('\t')
	}
}
