package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// single reports whether the export is one file.
func (o *Options) single() bool { return o.zipped() || o.beside() }

// zipped reports whether the export is a zip file, which an encrypted one always is.
func (o *Options) zipped() bool {
	return len(o.EncryptTo) > 0 || strings.EqualFold(filepath.Ext(o.Out), ".zip")
}

// beside reports whether the export is an mbox file with its companions beside it.
func (o *Options) beside() bool {
	if o.Format != Mbox || o.zipped() || o.SplitBytes > 0 || os.IsPathSeparator(o.Out[len(o.Out)-1]) {
		return false
	}
	fi, err := os.Stat(o.Out)
	return err != nil || !fi.IsDir()
}

func (o *Options) request() Request {
	r := Request{
		Query: o.Query, Format: o.Format, Deduplicate: o.Deduplicate, OnePerThread: o.OnePerThread,
		SplitBytes: o.SplitBytes, AttachmentText: o.AttachmentText, TimeZone: o.Location.String(),
	}
	if traits(o.Format).text {
		r.BatesPrefix, r.BatesStart = o.Bates.Prefix, o.Bates.Start
	}
	if o.Format == Mbox {
		r.MboxName = defaultMbox
		if o.beside() {
			r.MboxName = filepath.Base(o.Out)
		}
	}
	return r
}

// An Opener asks for an export: what it returns is what Make writes. Closing it ends the export.
type Opener func(ctx context.Context, r Request) (io.ReadCloser, error)

// A fetching is an export whose files are being written.
type fetching struct {
	opts  Options
	sink  sink
	dir   *dirSink // the same, nil for a zip
	found resumed

	open     map[uint64]growing
	manifest growing
	created  io.WriteCloser // file 0, nil if there is none
	done     int64          // messages that are there
	ids      hash.Hash      // of those that were found
	settled  bool
	result   Result
}

// Fetch writes the files of an export. In a directory, or an mbox file, it goes on with the same
// export that was interrupted or has been finished before: what is there is
// compared with its manifest, and not sent again. Nothing that is not
// part of this export is changed.
func Fetch(ctx context.Context, open Opener, opts Options) (_ Result, err error) {
	if err := opts.fill(); err != nil {
		return Result{}, err
	}
	f := &fetching{opts: opts, ids: sha256.New()}
	defer func() {
		if f.sink != nil {
			err = errors.Join(err, f.sink.abort(err == nil || f.done > 0 || f.dir != nil && f.dir.resumed))
		}
		if err != nil {
			err = fmt.Errorf("export to %s: %w", opts.Out, err)
		}
	}()
	if err := f.start(ctx); err != nil {
		return Result{}, err
	}
	r := opts.request()
	if f.found.offset > 0 {
		r.Resume = &Resume{
			Messages: f.done, IDs: hex.EncodeToString(f.ids.Sum(nil)), Offset: f.found.offset, Manifest: hex.EncodeToString(f.found.hash.Sum(nil)),
		}
	}
	err = f.take(ctx, open, r)
	if errors.Is(err, ErrChanged) && r.Resume != nil {
		// The same messages, of which something else is known now, such as another deposit.
		r.Resume, f.found, f.done = nil, resumed{}, 0
		err = f.take(ctx, open, r)
	}
	if err != nil {
		return Result{}, err
	}
	if z, ok := f.sink.(*zipSink); ok {
		return f.result, z.commit(opts.SyncDir)
	}
	return f.result, errors.Join(f.dir.unlock(), f.dir.syncAll())
}

// start opens the destination and looks at what is there already.
func (f *fetching) start(ctx context.Context) error {
	if f.opts.zipped() {
		s, err := newZipSink(f.opts.file(), f.opts.EncryptTo)
		if err != nil {
			return err
		}
		f.sink, f.result.Path = s, s.name
		return nil
	}
	s, err := newDirSink(&f.opts)
	if err != nil {
		return err
	}
	f.sink, f.dir, f.result.Path = s, s, filepath.Clean(f.opts.Out)
	f.found, err = f.inspect(ctx)
	return err
}

