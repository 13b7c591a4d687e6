// Package export writes archived messages in formats that other programs
// read, with a manifest and a proof beside them, and checks such exports
// without the archive.
//
// Make makes an export of what a Source gives it, as a stream; Fetch turns the stream into files; Verify checks them. The bytes of
// every message are hashed before they are written; a message whose SHA-256 is
// not its id stops the export. docs/formats/export.md describes the files.
package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"github.com/postkeep/postkeep/archive/ledger"
)

var (
	// ErrMismatch means that the bytes of a message are not those its id and
	// size promise: the archive is damaged, or the caller mixed up messages.
	ErrMismatch = errors.New("bytes do not match the message id")
	// ErrForeign means that the destination holds something that is not part
	// of this export and must not be mixed with it.
	ErrForeign = errors.New("destination holds something else")
	// ErrSpace means that the file system has too little room for the export.
	ErrSpace = errors.New("not enough free space")
	// ErrChanged means that an export cannot go on where it was: what is known of the messages that are there has changed.
	ErrChanged = errors.New("the archive knows other things of the messages that are there already than when they were exported")
	// ErrOptions means that the options do not fit together.
	ErrOptions = errors.New("export options")
)

// A Format is a format of exports.
type Format string

// The formats.
const (
	EML         Format = "eml"         // one <id>.eml per message
	Mbox        Format = "mbox"        // mboxrd
	Maildir     Format = "maildir"     // a maildir, all messages in new/
	Concordance Format = "concordance" // DAT load file, natives, text
	EDRM        Format = "edrm"        // EDRM XML 1.2, natives, text
	CSV         Format = "csv"         // metadata alone
	HTML        Format = "html"        // pages to read in a browser
)

// Formats lists all formats.
func Formats() []Format { return []Format{EML, Mbox, Maildir, Concordance, EDRM, CSV, HTML} }

// A Message is one message to export.
type Message struct {
	// ID is the SHA-256 of the message in lower-case hex.
	ID string
	// Size is the number of octets of the message.
	Size int64
	// Received is when the archive first received the message.
	Received time.Time
	// From is the address for the From_ line of an mbox, without display name.
	// An address that cannot stand there is replaced by MAILER-DAEMON.
	From string
	// Deposits say where the message came from, oldest first.
	Deposits []Deposit
	// Damaged means that the archive cannot read the message: there is no Body.
	Damaged bool
	// Body yields exactly Size octets. It is read once and not closed.
	Body io.Reader
}

// A Plan is what a Source is going to deliver.
type Plan struct {
	Export   int64 // by which Seal knows the export
	Messages int64
	Octets   int64 // of the messages together
}

// A Sealing is what a Source records of a finished export.
type Sealing struct {
	Export   int64  // of the Plan
	Manifest string // hex SHA-256 of manifest.json
	Messages int64  // that it lists
	IDs      string // hex SHA-256 of their ids in this order, each followed by a line feed
}

// A Seal is where the ledger has the export, and a checkpoint that covers it.
type Seal struct {
	Index      int64  // of the event in the ledger; -1 if the ledger cannot take one, and then there is no proof
	Key        string // public key of the ledger
	Checkpoint string
}

// A Source is the archive as an export needs it.
type Source interface {
	// Messages records that an export begins, calls begin once, and fn with every message in a fixed order: that of receipt, or
	// backwards for Request.OnePerThread. The body is valid during the call. If the first messages are not those that Request.Resume
	// names, it fails; it gives them all the same.
	Messages(ctx context.Context, r Request, begin func(Plan) error, fn func(Message) error) error
	// Seal records the manifest, once.
	Seal(ctx context.Context, s Sealing) (Seal, error)
	// Prove calls fn with the proofs of these events, in this order, for a checkpoint
	// that Seal returned. It is asked for at most proofBatch events at once, and several times at once.
	Prove(ctx context.Context, export int64, checkpoint string, indexes []int64, fn func(ledger.EventProof) error) error
}

// An Extractor reads the text of attachments.
type Extractor interface {
	// Extract returns readable text, "" where the file has none or cannot be read.
	// An error ends the export.
	Extract(ctx context.Context, name, mediaType string, size int64, r io.Reader) (string, error)
}

// Bates are the numbers of documents in a load file.
type Bates struct {
	Prefix string // letters, digits, - _ and .; "PK" if empty
	Start  int64  // number of the first document; 1 if 0
}

// Options say what to export, and what writing it needs from its surroundings.
type Options struct {
	// Query selects the messages, in the language of the Source.
	Query string
	// Format is one of the formats. Required.
	Format Format
	// Out is the directory to make or to go on with; a file if it ends in .zip, or for mbox
	// where it is no directory and nothing is split. Encrypted exports are files. Required.
	Out string
	// Deduplicate leaves out messages that say the same as an earlier one, in
	// header, text and attachments, and came another way.
	Deduplicate bool
	// OnePerThread exports the newest message of every thread only.
	OnePerThread bool
	// SplitBytes starts a new volume directory before its files exceed this many
	// octets, if not a single message does; 0 is no limit.
	SplitBytes int64
	// AttachmentText adds the text of attachments, in formats with text.
	AttachmentText bool
	// Location is the time zone of dates that people read; UTC if nil.
	Location *time.Location
	// Bates numbers the documents of load files.
	Bates Bates
	// EncryptTo are age recipients; without any the export is not encrypted.
	EncryptTo []age.Recipient

	// SyncDir makes the entries of a directory durable. Required.
	SyncDir func(dir string) error
	// SyncFile makes a file durable that was written and closed; fsync if nil. It is called for several at a time.
	SyncFile func(name string) error
	// Free returns the free bytes of the file system that holds a path; nil skips the check.
	Free func(path string) (int64, error)
	// Begin is told how many messages come, and how many of them are there already.
	Begin func(messages, octets, done int64)
	// Progress is called after each message with its size; nil is not.
	Progress func(octets int64)
}

func (o *Options) fill() error {
	if o.Bates.Prefix == "" {
		o.Bates.Prefix = defaultPrefix
	}
	if o.Bates.Start == 0 {
		o.Bates.Start = 1
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.SyncFile == nil {
		o.SyncFile = syncFile
	}
	if o.Begin == nil {
		o.Begin = func(int64, int64, int64) {}
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	switch {
	case o.SyncDir == nil || o.Out == "":
		return fmt.Errorf("%w: SyncDir and Out are required", ErrOptions)
	case o.SplitBytes > 0 && o.single():
		return fmt.Errorf("%w: only a directory can be split", ErrOptions)
	}
	r := o.request()
	_, err := r.fill()
	return err
}

// defaultPrefix begins the numbers of documents.
const defaultPrefix = "PK"

// maxBatesPrefix keeps numbers usable as file names.
const maxBatesPrefix = 64

// plain reports whether s is safe in a file name everywhere.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != "" && s[0] != '.'
}

// A Result is what an export holds.
type Result struct {
	Messages int64 // exported
	Octets   int64 // of these
	Omitted  int64 // duplicates, or others of a thread
	Damaged  []string
	Path     string // of the directory or file
	Event    int64  // ledger index of the export, -1 if it is not sealed
	Key      string // that signed the proof
}
