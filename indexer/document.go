package indexer

import (
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/indexer/segment"
	"github.com/postkeep/postkeep/indexer/words"
	"github.com/postkeep/postkeep/internal/mailparse"
)

// entry is a message ready for the index.
type entry struct {
	doc     *segment.Terms
	item    archive.Indexable
	summary archive.Summary
	// date is what the message is sorted by; report marks a journal report.
	date   time.Time
	report bool
	// unread says that attachments were not read because none are to be.
	unread bool
	// text is what snippets are taken from.
	text string
	// textBytes is the amount of text in doc.
	textBytes int
}

// analyzer makes documents. It is safe for concurrent use.
type analyzer struct {
	writers sync.Pool // of *writer: each keeps its memory, and remembers stems
}

func newAnalyzer(s *segment.Schema) *analyzer {
	return &analyzer{writers: sync.Pool{New: func() any {
		return &writer{Collector: segment.NewCollector(s), stemmer: words.NewStemmer(), known: map[string]bool{}}
	}}}
}

// flagReturned is the flag of a message that was disposed of and came back.
const flagReturned = "returned"

// newEntry makes the document of a message. m may be nil: then nothing could be read.
func (a *analyzer) newEntry(item archive.Indexable, m *mailparse.Message) *entry {
	if m == nil {
		m = &mailparse.Message{Size: item.Size, Flags: []string{mailparse.FlagPartial, mailparse.FlagUnclear}}
	}
	all, whole := m.HeaderAddresses()
	if !whole {
		m.Flags = withFlag(withFlag(m.Flags, mailparse.FlagMalformed), mailparse.FlagUnclear)
	}
	if item.Returned {
		m.Flags = withFlag(m.Flags, flagReturned)
	}
	body := m.Text()
	e := &entry{item: item, summary: summarize(m), text: collapse(body, maxSnippetText)}
	e.date, e.report = m.Date, m.Journal != nil
	if e.date.IsZero() {
		e.date = item.Received
	}
	w, _ := a.writers.Get().(*writer)
	defer a.writers.Put(w)
	w.Begin()
	w.textBytes = 0
	w.texts(m, body)
	w.people(m, all)
	w.properties(m, item, e.date)
	e.doc, e.textBytes = w.Terms(), w.textBytes
	return e
}

// texts makes the fields of running text, and that of their languages.
func (w *writer) texts(m *mailparse.Message, body string) {
	names, attached := fileNames(m), attachedTexts(m)
	language, attachedLanguage := words.Language(m.OwnText()), languageOf(attached)
	w.text(fieldSubject, language, append([]string{m.Subject}, m.OtherSubjects...)...)
	w.text(fieldBody, language, body)
	w.text(fieldAttachment, attachedLanguage, append(names, attached...)...)
	w.fileNames(names)
	w.exact(fieldLanguage, language, attachedLanguage)
}

// people makes the fields of who wrote to whom.
// all are those of the whole header.
func (w *writer) people(m *mailparse.Message, all []string) {
	w.notes(w.addresses(fieldFrom, m.From), m, "from")
	w.notes(w.addresses(fieldTo, m.To), m, "to")
	w.notes(w.addresses(fieldCc, m.Cc), m, "cc")
	w.notes(w.addresses(fieldBcc, m.Bcc), m, "bcc")
	w.notes(w.addresses(fieldParticipant, m.From, m.Sender, m.ReplyTo, m.To, m.Cc, m.Bcc, m.ResentFrom, m.ResentTo, journaledRecipients(m)),
		m, "from", "to", "cc", "bcc")
	w.addresses(fieldRecipient, m.ResentTo, envelopeRecipients(m))
	w.otherAddresses(m, all)
	w.keys(fieldSenderDomain, senderDomains(m)...)
	w.keys(fieldSenderKey, senderKey(m))
}

// properties makes all other fields.
func (w *writer) properties(m *mailparse.Message, item archive.Indexable, date time.Time) {
	flags := m.Flags
	if len(m.Attachments) > 0 {
		flags = append([]string{flagAttachment}, flags...)
	}
	w.exact(fieldMailbox, item.Mailboxes...)
	w.exact(fieldMessageID, m.MessageID)
	w.keys(fieldFlag, flags...)
	w.keys(fieldFileType, attachedTypes(m)...)
	w.list(m.ListID)
	w.header(m.Header)
	w.keys(fieldThread, threadKeys(m, item.ID)...)
	w.keys(fieldThreadRoot, threadRoot(m, item.ID))
	w.keys(fieldReported, reportedKey(m))
	w.numbers(fieldDate, quarterOf(date))
	w.numbers(fieldReceived, arrivals(item)...)
	w.numbers(fieldSize, item.Size)
	w.keys(fieldDateKey, timeKey(date))
	w.keys(fieldSizeKey, numberKey(item.Size))
	w.keys(fieldOrder, orderKey(item.Received, item.ID))
	w.keys(fieldDeposit, depositKeys(item)...)
}

// languageOf is the language of the first text that has one.
func languageOf(texts []string) string {
	for _, t := range texts {
		if l := words.Language(t); l != "" {
			return l
		}
	}
	return ""
}

func depositKeys(item archive.Indexable) []string {
	keys := make([]string, len(item.Deposits))
	for i, d := range item.Deposits {
		keys[i] = depositKey(d.Received, d.Mailbox)
	}
	return keys
}

