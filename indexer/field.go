package indexer

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/blevesearch/bleve/v2/document"
	"github.com/blevesearch/bleve/v2/search"
	index "github.com/blevesearch/bleve_index_api"
	"github.com/postkeep/postkeep/indexer/words"
)

// The fields of the index. A change here or in what is put into them needs a
// new mappingVersion.
const (
	fieldSubject     = "subject"
	fieldBody        = "body"
	fieldAttachment  = "attachment"
	fieldFrom        = "from"
	fieldTo          = "to"
	fieldCc          = "cc"
	fieldBcc         = "bcc"
	fieldParticipant = "participant"
	fieldFileName    = "filename"
	fieldMailbox     = "mailbox"
	fieldMessageID   = "msgid"
	fieldFlag        = "flag"
	fieldRecipient   = "rcpt" // of the envelope; those of the header are in to, cc and bcc
	fieldFileType    = "filetype"
	fieldList        = "list"
	fieldHeader      = "header"
	fieldLanguage    = "lang"
	fieldThread      = "thread" // threadKeys
	fieldID          = "_id"    // Bleve's own

	// Ranges of numbers, see levels.
	fieldDate     = "date"
	fieldReceived = "received"
	fieldSize     = "size"
	// Keys to sort by, see timeKey and orderKey.
	fieldDateKey = "date_key"
	fieldSizeKey = "size_key"
	fieldOrder   = "order"
	// Keys to count and to group by, besides flag and filetype.
	fieldDeposit      = "deposit"       // depositKey
	fieldSenderDomain = "sender_domain" // of From
	fieldSenderKey    = "sender_key"    // to sort by
	fieldThreadRoot   = "thread_root"   // threadRoot
	fieldReported     = "reported"      // reportedKey

	// fieldPlace is stored: where the text for snippets is.
	fieldPlace = "place"
)

const (
	// textOptions: positions are for phrases.
	textOptions = index.IndexField | index.IncludeTermVectors
	// exactOptions: whether the term is there, nothing more.
	exactOptions = index.IndexField | index.SkipFreqNorm
	// keyOptions: Bleve sorts by DocValues, and makes them of indexed terms only.
	keyOptions = exactOptions | index.DocValues
)

// hasFrequencies reports whether a field of the index has text, with how often
// and where its terms occur, and not just whether.
func hasFrequencies(name string) bool {
	switch name {
	case fieldSubject, fieldBody, fieldAttachment, fieldFrom, fieldTo, fieldCc, fieldBcc, fieldParticipant, fieldRecipient, fieldFileName, fieldList:
		return true
	}
	return false
}

// field is a document.Field that arrives analysed. Bleve's own fields are
// analysed by four goroutines, with several allocations a word; here the workers
// that parse do it, with few. It also leaves out byte offsets, which nothing
// reads and which take more room than the positions.
type field struct {
	name      string
	options   index.FieldIndexingOptions
	value     []byte // of a stored field
	length    int    // in terms, without stems
	textBytes int
	stems     *stems // nil for a field without
	terms     index.TokenFrequencies

	// The elements of terms are cut from these.
	freqs    []index.TokenFreq
	pointers []*index.TokenLocation
	bytes    []byte
	places   []index.TokenLocation
	numbers  []uint64
	// repeated are the locations of terms that occur more than once, not yet packed.
	repeated []*index.TokenLocation
}

var _ document.Field = (*field)(nil)

func (f *field) Name() string                                     { return f.name }
func (f *field) ArrayPositions() []uint64                         { return nil }
func (f *field) Options() index.FieldIndexingOptions              { return f.options }
func (f *field) Analyze()                                         {}
func (f *field) Value() []byte                                    { return f.value }
func (f *field) NumPlainTextBytes() uint64                        { return uint64(f.textBytes) }
func (f *field) Size() int                                        { return 64*f.length + len(f.value) }
func (f *field) EncodedFieldType() byte                           { return 't' }
func (f *field) AnalyzedLength() int                              { return f.length }
func (f *field) AnalyzedTokenFrequencies() index.TokenFrequencies { return f.terms }

func newField(name string, options index.FieldIndexingOptions, terms int) *field {
	return &field{name: name, options: options, terms: make(index.TokenFrequencies, terms)}
}

// slab is how many elements are allocated together: as many as there are,
// since most fields have few terms and some have thousands.
func (f *field) slab() int { return min(max(len(f.terms), 4), 256) }

// add counts term at position, and reports whether it is the first of its kind. The
// bytes of term are copied.
func (f *field) add(term []byte, position int) (first bool) {
	f.length++
	t, first := f.count(term)
	if f.options.IncludeTermVectors() {
		f.locate(t, position)
	}
	return first
}

