package export

import "strings"

const (
	// formulaStarts are what a spreadsheet may take for the beginning of a formula: the ASCII signs, and the full-width, small and
	// typographic ones that Excel reads as such in some languages.
	formulaStarts = "=+-@" + "\uff1d\uff0b\uff0d\uff20" + "\ufe66\ufe62\ufe63\ufe6b" + "\u2212"
	// cellEnds are what ends a cell where the list separator of the language is not the comma, or a person chose another one:
	// such a program does not see that the whole is quoted.
	cellEnds = ";|\t\r\n"
	// cellPadding is what a program may drop at the beginning of a cell.
	cellPadding = "\"' \u00a0\u3000\ufeff\u200b\u200c\u200d\u2060"
)

// Cell makes a text safe as a cell of a CSV file for Excel, LibreOffice and their like in every language: wherever a cell could
// begin, an apostrophe goes before what they may take for a formula, which could send data away. Control characters become spaces.
func Cell(s string) string {
	var b strings.Builder
	begins := true // a cell could begin here
	apostrophe := false
	for _, r := range s {
		ends := strings.ContainsRune(cellEnds, r)
		switch {
		case begins && !apostrophe && strings.ContainsRune(formulaStarts, r):
			b.WriteByte('\'')
			begins = false
		case ends:
			begins, apostrophe = true, false
		case begins && strings.ContainsRune(cellPadding, r):
			apostrophe = r == '\''
		case isControl(r): // becomes a space, which is padding
		default:
			begins = false
		}
		if isControl(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }
