package query

import (
	"slices"
	"strings"

	"github.com/postkeep/postkeep/indexer/words"
)

// Field names a part of the message to look in.
type Field string

// The fields that hold text. Any are the subject, the body, the addresses and
// the names of attached files.
const (
	Any            Field = ""
	From           Field = "from"
	To             Field = "to"
	Cc             Field = "cc"
	Bcc            Field = "bcc"
	Recipient      Field = "rcpt"        // of the header or of the envelope
	Participant    Field = "participant" // any of the addresses
	Address        Field = "address"     // in any field of the header, or in the envelope
	Subject        Field = "subject"
	Body           Field = "body"
	AttachmentText Field = "attachment" // text and file names of attachments
	FileName       Field = "filename"
	List           Field = "list" // List-Id
	// Those below have whole values, not words.
	FileType  Field = "filetype"
	Language  Field = "lang"
	Mailbox   Field = "mailbox"
	MessageID Field = "msgid"
)

// whole reports whether the field has whole values, not words at positions.
func (f Field) whole() bool {
	switch f {
	case FileType, Language, Mailbox, MessageID:
		return true
	}
	return false
}

// What a field name introduces.
type kind int

const (
	textKind kind = iota
	languageKind
	headerKind
	idKind
	flagKind
	hasKind
	sizeKind
	dateKind
)

// fieldNames are all names, in the order in which errors list them.
var fieldNames = []string{"from", "to", "cc", "bcc", "rcpt", "participant", "address", "subject", "body", "attachment", "filename", "filetype", "list",
	"header", "mailbox", "msgid", "id", "thread", "has", "is", "lang", "size", "date", "after", "before", "during", "received"}

// fieldKind says what the name of a field introduces, and whether it is one.
func fieldKind(name string) (kind, bool) {
	if !slices.Contains(fieldNames, name) {
		return 0, false
	}
	switch name {
	case "lang":
		return languageKind, true
	case "header":
		return headerKind, true
	case "id", "thread":
		return idKind, true
	case "is":
		return flagKind, true
	case "has":
		return hasKind, true
	case "size":
		return sizeKind, true
	case "date", "after", "before", "during", "received":
		return dateKind, true
	}
	return textKind, true
}

// flagNames are what is: takes.
var flagNames = []string{"encrypted", "signed", "malformed", "journal", "bounce", "report", "held", "partial", "unclear", "returned"}

// oneOf lists names for an error.
func oneOf(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// HeaderValues says where the values of a header field are looked for: in the
// field that it has in the language, or else with the name of the header field
// (Any). ok is false where they are not in the index: traces, signatures, dates, commands
// of mailing lists, references to other messages. Those are three quarters of
// the words of a usual header.
func HeaderValues(name string) (f Field, ok bool) {
	name = strings.ToLower(name)
	switch name {
	case "from", "to", "cc", "bcc", "subject":
		return Field(name), true
	case "message-id":
		return MessageID, true
	case "list-id":
		return List, true
	case "date", "references", "in-reply-to", "thread-index", "received", "x-received", "received-spf", "authentication-results",
		"dkim-signature", "domainkey-signature", "x-google-dkim-signature", "x-gm-message-state", "x-google-smtp-source", "x-face", "face",
		"autocrypt", "list-subscribe", "list-unsubscribe", "list-unsubscribe-post", "list-help", "list-post", "list-owner", "list-archive":
		return Any, false
	}
	for _, prefix := range []string{"arc-", "x-ms-exchange-antispam", "x-ms-exchange-crosstenant", "x-microsoft-antispam", "x-forefront-antispam", "x-proofpoint-"} {
		if strings.HasPrefix(name, prefix) {
			return Any, false
		}
	}
	return Any, true
}

// nearest returns the name that s was likely meant to be, "" if none is like it.
func nearest(s string, names []string) string {
	best, least := "", 3
	if len(s) < 4 {
		least = 2
	}
	for _, n := range names {
		if d := distance(s, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is the number of letters left out, added, changed or swapped with
// their neighbour between short words (optimal string alignment).
func distance(a, b string) int {
	const most = 24 // no name is longer
	if len(a) > most {
		return len(a)
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// pairedText says whether text is of a script that is indexed in pairs of
// characters, where patterns make no sense.
func pairedText(text string) bool { return strings.ContainsFunc(text, words.IsPaired) }