// file is the name of an export that is one file.
func (o *Options) file() string {
	name := filepath.Clean(o.Out)
	if len(o.EncryptTo) == 0 {
		return name
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".age"), ".zip")
	return name + ".zip.age"
}

// take asks for the export and writes what comes.
func (f *fetching) take(ctx context.Context, open Opener, r Request) (err error) {
	body, err := open(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	f.open, f.result = map[uint64]growing{}, Result{Path: f.result.Path}
	in := bufio.NewReaderSize(body, maxFrame)
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return err
		}
		fr, err := readFrame(in)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		var payload []byte
		if err == nil {
			payload, err = in.Peek(fr.size)
		}
		if err != nil {
			return fmt.Errorf("the export broke off: %w", errors.Join(ctx.Err(), err))
		}
		if first != (fr.op == opPlan) && fr.op != opError {
			return errors.New("the answer is not an export: is the instance of another version?")
		}
		if err := f.apply(ctx, fr, payload); err != nil || fr.op == opEnd {
			return err
		}
		if _, err := in.Discard(fr.size); err != nil {
			return err
		}
	}
}

// apply does what a frame says.
func (f *fetching) apply(ctx context.Context, fr frame, payload []byte) error {
	switch fr.op {
	case opPlan:
		return f.plan(payload)
	case opMkdir:
		if name := string(payload); fileName(name) {
			return f.sink.mkdir(name)
		}
	case opCreate, opGrow:
		return f.begin(fr, payload)
	case opWrite:
		var w io.Writer = f.created
		if fr.file > 0 {
			w = f.open[fr.file]
		}
		if w == nil {
			return fmt.Errorf("octets of file %d, which is not open", fr.file)
		}
		_, err := w.Write(payload)
		return err
	case opClose, opFinish:
		return f.close(fr)
	case opMessage:
		return f.message(payload)
	case opDamaged:
		if id := string(payload); validID(id) {
			f.result.Damaged = append(f.result.Damaged, id)
			return nil
		}
	case opSettle:
		return f.settle(ctx)
	case opEnd:
		return f.end(payload)
	case opError:
		return streamError(payload)
	}
	return fmt.Errorf("the frame %q of the export is not understood", fr.op)
}

func streamError(payload []byte) error {
	var e streamedError
	if err := json.Unmarshal(payload, &e); err != nil {
		return fmt.Errorf("the export ended with an error that cannot be read: %w", err)
	}
	if e.Changed {
		return fmt.Errorf("%w: %s", ErrChanged, e.Text)
	}
	return errors.New(e.Text)
}

func (f *fetching) plan(payload []byte) error {
	var p streamedPlan
	if err := json.Unmarshal(payload, &p); err != nil {
		return err
	}
	f.opts.Begin(p.Messages, p.Octets, f.done)
	return f.room(p)
}

// begin begins a file.
func (f *fetching) begin(fr frame, payload []byte) (err error) {
	if fr.op == opCreate {
		name := string(payload)
		if f.created != nil || fr.file != 0 || !fileName(name) {
			return fmt.Errorf("a file cannot have the name %.100q, or another one is open", name)
		}
		f.created, err = f.sink.create(name)
		return err
	}
	there, n := binary.Uvarint(payload)
	name := string(payload[max(n, 0):])
	size := int64(0)
	if there > 0 {
		size = f.found.size(name)
	}
	if n <= 0 || fr.file == 0 || f.open[fr.file] != nil || !fileName(name) || there != uint64(size) {
		return fmt.Errorf("a file cannot have the name %.100q and %d octets", name, there)
	}
	g, err := f.sink.grow(name, size)
	if err != nil {
		return err
	}
	f.open[fr.file] = g
	if name == manifestName {
		f.manifest = g
	}
	return nil
}

