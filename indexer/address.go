package indexer

import (
	"strings"
	"unicode/utf8"

	"github.com/postkeep/postkeep/indexer/words"
	"github.com/postkeep/postkeep/internal/mailparse"
	"golang.org/x/net/idna"
)

// addresses makes a field of addresses that are found by the words of the display name and
// of the local part, and by the whole address, the whole local part, the domain,
// each of its parents and each of its labels. It returns the last position.
func (w *writer) addresses(name string, lists ...[]mailparse.Address) (last int) {
	w.Field(name)
	for _, list := range lists {
		for _, a := range list {
			last = w.addText(a.Name, "", last+gap)
			last = w.addAddress(a.Addr, last+gap)
			if other := otherSpelling(a.Addr); other != "" {
				last = w.addAddress(other, last+gap)
			}
		}
	}
	return last
}

// otherAddresses makes the field of the addresses in the header that stand nowhere else, whole and by domain: holds are about
// all of them.
func (w *writer) otherAddresses(m *mailparse.Message, all []string) {
	w.Field(fieldAddress)
	if len(all) == 0 {
		return
	}
	known := w.known
	clear(known)
	for _, list := range [][]mailparse.Address{m.From, m.Sender, m.ReplyTo, m.To, m.Cc, m.Bcc, m.ResentFrom, m.ResentTo} {
		for _, a := range list {
			known[strings.ToLower(a.Addr)] = true
		}
	}
	for _, r := range m.Recipients {
		known[strings.ToLower(r)] = true
	}
	for _, addr := range all {
		if known[addr] {
			continue
		}
		w.wholeAddress(addr)
		if other := otherSpelling(addr); other != "" {
			w.wholeAddress(other)
		}
	}
}

func (w *writer) wholeAddress(addr string) {
	addr = words.Fold(addr)
	w.Add(limited(addr), 1)
	domain := addr[strings.LastIndexByte(addr, '@')+1:]
	for domain != "" && len(domain) <= maxDomain {
		w.Add(limited(domain), 1)
		_, domain, _ = strings.Cut(domain, ".")
	}
}

// notes adds to a field what stands beside the addresses of header fields, behind position last.
func (w *writer) notes(last int, m *mailparse.Message, names ...string) {
	for _, name := range names {
		for _, note := range m.Notes[name] {
			last = w.addText(note, "", last+gap)
		}
	}
}

// otherSpelling returns an address with an internationalized domain name (RFC 5890) in its
// other form, that of the protocol or that for people, "" if there is none: programs write the one, people
// look for the other.
func otherSpelling(addr string) string {
	local, domain, _ := strings.Cut(addr, "@")
	other := domain
	switch {
	case len(domain) > maxDomain:
	case strings.Contains(strings.ToLower(domain), "xn--"):
		other, _ = idna.Lookup.ToUnicode(domain) // what cannot be converted stays
	case !isASCII(domain):
		if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
			other = ascii
		}
	}
	if other == domain || other == "" {
		return ""
	}
	return local + "@" + other
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// maxDomain is in octets (RFC 1035 section 2.3.4); more is no domain, and
// would have too many parents.
const maxDomain = 255

func (w *writer) addAddress(addr string, position int) int {
	addr = words.Fold(strings.TrimSpace(addr))
	if addr == "" {
		return position
	}
	local, domain := addr, ""
	if at := strings.LastIndexByte(addr, '@'); at >= 0 {
		local, domain = addr[:at], addr[at+1:]
		w.Add(limited(addr), position)
	}
	last := w.addText(local, "", position)
	if !isOneWord(local) {
		w.Add(limited(local), position) // john.doe, besides john and doe
	}
	if len(domain) > maxDomain {
		return w.addText(domain, "", last+gap)
	}
	// Labels stand apart from each other, so that the phrase that "example.com"
	// is elsewhere does not find example.com.au.
	for domain != "" {
		label, parent, more := strings.Cut(domain, ".")
		last = w.addText(label, "", last+gap)
		if more || !isOneWord(domain) {
			w.Add(limited(domain), last)
		}
		domain = parent
	}
	return last
}

// isOneWord reports whether folded text is a single term in itself.
func isOneWord(text string) bool {
	for t := range words.All(text) {
		return t.Start == 0 && t.End == len(text)
	}
	return false
}
