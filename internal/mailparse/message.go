package mailparse

import (
	"slices"
	"time"
)

// Version is the version of what Parse makes of a message. It is stored with
// every summary, and goes up when the same bytes would give another result, so
// that a rebuild knows what is out of date.
const Version = 4

// The flags of a message. They are stored and searched for by these words.
const (
	FlagMalformed = "malformed" // something is not as the RFCs want it; Problems says what
	FlagUnclear   = "unclear"   // malformed, and who wrote to whom cannot be told: an address, or the header, cannot be read
	FlagEncrypted = "encrypted" // a part cannot be read without a key
	FlagSigned    = "signed"    // has a signature, of whatever worth
	FlagJournal   = "journal"   // an Exchange journal report; Journal holds the envelope
	FlagBounce    = "bounce"    // a delivery status notification; Delivery has its fields
	FlagReport    = "report"    // a complaint of a mailbox provider; Feedback has its fields
	FlagPartial   = "partial"   // not all is here: a limit cut something off, or it is a fragment; Problems says what
)

// Message is what could be read of one message. It holds no reference to the
// reader or to any buffer of the caller. Every string is valid UTF-8 except
// Field.Value, which is as received.
type Message struct {
	// Header is the message's own header, also where Envelope is taken from an
	// enclosed message.
	Header Header
	// Envelope is the addressing of the message. For a journal report it is
	// that of the enclosed original.
	Envelope
	// Size is the number of octets read.
	Size int64
	// Parts are all entities in the order in which they begin; Parts[0] is
	// the message itself and always there.
	Parts []Part
	// Attachments lists the parts for which Part.IsAttachment holds.
	Attachments []Attachment
	// Recipients are the addresses that the message was transported to, as far as
	// it tells, each once: those of the journal report, else of the fields that
	// mail servers add (Delivered-To and its like, "for" in Received).
	Recipients []string
	// Journal is set for Exchange journal reports only.
	Journal *Journal
	// Delivery is set for bounces that name a recipient.
	Delivery *DeliveryReport
	// Feedback is set for feedback reports (RFC 5965) only.
	Feedback *FeedbackReport
	// Fragment is set for a piece of a message (message/partial) only.
	Fragment *Fragment
	// Flags are Flag constants, sorted, each once.
	Flags []string
	// Problems says in words why the message is malformed or partial, and what is odd
	// about it otherwise; each kind once, at most maxProblems.
	Problems []string
}

// Envelope is the part of a header that people search and sort by.
type Envelope struct {
	Date                               time.Time // UTC; zero if missing or unreadable
	From, Sender, ReplyTo, To, Cc, Bcc []Address
	// ResentFrom and ResentTo are who sent the message on, and to whom (RFC 5322 section 3.6.6), every
	// time it was: Resent-From and -Sender; Resent-To, -Cc and -Bcc.
	ResentFrom, ResentTo []Address
	// Notes is what stands beside the addresses of From, To, Cc and Bcc for people to read, and is no
	// name of one: comments (section 3.2.2) and the names of groups (section 3.4). It is nil where there is none.
	Notes   map[string][]string
	Subject string
	// OtherSubjects are those of further Subject fields, which there should not be.
	OtherSubjects         []string
	MessageID             string   // without angle brackets
	InReplyTo, References []string // without angle brackets
	ListID                string   // without angle brackets and phrase
	// ThreadIndex is what all messages of an Outlook conversation have in common:
	// the first 22 octets of Thread-Index in hexadecimal; "" if there are fewer.
	ThreadIndex string
}

// Address is a mailbox (RFC 5322 section 3.4). Groups are flattened.
type Address struct {
	Name string // decoded display name, may be empty
	Addr string // local@domain without quotes; may lack the @ in broken mail
}

// Part is one MIME entity.
type Part struct {
	// Path is the place in the tree: "1" is the message, "1.2" the second
	// child of it; the content of an enclosed message is its only child.
	Path        string
	Depth       int               // 0 for the message itself
	MediaType   string            // lower case, never empty
	Params      map[string]string // decoded; keys in lower case; may be nil
	Disposition string            // lower case, "" if absent
	FileName    string            // decoded, from Content-Disposition or Content-Type; may hold a path
	ContentID   string            // without angle brackets
	Description string            // Content-Description, decoded
	Encoding    string            // lower case Content-Transfer-Encoding, "" if absent
	Charset     string            // that Text was decoded from, lower case
	// Size is the number of decoded octets; of an enclosed message its raw
	// octets; 0 for a multipart.
	Size int64
	// Offset is where, in octets from the start of the message, the content of an
	// enclosed message begins; 0 for other parts, and where a transfer encoding lies around it.
	Offset int64
	// Text is the readable text of a text part: UTF-8, HTML without its
	// markup. It is empty where Options.MaxTextBytes allows no more.
	Text string
	// Hidden is what stands before the first part of a multipart and behind the last, and text that HTML holds and does not show: previews of newsletters, and
	// what is meant for filters. It counts as Text does.
	Hidden string
	// Links are the targets of links in HTML whose text does not show them, each once.
	Links []string
	// Enclosed is set for message/rfc822 and the like, not for Parts[0].
	Enclosed *Enclosed
	// IsAttachment holds for what a mail program lists as attached: not for
	// body text, for pictures that the HTML shows, or for signatures.
	IsAttachment bool
	// Issues says what was wrong with this part.
	Issues []string

	parent int // in Message.Parts; -1 for the message
}

// Enclosed is the header of a message that is a part of another.
type Enclosed struct {
	Header Header
	Envelope
}

// Attachment is the listing of one attached part.
type Attachment struct {
	Path      string // of the part
	FileName  string // may be empty
	MediaType string
	Size      int64 // decoded octets
}

// HasFlag reports whether m has the flag.
func (m *Message) HasFlag(flag string) bool {
	return slices.Contains(m.Flags, flag)
}