func (f *field) count(term []byte) (t *index.TokenFreq, first bool) {
	t = f.terms[string(term)]
	if first = t == nil; first {
		if len(f.freqs) == 0 {
			f.freqs = make([]index.TokenFreq, f.slab())
		}
		t, f.freqs = &f.freqs[0], f.freqs[1:]
		if len(f.bytes)+len(term) > cap(f.bytes) {
			f.bytes = make([]byte, 0, max(8*f.slab(), len(term)))
		}
		n := len(f.bytes)
		f.bytes = append(f.bytes, term...)
		t.Term = f.bytes[n:len(f.bytes):len(f.bytes)]
		f.terms[string(term)] = t
	}
	if !f.options.SkipFreqNorm() {
		t.SetFrequency(t.Frequency() + 1)
	}
	return t, first
}

// locate notes a place of a term. Bleve writes five numbers for each location; here all places
// of a term are one, see pack.
func (f *field) locate(t *index.TokenFreq, position int) {
	if t.Locations == nil {
		if len(f.pointers) == 0 {
			f.pointers = make([]*index.TokenLocation, f.slab())
		}
		t.Locations, f.pointers = f.pointers[:1:1], f.pointers[1:]
		t.Locations[0] = location(position) // most terms occur once
		return
	}
	l := t.Locations[0]
	if l.ArrayPositions == nil {
		l = f.repeat(l.Position)
		t.Locations[0] = l
	}
	l.ArrayPositions = append(l.ArrayPositions, uint64(position))
}

// repeat makes the location of a term that occurs once more.
func (f *field) repeat(first int) *index.TokenLocation {
	const few = 4 // places for which there is room
	if len(f.places) == 0 {
		f.places = make([]index.TokenLocation, f.slab()/4+1)
	}
	if len(f.numbers) < few {
		f.numbers = make([]uint64, few*(f.slab()/4+1))
	}
	l := &f.places[0]
	l.Position, l.ArrayPositions = first, f.numbers[:0:few]
	f.places, f.numbers = f.places[1:], f.numbers[few:]
	f.repeated = append(f.repeated, l)
	return l
}

// pack writes the places of terms in the form that takes the least room: Position is the first, Start how
// far the second is behind it, End how far the third is behind that, ArrayPositions the same for
// all others. Nothing of Bleve reads them; eachPosition does. The field is complete then.
func (f *field) pack() {
	for _, l := range f.repeated {
		before := uint64(l.Position)
		for i, p := range l.ArrayPositions {
			l.ArrayPositions[i], before = p-before, p
		}
		l.Start = int(l.ArrayPositions[0])
		if l.ArrayPositions = l.ArrayPositions[1:]; len(l.ArrayPositions) > 0 {
			l.End = int(l.ArrayPositions[0])
			l.ArrayPositions = l.ArrayPositions[1:]
		}
	}
	f.repeated = nil
}

// eachPosition yields the places that pack has put into a location. Two that are the same may be
// one.
func eachPosition(l *search.Location) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		p := l.Pos
		if !yield(p) {
			return
		}
		for _, further := range [...]uint64{l.Start, l.End} {
			if p += further; further > 0 && !yield(p) {
				return
			}
		}
		for _, further := range l.ArrayPositions {
			if p += further; !yield(p) {
				return
			}
		}
	}
}

// sharedLocations are the first places of every text: Bleve wants a pointer
// to 72 bytes for each word, of which nothing but the position differs and which it
// only reads. Most texts need no others.
var sharedLocations = sync.OnceValue(func() []index.TokenLocation {
	shared := make([]index.TokenLocation, 1<<14)
	for i := range shared {
		shared[i].Position = i
	}
	return shared
})

func location(position int) *index.TokenLocation {
	if shared := sharedLocations(); position < len(shared) {
		return &shared[position]
	}
	return &index.TokenLocation{Position: position}
}

// addText adds the words of text behind position after, and returns the last
// position that it used.
func (f *field) addText(text string, after int) int {
	f.textBytes += len(text)
	last := after
	for t := range words.All(text) {
		last = after + t.Position
		if f.add(t.Term, last) && f.stems != nil {
			f.addStem(t.Term, text[t.Start:t.End])
		}
	}
	return last
}

// stems marks the words of a text in a language by their stems.
type stems struct {
	language string
	stemmer  *words.Stemmer
	term     []byte
}

// stemMark begins the terms that are stems. No word has it.
const stemMark = 0x01

func stemTerm(b []byte, language, stem string) []byte {
	return append(append(append(b[:0], stemMark), language...), stem...)
}

// addStem adds the stem of a word, once for all its occurrences in the text, and
// without a position: nothing asks for those of stems, and each would take as much
// room as a word. A word that is its own stem has none besides: who looks for
// a stem looks for this word in texts of the language, too.
func (f *field) addStem(term []byte, original string) {
	if stem := f.stems.stemmer.Stem(f.stems.language, term, original); stem != "" {
		f.stems.term = stemTerm(f.stems.term, f.stems.language, stem)
		f.count(f.stems.term)
	}
}

