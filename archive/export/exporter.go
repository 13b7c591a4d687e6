package export

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"path"
)

// An exporter is one export that is being made.
type exporter struct {
	opts making
	sink *streamSink
	plan Plan

	manifest *streamGrowing
	listed   spool  // the same
	tally    *tally // over both
	entries  int64  // lines of the manifest

	volume *volume
	body   spool // the message in hand if it is large
	file   spool // the attachment in hand
	keys   map[string]bool

	done   int64 // messages that the manifest lists
	ids    hash.Hash
	docs   int64 // numbers of the load file that were taken
	result Result
}

// A volume is a directory that is complete in itself; without splitting there is one.
type volume struct {
	x        *exporter
	number   int    // 0 without splitting
	prefix   string // of the names of its files
	messages int64
	format   format
	shared   []*sharedFile
	size     int64 // octets written
}

// A format writes what a volume holds.
type format interface {
	// add writes a message. It notes the files in the entry.
	add(ctx context.Context, it *item) error
	// finish writes what comes behind the last message.
	finish() error
}

// An item is a message that is being written.
type item struct {
	Message
	raw     []byte // the message, nil if it is large
	body    io.ReaderAt
	content *Content // nil if the format needs none
	entry   *Entry
}

// writeTo writes the exact bytes of the message.
func (it *item) writeTo(ctx context.Context, w io.Writer) error {
	if it.raw != nil {
		_, err := w.Write(it.raw)
		return err
	}
	_, err := io.Copy(w, contextReader{ctx, io.NewSectionReader(it.body, 0, it.Size)})
	return err
}

// A trait is what a format is like.
type trait struct {
	open    func(v *volume) (format, error)
	content bool    // it needs the content of messages
	text    bool    // it has a place for text
	factor  float64 // octets on disk for every octet of mail, with room to spare
}

// traits has no open for what is no format.
func traits(f Format) trait {
	const (
		copies = 1.02 // From_ lines and quoting
		texts  = 2.5  // natives of attachments and text beside the message
	)
	switch f {
	case EML:
		return trait{open: openEML, factor: copies}
	case Mbox:
		return trait{open: openMbox, factor: copies}
	case Maildir:
		return trait{open: openMaildir, factor: copies}
	case Concordance:
		return trait{open: openConcordance, content: true, text: true, factor: texts}
	case EDRM:
		return trait{open: openEDRM, content: true, text: true, factor: texts}
	case CSV:
		return trait{open: openCSV, content: true}
	case HTML:
		return trait{open: openHTML, content: true, factor: texts}
	}
	return trait{}
}

// newVolume begins a volume.
func (x *exporter) newVolume(number int) (err error) {
	v := &volume{x: x, number: number}
	if number > 0 {
		v.prefix = fmt.Sprintf("VOL%03d/", number)
	}
	x.volume = v
	v.format, err = traits(x.opts.Format).open(v)
	return err
}

// A writtenFile notes its hash in the entry when it is closed.
type writtenFile struct {
	*tally
	c    io.Closer
	done func(File)
	name string
}

func (w *writtenFile) Close() error {
	if err := w.c.Close(); err != nil {
		return err
	}
	w.done(w.file(w.name))
	return nil
}

// create begins a file of a message.
func (v *volume) create(name string, done func(File)) (io.WriteCloser, error) {
	name = v.prefix + name
	w, err := v.x.sink.create(name)
	if err != nil {
		return nil, err
	}
	return &writtenFile{tally: newTally(w), c: w, name: name, done: func(f File) {
		v.size += f.Size
		done(f)
	}}, nil
}

// write makes a file of a message at once, and lists it in the entry.
func (v *volume) write(ctx context.Context, it *item, name, document string, r io.Reader) (File, error) {
	var out File
	w, err := v.create(name, func(f File) {
		f.Document = document
		it.entry.Files = append(it.entry.Files, f)
		out = f
	})
	if err != nil {
		return File{}, err
	}
	_, err = io.Copy(w, contextReader{ctx, r})
	if err == nil {
		err = w.Close()
	}
	return out, err
}

