// Package volume keeps messages in volumes: append-only tar archives, packed in
// independent zstd frames, that stock tools unpack (zstd -dc V | tar x).
//
// The format is described in docs/formats/volume.md. A Set is the volumes of
// one directory: one writer appends batches and commits them, any number of
// readers read what was committed, by place.
package volume

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/postkeep/postkeep/archive/disk"
)

const (
	// MaxMessageBytes is the size of the largest message: what the size field of a tar
	// header can hold, so that no reader needs to know an extension for larger ones.
	MaxMessageBytes int64 = 8<<30 - 1
	// MaxDepositBytes is the size of the largest deposit record. They are a few hundred bytes.
	MaxDepositBytes = 64 << 10
	// MaxDeposit is the highest number of a deposit: eight digits keep the name in
	// the 100 bytes of a tar header.
	MaxDeposit = 99_999_999
	// MaxVolume is the highest number of a volume: eight digits.
	MaxVolume = 99_999_999
	// FrameBytes is how much tar a written frame holds at most.
	FrameBytes = 1 << 20
	// MaxFrameBytes is how much tar a frame may hold that is read. It bounds the
	// memory of a reader.
	MaxFrameBytes = 64 << 20
	// DefaultMaxBytes is the compressed size at which a volume is sealed.
	DefaultMaxBytes int64 = 1 << 30
	// DefaultFrameCache is how many bytes of decoded frames are kept for readers.
	DefaultFrameCache int64 = 16 << 20
)

var (
	// ErrBroken means that writing, syncing or truncating failed: what the disk holds is unknown
	// until the set is opened again. Reading goes on.
	ErrBroken = errors.New("volume writer is broken until the archive is opened again")
	// ErrShort means that a volume holds less than the ledger knows to be in it: it was
	// replaced by an older copy, cut or damaged. Nothing was changed; open it with ReadOnly.
	ErrShort = errors.New("volume holds less than the ledger says")
	// ErrNewer means that a volume was written by a version of the program that does things that this one does not know.
	ErrNewer = errors.New("it was written by a newer version of postkeep: update this one")
	// ErrForeign means that there is a file with the name of a volume that is none of this archive. Nothing was changed; with ReadOnly
	// it is left out.
	ErrForeign = errors.New("not a volume of this archive: move the file away, or go on read-only")
	// ErrReadOnly means that the set was opened with ReadOnly.
	ErrReadOnly = errors.New("volumes are open read-only")
	// ErrNoEntry means that no committed entry can be at the place.
	ErrNoEntry = errors.New("no entry at this place")
	// ErrRedacted means that the entry was blanked out.
	ErrRedacted = errors.New("entry is redacted")
	// ErrTooLarge means that a message or a deposit is over its limit, for good.
	ErrTooLarge = errors.New("larger than a volume takes")
	// ErrNotSealed means that the volume is still being written, or has no end: only a sealed volume
	// is written anew.
	ErrNotSealed = errors.New("volume is not sealed")
	// ErrClosed means that the set was closed.
	ErrClosed = errors.New("volumes are closed")
)

// A MismatchError says that a message was not what it was announced to be.
// Nothing of it is kept.
type MismatchError struct {
	WantID, GotID     string // GotID is "" when the size differs already
	WantSize, GotSize int64  // octets; a body that goes on after WantSize counts as WantSize+1
}

func (e *MismatchError) Error() string {
	if e.GotID == "" {
		return fmt.Sprintf("message %s has %d octets, announced were %d", e.WantID, e.GotSize, e.WantSize)
	}
	return fmt.Sprintf("message announced as %s has SHA-256 %s", e.WantID, e.GotID)
}