// textField is a field of running text. s may be nil.
func textField(name string, s *stems, texts ...string) *field {
	size := 0
	for _, t := range texts {
		size += len(t)
	}
	f := newField(name, textOptions, min(size/16, 1<<14))
	f.stems = s
	last := 0
	for _, t := range texts {
		last = f.addText(t, last+gap)
	}
	return f
}

// gap lies between texts that have nothing to do with each other, so that no
// phrase reaches from one into the next.
const gap = 100

// exactField is a field whose values are found as a whole.
func exactField(name string, values ...string) *field {
	f := newField(name, exactOptions, len(values))
	for _, v := range values {
		if v = words.Fold(v); v != "" {
			f.add(limited(v), 1)
		}
	}
	return f
}

// maxExactBytes is the length to which values that are found as a whole are
// cut: longer than any address (RFC 5321 section 4.5.3.1) and most Message-IDs.
const maxExactBytes = 400

func limited(v string) []byte {
	if len(v) > maxExactBytes {
		v = strings.ToValidUTF8(v[:maxExactBytes], "")
	}
	return []byte(v)
}

// keyField is a field to sort, count or group by. Empty values are left out.
func keyField(name string, keys ...string) *field {
	f := newField(name, keyOptions, len(keys))
	for _, k := range keys {
		if k != "" {
			f.add(limited(k), 1)
		}
	}
	return f
}

// Numbers are indexed as a term for each of several resolutions, every one
// levelBits coarser, so that a range is a few terms: at most 2 x 31 of each. Bleve's
// numbers take 16 terms a value, sort keys included.
const (
	levelBits = 5
	levels    = 7
	// maxNumber bounds what can be told apart: 32 GiB of octets; 10,000 years take less.
	maxNumber = 1<<(levelBits*levels) - 1
)

func levelTerm(level int, n int64) []byte {
	n >>= level * levelBits
	return []byte{byte('a' + level), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// numberField is a field for ranges, which find a document by any of its numbers. These
// are clamped to what can be told apart.
func numberField(name string, numbers ...int64) *field {
	f := newField(name, exactOptions, levels)
	for _, n := range numbers {
		n = min(max(n, 0), maxNumber)
		for level := range levels {
			f.add(levelTerm(level, n), 1)
		}
	}
	return f
}

// rangeTerms returns the terms that together stand for the numbers from lo to
// below hi.
func rangeTerms(lo, hi int64) [][]byte {
	var terms [][]byte
	lo, hi = max(lo, 0), min(hi, maxNumber+1)
	for level := 0; level < levels && lo < hi; level++ {
		step := int64(1) << (level * levelBits)
		if level == levels-1 {
			for ; lo < hi; lo += step {
				terms = append(terms, levelTerm(level, lo))
			}
			break
		}
		for ; lo < hi && lo&(step<<levelBits-1) != 0; lo += step {
			terms = append(terms, levelTerm(level, lo))
		}
		for ; lo < hi && hi&(step<<levelBits-1) != 0; hi -= step {
			terms = append(terms, levelTerm(level, hi-step))
		}
	}
	return terms
}

// Times are kept from year 1 on, in seconds since then.
var year1 = time.Time{}.Unix()

// clampTime returns the seconds since year 1, within years 1 to 9999.
func clampTime(t time.Time) int64 {
	const years = 9999 * 366 * 24 * 60 * 60
	return min(max(t.Unix()-year1, 0), years)
}

// quarter is the resolution of ranges of time in seconds. Queries ask for
// days, and the days of every time zone since 1972 begin at a quarter of an hour.
const quarter = 15 * 60

func quarterOf(t time.Time) int64 { return clampTime(t) / quarter }

// keyDigits is the width of a number in a sort key; 10 hexadecimal digits are
// enough for the seconds of 30,000 years and for a terabyte.
const keyDigits = 10

func numberKey(n int64) string {
	return fmt.Sprintf("%0*x", keyDigits, min(max(n, 0), 1<<(4*keyDigits)-1))
}

func timeKey(t time.Time) string { return numberKey(clampTime(t)) }

// orderKey puts messages into an order in which no two are equal: by time
// received, then by id, of which 128 bits are more than enough.
func orderKey(received time.Time, id string) string {
	return timeKey(received) + id[:min(len(id), 32)]
}

// keyTime returns the time that a timeKey or an orderKey begins with, in UTC.
func keyTime(key string) time.Time {
	n, err := strconv.ParseInt(key[:min(len(key), keyDigits)], 16, 64)
	if err != nil {
		return time.Time{} // a document without the key
	}
	return time.Unix(n+year1, 0).UTC()
}
