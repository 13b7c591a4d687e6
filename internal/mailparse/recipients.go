package mailparse

import "strings"

// addrSet collects addresses, each once whatever its case.
type addrSet struct {
	list []string
	seen map[string]bool
}

func (s *addrSet) add(addr string) {
	folded := strings.ToLower(addr)
	if addr == "" || s.seen[folded] || len(s.list) >= maxAddresses {
		return
	}
	if s.seen == nil {
		s.seen = make(map[string]bool)
	}
	s.seen[folded] = true
	s.list = append(s.list, addr)
}

// transportRecipients returns the envelope recipients that mail servers wrote into
// the header: a mailbox that gets the mail of a whole domain needs them.
func transportRecipients(h Header) []string {
	var set addrSet
	for _, f := range h.fields {
		switch {
		case strings.EqualFold(f.Name, "Received"):
			set.add(receivedFor(f.Value))
		case isRecipientField(f.Name):
			for _, a := range parseAddresses(f.Value, h.charset) {
				if strings.IndexByte(a.Addr, '@') > 0 {
					set.add(a.Addr)
				}
			}
		}
	}
	return set.list
}

// isRecipientField reports whether servers write envelope recipients into the field:
// Postfix, qmail and Dovecot the first three, Exim the fourth, fetchmail and
// providers the others.
func isRecipientField(name string) bool {
	for _, known := range [...]string{"Delivered-To", "X-Original-To", "X-Delivered-To", "Envelope-To", "X-Envelope-To", "X-RCPT-TO"} {
		if len(name) == len(known) && strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}

// receivedFor returns the address of the for clause of a Received field (RFC 5321
// section 4.4), or "".
func receivedFor(value string) string {
	for {
		_, rest, ok := strings.Cut(value, " for ")
		if !ok {
			return ""
		}
		value = rest
		word, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
		word = strings.Trim(word, "<>;,()")
		if strings.IndexByte(word, '@') > 0 {
			return decodeWords(word, "")
		}
	}
}
