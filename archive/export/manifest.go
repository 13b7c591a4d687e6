package export

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"
)

// Names of the files that every export has.
const (
	manifestName = "manifest.json"
	proofName    = "proof.json"
	howToName    = "HOW-TO-CHECK.txt"
)

// ManifestFormat begins every manifest. A change that an old reader would
// misread gets a new one.
const ManifestFormat = "postkeep-export/1"

// A manifest is valid JSON laid out in lines: a head, one line for each entry,
// and manifestTail. So it is written while the export is made, is what an
// interrupted export is resumed from, and is read at constant memory.
const manifestTail = "]}\n"

// maxManifestLine bounds a line: a message of ten thousand attachments has 4 MiB.
const maxManifestLine = 64 << 20

// A head says what was asked for. The same head and the same messages give the same files.
type head struct {
	Format  string  `json:"format"` // ManifestFormat
	Request Request `json:"request"`
}

// A Deposit is one copy of a message that was received.
type Deposit struct {
	Index    int64     `json:"index"` // of its event in the ledger
	Mailbox  string    `json:"mailbox"`
	UIDL     string    `json:"uidl,omitempty"`
	Received time.Time `json:"received"`
}

// A File is one file of an export.
type File struct {
	Path     string `json:"path"` // with slashes, below the export
	Size     int64  `json:"size"` // octets
	SHA256   string `json:"sha256"`
	Document string `json:"document,omitempty"` // number in the load file
}

// A Piece is a message inside a file that holds many.
type Piece struct {
	Path string `json:"path"`
	// Offset is where the From_ line begins, in octets from the start of the file.
	Offset int64 `json:"offset"`
	// Length is the number of octets from the From_ line to the empty line
	// after the message, both included.
	Length int64 `json:"length"`
	// AddedNewline means that the message did not end in a line feed and that
	// the last one before the empty line is not part of it.
	AddedNewline bool `json:"added_newline,omitempty"`
}

// An Entry is one line of a manifest: a message, or a file that holds
// something of many messages.
type Entry struct {
	ID       string    `json:"id,omitempty"`
	SHA256   string    `json:"sha256,omitempty"`
	Size     int64     `json:"size,omitempty"` // octets
	Received time.Time `json:"received,omitzero"`
	Deposits []Deposit `json:"deposits,omitempty"`
	// Omitted is why there is nothing of the message but this entry.
	Omitted string `json:"omitted,omitempty"`
	// Native is the file with the exact bytes.
	Native string `json:"native,omitempty"`
	// Piece is where the exact bytes are in an mbox.
	Piece *Piece `json:"mbox,omitempty"`
	Files []File `json:"files,omitempty"`
	// Documents is how many numbers of the load file the message took.
	Documents int64 `json:"documents,omitempty"`
	// Keys are hashes by which duplicates or threads were recognised.
	Keys []string `json:"keys,omitempty"`
	// Volume is the number of the volume directory, from 1; 0 if there are none.
	Volume int `json:"volume,omitempty"`
	// Shared is how far the files that are shared by messages reach behind this one.
	Shared []File `json:"shared,omitempty"`

	// File is set in the lines of shared files, and nothing else is.
	File *File `json:"file,omitempty"`
}

// The reasons of Entry.Omitted.
const (
	omittedDamaged   = "damaged in the archive"
	omittedDuplicate = "duplicate"
	omittedThread    = "a newer message of the thread is there"
)

// ids become file names, so nothing but a hash may pass.
func validID(id string) bool {
	return len(id) == 2*sha256.Size && strings.Trim(id, "0123456789abcdef") == ""
}

// encode is json.Marshal without the escapes that are meant for HTML, so that
// people can read addresses.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// headLine is the first line of a manifest.
func headLine(r Request) ([]byte, error) {
	r.Resume = nil
	line, err := encode(head{ManifestFormat, r})
	if err != nil {
		return nil, err
	}
	return append(bytes.TrimSuffix(line, []byte("}")), `,"entries":[`+"\n"...), nil
}

// entryLine is the line of an entry, the first or a further one.
func entryLine(e Entry, first bool) ([]byte, error) {
	line, err := encode(e)
	if err != nil {
		return nil, err
	}
	if !first {
		line = append([]byte(","), line...)
	}
	return append(line, '\n'), nil
}

// A manifestReader reads the lines of a manifest.
type manifestReader struct {
	r       *bufio.Reader
	offset  int64 // behind the last line that was read
	hash    hash.Hash
	request []byte // the first line
}

// newManifestReader reads the head. r is read to its end if next is called until io.EOF.
func newManifestReader(r io.Reader) (*manifestReader, error) {
	m := &manifestReader{r: bufio.NewReaderSize(r, writeBuffer), hash: sha256.New()}
	line, err := m.line()
	if err != nil {
		return nil, fmt.Errorf("first line: %w", err)
	}
	text, ok := strings.CutSuffix(string(line), `,"entries":[`+"\n")
	var h head
	if !ok || json.Unmarshal([]byte(text+"}"), &h) != nil || h.Format != ManifestFormat {
		return nil, fmt.Errorf("it is not a manifest of the form %q", ManifestFormat)
	}
	m.request = line
	return m, nil
}

// line returns a line with its line feed; one without is io.ErrUnexpectedEOF.
func (m *manifestReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := m.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			m.offset += int64(len(line))
			m.hash.Write(line)
			return line, nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxManifestLine:
			return nil, fmt.Errorf("a line is longer than %d bytes", maxManifestLine)
		}
	}
}

// next returns the next entry; io.EOF behind the tail, which has to be the end.
func (m *manifestReader) next() (Entry, error) {
	line, err := m.line()
	if errors.Is(err, io.EOF) {
		return Entry{}, io.ErrUnexpectedEOF
	}
	if err != nil {
		return Entry{}, err
	}
	if string(line) == manifestTail {
		if _, err := m.r.ReadByte(); !errors.Is(err, io.EOF) {
			return Entry{}, errors.New("there is something behind its end")
		}
		return Entry{}, io.EOF
	}
	var e Entry
	if err := json.Unmarshal(bytes.TrimPrefix(line, []byte(",")), &e); err != nil {
		return Entry{}, fmt.Errorf("malformed line at byte %d: %w", m.offset-int64(len(line)), err)
	}
	if e.File == nil && !validID(e.ID) {
		return Entry{}, fmt.Errorf("line at byte %d has no message id", m.offset-int64(len(line)))
	}
	return e, nil
}
