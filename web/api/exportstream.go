package api

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/inorder"
	"github.com/postkeep/postkeep/web/access"
)

const (
	// exportBuffer makes few writes of many small ones.
	exportBuffer = 256 << 10
	// wholeInMemory is how large a message may be, in octets, for its bytes to be read ahead and once; larger ones are read twice, and
	// streamed in their turn. Nearly all are smaller.
	wholeInMemory = 1 << 20
	// runOctets is how many octets of messages are read by one goroutine one after the other: about a frame of a volume, so that each
	// frame is decoded by one.
	runOctets = 1 << 20
	// Of an export this many runs and octets are read ahead of what was sent.
	aheadRuns   = 8
	aheadOctets = 8 << 20
	// entryRoom is what the header of a message takes in the stream, in bytes, if it has few deposits.
	entryRoom = 3 << 10
)

// exporting is the stream of an export: a tar that is made in runs of messages, on all processors, and sent in order.
type exporting struct {
	s     *Server
	scope access.Scope
	out   *bufio.Writer
	bufs  sync.Pool // of *bytes.Buffer
}

// stream sends all messages and the end of the tar.
func (e *exporting) stream(ctx context.Context, each func(func(id string) error) error) error {
	limits := inorder.Limits{Workers: runtime.GOMAXPROCS(0), Jobs: aheadRuns, Bytes: aheadOctets}
	err := inorder.Do(ctx, limits, func(ctx context.Context, take func([]*archive.Stored, int64) error) error {
		return inBatches(each, func(ids []string) error {
			found, err := e.s.opts.Store.Stored(ctx, ids) // without those that were disposed of in this moment
			if err != nil {
				return err
			}
			return inRuns(found, take)
		})
	}, e.make, func(r run) error { return e.send(ctx, r) })
	if err != nil {
		return err
	}
	return errors.Join(tar.NewWriter(e.out).Close(), e.out.Flush())
}

// inRuns takes messages in runs of at most runOctets, and those apart that are not read into memory.
func inRuns(found []*archive.Stored, take func(messages []*archive.Stored, bytes int64) error) error {
	for len(found) > 0 {
		n, octets := 1, found[0].Size
		for n < len(found) && octets+found[n].Size <= runOctets {
			octets += found[n].Size
			n++
		}
		if octets > wholeInMemory {
			octets = 0
		}
		if err := take(found[:n:n], octets+int64(n)*entryRoom); err != nil {
			return err
		}
		found = found[n:]
	}
	return nil
}

// A run is a stretch of the stream.
type run struct {
	entries *bytes.Buffer
	// streamed is the header of the message behind the entries that is too large for memory, nil if there is none.
	streamed *tar.Header
	message  *archive.Stored
	// err is why there is nothing behind the entries, and no message.
	err error
}

// make reads messages and makes their entries. Its errors are in the run, because what lies before is sent all the same.
func (e *exporting) make(ctx context.Context, messages []*archive.Stored) (run, error) {
	body := e.buffer()
	defer e.bufs.Put(body)
	r := run{entries: e.buffer()}
	r.entries.Grow(runOctets + len(messages)*entryRoom)
	for _, m := range messages {
		if r.err = e.entry(ctx, m, body, &r); r.err != nil {
			break
		}
	}
	return r, nil
}

func (e *exporting) buffer() *bytes.Buffer {
	b, ok := e.bufs.Get().(*bytes.Buffer)
	if !ok {
		return new(bytes.Buffer)
	}
	b.Reset()
	return b
}

// entry adds a message to a run. It uses body.
func (e *exporting) entry(ctx context.Context, m *archive.Stored, body *bytes.Buffer, r *run) error {
	// Read before its header is written, because a tar entry cannot be taken back.
	damaged := false
	if body.Reset(); m.Size > wholeInMemory || keep(ctx, m, body) != nil {
		var err error
		if m, err = e.again(ctx, m); err != nil || m == nil {
			return err
		}
		if damaged, err = e.read(ctx, m, body); err != nil {
			return err
		}
	}
	about := e.about(m)
	about.Damaged = damaged
	comment, err := json.Marshal(about)
	if err != nil {
		return err
	}
	header := &tar.Header{
		Name: m.ID + ".eml", Size: m.Size, Mode: 0o600, ModTime: about.Received,
		Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": string(comment)},
	}
	if about.Damaged {
		header.Size = 0
		body.Reset()
	} else if m.Size > wholeInMemory {
		r.streamed, r.message = header, m
		return nil
	}
	return writeEntry(r.entries, header, body)
}

// again looks a message up once more. It was looked up ahead of its turn, and may have been disposed of since, then it is nil, or
// stored again.
func (e *exporting) again(ctx context.Context, m *archive.Stored) (*archive.Stored, error) {
	found, err := e.s.opts.Store.Stored(ctx, []string{m.ID})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// about is what the principal may know of a message.
func (e *exporting) about(m *archive.Stored) Exported {
	about := Exported{Received: m.Received, From: m.Summary.From, Size: m.Size}
	for _, d := range m.Deposited {
		if !e.scope.Sees(d.Mailbox, d.Received) {
			continue
		}
		if len(about.Deposits) == 0 || d.Received.Before(about.Received) {
			about.Received = d.Received
		}
		about.Deposits = append(about.Deposits, ExportedDeposit{Index: d.Index, Mailbox: d.Mailbox, UIDL: d.UIDL, Received: d.Received})
	}
	return about
}

// writeEntry writes an entry with all that belongs to it, so that the next one can be written by somebody else.
func writeEntry(w io.Writer, header *tar.Header, body io.Reader) error {
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(header); err != nil {
		return err
	}
	if _, err := io.Copy(tw, body); err != nil {
		return err
	}
	return tw.Flush()
}

// read reads a message, and keeps it in body if it is small. It reports whether the stored bytes are damaged.
func (e *exporting) read(ctx context.Context, m *archive.Stored, body *bytes.Buffer) (damaged bool, err error) {
	var failed error
	if body.Reset(); m.Size <= wholeInMemory {
		if failed = keep(ctx, m, body); failed == nil {
			return false, nil
		}
	}
	// Whether it is damage, or something that goes away, is for the archive to say.
	found, err := e.s.opts.Store.Damaged(ctx, []string{m.ID})
	if err == nil && len(found) == 0 {
		err = failed
	}
	return len(found) > 0, err
}

func keep(ctx context.Context, m *archive.Stored, to *bytes.Buffer) error {
	body, err := m.Open(ctx)
	if err != nil {
		return err
	}
	if _, err = to.ReadFrom(io.LimitReader(body, m.Size+1)); err == nil && int64(to.Len()) != m.Size {
		err = fmt.Errorf("message %s has %d octets or more, the catalog says %d: run postkeep rebuild catalog", m.ID, to.Len(), m.Size)
	}
	return joinClose(err, body)
}

// send writes a run to the client.
func (e *exporting) send(ctx context.Context, r run) error {
	_, err := r.entries.WriteTo(e.out)
	e.bufs.Put(r.entries)
	if err != nil || r.err != nil {
		return errors.Join(err, r.err)
	}
	if r.streamed == nil {
		return nil
	}
	m, err := e.again(ctx, r.message)
	if err != nil || m == nil {
		return err
	}
	body, err := m.Open(ctx)
	if err != nil {
		return err
	}
	return joinClose(writeEntry(e.out, r.streamed, body), body)
}
