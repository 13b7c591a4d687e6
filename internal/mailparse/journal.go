package mailparse

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Journal is the envelope that Exchange or Microsoft 365 wrote into a journal report.
type Journal struct {
	Sender     string // envelope sender
	OnBehalfOf string // who it was sent for, may be empty
	Subject    string
	MessageID  string // as the report gives it, without angle brackets
	// Recipients are the addresses of all recipients, with Bcc, the members
	// of lists and the lists themselves, each once.
	Recipients []string
	// Entries are the recipients as the report lists them.
	Entries []JournalRecipient
	// Key is the same for all reports of one message, and no other: the SHA-256, in
	// hexadecimal, of the message's Message-ID and the decoded octets of its parts.
	// Exchange writes several reports where recipients are expanded on several
	// servers, and may write their headers differently. It is "" where the report
	// has no message.
	Key string

	unclear bool // there is an address that cannot be read
}

// JournalRecipient is one recipient of a journal report.
type JournalRecipient struct {
	Addr string
	// Field is what the sender had them in: to, cc, bcc; or "recipient" where Exchange
	// does not know.
	Field     string
	Expanded  string // the list that Addr is a member of, or ""
	Forwarded string // the mailbox that forwards to Addr, or ""
}

// isJournalReport recognises the reports that Exchange and Microsoft 365 write
// for journaling. Older Exchange marks them by Content-Identifier, also misspelt.
func isJournalReport(h Header) bool {
	return h.Has("X-MS-Journal-Report") ||
		strings.EqualFold(h.Raw("Content-Identifier"), "ExJournalReport") ||
		strings.EqualFold(h.Raw("Content-Identifer"), "ExJournalReport") //nolint:misspell // so it is written
}

// parseJournal reads the first part of a journal report, lines of "Key: value":
//
//	Sender: alice@example.com
//	On-Behalf-Of: bob@example.com
//	Message-Id: <1@example.com>
//	To: carol@example.com, Expanded: staff@example.com
//	Recipient: dave@example.com, Forwarded: erin@example.com
//
// Exchange 2003 lists them without keys below a line "Recipients:". The list that an
// address was expanded from, and the address that it was forwarded from, are
// recipients too: people search for them.
func parseJournal(text string) *Journal {
	j := &Journal{}
	var all addrSet
	below := false // a line "Recipients:"
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		if !ok || strings.IndexByte(key, '@') >= 0 {
			if below && len(j.Entries) < maxAddresses {
				j.addRecipient(&all, "recipient", strings.TrimSpace(line))
			}
			continue
		}
		below = key == "recipients"
		switch key {
		case "sender":
			j.Sender = firstAddr(value)
			j.unclear = j.unclear || strings.Trim(value, "<> ") != "" && !isCleanAddr(j.Sender)
		case "on-behalf-of":
			j.OnBehalfOf = firstAddr(value)
			j.unclear = j.unclear || value != "" && !isCleanAddr(j.OnBehalfOf)
		case "subject":
			j.Subject = decodeWords(value, "")
		case "message-id":
			j.MessageID = strings.Trim(value, "<>")
		case "to", "cc", "bcc", "recipient", "recipients":
			if len(j.Entries) < maxAddresses {
				j.addRecipient(&all, strings.TrimSuffix(key, "s"), value)
			}
		}
	}
	j.Recipients = all.list
	return j
}

// addRecipient reads one line of recipients: an address, and how it came in.
func (j *Journal) addRecipient(all *addrSet, field, value string) {
	var r JournalRecipient
	flush := func() {
		if r.Addr != "" {
			j.Entries = append(j.Entries, r)
		}
		r = JournalRecipient{Field: field}
	}
	found := false
	for item := range strings.SplitSeq(value, ",") { // also where one is in a name
		how := ""
		if name, v, ok := strings.Cut(item, ":"); ok && strings.IndexByte(name, '@') < 0 {
			how, item = strings.ToLower(strings.TrimSpace(name)), v
		}
		addr := firstAddr(item)
		all.add(addr)
		clean := isCleanAddr(addr)
		found = found || clean
		j.unclear = j.unclear || how != "" && !clean
		switch {
		case addr == "":
		case how == "expanded":
			r.Expanded = addr
		case how == "forwarded":
			r.Forwarded = addr
		default:
			flush()
			r.Addr = addr
		}
	}
	flush()
	j.unclear = j.unclear || !found && strings.TrimSpace(value) != ""
}

// firstAddr returns the address in a value that holds one.
func firstAddr(value string) string {
	for _, a := range parseAddresses(value, "") {
		if strings.IndexByte(a.Addr, '@') >= 0 {
			return a.Addr
		}
	}
	return ""
}

// hashJournaled adds decoded octets of the journaled message to the key of the report.
func (s *state) hashJournaled(p *Part, octets []byte) {
	if p.Depth < 2 { // the report itself
		return
	}
	if s.journaled == nil {
		s.journaled = sha256.New()
	}
	s.journaled.Write(octets)
}

// finishJournal makes the enclosed original the message that people look for.
func (s *state) finishJournal() {
	if s.msg.Journal == nil {
		s.problem("journal report without its report")
		return
	}
	s.flag(FlagJournal)
	for i := range s.msg.Parts {
		p := &s.msg.Parts[i]
		if p.parent != 0 || p.Enclosed == nil {
			continue
		}
		s.msg.Envelope = p.Enclosed.Envelope
		id := s.msg.MessageID
		if id == "" {
			id = s.msg.Journal.MessageID
		}
		var content []byte
		if s.journaled != nil {
			content = s.journaled.Sum(nil)
		}
		key := sha256.Sum256(append(content, id...))
		s.msg.Journal.Key = hex.EncodeToString(key[:])
		return
	}
	s.problem("journal report without the message")
}
