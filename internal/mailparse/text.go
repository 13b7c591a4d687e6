package mailparse

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"unicode"
)

// Text returns the text of the message for searching: its text parts, and of
// enclosed messages the subjects, addresses and text. HTML that stands beside plain
// text as an alternative adds only its lines with words, or neighbours, that the plain text lacks. Text that
// HTML hides and the targets of its links follow what it shows.
// The text of attached files is not in it, see Part.Text, nor is that of a journal
// report but for the enclosed message.
func (m *Message) Text() string {
	var out strings.Builder
	words := make(map[int]wordSet) // by multipart/alternative
	for i := range m.Parts {
		p := &m.Parts[i]
		if p.Enclosed != nil && (m.Journal == nil || p.parent != 0) {
			p.Enclosed.writeText(&out)
		}
		if p.Text == "" && p.Hidden == "" && len(p.Links) == 0 || p.IsAttachment || p.isMultipart() || m.Journal != nil && p.parent == 0 {
			continue
		}
		if p.parent >= 0 && m.Parts[p.parent].MediaType == typeTNEF && out.Len() > 0 {
			// Outlook sends the text beside winmail.dat and in it.
			newWordSet(out.String()).writeNew(&out, p.Text)
			continue
		}
		write := func(text string) { writeBlock(&out, text) }
		if alternative := m.alternative(i); alternative >= 0 {
			if set := words[alternative]; set.has != nil {
				write = func(text string) { set.writeNew(&out, text) }
			} else {
				words[alternative] = newWordSet(p.Text)
			}
		}
		write(p.Text)
		if p.Hidden != "" {
			write(p.Hidden)
		}
		for _, link := range p.Links {
			write(link)
		}
	}
	for i := range m.Parts { // what mail programs do not show at all comes last
		if p := &m.Parts[i]; p.Hidden != "" && p.isMultipart() {
			writeBlock(&out, p.Hidden)
		}
	}
	return out.String()
}

func (p *Part) isMultipart() bool { return strings.HasPrefix(p.MediaType, "multipart/") }

// alternative returns the multipart/alternative that part i stands in, or -1.
func (m *Message) alternative(i int) int {
	for i = m.Parts[i].parent; i >= 0; i = m.Parts[i].parent {
		switch m.Parts[i].MediaType {
		case "multipart/alternative":
			return i
		case "multipart/related", "multipart/mixed":
		default:
			return -1
		}
	}
	return -1
}

func writeBlock(out *strings.Builder, text string) {
	out.WriteString(text)
	if !strings.HasSuffix(text, "\n") {
		out.WriteByte('\n')
	}
}

func (e *Enclosed) writeText(out *strings.Builder) {
	for _, list := range [][]Address{e.From, e.To, e.Cc} {
		for _, a := range list {
			writeBlock(out, strings.TrimSpace(a.Name+" "+a.Addr))
		}
	}
	for _, name := range [...]string{"from", "to", "cc"} {
		for _, n := range e.Notes[name] {
			writeBlock(out, n)
		}
	}
	for _, subject := range append([]string{e.Subject}, e.OtherSubjects...) {
		if subject != "" {
			writeBlock(out, subject)
		}
	}
}

// wordSet is the words of a text, and the pairs of neighbours, as hashes.
type wordSet struct {
	seed maphash.Seed
	has  map[uint64]struct{}
}

func newWordSet(text string) wordSet {
	s := wordSet{seed: maphash.MakeSeed(), has: make(map[uint64]struct{}, len(text)/4)}
	before := uint64(0)
	for word := range strings.FieldsFuncSeq(text, notWord) {
		this := s.hash(word)
		s.has[this] = struct{}{}
		s.has[pair(before, this)] = struct{}{}
		before = this
	}
	return s
}

func pair(first, second uint64) uint64 { return bits.RotateLeft64(first, 1) ^ second }

// hasLine reports whether the words of a line are in the set, each behind the one
// before it: then the line is found by what it is found by without it, phrases included.
func (s wordSet) hasLine(line string) bool {
	before := uint64(0)
	for word := range strings.FieldsFuncSeq(line, notWord) {
		this := s.hash(word)
		if _, ok := s.has[this]; !ok {
			return false
		}
		if _, ok := s.has[pair(before, this)]; !ok && before != 0 {
			return false
		}
		before = this
	}
	return true
}

func (s wordSet) hash(word string) uint64 { return maphash.String(s.seed, strings.ToLower(word)) }

func notWord(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) }

// writeNew writes the lines of text that are not in the set.
func (s wordSet) writeNew(out *strings.Builder, text string) {
	for line := range strings.Lines(text) {
		if !s.hasLine(line) {
			writeBlock(out, line)
		}
	}
}
