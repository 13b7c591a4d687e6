package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// manifestSuffix is appended to the name of an mbox file.
const manifestSuffix = ".manifest.jsonl"

// daemonAddress stands in a From_ line for a missing sender (RFC 4155 appendix A
// leaves the choice open; this is what mail servers write).
const daemonAddress = "MAILER-DAEMON"

// maxFromAddress is the longest address that SMTP can carry (RFC 5321 section
// 4.5.3.1.3, without the angle brackets).
const maxFromAddress = 254

type mboxWriter struct {
	path     string
	opts     Options
	mbox     *tempFile
	manifest *tempFile
	offset   int64 // octets written to mbox
	err      error // why the export cannot go on
}

// NewMbox starts an export of all messages into the single file path, in the
// mboxrd format: reading it with UnquoteMbox gives back the exact bytes.
//
// Until Close, the file has a temporary name in the same directory; path and
// path.manifest.jsonl must not exist (fs.ErrExist).
func NewMbox(path string, opts Options) (Writer, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	w := &mboxWriter{path: filepath.Clean(path), opts: opts}
	if err := w.start(); err != nil {
		return nil, fmt.Errorf("start mbox export: %w", err)
	}
	return w, nil
}

func (w *mboxWriter) start() error {
	if err := w.absent(); err != nil {
		return err
	}
	dir, base := filepath.Dir(w.path), filepath.Base(w.path)
	var err error
	if w.mbox, err = createTemp(dir, base+".*.tmp", newBuffer()); err != nil {
		return err
	}
	if w.manifest, err = createTemp(dir, base+manifestSuffix+".*.tmp", newBuffer()); err != nil {
		return errors.Join(err, w.mbox.discard())
	}
	return nil
}

func (w *mboxWriter) absent() error {
	if err := absent(w.path); err != nil {
		return err
	}
	return absent(w.path + manifestSuffix)
}

func (w *mboxWriter) Add(ctx context.Context, m Message) error {
	if w.err == nil {
		w.err = w.add(ctx, m)
	}
	return w.err
}

func (w *mboxWriter) add(ctx context.Context, m Message) error {
	if err := m.validate(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	place := MboxPlace{Offset: w.offset}
	err := w.writeMessage(ctx, m, &place)
	if err == nil {
		place.Length = w.offset - place.Offset
		err = w.manifest.write(newEntry(m, &place))
	}
	if err != nil {
		return fmt.Errorf("export to %s: %w", w.path, err)
	}
	return nil
}

func (w *mboxWriter) writeMessage(ctx context.Context, m Message, place *MboxPlace) error {
	out := offsetWriter{w}
	if _, err := fmt.Fprintf(out, "From %s %s\n", fromAddress(m.From), m.Received.UTC().Format(time.ANSIC)); err != nil {
		return err
	}
	quoted := newFromRewriter(out, quote)
	if err := copyVerified(ctx, quoted, m); err != nil {
		return err
	}
	if err := quoted.finish(); err != nil {
		return err
	}
	place.AddedNewline = !quoted.head
	end := "\n"
	if place.AddedNewline {
		end = "\n\n"
	}
	_, err := io.WriteString(out, end)
	return err
}

type offsetWriter struct{ w *mboxWriter }

func (o offsetWriter) Write(p []byte) (int, error) {
	n, err := o.w.mbox.Write(p)
	o.w.offset += int64(n)
	return n, err
}

// fromAddress keeps an address that other programs can read back from a From_
// line: ASCII (Python's mailbox stops at anything else) without white space.
func fromAddress(addr string) string {
	if addr == "" || len(addr) > maxFromAddress {
		return daemonAddress
	}
	for _, c := range []byte(addr) {
		if c <= ' ' || c >= 0x7f {
			return daemonAddress
		}
	}
	return addr
}

func (w *mboxWriter) Close() error {
	if w.err != nil {
		return errors.Join(w.err, w.discard())
	}
	if err := w.finish(); err != nil {
		w.err = fmt.Errorf("finish export to %s: %w", w.path, err)
		return errors.Join(w.err, w.discard())
	}
	w.err = errClosed
	return nil
}

// finish names the manifest first: an mbox that is there is complete.
func (w *mboxWriter) finish() error {
	if err := errors.Join(w.mbox.sync(), w.manifest.sync()); err != nil {
		return err
	}
	if err := w.absent(); err != nil {
		return err
	}
	if err := w.manifest.commit(w.path + manifestSuffix); err != nil {
		return err
	}
	if err := w.mbox.commit(w.path); err != nil {
		return errors.Join(err, os.Remove(w.path+manifestSuffix))
	}
	return w.opts.SyncDir(filepath.Dir(w.path))
}

func (w *mboxWriter) Abort() error {
	if w.err == nil {
		w.err = errClosed
	}
	return w.discard()
}

func (w *mboxWriter) discard() error {
	return errors.Join(w.mbox.discard(), w.manifest.discard())
}