// A sharedFile holds something of many messages.
type sharedFile struct {
	*tally
	g    *streamGrowing
	name string
}

// grow begins a shared file.
func (v *volume) grow(name string) (*sharedFile, error) {
	name = v.prefix + name
	g, err := v.x.sink.grow(name)
	if err != nil {
		return nil, err
	}
	s := &sharedFile{tally: newTally(g), g: g, name: name}
	v.shared = append(v.shared, s)
	return s, nil
}

// end finishes a shared file and lists it in the manifest.
func (v *volume) end(s *sharedFile) error {
	for i, have := range v.shared {
		if have == s {
			v.shared = append(v.shared[:i:i], v.shared[i+1:]...)
		}
	}
	if err := s.g.finish(); err != nil {
		return err
	}
	f := s.file(s.name)
	return v.x.line(Entry{File: &f})
}

// page makes a file that belongs to no message at once, and lists it.
func (v *volume) page(name string, r io.Reader) error {
	var made File
	w, err := v.create(name, func(f File) { made = f })
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return err
	}
	return v.x.line(Entry{File: &made})
}

// line appends to the manifest.
func (x *exporter) line(e Entry) error {
	line, err := entryLine(e, x.entries == 0)
	if err != nil {
		return err
	}
	x.entries++
	_, err = x.tally.Write(line)
	return err
}

// add exports one message.
func (x *exporter) add(ctx context.Context, a *arrival) error {
	m := &a.Message
	if !validID(m.ID) || m.Size < 0 {
		return fmt.Errorf("%q of %d octets is not a message: expected an id of %d lower-case hex digits", m.ID, m.Size, 2*sha256.Size)
	}
	e := Entry{ID: m.ID, SHA256: m.ID, Size: m.Size, Received: m.Received.UTC(), Deposits: m.Deposits, Volume: x.volume.number}
	if m.Damaged {
		e.Omitted = omittedDamaged
	} else if err := x.message(ctx, a, &e); err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	return x.note(e)
}

// note appends the entry of a message, behind everything that it lists.
func (x *exporter) note(e Entry) error {
	for _, s := range x.volume.shared {
		e.Shared = append(e.Shared, s.file(s.name))
	}
	if err := x.line(e); err != nil {
		return err
	}
	x.count(&e)
	return x.told(&e)
}

// count adds an entry of a message to what is known of the export.
func (x *exporter) count(e *Entry) {
	x.done++
	x.ids.Write([]byte(e.ID + "\n"))
	switch e.Omitted {
	case "":
		x.result.Messages++
		x.result.Octets += e.Size
		x.docs += e.Documents
	case omittedDamaged:
	default:
		x.result.Omitted++
	}
	for _, k := range e.Keys {
		x.keys[k] = true
	}
}

func (x *exporter) message(ctx context.Context, a *arrival, e *Entry) error {
	it, err := x.item(ctx, a)
	if err != nil {
		return err
	}
	if it.entry = e; x.opts.omit(it, x.keys) {
		return nil
	}
	if x.full(a.Size) {
		if err := x.endVolume(); err != nil {
			return err
		}
		if err := x.newVolume(x.volume.number + 1); err != nil {
			return err
		}
		e.Volume = x.volume.number
	}
	if err := x.volume.format.add(ctx, it); err != nil {
		return err
	}
	x.volume.messages++
	return nil
}

// full reports whether the volume has no room for a message.
func (x *exporter) full(size int64) bool {
	v := x.volume
	used := v.size + size
	for _, s := range v.shared {
		used += s.size
	}
	return x.opts.SplitBytes > 0 && v.messages > 0 && used > x.opts.SplitBytes
}

// endVolume finishes the files of the volume.
func (x *exporter) endVolume() error {
	v := x.volume
	if err := v.format.finish(); err != nil {
		return err
	}
	for len(v.shared) > 0 {
		if err := v.end(v.shared[0]); err != nil {
			return err
		}
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

// shard is a directory for at most shardFiles files: some systems get slow, and
// some programs refuse, where there are more.
func shard(dir string, n int64) string {
	const shardFiles = 1000
	return path.Join(dir, fmt.Sprintf("%04d", n/shardFiles+1))
}
