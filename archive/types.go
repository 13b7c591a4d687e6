package archive

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/postkeep/postkeep/archive/setsum"
)

// A Delivery is one message taken from one place of one mailbox, on its way
// into the archive.
type Delivery struct {
	// ID is the SHA-256 in lower-case hex of the bytes as the poller read them
	// from the wire. Put computes it again over what it writes.
	ID string
	// Size is the number of octets of the message.
	Size int64
	// Body yields exactly Size octets. Put reads it once and does not close it: a delivery that is put again after an error needs another
	// one. The bytes of a *bytes.Reader that has not been read are used where they are, and must not change before Put returns; it stays unread.
	Body io.Reader

	Deposit
}

// A Deposit says where and when one copy of a message was received. The same
// message may be deposited many times; its bytes are kept once.
type Deposit struct {
	Mailbox string `json:"mailbox"`
	// UIDL is the server's unique-id (RFC 1939 section 7), "" where the server has none.
	UIDL string `json:"uidl,omitempty"`
	// ListedSize is the size in octets that LIST gave. Servers lie, but consistently,
	// so that (UIDL, ListedSize) recognises a message at the next poll.
	ListedSize int64     `json:"listed_size,omitempty"`
	Received   time.Time `json:"received"`
	// HeaderHash is the hash of the header section by which a later session
	// confirms with TOP that a UIDL still means this message; "" if unknown.
	HeaderHash string `json:"header_hash,omitempty"`
	Source     Source `json:"source"`
	// Returned is the plan that disposed of the message before it came back, "" if none did. Put sets it.
	Returned string `json:"returned,omitempty"`
}

// Source is where a deposit came from.
type Source struct {
	Protocol string `json:"protocol"`          // "pop3"
	Host     string `json:"host,omitempty"`    // host:port of the server
	User     string `json:"user,omitempty"`    // login name
	TLS      string `json:"tls,omitempty"`     // "TLS 1.3", or "" for a plain connection
	Session  string `json:"session,omitempty"` // id of the poll session
	Number   int    `json:"number,omitempty"`  // message number in the session
	// Stream and Sequence are the JetStream stream that carried it, and its place in that.
	Stream   string `json:"stream,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
}

// A Receipt says that a delivery is durable: bytes and deposit fsynced in
// volume and ledger.
type Receipt struct {
	ID string `json:"id"`
	// Index is the ledger index of the deposit.
	Index int64 `json:"index"`
	// Known means that this very deposit had been made before.
	Known bool `json:"known,omitempty"`
	// Received is when a known deposit was made.
	Received time.Time `json:"received,omitzero"`
	// Disposed means that this very deposit had been made before and was disposed of: it is Known, and
	// nothing of it is kept.
	Disposed bool `json:"disposed,omitempty"`
	// Stored means that the bytes were new to the archive.
	Stored bool `json:"stored,omitempty"`
	// Refused is why this delivery is not archived, "" when it is. The other deliveries of the batch
	// are not affected. It is final for these bytes: trying again gives the same.
	Refused string `json:"refused,omitempty"`
}

// A Listing is a message as a server lists it.
type Listing struct {
	UIDL string `json:"uidl"`
	Size int64  `json:"size"`
}

// A Holding is a deposit that the archive has for a listed message.
type Holding struct {
	Listing
	ID         string    `json:"id"`
	HeaderHash string    `json:"header_hash,omitempty"`
	Received   time.Time `json:"received"`
	// Index is the ledger index of the deposit.
	Index int64 `json:"index"`
	// Disposed means that the message was archived and disposed of: known, but not fetched again unless
	// its header is another one.
	Disposed bool `json:"disposed,omitempty"`
	// Confirmed means that the ledger has a PollReport by which the copy is whole. Only such a
	// deposit is a reason to delete the message elsewhere.
	Confirmed bool `json:"confirmed,omitempty"`
}

// A Message is what the catalog knows of an archived message.
type Message struct {
	ID       string
	Size     int64     // octets
	Received time.Time // first deposit
	Summary  Summary
	Deposits []Deposit
}

// A Summary is what a parser found in a message. It is derived: Describe
// replaces it whenever a newer parser has read the message again.
type Summary struct {
	// Parser is the version of the parser, 0 for a message not parsed yet.
	Parser      int       `json:"parser"`
	Date        time.Time `json:"date,omitzero"` // Date header, zero if missing or unreadable
	From        string    `json:"from,omitempty"`
	To          string    `json:"to,omitempty"`
	Cc          string    `json:"cc,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	MessageID   string    `json:"message_id,omitempty"`
	Attachments []string  `json:"attachments,omitempty"` // file names, "" for an unnamed one
	Flags       []string  `json:"flags,omitempty"`       // malformed, encrypted, signed, journal, bounce, partial
	Problems    []string  `json:"problems,omitempty"`    // what is behind the flags, in words
}

