package indexer

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blevesearch/bleve/v2/search"
	index "github.com/blevesearch/bleve_index_api"
	"github.com/postkeep/postkeep/indexer/segment"
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
	fieldAddress     = "address" // those that no other field of addresses has
	fieldRecipient   = "rcpt"    // of the envelope; those of the header are in to, cc and bcc
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

// schema is the fields with what is kept of each.
func schema() *segment.Schema {
	fields := []segment.Field{{Name: fieldPlace, Options: index.StoreField}}
	for options, names := range map[index.FieldIndexingOptions][]string{
		textOptions:  textFields(),
		exactOptions: {fieldMailbox, fieldAddress, fieldMessageID, fieldHeader, fieldLanguage, fieldDate, fieldReceived, fieldSize},
		keyOptions: {
			fieldFlag, fieldFileType, fieldThread, fieldDateKey, fieldSizeKey, fieldOrder, fieldDeposit, fieldSenderDomain,
			fieldSenderKey, fieldThreadRoot, fieldReported,
		},
	} {
		for _, name := range names {
			fields = append(fields, segment.Field{Name: name, Options: options})
		}
	}
	return segment.NewSchema(fields...)
}

func textFields() []string {
	return []string{
		fieldSubject, fieldBody, fieldAttachment, fieldFrom, fieldTo, fieldCc, fieldBcc, fieldParticipant, fieldRecipient, fieldFileName, fieldList,
	}
}

// hasFrequencies reports whether a field of the index has text, with how often
// and where its terms occur, and not just whether.
func hasFrequencies(name string) bool { return slices.Contains(textFields(), name) }

// writer makes the fields of documents, one after the other.
type writer struct {
	*segment.Collector
	stemmer   *words.Stemmer
	term      []byte // a stem
	textBytes int    // of the document
	known     map[string]bool
}

// eachPosition yields the places that package segment has put into a location. Two that are the same may be
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

// addText adds the words of text behind position after, and returns the last
// position that it used. Words of a language have their stems added.
func (w *writer) addText(text, language string, after int) int {
	w.textBytes += len(text)
	last := after
	for t := range words.All(text) {
		last = after + t.Position
		if w.Add(t.Term, last) && language != "" {
			w.addStem(language, t.Term, text[t.Start:t.End])
		}
	}
	return last
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
func (w *writer) addStem(language string, term []byte, original string) {
	if stem := w.stemmer.Stem(language, term, original); stem != "" {
		w.term = stemTerm(w.term, language, stem)
		w.Mark(w.term)
	}
}

// text makes a field of running text in a language, "" if that is not known.
func (w *writer) text(name, language string, texts ...string) {
	w.Field(name)
	last := 0
	for _, t := range texts {
		last = w.addText(t, language, last+gap)
	}
}

// gap lies between texts that have nothing to do with each other, so that no
// phrase reaches from one into the next.
const gap = 100

// exact makes a field whose values are found as a whole.
func (w *writer) exact(name string, values ...string) {
	w.Field(name)
	for _, v := range values {
		if v = words.Fold(v); v != "" {
			w.Add(limited(v), 1)
		}
	}
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

// keys makes a field to sort, count or group by. Empty values are left out.
func (w *writer) keys(name string, keys ...string) {
	w.Field(name)
	for _, k := range keys {
		if k != "" {
			w.Add(limited(k), 1)
		}
	}
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

type levelTerm [6]byte

func levelTermOf(level int, n int64) levelTerm {
	n >>= level * levelBits
	return levelTerm{byte('a' + level), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// numbers makes a field for ranges, which find a document by any of its numbers. These
// are clamped to what can be told apart.
func (w *writer) numbers(name string, numbers ...int64) {
	w.Field(name)
	for _, n := range numbers {
		for _, term := range numberTerms(n) {
			w.Add(term[:], 1)
		}
	}
}

// numberTerms are the terms of a number at each level.
func numberTerms(n int64) (terms [levels]levelTerm) {
	n = min(max(n, 0), maxNumber)
	for level := range terms {
		terms[level] = levelTermOf(level, n)
	}
	return terms
}

// rangeTerms returns the terms that together stand for the numbers from lo to
// below hi.
func rangeTerms(lo, hi int64) [][]byte {
	var terms [][]byte
	add := func(level int, n int64) {
		t := levelTermOf(level, n)
		terms = append(terms, t[:])
	}
	lo, hi = max(lo, 0), min(hi, maxNumber+1)
	for level := 0; level < levels && lo < hi; level++ {
		step := int64(1) << (level * levelBits)
		if level == levels-1 {
			for ; lo < hi; lo += step {
				add(level, lo)
			}
			break
		}
		for ; lo < hi && lo&(step<<levelBits-1) != 0; lo += step {
			add(level, lo)
		}
		for ; lo < hi && hi&(step<<levelBits-1) != 0; hi -= step {
			add(level, hi-step)
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
