package pop3

import (
	"strings"
	"unicode"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
)

// codeKind returns the kind that a response code stands for, 0 for one that
// says nothing, and the code's known part. Codes are hierarchies (RFC 2449,
// section 8): what is below a known one is at least that.
func codeKind(code string) Kind {
	parts := strings.Split(code, "/")
	code = parts[0]
	if code == "SYS" && len(parts) > 1 {
		code += "/" + parts[1]
	}
	switch code {
	case "AUTH":
		return KindAuth
	case "IN-USE", "LOGIN-DELAY":
		return KindBusy
	case "SYS/TEMP":
		return KindTemporary
	case "SYS/PERM", "UTF8": // UTF8: the message needs that mode (RFC 6856)
		return KindRefused
	}
	return 0
}

// refusalKind sorts a -ERR to a command other than those of a login by its
// response code, then by its words; fallback is for words that say nothing.
func refusalKind(code, text string, fallback Kind) Kind {
	if kind := codeKind(code); kind != 0 {
		return kind
	}
	text = fold(decodeText(text))
	for _, sort := range [...]struct {
		kind  Kind
		words []string
	}{
		{KindBusy, busyWords[:]}, {KindBusy, lockWords[:]}, {KindTemporary, temporaryWords[:]}, {KindBusy, waitWords[:]},
		{KindTemporary, laterWords[:]}, {KindTemporary, againWords[:]}, {KindUnsupported, unsupportedWords[:]},
	} {
		if containsAny(text, sort.words) {
			return sort.kind
		}
	}
	return fallback
}

// loginRefusalKind sorts a -ERR to a command of a login.
//
// A refusal is KindAuth, after which nobody tries again for hours, only if it
// clearly speaks of the credentials: by the code [AUTH], or by its words. A word
// of anything that passes by itself (limits, locks, back ends, maintenance)
// outweighs both: Gmail says "[AUTH] Account exceeded pop command or bandwidth
// limits". The politeness of "try again later" outweighs words, but not the
// code; that of "try again" neither. What says nothing of any of these is
// KindRefused: it may be anything.
func loginRefusalKind(code, text string) Kind {
	kind := codeKind(code)
	if kind != 0 && kind != KindAuth {
		return kind
	}
	coded := kind == KindAuth
	if text = fold(decodeText(text)); !coded {
		text = fold(code) + " " + text // [LIMIT], [OVERQUOTA], …
	}
	switch {
	case containsAny(text, encryptionWords[:]):
		return KindRefused
	case containsAny(text, busyWords[:]):
		return KindBusy
	case !coded && containsAny(text, lockWords[:]):
		return KindBusy
	case containsAny(text, temporaryWords[:]):
		return KindTemporary
	case coded:
		return KindAuth
	case containsAny(text, waitWords[:]):
		return KindBusy
	case containsAny(text, laterWords[:]):
		return KindTemporary
	case containsAny(text, unsupportedWords[:]):
		return KindUnsupported
	case containsAny(text, credentialWords[:]):
		return KindAuth
	case containsAny(text, againWords[:]):
		return KindTemporary
	}
	return KindRefused
}

// fold makes words comparable: lower case, without marks above and below the
// letters, for servers leave those out, or write them as the sender of "fuer"
// does.
func fold(text string) string {
	text = strings.ToLower(text)
	folded, _, err := transform.String(transform.Chain(norm.NFKD, runes.Remove(runes.In(unicode.Mn)), norm.NFC), text)
	if err != nil {
		return text
	}
	return strings.ReplaceAll(folded, "ł", "l") // not a letter with a mark to Unicode
}

func containsAny(folded string, words []string) bool {
	for _, word := range words {
		if containsWord(folded, fold(word)) {
			return true
		}
	}
	return false
}

// containsWord reports whether text has prefix at the start of a word:
// "locked" has "lock", but "blocked" and "unlock" have not. Chinese, Japanese and
// Korean words begin anywhere.
func containsWord(text, prefix string) bool {
	for at := 0; ; at++ {
		i := strings.Index(text[at:], prefix)
		if i < 0 {
			return false
		}
		at += i
		before, first := lastRune(text[:at]), firstRune(prefix)
		if !unicode.IsLetter(before) || isUnspaced(first) || isUnspaced(before) {
			return true
		}
	}
}

func firstRune(s string) rune {
	for _, r := range s {
		return r
	}
	return 0
}

func lastRune(s string) (last rune) {
	for _, r := range s[max(0, len(s)-4):] {
		last = r
	}
	return last
}

// isUnspaced reports whether r belongs to a script that does not put spaces
// between words, or not between all.
func isUnspaced(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul)
}

func refusalHint(kind Kind) string {
	switch kind {
	case KindAuth:
		return "check username and password"
	case KindBusy:
		return "another session holds the mailbox, or the server limits how often one may log in; try again later"
	case KindTemporary:
		return "try again later"
	default:
		return ""
	}
}
