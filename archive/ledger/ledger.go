// Package ledger is the archive's tamper-evident record of what was done: an
// append-only file of JSON lines whose bytes are the leaves of a Merkle tree
// (RFC 6962, golang.org/x/mod/sumdb/tlog), with the root signed at every
// commit as a C2SP signed note.
//
// A line says what happened, when, by whom and to which messages. Addresses,
// queries and UIDLs are details: the line carries only a salted hash of them,
// and they themselves live in a sidecar from which they can be erased while all
// proofs still verify. The format and the order of the writes are described in
// docs/formats/ledger.md.
package ledger

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
)

// Type is what an event is about.
type Type string

// The types of events. A reader passes over types that it does not know.
const (
	TypeDeposit        Type = "deposit"         // a message was received: ids is its id, volume and end say where it is
	TypePoll           Type = "poll"            // a mailbox was polled: details is the report
	TypeSearch         Type = "search"          // somebody searched
	TypeView           Type = "view"            // somebody looked at messages
	TypeExport         Type = "export"          // messages were exported
	TypeHold           Type = "hold"            // a legal hold was placed, changed or lifted
	TypePolicy         Type = "policy"          // a retention policy was set or lifted
	TypeDisposalIntent Type = "disposal-intent" // messages are about to be disposed of
	TypeDisposalDone   Type = "disposal-done"   // messages were disposed of
	TypeUser           Type = "user"            // a user or a role was changed
	TypeConfig         Type = "config"          // the configuration was changed
	TypeVerify         Type = "verify"          // the archive was verified
	TypeRebuild        Type = "rebuild"         // something derived was rebuilt
	TypeRepack         Type = "repack"          // a volume was compressed again
	TypeSeal           Type = "seal"            // a volume was finished
	TypeRecovered      Type = "recovered"       // something was repaired after a crash
	TypeAnchor         Type = "anchor"          // a checkpoint was taken to where it cannot be taken back
	TypeClock          Type = "clock"           // the clock jumped, or somebody confirmed it
	TypeDeadLetter     Type = "dead-letter"     // a message was offered and could not be taken
	TypeEpoch          Type = "epoch"           // a data directory became the archive: details say which, and since when by number
)

const (
	// MaxDetails is the largest details of an event in bytes of JSON. Details
	// describe one act; a list of many messages belongs into an export's manifest.
	MaxDetails = 1 << 20
	// MaxLeaf is the largest line of events.jsonl in bytes: about 15,000 ids.
	MaxLeaf = 1 << 20
)

var (
	// ErrDamaged means that the ledger is not what it was when it was signed.
	// All errors about damage are ErrDamaged. Such a ledger opens read-only.
	ErrDamaged = errors.New("ledger is damaged")
	// ErrShort means that the ledger ends before its checkpoint: it was
	// truncated, or put back from an older copy.
	ErrShort = fmt.Errorf("%w: shorter than its checkpoint", ErrDamaged)
	// ErrDiverged means that the ledger holds something else than what was signed.
	ErrDiverged = fmt.Errorf("%w: not what was signed", ErrDamaged)
	// ErrCheckpoint means that the checkpoint is missing, unreadable or not
	// signed by the ledger's key.
	ErrCheckpoint = fmt.Errorf("%w: no valid checkpoint", ErrDamaged)
	// ErrKey means that a file of the key pair is not what Create has written, or
	// that the two do not belong together.
	ErrKey = fmt.Errorf("%w: no valid key", ErrDamaged)

	// ErrNewer means that the ledger was written by a version of the program that does things that this one does not know. It is not damage.
	ErrNewer = errors.New("the ledger was written by a newer version of postkeep: update this one")

	// ErrBroken means that a write or fsync failed, so that what is on disk is
	// unknown until the ledger is opened again.
	ErrBroken = errors.New("ledger is broken until it is opened again")
	// ErrReadOnly means that the ledger was opened read-only.
	ErrReadOnly = errors.New("ledger is read-only")
	// ErrClosed means that the ledger was closed.
	ErrClosed = errors.New("ledger is closed")
	// ErrInvalid means that an event cannot be recorded as it is: no type, too
	// large, or details that are not JSON. Nothing was written.
	ErrInvalid = errors.New("invalid ledger event")
	// ErrNoEvent means that there is no event with the index.
	ErrNoEvent = errors.New("no such ledger event")
)

// Options says where a ledger is and what it uses.
type Options struct {
	// FS is the file system; nil means the operating system's.
	FS disk.FS
	// Dir holds the ledger, KeyDir its key pair. Both are required.
	Dir, KeyDir string
	// ReadOnly opens the ledger without changing anything on disk and without
	// the private key, damaged or not; see Log.Damage.
	ReadOnly bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Rand is the source of salts and keys, safe for concurrent use; nil means crypto/rand.
	Rand io.Reader
	// Committed is told of events that were appended, once they are durable, in the order of their indexes, of which first is the
	// lowest; nil for nobody. It must not call the Log, whose appends wait for it, and must not change the events.
	Committed func(first int64, events []Event)
	// Logger is told of repairs; nil discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = disk.OS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// An Event is something to be recorded.
type Event struct {
	Type  Type
	Actor string   // who did it
	IDs   []string // ids of messages or other objects that it was done to
	// Volume and End are set for deposits: the volume, and the offset in its
	// uncompressed tar stream where the deposit ends.
	Volume uint32
	End    int64
	// Details is anything that encoding/json can encode, at most MaxDetails
	// bytes of JSON; nil is recorded as null. Secrets never belong here.
	Details any
}

// An Entry is an event as it was recorded.
type Entry struct {
	Index int64
	Type  Type
	Time  time.Time // UTC, never before that of an earlier entry
	// Clock is what the clock read. It is Time unless the clock was more than an hour behind the entry before.
	Clock  time.Time
	Actor  string
	IDs    []string
	Volume uint32
	End    int64
	// DetailsHash is the hex SHA-256 of the salt followed by the details.
	DetailsHash string
	// Details is nil if they were erased or are damaged.
	Details json.RawMessage
	// Erased means that the details were erased on purpose.
	Erased bool
	// Damaged means that the details are unreadable or do not have the hash.
	Damaged bool
}