// A PollReport is the reconciliation of one poll of one mailbox:
// Listed = Archived + Known + Left, and of the archived and known ones Deleted + Kept.
type PollReport struct {
	Mailbox  string         `json:"mailbox"`
	Session  string         `json:"session"`
	Request  string         `json:"request,omitempty"` // the poll request that caused it
	Started  time.Time      `json:"started"`
	Listed   int            `json:"listed"`
	Archived int            `json:"archived"`
	Known    int            `json:"known"`
	Left     int            `json:"left"`
	Reasons  map[string]int `json:"reasons,omitempty"` // why messages were left, with their number
	Deleted  int            `json:"deleted"`
	Kept     int            `json:"kept"`
	KeptWhy  map[string]int `json:"kept_why,omitempty"`
	Bytes    int64          `json:"bytes"` // octets received in messages
	Seconds  float64        `json:"seconds"`
	Error    string         `json:"error,omitempty"`
	// Kind is the kind of the error in a word, such as "auth" or "busy", "" if it is none of POP3.
	Kind string `json:"kind,omitempty"`
	// RetryAfter is how many seconds the server wants to be left alone, 0 if it does not say.
	RetryAfter float64 `json:"retry_after,omitempty"`
	// Temporary means that the error may go away by itself: try again later.
	Temporary bool `json:"temporary,omitempty"`
	// Inconsistent means that the numbers do not add up, which is a defect.
	Inconsistent bool `json:"inconsistent,omitempty"`
	// Index is the highest ledger index among the session's receipts, -1 if none.
	Index int64 `json:"index"`
	// Replies is what the server answered to DELE and QUIT, of each POP3 session that sent DELE.
	Replies []SessionReplies `json:"replies,omitempty"`
	// Unnoted is how many answers to DELE had no room in Replies.
	Unnoted int `json:"unnoted,omitempty"`
	// Confirmed are the ledger indexes of deposits of this mailbox that the poll vouches for: the
	// server answered the command after the download in order, so that the message had ended where
	// its copy ends. A deposit that no report names is unconfirmed; see Holding.
	Confirmed Runs `json:"confirmed,omitempty"`
	// Unconfirmed is how many of the listed messages have an unconfirmed copy in the archive.
	Unconfirmed int `json:"unconfirmed,omitempty"`
	// Memory is what the poller has to know of the server at the next poll, as the poller encoded
	// it; nil if that has not changed. See Store.PollMemory.
	Memory json.RawMessage `json:"memory,omitempty"`
}

// ForWatchers returns the report without what is of use only in the ledger.
func (r PollReport) ForWatchers() PollReport {
	r.Replies, r.Confirmed, r.Memory = nil, "", nil
	return r
}

// SessionReplies is what a server answered to the deletions of one POP3 session.
type SessionReplies struct {
	Session string        `json:"session"`
	DELE    []DELEReplies `json:"dele"`
	// QUIT is the answer to QUIT, "" if none came: nobody knows then whether the server deleted.
	QUIT string `json:"quit,omitempty"`
}

// DELEReplies are the messages to which a server answered in the same words.
type DELEReplies struct {
	// Reply is the line, with NumberMark in place of the message number.
	Reply string `json:"reply"`
	// Numbers are those of the messages in the session, and Deposits, in the same order, the ledger
	// indexes of their deposits, made by this session or by an earlier one.
	Numbers  Runs `json:"numbers"`
	Deposits Runs `json:"deposits"`
}

// NumberMark stands for the message number in a DELEReplies.
const NumberMark = "{n}"

// Consistent reports whether the numbers of the report add up.
func (r *PollReport) Consistent() bool {
	return r.Listed == r.Archived+r.Known+r.Left && r.Archived+r.Known == r.Deleted+r.Kept
}

// An Indexable is a message that an index has to read, or to read again
// because another deposit was made of it.
type Indexable struct {
	ID        string
	Size      int64     // octets
	Received  time.Time // first deposit
	Mailboxes []string  // of all its deposits, sorted
	Deposits  []Arrival // all of them, oldest first
	First     int64     // ledger index of its first deposit, also if that was disposed of
	Last      int64     // ledger index of its newest deposit
	// Index is the ledger index of the newest deposit of this message that the
	// listing covers: who has dealt with it is complete up to there.
	Index int64
	// Returned means that it was disposed of, and came back.
	Returned bool
}

// An Arrival is where and when a message was received once.
type Arrival struct {
	Mailbox  string
	Received time.Time
	Index    int64 // ledger index of the deposit
}

// Live is what the archive has at one moment, for an index to be compared with.
type Live struct {
	Deposits setsum.Sum // of all mailboxes
	Last     int64      // ledger index of the newest one, -1 if there is none
	// Settled means that an index that is complete up to Last has to have the same deposits: catalog and ledger agree, and no disposal is
	// being carried out.
	Settled bool
}

// A Description is what a parser has to say of an archived message.
type Description struct {
	ID      string
	Summary Summary
}

var (
	// ErrNotFound means that no message has the id.
	ErrNotFound = errors.New("no such message")
	// ErrAmbiguous means that several messages share the id prefix.
	ErrAmbiguous = errors.New("ambiguous id prefix")
	// ErrReadOnly means that the store does not take anything new.
	ErrReadOnly = errors.New("archive is read-only")
	// ErrBroken means that a write failed in a way that leaves the state of
	// the disk unknown. Restarting runs the recovery.
	ErrBroken = errors.New("archive writer is broken until it is opened again")
	// ErrLocked means that another process owns the data directory.
	ErrLocked = errors.New("data directory is in use by another process")
)
