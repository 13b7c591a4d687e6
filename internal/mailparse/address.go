package mailparse

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/mail"
)

const (
	// maxAddresses is the number of addresses taken of one field name.
	maxAddresses = 50_000
	// maxAngleBytes is how far the end of an angle bracket is looked for; a
	// limit keeps the search linear.
	maxAngleBytes = 2 << 10
)

// addresses returns the addresses of all fields of these names.
func (h Header) addresses(names ...string) []Address {
	var list []Address
	for _, f := range h.fields {
		named := func(name string) bool { return len(f.Name) == len(name) && strings.EqualFold(f.Name, name) }
		if f.Value != "" && slices.ContainsFunc(names, named) {
			list = append(list, parseAddresses(f.Value, h.charset)...)
		}
	}
	return list[:min(len(list), maxAddresses)]
}

// addressNotes returns Envelope.Notes.
func (h Header) addressNotes() (notes map[string][]string) {
	for _, f := range h.fields {
		if len(f.Name) > len("From") || !strings.ContainsAny(f.Value, "(:") {
			continue
		}
		switch name := strings.ToLower(f.Name); name {
		case "from", "to", "cc", "bcc":
			p := addressParser{s: f.Value, charset: h.charset}
			p.parse()
			if p.notes != nil && notes == nil {
				notes = make(map[string][]string)
			}
			if p.notes != nil {
				notes[name] = append(notes[name], p.notes...)
			}
		}
	}
	return notes
}

// parseAddresses parses an address list (RFC 5322 section 3.4). What is
// well-formed go-message parses; the rest is read for what it may mean. Encoded
// words are always read here: go-message decodes them by way of a package
// variable that anyone may set.
func parseAddresses(value, charset string) []Address {
	if strings.IndexByte(value, '@') < 0 && strings.TrimSpace(value) == "" {
		return nil
	}
	if len(value) < chunkBytes && isPrintableASCII(value) && !strings.Contains(value, "=?") {
		if list, ok := plainAddresses(value); ok {
			return list
		}
		if parsed, err := mail.ParseAddressList(value); err == nil {
			list := make([]Address, len(parsed))
			for i, a := range parsed {
				list[i] = tidy(Address{Name: a.Name, Addr: a.Address})
			}
			return list
		}
	}
	p := addressParser{s: value, charset: charset}
	return p.parse()
}

// plainAddresses is the short way for lists of the usual three forms: a@b,
// Name <a@b>, "Name" <a@b>. ok is false for anything else.
func plainAddresses(s string) (list []Address, ok bool) {
	list = make([]Address, 0, strings.Count(s, ",")+1)
	for {
		s = strings.TrimLeft(s, " \t")
		name := ""
		if strings.HasPrefix(s, `"`) {
			end := strings.IndexByte(s[1:], '"')
			if end < 0 || strings.IndexByte(s[1:end+1], '\\') >= 0 {
				return nil, false
			}
			name, s = s[1:end+1], strings.TrimLeft(s[end+2:], " \t")
			if !strings.HasPrefix(s, "<") {
				return nil, false
			}
		}
		item, rest, more := strings.Cut(s, ",")
		item = strings.TrimRight(item, " \t")
		if before, addr, ok := strings.Cut(item, "<"); ok && strings.HasSuffix(addr, ">") {
			item = addr[:len(addr)-1]
			if name == "" {
				name = strings.TrimRight(before, " \t")
			}
		}
		if !isPlainAddr(item) || strings.ContainsAny(name, "()<>@:;\\\"[]\t") || strings.Contains(name, "  ") {
			return nil, false
		}
		list = append(list, tidy(Address{Name: name, Addr: item}))
		if !more {
			return list, true
		}
		s = rest
	}
}

// isPlainAddr reports whether s is local@domain of printable ASCII characters without
// a special meaning.
func isPlainAddr(s string) bool {
	at := -1
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f || c == '(' || c == ')' || c == '<' || c == '>' || c == '"' || c == '\\' ||
			c == ':' || c == ';' || c == '[' || c == ']' || c == '\'' || c == ',':
			return false
		case c == '@' && at >= 0, c == '.' && i == at+1:
			return false
		case c == '@':
			at = i
		}
	}
	return at > 0 && at < len(s)-1 && s[len(s)-1] != '.'
}

func isPrintableASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// addressParser reads an address list of any quality. It looks for what ends an
// address (comma, semicolon) outside quotes, comments, angle brackets and encoded words.
type addressParser struct {
	s       string
	charset string
	list    []Address
	notes   []string // comments that are no name, and the names of groups

	phrase  strings.Builder // outside angle brackets and comments, quotes kept
	comment string          // the last one
	angle   string          // what stood in angle brackets
	inAngle bool            // there were angle brackets

	noQuote, noParen bool // none ends any more: taken as text
	inner            bool // s is the text of encoded words
}

func (p *addressParser) parse() []Address {
	for p.s != "" && len(p.list) < maxAddresses {
		n := 1
		switch c := p.s[0]; c {
		case ',', ';':
			p.flush()
		case '"':
			n = p.quoted()
		case '(':
			n = p.parens()
		case '<':
			n = p.brackets()
		case '=':
			if strings.HasPrefix(p.s, "=?") {
				if w, ok := parseWord(p.s); ok {
					n = w.end
				}
			}
			p.phrase.WriteString(p.s[:n])
		case ':':
			// The name of a group, unless it is "mailto:" or part of an address.
			if !p.inAngle && strings.IndexByte(p.phrase.String(), '@') < 0 {
				p.note(p.phrase.String())
				p.phrase.Reset()
			}
		default:
			p.phrase.WriteByte(c)
		}
		p.s = p.s[n:]
	}
	p.flush()
	return p.list
}

func (p *addressParser) quoted() int {
	if !p.noQuote {
		if end := closingQuote(p.s); end > 0 {
			p.phrase.WriteString(p.s[:end+1])
			return end + 1
		}
		p.noQuote = true
	}
	return 1
}

func (p *addressParser) parens() int {
	if p.noParen {
		return 1
	}
	depth := 0
	for i := 0; i < len(p.s); i++ {
		switch p.s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				p.note(p.comment)
				p.comment = p.s[1:i]
				p.phrase.WriteByte(' ')
				return i + 1
			}
		}
	}
	p.noParen = true
	return 1
}

func (p *addressParser) brackets() int {
	end := strings.IndexByte(p.s[:min(len(p.s), maxAngleBytes)], '>')
	next := end
	if end < 0 || strings.IndexByte(p.s[1:end], '"') < 0 && !isRoute(p.s[:end]) {
		// Where the bracket is not closed before the next address, it ends there.
		next = strings.IndexAny(p.s[1:], ">,;") + 1
		if next == 0 {
			next = len(p.s)
		}
	}
	if p.inAngle && strings.IndexByte(p.angle, '@') > 0 {
		p.flush() // <a@example.com> <b@example.com>: there should be a comma
	}
	p.angle, p.inAngle = p.s[1:next], true
	for next < len(p.s) && p.s[next] == '>' {
		next++
	}
	return next
}

// isRoute reports whether s is an address with a source route (RFC 5322 section 4.4).
func isRoute(s string) bool { return strings.HasPrefix(s, "<@") && strings.IndexByte(s, ':') > 0 }

// flush adds the address that was collected.
func (p *addressParser) flush() {
	phrase := strings.TrimSpace(p.phrase.String())
	comment, angle, inAngle := p.comment, p.angle, p.inAngle
	p.phrase.Reset()
	p.comment, p.angle, p.inAngle = "", "", false

	var list []Address
	switch {
	case inAngle && strings.Trim(angle, "<> \t") != "":
		list = p.angled(p.text(phrase), angle)
	case phrase == "" && comment == "":
		return
	default:
		list = p.bare(phrase)
	}
	if list[0].Name == "" && comment != "" {
		list[0].Name = p.text(unquote(comment))
	} else {
		p.note(comment)
	}
	for _, a := range list {
		if a = tidy(a); a != (Address{}) {
			p.list = append(p.list, a)
		}
	}
}

// angled reads what stands in angle brackets: an address, or by mistake several.
func (p *addressParser) angled(name, angle string) []Address {
	addr := p.addr(angle)
	if isCleanAddr(addr) {
		return []Address{{Name: name, Addr: addr}}
	}
	if addrs, rest := cutSpecs(decodeWords(stripComments(angle), p.charset)); len(addrs) > 0 && rest == "" {
		return addressesOf(name, addrs)
	}
	return []Address{{Name: name, Addr: addr}}
}

// addressesOf gives the first address the name.
func addressesOf(name string, addrs []string) []Address {
	list := make([]Address, len(addrs))
	for i, a := range addrs {
		list[i].Addr = a
	}
	list[0].Name = name
	return list
}

func (p *addressParser) note(s string) {
	if s = p.text(unquote(s)); s != "" {
		p.notes = append(p.notes, s)
	}
}

