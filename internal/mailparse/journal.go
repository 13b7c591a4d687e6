package mailparse

import "strings"

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
// The list that an address was expanded from, and the address that it was forwarded
// from, are recipients too: people search for them.
func parseJournal(text string) *Journal {
	j := &Journal{}
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "sender":
			j.Sender = firstAddr(value)
		case "on-behalf-of":
			j.OnBehalfOf = firstAddr(value)
		case "message-id":
			j.MessageID = strings.Trim(value, "<>")
		case "to", "cc", "bcc", "recipient":
			for _, field := range strings.Split(value, ",") {
				if name, v, ok := strings.Cut(field, ":"); ok && strings.IndexByte(name, '@') < 0 {
					field = v // Expanded: or Forwarded:
				}
				addr := firstAddr(field)
				if folded := strings.ToLower(addr); addr != "" && !seen[folded] && len(seen) < maxAddresses {
					seen[folded] = true
					j.Recipients = append(j.Recipients, addr)
				}
			}
		}
	}
	return j
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

// finishJournal makes the enclosed original the message that people look for.
func (s *state) finishJournal() {
	if s.msg.Journal == nil {
		s.problem("journal report without its report")
		return
	}
	s.flag(FlagJournal)
	for i := range s.msg.Parts {
		if p := &s.msg.Parts[i]; p.parent == 0 && p.Enclosed != nil {
			s.msg.Envelope = p.Enclosed.Envelope
			return
		}
	}
	s.problem("journal report without the message")
}
