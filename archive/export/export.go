// Package export writes archived messages in formats that other programs
// read: a directory of .eml files and mbox, each with a manifest beside it.
//
// The bytes of every message are hashed while they are written; a message
// whose SHA-256 is not its id stops the export. docs/formats/export.md
// describes the files.
package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	dirPerm = 0o700
	// writeBuffer is large enough that the cost of a system call vanishes.
	writeBuffer = 256 << 10
)

var (
	// ErrMismatch means that the bytes of a message are not those its id and
	// size promise: the archive is damaged, or the caller mixed up messages.
	ErrMismatch = errors.New("bytes do not match the message id")
	// ErrForeign means that the destination holds something that is not part
	// of this export and must not be mixed with it.
	ErrForeign = errors.New("destination holds something else")
	errClosed  = errors.New("export is closed")
)

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
	// Mailboxes are the mailboxes from which the message was taken.
	Mailboxes []string
	// Body yields exactly Size octets. Add reads it at most once and does not
	// close it; it stays unread when the destination has the message already.
	Body io.Reader
}

// A Writer writes one export. It is not safe for concurrent use.
//
// After Add or Close has failed the export cannot be finished: every later
// call returns the same error. Either Close or Abort must be called; a
// deferred Abort after a successful Close does nothing.
type Writer interface {
	// Add appends a message. Each id may be added once.
	Add(ctx context.Context, m Message) error
	// Close makes the export durable and gives it its final name.
	Close() error
	// Abort gives up the export and removes what is incomplete.
	Abort() error
}

// Options are what a Writer needs from its surroundings.
type Options struct {
	// SyncDir makes the entries of a directory durable. Required.
	SyncDir func(dir string) error
}

func (o Options) validate() error {
	if o.SyncDir == nil {
		return errors.New("export: Options.SyncDir is missing")
	}
	return nil
}

// An Entry is one line of a manifest.
type Entry struct {
	ID        string    `json:"id"`
	SHA256    string    `json:"sha256"`
	Size      int64     `json:"size"` // octets
	Received  time.Time `json:"received"`
	Mailboxes []string  `json:"mailboxes,omitempty"`
	*MboxPlace
}

// A MboxPlace says where in an mbox file a message is.
type MboxPlace struct {
	// Offset is where the From_ line begins, in octets from the start of the file.
	Offset int64 `json:"offset"`
	// Length is the number of octets from the From_ line to the empty line
	// after the message, both included.
	Length int64 `json:"length"`
	// AddedNewline means that the message did not end in a line feed and that
	// the last one before the empty line is not part of it.
	AddedNewline bool `json:"added_newline,omitempty"`
}

func newEntry(m Message, place *MboxPlace) Entry {
	return Entry{ID: m.ID, SHA256: m.ID, Size: m.Size, Received: m.Received.UTC(), Mailboxes: m.Mailboxes, MboxPlace: place}
}

// ids become file names, so nothing but a hash may pass.
func validID(id string) bool {
	return len(id) == 2*sha256.Size && strings.Trim(id, "0123456789abcdef") == ""
}

func (m Message) validate() error {
	if !validID(m.ID) {
		return fmt.Errorf("%q is not a message id: expected %d lower-case hex digits", m.ID, 2*sha256.Size)
	}
	if m.Size < 0 {
		return fmt.Errorf("size of message %s is negative", m.ID)
	}
	return nil
}

// copyVerified writes the body to w and then says whether it was the right one.
func copyVerified(ctx context.Context, w io.Writer, m Message) error {
	h := sha256.New()
	// One octet more than the message has shows that the body is too long.
	body := contextReader{ctx, io.LimitReader(m.Body, m.Size+1)}
	n, err := io.Copy(io.MultiWriter(h, w), body)
	if err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); n != m.Size || got != m.ID {
		return fmt.Errorf("message %s of %d octets: read %d octets with SHA-256 %s: %w; run postkeep verify --deep",
			m.ID, m.Size, n, got, ErrMismatch)
	}
	return nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// A tempFile is a buffered file that gets its name only when it is complete.
type tempFile struct {
	*bufio.Writer
	f *os.File
}

// createTemp makes a file with mode 0600 and a name of its own, so that two
// exports that run at once cannot write into each other's file.
func createTemp(dir, pattern string, buf *bufio.Writer) (*tempFile, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	buf.Reset(f)
	return &tempFile{buf, f}, nil
}

func newBuffer() *bufio.Writer { return bufio.NewWriterSize(nil, writeBuffer) }

func (t *tempFile) write(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = t.Write(append(line, '\n'))
	return err
}

func (t *tempFile) sync() error {
	if err := t.Flush(); err != nil {
		return err
	}
	return t.f.Sync()
}

// commit flushes, closes and renames.
func (t *tempFile) commit(name string) error {
	if err := errors.Join(t.Flush(), t.f.Close()); err != nil {
		return err
	}
	return os.Rename(t.f.Name(), name)
}

// discard closes and removes the file. It does nothing after commit.
func (t *tempFile) discard() error {
	err := t.f.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if rerr := os.Remove(t.f.Name()); !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// absent returns an error that wraps fs.ErrExist if there is anything at path.
func absent(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fmt.Errorf("%s: %w: choose another name or remove it", path, os.ErrExist)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	return nil
}
