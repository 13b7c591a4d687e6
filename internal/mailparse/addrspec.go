package mailparse

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxAddrBytes is longer than any address (RFC 5321 section 4.5.3.1).
	maxAddrBytes = 320
	// maxHeaderAddresses bounds what HeaderAddresses returns of one message: above
	// the largest lists of recipients that are sent, and 16 MiB at worst.
	maxHeaderAddresses = maxAddresses
)

// isCleanAddr reports whether s is an address that people could look for: local@domain with
// nothing else in it. A quoted local part with white space is not: where it ends is a guess.
func isCleanAddr(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || len(s) > maxAddrBytes || !utf8.ValidString(s) {
		return false
	}
	local, domain := s[:at], s[at+1:]
	if isEncapsulated(local) {
		return false
	}
	for _, r := range local {
		if r <= ' ' || r == 0x7f || unicode.IsSpace(r) || isInvisible(r) || strings.ContainsRune(`()<>[],;:\"@`, r) || r == '/' && strings.IndexByte(local, '=') >= 0 {
			return false
		}
	}
	if strings.HasPrefix(domain, "[") {
		return strings.HasSuffix(domain, "]") && !strings.ContainsAny(domain, " \t<>@")
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || strings.ContainsFunc(label, func(r rune) bool { return !isDomainRune(r) }) {
			return false
		}
	}
	return true
}

// isEncapsulated reports whether a local part is an address of X.500 or X.400 as Exchange writes it for the Internet
// ([MS-OXOABK], IMCEA): whose it is only the directory knows.
func isEncapsulated(local string) bool {
	return isIMCEA(local) && !hasFoldPrefix(local, "IMCEASMTP-")
}

func isIMCEA(local string) bool { return len(local) > 6 && strings.EqualFold(local[:5], "IMCEA") }

func hasFoldPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func isDomainRune(r rune) bool {
	return r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

// isInvisible reports whether r is a character that nobody sees: zero-width ones, marks of direction, the soft hyphen.
func isInvisible(r rune) bool { return r == '\u00ad' || unicode.Is(unicode.Cf, r) }

// plainSpelling removes invisible characters, and makes wide and ideographic forms of what addresses are
// built of the usual ones.
func plainSpelling(s string) string {
	if asciiOnly(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '＠' || r == '﹫':
			return '@'
		case r == '．' || r == '。' || r == '｡':
			return '.'
		case r == '＜' || r == '〈':
			return '<'
		case r == '＞' || r == '〉':
			return '>'
		case unicode.IsSpace(r):
			return ' '
		case isInvisible(r):
			return -1
		}
		return r
	}, s)
}

