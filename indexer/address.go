package indexer

import (
	"strings"
	"unicode/utf8"

	"github.com/postkeep/postkeep/indexer/words"
	"github.com/postkeep/postkeep/internal/mailparse"
	"golang.org/x/net/idna"
)

// addressField makes addresses findable by the words of the display name and
// of the local part, and by the whole address, the whole local part, the domain,
// each of its parents and each of its labels.
func addressField(name string, lists ...[]mailparse.Address) *addresses {
	n := 0
	for _, list := range lists {
		n += len(list)
	}
	f := &addresses{field: newField(name, textOptions, min(8*n, 1<<14))}
	for _, list := range lists {
		for _, a := range list {
			f.last = f.addText(a.Name, f.last+gap)
			f.last = addAddress(f.field, a.Addr, f.last+gap)
			if other := otherSpelling(a.Addr); other != "" {
				f.last = addAddress(f.field, other, f.last+gap)
			}
		}
	}
	return f
}

// addresses is an address field that is being made.
type addresses struct {
	*field
	last int // position
}

// noted adds what stands beside the addresses of header fields.
func (f *addresses) noted(m *mailparse.Message, names ...string) *field {
	for _, name := range names {
		for _, note := range m.Notes[name] {
			f.last = f.addText(note, f.last+gap)
		}
	}
	return f.field
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

func addAddress(f *field, addr string, position int) int {
	addr = words.Fold(strings.TrimSpace(addr))
	if addr == "" {
		return position
	}
	local, domain := addr, ""
	if at := strings.LastIndexByte(addr, '@'); at >= 0 {
		local, domain = addr[:at], addr[at+1:]
		f.add(limited(addr), position)
	}
	last := f.addText(local, position)
	if !isOneWord(local) {
		f.add(limited(local), position) // john.doe, besides john and doe
	}
	if len(domain) > maxDomain {
		return f.addText(domain, last+gap)
	}
	// Labels stand apart from each other, so that the phrase that "example.com"
	// is elsewhere does not find example.com.au.
	for domain != "" {
		label, parent, more := strings.Cut(domain, ".")
		last = f.addText(label, last+gap)
		if more || !isOneWord(domain) {
			f.add(limited(domain), last)
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
