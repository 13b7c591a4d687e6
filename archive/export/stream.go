package export

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
)

// An op is what a frame of the stream says. The stream is made where the ledger is, and tells the other side, frame by frame, which
// files to write: an op, the number of a growing file, the number of octets that follow (both as encoding/binary.Uvarint), and these.
type op byte

const (
	opPlan    op = 'p' // JSON: streamedPlan; always the first
	opMkdir   op = 'd' // name of a directory
	opCreate  op = 'c' // name of a file, which is file 0 until opClose
	opClose   op = 'x' // file 0 is whole
	opGrow    op = 'g' // begins a growing file, or goes on with it: how many octets are there (Uvarint), name
	opWrite   op = 'w' // octets of a file
	opFinish  op = 'f' // a growing file is whole
	opMessage op = 'm' // all of a message was told: its size (Uvarint)
	opDamaged op = 'b' // id of a message that the archive cannot read
	opSettle  op = 's' // the manifest is whole, all files that it lists were told
	opEnd     op = 'e' // JSON: streamedEnd; always the last
	opError   op = '!' // JSON: streamedError; always the last
)

const (
	// maxFrame is the most octets of a frame, so that a reader holds one.
	maxFrame = writeBuffer
	// maxName bounds the name of a file in an export; ours have about a hundred octets.
	maxName = 1 << 10
)

type streamedPlan struct {
	Messages int64 `json:"messages"`
	Octets   int64 `json:"octets"`
}

type streamedEnd struct {
	Messages int64  `json:"messages"`
	Octets   int64  `json:"octets"`
	Omitted  int64  `json:"omitted"`
	Event    int64  `json:"event"`
	Key      string `json:"key"`
}

type streamedError struct {
	Changed bool   `json:"changed,omitempty"` // ErrChanged
	Text    string `json:"text"`
}

// streamSink writes an export as a stream of frames.
type streamSink struct {
	out *bufio.Writer
	// muted means that the other side has the files: nothing of them is told. Directories may be made again.
	muted bool
	grown uint64 // growing files that were begun
	made  map[string]bool
}

func newStreamSink(w io.Writer) *streamSink {
	return &streamSink{out: bufio.NewWriterSize(w, writeBuffer), made: map[string]bool{}}
}

func (s *streamSink) send(o op, file uint64, payload ...[]byte) error {
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	if n > maxFrame {
		return fmt.Errorf("a frame %q of %d octets", o, n)
	}
	var head [1 + 2*binary.MaxVarintLen64]byte
	b := binary.AppendUvarint(binary.AppendUvarint(append(head[:0], byte(o)), file), uint64(n))
	_, err := s.out.Write(b)
	for _, p := range payload {
		if err == nil {
			_, err = s.out.Write(p)
		}
	}
	return err
}

func (s *streamSink) sendJSON(o op, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.send(o, 0, data)
}

func (s *streamSink) write(file uint64, p []byte) (int, error) {
	if s.muted {
		return len(p), nil
	}
	for done := 0; done < len(p); {
		part := p[done:min(len(p), done+maxFrame)]
		if err := s.send(opWrite, file, part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), nil
}

// unlessMuted sends what the other side does not have.
func (s *streamSink) unlessMuted(o op, file uint64, payload []byte) error {
	if s.muted {
		return nil
	}
	return s.send(o, file, payload)
}

// mkdir makes an empty directory.
func (s *streamSink) mkdir(name string) error {
	if s.made[name] {
		return nil
	}
	s.made[name] = true
	return s.send(opMkdir, 0, []byte(name))
}

// create begins a file that is written at once: the next one may be created when it was closed.
func (s *streamSink) create(name string) (io.WriteCloser, error) {
	return streamFile{s}, s.unlessMuted(opCreate, 0, []byte(name))
}

type streamFile struct{ s *streamSink }

func (f streamFile) Write(p []byte) (int, error) { return f.s.write(0, p) }
func (f streamFile) Close() error                { return f.s.unlessMuted(opClose, 0, nil) }

// grow begins a file that is written to while others are.
func (s *streamSink) grow(name string) (*streamGrowing, error) {
	s.grown++
	g := &streamGrowing{s: s, file: s.grown, name: name}
	if s.muted {
		return g, nil
	}
	return g, g.begin(0)
}

// A streamGrowing is a file that grows on the other side.
type streamGrowing struct {
	s    *streamSink
	file uint64
	name string
}

func (g *streamGrowing) Write(p []byte) (int, error) { return g.s.write(g.file, p) }
func (g *streamGrowing) finish() error               { return g.s.unlessMuted(opFinish, g.file, nil) }

// begin tells of the file, of which the other side has some octets.
func (g *streamGrowing) begin(size int64) error {
	var b [binary.MaxVarintLen64]byte
	return g.s.send(opGrow, g.file, binary.AppendUvarint(b[:0], uint64(max(size, 0))), []byte(g.name))
}

// SendError ends a stream that has begun.
func SendError(w io.Writer, err error) error {
	s := newStreamSink(w)
	text := err.Error()
	return errors.Join(s.sendJSON(opError, streamedError{errors.Is(err, ErrChanged), text[:min(len(text), maxFrame/8)]}), s.out.Flush())
}

// A frame is what was read of one; its payload comes next.
type frame struct {
	op   op
	file uint64
	size int
}

func readFrame(r *bufio.Reader) (f frame, err error) {
	o, err := r.ReadByte()
	if err != nil {
		return f, err // io.EOF where no frame begins
	}
	f.op = op(o)
	var size uint64
	if f.file, err = binary.ReadUvarint(r); err == nil {
		size, err = binary.ReadUvarint(r)
	}
	if err == nil && size > maxFrame {
		err = fmt.Errorf("a frame of %d octets, more than %d", size, maxFrame)
	}
	f.size = int(min(size, maxFrame))
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return f, err
}

// fileName reports whether an export may have a file of this name: it lies below the export on every system, and is none that we make
// for ourselves there.
func fileName(name string) bool {
	return len(name) <= maxName && name != "." && fs.ValidPath(name) && !strings.ContainsAny(name, "\\\x00") &&
		filepath.IsLocal(filepath.FromSlash(name)) && name != lockName && !tempName.MatchString(name)
}
