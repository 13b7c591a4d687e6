package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Tools are what making an export needs besides the messages.
type Tools struct {
	// Parser reads messages. Required.
	Parser Parser
	// Extractor reads attachments that are not text; nil leaves them without text.
	Extractor Extractor
	// TempDir is where what has to be read again is kept, encrypted; the default of the system if empty.
	TempDir string
}

// making is what an exporter goes by.
type making struct {
	Request
	Tools
	Location *time.Location // Request.TimeZone
}

// Make makes an export of what src gives, and writes it to w as a stream, which Fetch turns into files. Every byte of the export is
// made here, and what Seal is told is the hash of what was written to w, or, where an export goes on, of what was made
// again and found to be what is there: that is where the messages are and the ledger is, and nothing that a client says gets into either.
//
// An error before begin of src was called leaves w untouched. What was written before another one can be ended with SendError.
//
// Memory does not grow with the number or size of messages, but for Deduplicate and OnePerThread.
func Make(ctx context.Context, src Source, r Request, tools Tools, w io.Writer) (err error) {
	zone, err := r.fill()
	if err != nil {
		return err
	}
	x := &exporter{opts: making{r, tools, zone}, sink: newStreamSink(w), keys: map[string]bool{}, ids: sha256.New()}
	x.body.dir, x.file.dir, x.listed.dir = tools.TempDir, tools.TempDir, tools.TempDir
	defer func() {
		err = errors.Join(err, x.body.reset(), x.file.reset(), x.listed.reset())
	}()
	began := false
	err = x.receive(ctx, src, r, func(p Plan) error {
		x.plan, began = p, true
		if err := x.sink.sendJSON(opPlan, streamedPlan{p.Messages, p.Octets}); err != nil {
			return err
		}
		return errors.Join(x.start(), x.sink.out.Flush())
	})
	if err == nil {
		err = x.finish(ctx, src)
	}
	if began {
		err = errors.Join(err, x.sink.out.Flush())
	}
	return err
}

// start begins manifest and first volume.
func (x *exporter) start() (err error) {
	x.sink.muted = x.opts.Resume != nil
	if x.manifest, err = x.sink.grow(manifestName); err != nil {
		return err
	}
	x.tally = newTally(io.MultiWriter(x.manifest, &x.listed))
	line, err := headLine(x.opts.Request)
	if err != nil {
		return err
	}
	if _, err := x.tally.Write(line); err != nil {
		return err
	}
	first := 0
	if x.opts.SplitBytes > 0 {
		first = 1
	}
	return x.newVolume(first)
}

// reach ends the silence where the other side has what was made so far, byte for byte.
func (x *exporter) reach() error {
	r := x.opts.Resume
	if x.tally.size < r.Offset {
		return nil
	}
	if x.tally.size > r.Offset || x.tally.file("").SHA256 != r.Manifest {
		return ErrChanged
	}
	x.sink.muted = false
	err := x.manifest.begin(x.tally.size)
	for _, s := range x.volume.shared {
		if err == nil {
			err = s.g.begin(s.size)
		}
	}
	return err
}

//go:embed howto.txt
var howTo string

// finish completes the files, seals the manifest and writes the proof.
func (x *exporter) finish(ctx context.Context, src Source) error {
	if x.sink.muted {
		return ErrChanged
	}
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
	if err := errors.Join(x.sink.send(opSettle, 0), x.sink.out.Flush()); err != nil {
		return err
	}
	seal, err := src.Seal(ctx, Sealing{
		Export: x.plan.Export, Manifest: x.tally.file("").SHA256, Messages: x.done, IDs: hex.EncodeToString(x.ids.Sum(nil)),
	})
	if err != nil {
		return fmt.Errorf("seal the export: %w", err)
	}
	if seal.Index >= 0 {
		if err := x.writeProof(ctx, src, seal); err != nil {
			return err
		}
	}
	if err := x.manifest.finish(); err != nil {
		return err
	}
	return x.sink.sendJSON(opEnd, streamedEnd{x.result.Messages, x.result.Octets, x.result.Omitted, seal.Index, seal.Key})
}

func (x *exporter) writeProof(ctx context.Context, src Source, seal Seal) error {
	proof, err := x.sink.grow(proofName)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(proof, writeBuffer)
	if err := x.prove(ctx, src, x.plan.Export, seal, buffered); err != nil {
		return fmt.Errorf("prove the export: %w", err)
	}
	return errors.Join(buffered.Flush(), proof.finish())
}

// each calls fn with the entries of the finished manifest.
func (x *exporter) each(fn func(Entry) error) error {
	r, err := x.listed.reader()
	if err != nil {
		return err
	}
	return eachEntry(io.NewSectionReader(r, 0, x.listed.size), fn)
}

// eachEntry calls fn with the entries of a whole manifest.
func eachEntry(r io.Reader, fn func(Entry) error) error {
	m, err := newManifestReader(r)
	for err == nil {
		var e Entry
		if e, err = m.next(); err == nil {
			err = fn(e)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// told says that all of a message was told.
func (x *exporter) told(e *Entry) error {
	if e.Omitted == omittedDamaged {
		if err := x.sink.send(opDamaged, 0, []byte(e.ID)); err != nil {
			return err
		}
	}
	if x.sink.muted {
		return x.reach()
	}
	return x.sink.send(opMessage, 0, binary.AppendUvarint(nil, uint64(max(e.Size, 0))))
}