// A DamageError says that bytes of a volume file are not what was written.
type DamageError struct {
	Volume uint32
	// Offset and Size are the damaged frame's bytes in the volume file.
	Offset, Size int64
	Err          error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("volume %d is damaged in bytes %d to %d: %v", e.Volume, e.Offset, e.Offset+e.Size-1, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

// A Place is where an entry is. It never changes, also when a volume is
// compressed again.
type Place struct {
	Volume uint32
	// Offset of the entry's first header block in the uncompressed tar stream, in bytes.
	Offset int64
}

func (p Place) String() string { return fmt.Sprintf("volume %d offset %d", p.Volume, p.Offset) }

// A Kind is what an entry is.
type Kind int

const (
	// KindUnknown is an entry of a later version of the format. Skip it.
	KindUnknown Kind = iota
	// KindMessage is the bytes of a message.
	KindMessage
	// KindDeposit is the JSON record of a deposit of a message.
	KindDeposit
	// KindRecipe says how the bytes of a message are put together from parts.
	KindRecipe
	// KindPart is bytes that recipes refer to.
	KindPart
	// KindRedacted was an entry once. Its body is zeros.
	KindRedacted
)

// An Entry describes one file in a volume.
type Entry struct {
	Place
	Kind    Kind
	Was     Kind      // if KindRedacted: KindMessage (also for a recipe), KindDeposit or KindPart
	Name    string    // as in the tar header
	ID      string    // of the message, or of the part; "" if KindUnknown
	N       int       // number of the deposit
	Size    int64     // of the body, in bytes
	End     int64     // offset of the next entry in the uncompressed tar stream
	ModTime time.Time // in seconds, UTC
	SHA256  string    // of the body as noted when it was written, lower-case hex
}

// A Message is to be appended: as a whole, as a recipe, or a part of one.
type Message struct {
	Kind Kind   // KindMessage if it is 0; KindRecipe or KindPart
	ID   string // SHA-256 of the message or part, 64 digits of lower-case hex
	// SHA256 of the bytes, needed for a recipe only: those of all others are what ID is about.
	SHA256 string
	Size   int64     // in octets
	Time   time.Time // becomes the file time; kept between 1970 and 2242, in seconds
	Body   io.Reader // yields Size octets and then io.EOF; read once, not closed
}

// Info is the state of one volume.
type Info struct {
	Number uint32 `json:"number"`
	Bytes  int64  `json:"bytes"`  // size of the file
	End    int64  `json:"end"`    // end of the last entry in the uncompressed tar stream
	Sealed bool   `json:"sealed"` // never written again
	// Encrypted volumes are read with an identity only.
	Encrypted bool `json:"encrypted,omitempty"`
}

// Committed says what a commit made durable. The zero value means that there
// was nothing to commit.
type Committed struct {
	Volume uint32
	// End of the last entry in the uncompressed tar stream: what the ledger knows of the volume from now on.
	End int64
	// Sealed is the volume that this commit has sealed, the same as Volume, or 0.
	Sealed uint32
}

// Options of a Set.
type Options struct {
	FS  disk.FS // required
	Dir string  // of the volumes; created if it is missing
	// Quarantine is the directory for what recovery cuts off; created when needed. Required unless ReadOnly.
	Quarantine string
	// MaxBytes is the compressed size at which a volume is sealed, 0 for DefaultMaxBytes. A volume
	// is larger by at most the batch that reaches it.
	MaxBytes int64
	// Level of compression, 0 for zstd.SpeedFastest.
	Level zstd.EncoderLevel
	// Recipients encrypts new volumes, and those that are repacked, so that only their identities read them.
	// Without any, new volumes are not encrypted. A volume of the other kind that was being
	// written is sealed.
	Recipients []age.Recipient
	// Identities open encrypted volumes. Without them what is encrypted can be written and checked, but not read.
	Identities []age.Identity
	// FrameCache is how many bytes of decoded frames are kept for readers, 0 for DefaultFrameCache.
	FrameCache int64
	// Sealed are the volumes that the ledger knows to be sealed: they are never written or cut, also where their end is damaged.
	Sealed map[uint32]bool
	// ReadOnly opens the volumes as they are: nothing is written or cut, and a volume
	// that is shorter than known is reported in the log only.
	ReadOnly bool
	Logger   *slog.Logger // nil discards

	frameBytes int // tests only: small frames; a multiple of 512, 0 for FrameBytes
}

func (o Options) withDefaults() Options {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Level == 0 {
		o.Level = zstd.SpeedFastest
	}
	if o.FrameCache <= 0 {
		o.FrameCache = DefaultFrameCache
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.frameBytes == 0 {
		o.frameBytes = FrameBytes
	}
	return o
}