// arrivals are the times at which a message was received, in quarters.
func arrivals(item archive.Indexable) []int64 {
	quarters := []int64{quarterOf(item.Received)}
	for _, d := range item.Deposits {
		if q := quarterOf(d.Received); !slices.Contains(quarters, q) {
			quarters = append(quarters, q)
		}
	}
	return quarters
}

// flagAttachment is what has:attachment looks for.
const flagAttachment = "attachment"

// summarize is what the catalog keeps for lists of results.
func summarize(m *mailparse.Message) archive.Summary {
	s := archive.Summary{
		Parser:    mailparse.Version,
		Date:      m.Date,
		From:      formatAddresses(m.From),
		To:        formatAddresses(m.To),
		Cc:        formatAddresses(m.Cc),
		Subject:   m.Subject,
		MessageID: m.MessageID,
		Flags:     m.Flags,
		Problems:  m.Problems,
	}
	for _, a := range m.Attachments {
		s.Attachments = append(s.Attachments, a.FileName)
	}
	return s
}

// formatAddresses writes addresses for people: decoded, and quoted only
// where a comma in a name would read as the end of it.
func formatAddresses(list []mailparse.Address) string {
	var b strings.Builder
	for i, a := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		switch {
		case a.Name == "":
			b.WriteString(a.Addr)
		case strings.ContainsAny(a.Name, ",;<>"):
			b.WriteString(`"` + a.Name + `" <` + a.Addr + ">")
		default:
			b.WriteString(a.Name + " <" + a.Addr + ">")
		}
	}
	return b.String()
}

// fileNames returns the names of the parts that have one, without folders.
func fileNames(m *mailparse.Message) []string {
	var names []string
	for i := range m.Parts {
		if n := m.Parts[i].FileName; n != "" {
			names = append(names, path.Base(strings.ReplaceAll(n, `\`, "/")))
		}
	}
	return names
}

// attachedTexts returns the text of attached text parts.
func attachedTexts(m *mailparse.Message) []string {
	var texts []string
	for i := range m.Parts {
		if p := &m.Parts[i]; p.IsAttachment && p.Text != "" {
			texts = append(texts, p.Text)
		}
	}
	return texts
}

// fileNames makes file names findable by their words and as a whole, so
// that *.pdf finds what it says.
func (w *writer) fileNames(names []string) {
	w.Field(fieldFileName)
	last := 0
	for _, n := range names {
		w.Add(limited(words.Fold(n)), last+gap)
		last = w.addText(n, "", last+gap)
	}
}

// envelopeRecipients are those that the header does not name: Bcc, and the members of
// lists.
func envelopeRecipients(m *mailparse.Message) []mailparse.Address {
	if len(m.Recipients) == 0 {
		return nil
	}
	named := map[string]bool{}
	for _, list := range [][]mailparse.Address{m.To, m.Cc, m.Bcc, m.ResentTo} {
		for _, a := range list {
			named[words.Fold(a.Addr)] = true
		}
	}
	var rest []mailparse.Address
	for _, r := range m.Recipients {
		if !named[words.Fold(r)] {
			rest = append(rest, mailparse.Address{Addr: r})
		}
	}
	return rest
}

// journaledRecipients are the envelopeRecipients of a journal report. Those that mail
// servers note in every message are no participants: they would make nearly all mail of
// a person be found by the person's own name.
func journaledRecipients(m *mailparse.Message) []mailparse.Address {
	if m.Journal == nil {
		return nil
	}
	return envelopeRecipients(m)
}

// list makes a List-Id (RFC 2919) findable by its words and as a whole.
func (w *writer) list(id string) {
	w.Field(fieldList)
	if id = words.Fold(strings.TrimSpace(id)); id != "" {
		w.addText(id, "", gap)
		w.Add(limited(id), gap)
	}
}

const (
	// maxHeaderValue is how much of the value of a header field is indexed, in
	// bytes. What people look for there is short.
	maxHeaderValue = 4 << 10
	// maxHeaderTerms is how many words of a header are indexed: a usual one has
	// two hundred, and one of a megabyte would make a dictionary of its own.
	maxHeaderTerms = 5000
)

// header makes header fields findable by name, and by the words of their
// values where these have no field of their own and are more than codes. A word is
// indexed as name=word, which tells it from those of other header fields. Positions
// would make the index a fifth larger.
func (w *writer) header(h mailparse.Header) {
	w.Field(fieldHeader)
	var term []byte
	for name, value := range h.All() {
		name = words.Fold(strings.TrimSpace(name))
		if name == "" || len(name) > words.MaxTermBytes || w.Length() > maxHeaderTerms {
			continue
		}
		w.Add([]byte(name), 1)
		if own, ok := query.HeaderValues(name); !ok || own != query.Any {
			continue
		}
		for t := range words.All(value[:min(len(value), maxHeaderValue)]) {
			term = append(append(append(term[:0], name...), '='), t.Term...)
			w.Add(term, 1)
		}
	}
}

// collapse makes every run of white space one space, and cuts what is beyond
// limit bytes, between words where there are any.
func collapse(text string, limit int) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(text) {
		room := limit - b.Len() - 1
		if len(word) > room {
			if b.Len() == 0 {
				return strings.ToValidUTF8(word[:limit], "")
			}
			break
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(word)
	}
	return b.String()
}