func asciiOnly(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// cutSpecs separates the addresses in text without comments from the other words. White space around @ and
// dots belongs to an address (RFC 5322 section 4.4).
func cutSpecs(text string) (addrs []string, rest string) {
	tokens := strings.FieldsFunc(plainSpelling(text), func(r rune) bool { return r == '<' || r == '>' || unicode.IsSpace(r) })
	tokens = joined(tokens)
	var words []string
	for _, t := range tokens {
		if strings.IndexByte(t, '@') < 0 {
			words = append(words, t)
			continue
		}
		addrs = append(addrs, trimSpec(t))
	}
	return addrs, strings.Join(words, " ")
}

// joined puts together what white space around @ and dots has separated.
func joined(tokens []string) []string {
	out := make([]string, 0, len(tokens))
	for _, t := range tokens {
		last := len(out) - 1
		switch {
		case last > 0 && out[last] == "." && strings.IndexByte(t, '@') > 0: // held . smith@example.com
			out = out[:last]
			out[last-1] += "." + t
		case last >= 0 && belongs(out[last], t):
			out[last] += t
		default:
			out = append(out, t)
		}
	}
	for i := len(out) - 2; i > 0; i-- { // held . smith @ example.com: the @ came after the dot
		if out[i] == "." && strings.IndexByte(out[i+1], '@') > 0 && strings.IndexByte(out[i-1], '@') < 0 {
			out[i-1] += "." + out[i+1]
			out = slices.Delete(out, i, i+2)
		}
	}
	return out
}

// unspacing takes away white space around what addresses are built of. Where it stands on both sides, it takes two passes.
var unspacing = strings.NewReplacer(" .", ".", ". ", ".", " @", "@", "@ ", "@")

// belongs reports whether word, which is not empty, goes on with the address that before begins.
func belongs(before, word string) bool {
	begun := strings.IndexByte(before, '@') >= 0
	switch {
	case word[0] == '@':
		return !begun
	case strings.HasSuffix(before, "@"):
		return true
	case strings.IndexByte(word, '@') > 0:
		return word[0] == '.' && !begun
	}
	return begun && (word[0] == '.' || strings.HasSuffix(before, "."))
}

// trimSpec takes away what stands around an address and is no part of it: a scheme or kind (mailto:,
// SMTP:), brackets, the dot that ends a domain.
func trimSpec(s string) string {
	for {
		kind, addr, ok := strings.Cut(s, ":")
		if !ok || kind == "" || strings.ContainsAny(kind, "@\"/=") || strings.IndexByte(addr, '@') <= 0 {
			break
		}
		s = addr
	}
	s = strings.TrimLeft(s, "<[{(")
	if strings.IndexByte(s, '[') < 0 {
		s = strings.TrimRight(s, "]")
	}
	s = strings.TrimRight(s, ">)},;.")
	return tidy(Address{Addr: s}).Addr
}

// isClear reports whether every address of the envelope was read, so that who wrote to whom can be
// told. What is no address at all, such as "undisclosed recipients", stands for nobody.
func (e *Envelope) isClear() bool {
	for _, list := range [][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc, e.ResentFrom, e.ResentTo} {
		if len(list) >= maxAddresses {
			return false
		}
		for _, a := range list {
			if !isCleanAddr(a.Addr) && !isNobody(a) {
				return false
			}
		}
	}
	return true
}

// isNobody reports whether a stands for recipients that the sender did not name, or for the mail system.
func isNobody(a Address) bool {
	text := strings.ToLower(a.Name + a.Addr)
	if at := strings.IndexByte(text, '@'); at == 0 || at > 0 && !strings.Contains(text[:at], "disclosed") {
		return false // QUIRK: servers add their domain to "Undisclosed Recipients"
	}
	text = strings.NewReplacer("-", " ", "_", " ").Replace(text)
	for _, known := range [...]string{"undisclosed recipient", "unlisted recipient", "recipient list not shown", "recipients not specified", "mailer daemon"} {
		if strings.Contains(text, known) {
			return true
		}
	}
	return false
}

// HeaderAddresses returns every address that stands anywhere in the header, in lower case and each once: in fields that have
// addresses and in others, as text, in comments and names, however it is written. Of a journal report that is its own header and
// that of the message in it, and the envelope that it reports. whole is false where there are more than are returned.
func (m *Message) HeaderAddresses() (list []string, whole bool) {
	var found addrSet
	for _, f := range m.Header.fields {
		found.scanField(f, m.Header.charset)
	}
	if m.Journal != nil {
		for i := range m.Parts {
			if e := m.Parts[i].Enclosed; e != nil && m.Parts[i].parent == 0 {
				for _, f := range e.Header.fields {
					found.scanField(f, e.Header.charset)
				}
			}
		}
		for _, a := range append([]string{m.Journal.Sender, m.Journal.OnBehalfOf}, m.Journal.Recipients...) {
			found.scan(a)
		}
	}
	return found.list, len(found.list) < maxHeaderAddresses
}

// isIdentifierField reports whether a field names messages, whose ids look like addresses and are none.
func isIdentifierField(name string) bool {
	for _, known := range [...]string{"Message-ID", "References", "In-Reply-To", "Resent-Message-ID", "Content-ID"} {
		if len(name) == len(known) && strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}

func (s *addrSet) scanField(f Field, charset string) {
	if isIdentifierField(f.Name) || !mayHaveAddress(f.Value) {
		return
	}
	value := f.Value
	if !asciiOnly(value) || strings.Contains(value, "=?") {
		s.scan(plainSpelling(value))
		value = plainSpelling(decodeWords(value, charset))
	}
	s.scan(value)
	if strings.Contains(value, "%40") {
		if plain, err := url.PathUnescape(value); err == nil {
			s.scan(plain)
		}
	}
	if !isApart(value) && !strings.Contains(value, " . ") {
		return
	}
	value = stripComments(value)
	s.scan(value)
	s.scan(unspacing.Replace(unspacing.Replace(strings.Join(strings.Fields(value), " "))))
	addrs, _ := cutSpecs(apart.Replace(value))
	for _, a := range addrs {
		s.scan(a)
	}
}

// mayHaveAddress reports whether there is an @ in a value, however it is written.
func mayHaveAddress(value string) bool {
	if strings.IndexByte(value, '@') >= 0 || strings.Contains(value, "%40") || strings.Contains(value, "＠") || strings.Contains(value, "﹫") {
		return true
	}
	if !strings.Contains(value, "=?") {
		return false
	}
	return strings.Contains(value, "=40") || strings.Contains(value, "?B?") || strings.Contains(value, "?b?") || strings.Contains(value, "=EF=") || strings.Contains(value, "=ef=")
}

// apart keeps what separates addresses from becoming a part of them.
var apart = strings.NewReplacer(",", " , ", ";", " ; ")

// isApart reports whether white space or comments may stand in an address.
func isApart(value string) bool {
	for at := 0; ; at++ {
		next := strings.IndexByte(value[at:], '@')
		if next < 0 {
			return false
		}
		at += next
		if at > 0 && (value[at-1] == ' ' || value[at-1] == '\t' || value[at-1] == ')') {
			return true
		}
		rest := value[at+1:]
		rest = rest[len(domainBehind(rest)):]
		dot := strings.HasPrefix(rest, ".")
		rest = strings.TrimPrefix(rest, ".")
		switch {
		case rest == "":
		case rest[0] == '(', dot && (rest[0] == ' ' || rest[0] == '\t'), strings.HasPrefix(strings.TrimLeft(rest, " \t"), "."):
			return true
		case at+1 < len(value) && (value[at+1] == ' ' || value[at+1] == '\t'):
			return true
		}
	}
}

// scan adds the addresses in text: an @ with what may be a local part before it and a domain behind it.
func (s *addrSet) scan(text string) {
	for at := 0; len(s.list) < maxHeaderAddresses; at++ {
		next := strings.IndexByte(text[at:], '@')
		if next < 0 {
			return
		}
		at += next
		local, domain := localBefore(text[:at]), domainBehind(text[at+1:])
		if local == "" || domain == "" || len(local)+len(domain) > maxAddrBytes {
			continue
		}
		if begin := at - len(local); begin >= 0 && text[begin:at] == local {
			s.add(strings.ToLower(text[begin : at+1+len(domain)]))
		} else {
			s.add(strings.ToLower(local + "@" + domain))
		}
		if strings.ContainsAny(local, "=%|!") || isIMCEA(local) {
			s.addInner(local, domain)
		}
	}
}

// addInner adds the addresses that are written inside a local part.
func (s *addrSet) addInner(local, domain string) {
	add := func(addr string) { s.add(strings.ToLower(addr)) }
	// smtp.mailfrom=a@b, prvs=…=a@b, relay!a@b, sender|a@b
	if i := strings.LastIndexAny(local, "=|!"); i >= 0 && i < len(local)-1 {
		add(local[i+1:] + "@" + domain)
	}
	if user, host, ok := strings.Cut(local, "%"); ok && user != "" && strings.IndexByte(host, '.') > 0 { // a%b@relay
		add(user + "@" + strings.ReplaceAll(host, "%", "@"))
	}
	if user, _, ok := strings.Cut(local, "/"); ok && hasFoldPrefix(user, "prvs=") { // prvs=a/…@b
		add(user[len("prvs="):] + "@" + domain)
	}
	if hasFoldPrefix(local, "IMCEASMTP-") {
		hex := strings.ReplaceAll(strings.ReplaceAll(local[len("IMCEASMTP-"):], "%", "%25"), "+", "%")
		if inner, err := url.PathUnescape(hex); err == nil && isCleanAddr(inner) {
			add(inner)
		}
	}
	s.addReturn(local)
}

// maxReturnForms is how many ways of reading a return path are added: local parts have few separators.
const maxReturnForms = 8

// addReturn adds the address that forwarders and lists write into the local part of a return path: SRS0=…=…=b=a (Sender
// Rewriting Scheme), list-return-1-a=b (VERP). Where a begins is not written, so that each way of reading it is added.
func (s *addrSet) addReturn(local string) {
	i := strings.LastIndexByte(local, '=')
	if i <= 0 || i == len(local)-1 {
		return
	}
	before, last := local[:i], local[i+1:]
	add := func(user, host string) {
		if addr := user + "@" + host; strings.IndexByte(host, '.') > 0 && isCleanAddr(addr) {
			s.add(strings.ToLower(addr))
		}
	}
	if hasFoldPrefix(local, "SRS0") || hasFoldPrefix(local, "SRS1") {
		add(last, before[strings.LastIndexByte(before, '=')+1:])
		return
	}
	begin := len(before)
	for range maxReturnForms {
		begin = strings.LastIndexAny(before[:begin], "+-=_")
		add(before[begin+1:], last)
		if begin < 0 {
			return
		}
	}
}

// localBefore returns the local part at the end of s.
func localBefore(s string) string {
	if strings.HasSuffix(s, `"`) {
		if open := strings.LastIndexByte(s[:len(s)-1], '"'); open >= 0 {
			return unquote(s[open+1 : len(s)-1])
		}
		s = s[:len(s)-1]
	}
	begin := len(s)
	for begin > 0 {
		r, n := utf8.DecodeLastRuneInString(s[:begin])
		if r < utf8.RuneSelf && !isAtomByte(byte(r)) || r >= utf8.RuneSelf && (unicode.IsSpace(r) || unicode.IsPunct(r)) || len(s)-begin > maxAddrBytes {
			break
		}
		begin -= n
	}
	return strings.Trim(s[begin:], "'`.")
}

// isAtomByte reports whether c may be in a local part that is not quoted (RFC 5322 section 3.2.3).
func isAtomByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) >= 0
}

// domainBehind returns the domain at the beginning of s.
func domainBehind(s string) string {
	if strings.HasPrefix(s, "[") {
		if end := strings.IndexByte(s[:min(len(s), maxAddrBytes)], ']'); end > 0 {
			return s[:end+1]
		}
		return ""
	}
	end := 0
	for end < len(s) && end <= maxAddrBytes {
		r, n := utf8.DecodeRuneInString(s[end:])
		if r != '.' && !isDomainRune(r) || r == utf8.RuneError && n <= 1 {
			break
		}
		end += n
	}
	return strings.TrimRight(s[:end], ".-_")
}
