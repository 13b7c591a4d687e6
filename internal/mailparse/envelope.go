package mailparse

import (
	"encoding/hex"
	"slices"
	"sort"
	"strings"
)

// maxReferences is the number of ids taken of one field. Mailers keep some
// tens; threads of more are not joined any better.
const maxReferences = 1000

// newEnvelope reads the fields of a header that people search and sort by.
func newEnvelope(h Header) Envelope {
	e := Envelope{
		Date:       parseDate(h.Raw("Date")),
		From:       h.addresses("From"),
		Sender:     h.addresses("Sender"),
		ReplyTo:    h.addresses("Reply-To"),
		To:         h.addresses("To"),
		Cc:         h.addresses("Cc"),
		Bcc:        h.addresses("Bcc"),
		ResentFrom: h.addresses("Resent-From", "Resent-Sender"),
		ResentTo:   h.addresses("Resent-To", "Resent-Cc", "Resent-Bcc"),
		Notes:      h.addressNotes(),
		Subject:    strings.TrimSpace(h.Get("Subject")),
		InReplyTo:  messageIDs(h.Get("In-Reply-To")),
		References: messageIDs(h.Get("References")),
		ListID:     h.Get("List-Id"),

		ThreadIndex: threadIndex(h.Raw("Thread-Index")),
	}
	if subjects := h.Values("Subject"); len(subjects) > 1 {
		e.OtherSubjects = subjects[1:]
	}
	if ids := messageIDs(h.Get("Message-ID")); len(ids) > 0 {
		e.MessageID = ids[0]
	} else {
		e.MessageID = strings.TrimSpace(h.Get("Message-ID"))
	}
	if start := strings.LastIndexByte(e.ListID, '<'); start >= 0 {
		e.ListID, _, _ = strings.Cut(e.ListID[start+1:], ">")
	}
	e.ListID = strings.TrimSpace(e.ListID)
	return e
}

// threadIndexOctets is the length of the header block of Thread-Index ([MS-OXOMSG]
// section 2.2.1.3): a reserved octet, 5 of time, a GUID. Replies append to it.
const threadIndexOctets = 22

func threadIndex(value string) string {
	if value == "" {
		return ""
	}
	octets := encodedWord{base64: true, text: value}.decode(nil)
	if len(octets) < threadIndexOctets {
		return ""
	}
	return hex.EncodeToString(octets[:threadIndexOctets])
}

// messageIDs returns the message ids in s (RFC 5322 section 3.6.4), without angle
// brackets: what stands in these, or, if there are none, the words with an @.
func messageIDs(s string) []string {
	var ids []string
	rest := s
	for len(ids) < maxReferences {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		end := strings.IndexByte(after, '>')
		if next := strings.IndexByte(after, '<'); next >= 0 && (end < 0 || next < end) {
			end = next // not closed
		}
		if end < 0 {
			end = len(after)
		}
		id := after[:end]
		if strings.ContainsAny(id, " \t") {
			id = strings.Join(strings.Fields(id), "")
		}
		if id != "" {
			ids = append(ids, id)
		}
		rest = after[end:]
	}
	if len(ids) > 0 {
		return ids
	}
	for word := range strings.FieldsSeq(s) {
		if strings.IndexByte(word, '@') > 0 && len(ids) < maxReferences {
			ids = append(ids, strings.Trim(word, ",;()"))
		}
	}
	return ids
}

// issueAddress says why a message is unclear.
const issueAddress = "an address that cannot be read"

// isUnclear reports whether who wrote to whom cannot be told.
func (s *state) isUnclear() bool {
	m := s.msg
	switch {
	case !m.isClear(), m.Journal != nil && m.Journal.unclear, len(m.Header.fields) == 0:
		return true
	case len(m.From) == 0 && m.Header.Has("From"):
		return true
	}
	return slices.Contains(m.Problems, issueHeader) || slices.Contains(m.Problems, issueHeaderEnd)
}

// finish makes the summary when all was read.
func (s *state) finish() {
	m := s.msg
	if m.Size == 0 {
		s.problem("empty message")
	}
	if m.Header.charset == "" {
		// Raw octets in the header are in the charset of the text.
		if i := slices.IndexFunc(m.Parts, func(p Part) bool { return p.Params["charset"] != "" }); i >= 0 {
			m.Header.charset = m.Parts[i].Params["charset"]
		}
	}
	m.Envelope = newEnvelope(m.Header)
	if s.journal {
		s.finishJournal()
	}
	if m.Journal != nil {
		m.Recipients = m.Journal.Recipients
	} else {
		m.Recipients = transportRecipients(m.Header)
	}
	if s.isUnclear() {
		s.problem(issueAddress)
		s.flag(FlagUnclear)
	}
	s.finishReports()
	for i := range m.Parts {
		if p := &m.Parts[i]; p.IsAttachment {
			m.Attachments = append(m.Attachments, Attachment{Path: p.Path, FileName: p.FileName, MediaType: p.MediaType, Size: p.Size})
		}
	}
	sort.Strings(m.Flags)
}

// inspect looks at the text of a part for what its header does not tell.
func (s *state) inspect(p *Part, text string) {
	head := text[:min(len(text), sniffBytes)]
	if strings.Contains(head, "-----BEGIN PGP ") { // RFC 9580 section 6.2
		for line := range strings.Lines(head) {
			switch strings.TrimSpace(line) {
			case "-----BEGIN PGP MESSAGE-----":
				s.flag(FlagEncrypted)
			case "-----BEGIN PGP SIGNED MESSAGE-----":
				s.flag(FlagSigned)
			}
		}
	}
	switch {
	case s.journal && p.parent == 0 && s.msg.Journal == nil && p.MediaType == "text/plain":
		s.msg.Journal = parseJournal(text)
	case p.Depth <= 1 && isDeliveryStatus(p.MediaType):
		s.msg.Delivery = parseDeliveryReport(text)
	case p.Depth <= 1 && p.MediaType == "message/feedback-report":
		s.msg.Feedback = parseFeedbackReport(text)
	}
}