// tidy removes the single quotes that Outlook puts around names and addresses.
func tidy(a Address) Address {
	for _, s := range []*string{&a.Name, &a.Addr} {
		if n := len(*s); n > 1 && (*s)[0] == '\'' && (*s)[n-1] == '\'' {
			*s = (*s)[1 : n-1]
		}
	}
	return a
}

// bare reads addresses without angle brackets: the words with an @ in them, the others are the name. It returns at least
// one.
func (p *addressParser) bare(phrase string) []Address {
	if strings.HasPrefix(phrase, `"`) {
		// "john doe"@example.org, or "john@example.org" alone
		if end := closingQuote(phrase); end > 0 && (end == len(phrase)-1 || phrase[end+1] == '@') {
			if end < len(phrase)-1 {
				return []Address{{Addr: decodeWords(unquote(phrase[1:end]), p.charset) + p.addr(phrase[end+1:])}}
			}
			phrase = unquote(phrase[1:end])
		}
	}
	if strings.IndexByte(phrase, '@') >= 0 && !strings.Contains(phrase, "=?") {
		if addrs, rest := cutSpecs(decodeRaw(phrase, p.charset)); len(addrs) > 0 {
			return addressesOf(p.text(rest), addrs)
		}
	}
	if list := p.encoded(phrase); len(list) > 0 {
		return list
	}
	words := strings.Fields(phrase)
	for i, w := range words {
		if strings.IndexByte(w, '@') > 0 && !strings.HasPrefix(w, "=?") {
			words = append(words[:i:i], words[i+1:]...)
			return []Address{{Name: p.text(strings.Join(words, " ")), Addr: p.addr(w)}}
		}
	}
	text := p.text(phrase)
	if strings.ContainsAny(text, " \t") && strings.IndexByte(text, '@') < 0 {
		return []Address{{Name: text}}
	}
	return []Address{{Addr: text}}
}

// encoded reads a phrase in whose encoded words are the addresses, too, which RFC 2047 section 5 forbids.
// QUIRK: web forms and old mailers encode the field as a whole.
func (p *addressParser) encoded(phrase string) []Address {
	if p.inner || !strings.Contains(phrase, "=?") {
		return nil
	}
	text := p.text(phrase)
	if strings.IndexByte(plainSpelling(text), '@') < 0 {
		return nil
	}
	inner := addressParser{s: plainSpelling(text), inner: true}
	list := inner.parse()
	if !slices.ContainsFunc(list, func(a Address) bool { return isCleanAddr(a.Addr) }) {
		return nil
	}
	return list
}

// addr cleans an addr-spec: no route, no scheme, no folding white space, no encoded words.
func (p *addressParser) addr(s string) string {
	s = strings.Trim(stripComments(s), "<> \t")
	if strings.HasPrefix(s, "@") {
		if i := strings.LastIndexByte(s, ':'); i > 0 {
			s = s[i+1:]
		}
	}
	s = strings.TrimSpace(plainSpelling(decodeWords(s, p.charset)))
	if strings.HasPrefix(s, `"`) {
		if end := closingQuote(s); end > 0 && end < len(s)-1 && s[end+1] == '@' {
			return unquote(s[1:end]) + strings.TrimRight(s[end+1:], ".")
		}
		return s
	}
	if strings.IndexByte(s, '@') > 0 {
		s = trimSpec(s)
	}
	if strings.ContainsAny(s, " \t") {
		s = withoutSpace(s)
	}
	return s
}

// withoutSpace takes away the white space that is allowed in an address (RFC 5322
// section 4.4). What is between words is not allowed, and stays: "Undisclosed Recipients@example.com" is two words.
func withoutSpace(addr string) string {
	at := strings.LastIndexByte(addr, '@')
	return unspaced(addr[:max(at, 0)]) + strings.ReplaceAll(unspaced(addr[max(at, 0):]), "@ ", "@")
}

func unspaced(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ReplaceAll(strings.ReplaceAll(s, " .", "."), ". ", ".")
}

// text decodes a display name or comment: quotes away, encoded words decoded,
// white space made one space.
func (p *addressParser) text(s string) string {
	if strings.IndexByte(s, '"') >= 0 {
		var out strings.Builder
		for s != "" {
			i := strings.IndexByte(s, '"')
			if i < 0 {
				break
			}
			out.WriteString(s[:i])
			value, rest, ok := cutQuoted(s[i:])
			if !ok {
				rest = s[i+1:]
			}
			out.WriteString(value)
			s = rest
		}
		s = out.String() + s
	}
	s = decodeWords(s, p.charset)
	return strings.Join(strings.Fields(s), " ")
}
