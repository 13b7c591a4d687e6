package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
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

func (o *Options) request() request {
	r := request{
		Query: o.Query, Format: o.Format, Deduplicate: o.Deduplicate, OnePerThread: o.OnePerThread,
		SplitBytes: o.SplitBytes, AttachmentText: o.AttachmentText, TimeZone: o.Location.String(),
	}
	if traits(o.Format).text {
		r.BatesPrefix, r.BatesStart = o.Bates.Prefix, o.Bates.Start
	}
	if o.Format == Mbox {
		r.MboxName = o.mboxName()
	}
	return r
}

func (o *Options) mboxName() string {
	if o.beside() {
		return filepath.Base(o.Out)
	}
	return "mail.mbox"
}

// Run makes an export. In a directory, or an mbox file, it goes on with the same
// export that was interrupted or has been finished before: what is there is
// compared with its manifest, and not asked for again. Nothing that is not
// part of this export is changed.
//
// Memory does not grow with the number or size of messages, but for
// Deduplicate and OnePerThread.
func Run(ctx context.Context, src Source, opts Options) (_ Result, err error) {
	if err := opts.fill(); err != nil {
		return Result{}, err
	}
	x := &exporter{opts: opts, keys: map[string]bool{}, ids: sha256.New()}
	defer func() {
		if x.sink != nil {
			err = errors.Join(err, x.body.reset(), x.file.reset(), x.sink.abort(err == nil || x.done > 0 || x.dir != nil && x.dir.resumed))
		}
		if err != nil {
			err = fmt.Errorf("export to %s: %w", opts.Out, err)
		}
	}()
	if err := x.start(ctx); err != nil {
		return Result{}, err
	}
	var plan Plan
	err = x.receive(ctx, src, Request{
		Query: opts.Query, Format: opts.Format, NewestFirst: opts.OnePerThread,
		Skip: x.done, SkipHash: hex.EncodeToString(x.ids.Sum(nil)),
	}, func(p Plan) error {
		plan = p
		opts.Begin(p.Messages, p.Octets, x.done)
		return x.room(p)
	})
	if err != nil {
		return Result{}, err
	}
	return x.result, x.finish(ctx, src, plan)
}

// start opens the destination and what is there already.
func (x *exporter) start(ctx context.Context) error {
	first := 0
	if x.opts.SplitBytes > 0 {
		first = 1
	}
	found := resumed{volume: first}
	if x.opts.zipped() {
		s, err := newZipSink(x.opts.file(), x.opts.EncryptTo)
		if err != nil {
			return err
		}
		x.sink, x.result.Path = s, s.name
	} else {
		s, err := newDirSink(&x.opts)
		if err != nil {
			return err
		}
		x.sink, x.dir, x.result.Path = s, s, filepath.Clean(x.opts.Out)
		if found, err = x.inspect(ctx, found); err != nil {
			return err
		}
	}
	x.body.dir, x.file.dir = x.sink.tempDir(), x.sink.tempDir()
	if err := x.openManifest(found); err != nil {
		return err
	}
	if err := x.newVolume(found.volume, found.shared); err != nil {
		return err
	}
	if found.offset == 0 {
		return nil
	}
	// Only now that the volume is open: it needs to know what it holds.
	return x.replay(found)
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

func (x *exporter) openManifest(found resumed) (err error) {
	if x.manifest, err = x.sink.grow(manifestName, found.offset); err != nil {
		return err
	}
	x.tally, x.entries = newTally(x.manifest), found.entries
	if found.offset > 0 {
		x.tally.hash, x.tally.size = found.hash, found.offset
		return nil
	}
	line, err := headLine(x.opts.request())
	if err != nil {
		return err
	}
	_, err = x.tally.Write(line)
	return err
}

const (
	// manifestRoom is what manifest and proof need for a message, with room to spare.
	manifestRoom = 4 << 10
	// blockRoom is what file systems lose for each file.
	blockRoom = 4 << 10
)

// room fails when the rest of the export does not fit on the file system.
func (x *exporter) room(p Plan) error {
	if x.opts.Free == nil {
		return nil
	}
	free, err := x.opts.Free(x.sink.tempDir())
	if err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	need := int64(float64(p.Octets)*traits(x.opts.Format).factor) + (p.Messages-x.done)*(manifestRoom+blockRoom)
	if free < need {
		return fmt.Errorf("%w: %d messages need about %d MiB, %d MiB are free: choose another file system, or a query that finds less",
			ErrSpace, p.Messages, need>>20, free>>20)
	}
	return nil
}

//go:embed howto.txt
var howTo string

// finish completes the files, seals the manifest and writes the proof.
func (x *exporter) finish(ctx context.Context, src Source, plan Plan) error {
	if err := errors.Join(x.body.reset(), x.file.reset(), x.endVolume()); err != nil {
		return err
	}
	x.volume = &volume{x: x} // the page lies above the volumes
	if err := x.volume.page(howToName, strings.NewReader(howTo)); err != nil {
		return err
	}
	if _, err := x.tally.Write([]byte(manifestTail)); err != nil {
		return err
	}
	if err := x.manifest.sync(); err != nil {
		return err
	}
	if x.dir != nil {
		if err := x.settle(ctx); err != nil {
			return err
		}
	}
	seal, err := src.Seal(ctx, Sealing{Export: plan.Export, Manifest: x.tally.file("").SHA256, Messages: x.done})
	if err != nil {
		return fmt.Errorf("seal the export: %w", err)
	}
	x.result.Event, x.result.Key = seal.Index, seal.Key
	if seal.Index >= 0 {
		if err := x.writeProof(ctx, src, plan.Export, seal); err != nil {
			return err
		}
	}
	if err := x.manifest.finish(); err != nil {
		return err
	}
	if z, ok := x.sink.(*zipSink); ok {
		return z.commit(x.opts.SyncDir)
	}
	return errors.Join(x.dir.unlock(), x.dir.syncAll())
}

func (x *exporter) writeProof(ctx context.Context, src Source, export int64, seal Seal) error {
	proof, err := x.sink.grow(proofName, 0)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(proof, writeBuffer)
	if err := x.prove(ctx, src, export, seal, buffered); err != nil {
		return fmt.Errorf("prove the export: %w", err)
	}
	return errors.Join(buffered.Flush(), proof.finish())
}

// syncsAtOnce is how many files are made durable together: file systems write the journal once for all of them.
const syncsAtOnce = 16

// settle makes the files durable, and makes sure that there are no others.
func (x *exporter) settle(ctx context.Context) error {
	listed := int64(2) // manifest and lock
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(syncsAtOnce)
	err := x.each(func(e Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		files := e.Files
		if e.File != nil {
			files = []File{*e.File}
		}
		listed += int64(len(files))
		for _, f := range files {
			work.Go(func() error { return x.opts.SyncFile(x.dir.place(f.Path)) })
		}
		return nil
	})
	if failed := work.Wait(); failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	if x.dir.prefix != "" {
		return nil // other files may lie beside it
	}
	found := int64(0)
	if err := x.dir.walk(func(string) error { found++; return nil }); err != nil {
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