// close finishes a file.
func (f *fetching) close(fr frame) error {
	if fr.op == opClose {
		w := f.created
		if f.created = nil; w == nil {
			return errors.New("the end of a file that is not open")
		}
		return w.Close()
	}
	g := f.open[fr.file]
	if delete(f.open, fr.file); g == nil {
		return fmt.Errorf("the end of file %d, which is not open", fr.file)
	}
	return g.finish()
}

// message makes sure that an export can go on behind a message.
func (f *fetching) message(payload []byte) error {
	size, n := binary.Uvarint(payload)
	if n <= 0 || f.manifest == nil {
		return errors.New("a message without size or manifest")
	}
	for _, g := range f.open {
		if g != f.manifest {
			if err := g.flush(); err != nil {
				return err
			}
		}
	}
	if err := f.manifest.flush(); err != nil { // behind everything that it lists
		return err
	}
	f.done++
	f.opts.Progress(int64(min(size, 1<<62)))
	return nil
}

func (f *fetching) end(payload []byte) error {
	var e streamedEnd
	if err := json.Unmarshal(payload, &e); err != nil {
		return err
	}
	if !f.settled || len(f.open) > 0 || f.created != nil {
		return errors.New("the export ended before its files were whole")
	}
	r := &f.result
	r.Messages, r.Octets, r.Omitted, r.Event, r.Key = e.Messages, e.Octets, e.Omitted, e.Event, e.Key
	return nil
}

const (
	// manifestRoom is what manifest and proof need for a message, with room to spare.
	manifestRoom = 4 << 10
	// blockRoom is what file systems lose for each file.
	blockRoom = 4 << 10
)

// room fails when the rest of the export does not fit on the file system.
func (f *fetching) room(p streamedPlan) error {
	if f.opts.Free == nil {
		return nil
	}
	free, err := f.opts.Free(f.sink.tempDir())
	if err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	need := int64(float64(p.Octets)*traits(f.opts.Format).factor) + (p.Messages-f.done)*(manifestRoom+blockRoom)
	if free < need {
		return fmt.Errorf("%w: %d messages need about %d MiB, %d MiB are free: choose another file system, or a query that finds less",
			ErrSpace, p.Messages, need>>20, free>>20)
	}
	return nil
}

// syncsAtOnce is how many files are made durable together: file systems write the journal once for all of them.
const syncsAtOnce = 16

// settle makes the files durable, and makes sure that there are no others.
func (f *fetching) settle(ctx context.Context) error {
	if f.manifest == nil || f.settled {
		return errors.New("an export without a manifest, or with two")
	}
	if f.settled = true; f.dir == nil {
		return nil
	}
	if err := f.manifest.sync(); err != nil {
		return err
	}
	r, err := f.manifest.reader()
	if err != nil {
		return err
	}
	defer r.Close()    // only read
	listed := int64(2) // manifest and lock
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(syncsAtOnce)
	err = eachEntry(r, func(e Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		files := e.Files
		if e.File != nil {
			files = []File{*e.File}
		}
		listed += int64(len(files))
		for _, file := range files {
			work.Go(func() error { return f.opts.SyncFile(f.dir.place(file.Path)) })
		}
		return nil
	})
	if failed := work.Wait(); failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	if f.dir.prefix != "" {
		return nil // other files may lie beside it
	}
	found := int64(0)
	if err := f.dir.walk(func(string) error { found++; return nil }); err != nil {
		return err
	}
	if found != listed {
		return fmt.Errorf("%w: %d files are there, %d are part of the export; choose an empty directory", ErrForeign, found, listed)
	}
	return nil
}

// newDirSink opens the directory and locks it against a second export.
func newDirSink(o *Options) (*dirSink, error) {
	s := &dirSink{dir: filepath.Clean(o.Out), syncDir: o.SyncDir, made: map[string]bool{}, buf: bufio.NewWriterSize(nil, writeBuffer)}
	if o.beside() {
		s.dir, s.prefix = filepath.Dir(s.dir), filepath.Base(s.dir)
	} else if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(s.dir, dirPerm); err != nil {
			return nil, err
		}
		s.isNew = true
	}
	return s, s.acquire()
}
