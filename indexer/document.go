package indexer

import (
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blevesearch/bleve/v2/document"
	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/indexer/words"
	"github.com/postkeep/postkeep/internal/mailparse"
)

// entry is a message ready for the index.
type entry struct {
	doc     *document.Document
	item    archive.Indexable
	summary archive.Summary
	// date is what the message is sorted by; report marks a journal report.
	date   time.Time
	report bool
	// text is what snippets are taken from.
	text string
	// textBytes is the amount of text in doc.
	textBytes int
}

// analyzer makes documents. It is safe for concurrent use.
type analyzer struct {
	stemmers sync.Pool // of *words.Stemmer: each remembers what it has found
}

func newAnalyzer() *analyzer {
	return &analyzer{stemmers: sync.Pool{New: func() any { return words.NewStemmer() }}}
}

// newEntry makes the document of a message. m may be nil: then nothing could be read.
func (a *analyzer) newEntry(item archive.Indexable, m *mailparse.Message) *entry {
	if m == nil {
		m = &mailparse.Message{Size: item.Size, Flags: []string{mailparse.FlagPartial}}
	}
	body := m.Text()
	e := &entry{doc: document.NewDocument(item.ID), item: item, summary: summarize(m), text: collapse(body, maxSnippetText)}
	date := m.Date
	if date.IsZero() {
		date = item.Received
	}
	e.date, e.report = date, m.Journal != nil
	flags := m.Flags
	if len(m.Attachments) > 0 {
		flags = append([]string{flagAttachment}, flags...)
	}
	names, attached := fileNames(m), attachedTexts(m)
	stemmer, _ := a.stemmers.Get().(*words.Stemmer)
	defer a.stemmers.Put(stemmer)
	language, attachedLanguage := words.Language(m.OwnText()), languageOf(attached)
	for _, f := range []*field{
		textField(fieldSubject, newStems(language, stemmer), append([]string{m.Subject}, m.OtherSubjects...)...),
		textField(fieldBody, newStems(language, stemmer), body),
		textField(fieldAttachment, newStems(attachedLanguage, stemmer), append(names, attached...)...),
		addressField(fieldFrom, m.From).noted(m, "from"),
		addressField(fieldTo, m.To).noted(m, "to"),
		addressField(fieldCc, m.Cc).noted(m, "cc"),
		addressField(fieldBcc, m.Bcc).noted(m, "bcc"),
		addressField(fieldParticipant, m.From, m.Sender, m.ReplyTo, m.To, m.Cc, m.Bcc, m.ResentFrom, m.ResentTo, journaledRecipients(m)).noted(m, "from", "to", "cc", "bcc"),
		fileNameField(names),
		exactField(fieldMailbox, item.Mailboxes...),
		exactField(fieldMessageID, m.MessageID),
		keyField(fieldFlag, flags...),
		addressField(fieldRecipient, m.ResentTo, envelopeRecipients(m)).field,
		keyField(fieldFileType, attachedTypes(m)...),
		listField(m.ListID),
		headerField(m.Header),
		exactField(fieldLanguage, language, attachedLanguage),
		keyField(fieldThread, threadKeys(m, item.ID)...),
		numberField(fieldDate, quarterOf(date)),
		numberField(fieldReceived, arrivals(item)...),
		numberField(fieldSize, item.Size),
		keyField(fieldDateKey, timeKey(date)),
		keyField(fieldSizeKey, numberKey(item.Size)),
		keyField(fieldOrder, orderKey(item.Received, item.ID)),
		keyField(fieldDeposit, depositKeys(item)...),
		keyField(fieldSenderDomain, senderDomains(m)...),
		keyField(fieldSenderKey, senderKey(m)),
		keyField(fieldThreadRoot, threadRoot(m, item.ID)),
		keyField(fieldReported, reportedKey(m)),
	} {
		if f.length > 0 {
			f.pack()
			e.doc.AddField(f)
			e.textBytes += f.textBytes
		}
	}
	return e
}

// newStems returns nil where the language is not known.
func newStems(language string, stemmer *words.Stemmer) *stems {
	if language == "" {
		return nil
	}
	return &stems{language: language, stemmer: stemmer}
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

// fileNameField makes file names findable by their words and as a whole, so
// that *.pdf finds what it says.
func fileNameField(names []string) *field {
	f := newField(fieldFileName, textOptions, 4*len(names))
	last := 0
	for _, n := range names {
		f.add(limited(words.Fold(n)), last+gap)
		last = f.addText(n, last+gap)
	}
	return f
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

// listField makes a List-Id (RFC 2919) findable by its words and as a whole.
func listField(id string) *field {
	f := newField(fieldList, textOptions, 8)
	if id = words.Fold(strings.TrimSpace(id)); id != "" {
		f.addText(id, gap)
		f.add(limited(id), gap)
	}
	return f
}

const (
	// maxHeaderValue is how much of the value of a header field is indexed, in
	// bytes. What people look for there is short.
	maxHeaderValue = 4 << 10
	// maxHeaderTerms is how many words of a header are indexed: a usual one has
	// two hundred, and one of a megabyte would make a dictionary of its own.
	maxHeaderTerms = 5000
)

// headerField makes header fields findable by name, and by the words of their
// values where these have no field of their own and are more than codes. A word is
// indexed as name=word, which tells it from those of other header fields. Positions
// would make the index a fifth larger.
func headerField(h mailparse.Header) *field {
	f := newField(fieldHeader, exactOptions, 128)
	var term []byte
	for name, value := range h.All() {
		name = words.Fold(strings.TrimSpace(name))
		if name == "" || len(name) > words.MaxTermBytes || f.length > maxHeaderTerms {
			continue
		}
		f.add([]byte(name), 1)
		if own, ok := query.HeaderValues(name); !ok || own != query.Any {
			continue
		}
		for t := range words.All(value[:min(len(value), maxHeaderValue)]) {
			term = append(append(append(term[:0], name...), '='), t.Term...)
			f.add(term, 1)
		}
	}
	return f
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
