package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/postkeep/postkeep/archive/disk"
)

// Open opens a ledger, which is also how it recovers from a crash: a torn write
// beyond the checkpoint is cut off, complete events beyond it are signed, and
// stored hashes are derived again where they are missing.
//
// Open checks the signature of the checkpoint, that both files reach as far as it
// does, and its root against the stored hashes and the last leaves; it does not
// read older lines again, see VerifyAll. What contradicts the checkpoint is an
// error that is ErrDamaged, and neither events, details nor checkpoint are
// changed. With Options.ReadOnly a damaged ledger opens all the same, shows the
// events that can be read from the beginning on, and Damage says what is wrong.
func Open(ctx context.Context, opt Options) (*Log, error) {
	l := &Log{opt: opt.withDefaults()}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger: %w", err), l.closeFiles())
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) (err error) {
	if l.verifier, l.vkey, err = readVerifier(l.opt); err != nil && !errors.Is(err, ErrKey) {
		return err
	}
	if !l.opt.ReadOnly && err == nil {
		l.signer, err = readSigner(l.opt, l.verifier)
	}
	if err == nil || l.opt.ReadOnly {
		err = errors.Join(err, l.openFiles())
	}
	if err == nil {
		err = l.recover(ctx)
	}
	if l.opt.ReadOnly && errors.Is(err, ErrDamaged) {
		l.damage = err
		return l.salvage(ctx)
	}
	return err
}

// noFile stands for a file that is missing from a ledger opened read-only.
type noFile struct{ disk.File }

func (noFile) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (noFile) Seek(int64, int) (int64, error)    { return 0, nil }
func (noFile) Close() error                      { return nil }

// openFiles opens the files. Of the three only the stored hashes may be missing.
func (l *Log) openFiles() error {
	var missing error
	open := func(name string, flag int) (disk.File, error) {
		if l.opt.ReadOnly {
			flag = os.O_RDONLY
		}
		f, err := l.opt.FS.OpenFile(filepath.Join(l.opt.Dir, name), flag, disk.FilePerm)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if name != hashesName {
			missing = errors.Join(missing, fmt.Errorf("%w: %w", ErrShort, err))
		}
		return noFile{}, nil
	}
	var err error
	if l.events, err = open(eventsName, os.O_RDWR); err != nil {
		return err
	}
	if l.details, err = open(detailsName, os.O_RDWR); err != nil {
		return err
	}
	if l.hashes, err = open(hashesName, os.O_RDWR|os.O_CREATE); err != nil {
		return err
	}
	return missing
}

// recover finds the end of the ledger, proves it against the checkpoint and
// repairs what a crash has left beyond it.
func (l *Log) recover(ctx context.Context) error {
	cp, msg, err := readCheckpoint(l.opt, l.verifier)
	if err != nil {
		return err
	}
	signed, err := l.locate(cp.size)
	if err != nil {
		return err
	}
	signed.checkpoint = msg
	s, err := l.extend(signed)
	if err != nil {
		return err
	}
	if err := l.derive(ctx, s, cp); err != nil {
		return err
	}
	s.last = l.last
	l.state = s
	if l.opt.ReadOnly {
		return nil
	}
	if err := l.settle(signed); err != nil {
		return err
	}
	return l.resumeErasing()
}

// locate returns the state with size events, without its checkpoint.
func (l *Log) locate(size int64) (s state, err error) {
	if size == 0 {
		return s, nil
	}
	end := func(f disk.File, name string) (line []byte, off int64, err error) {
		length, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return nil, 0, err
		}
		lines, err := find(f, length, size-1)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w: put back the newest copy of %s", name, err, l.opt.Dir)
		}
		line, err = lines.next()
		return line, lines.off, err
	}
	line, eventsEnd, err := end(l.events, eventsName)
	if err != nil {
		return s, err
	}
	last, err := parseLeaf(line, size-1)
	if err != nil {
		return s, err
	}
	_, detailsEnd, err := end(l.details, detailsName)
	if err != nil {
		return s, err
	}
	l.last = moment{last.Time, last.Clock}
	return state{size: size, eventsEnd: eventsEnd, detailsEnd: detailsEnd}, nil
}

// extend returns the state with the complete events that follow s. What comes
// after them is a torn write. An event whose details are missing is not, for
// details are durable before their event is written.
func (l *Log) extend(s state) (state, error) {
	eventsSize, err := l.events.Seek(0, io.SeekEnd)
	if err != nil {
		return s, err
	}
	detailsSize, err := l.details.Seek(0, io.SeekEnd)
	if err != nil {
		return s, err
	}
	events := newLineReader(l.events, s.eventsEnd, eventsSize)
	details := newSidecar(newLineReader(l.details, s.detailsEnd, detailsSize), s.size, math.MaxInt64)
	for {
		line, err := events.next()
		if isEnd(err) {
			return s, nil
		}
		if err != nil {
			return s, err
		}
		e, err := parseLeaf(line, s.size)
		if err != nil {
			return s, nil // nobody was told of this event
		}
		if err := details.fill(&e); err != nil {
			return s, err
		}
		if e.Damaged || details.line.junk > 0 {
			return s, fmt.Errorf("%w: event %d has no details in %s", ErrDiverged, e.Index, detailsName)
		}
		l.last = moment{e.Time, e.Clock}
		s.size++
		s.eventsEnd, s.detailsEnd = events.off, details.lines.off
	}
}

// settle cuts off torn writes and signs the events beyond those that are signed.
func (l *Log) settle(signed state) (err error) {
	r := &l.recovery
	if r.CutEvents, err = cut(l.events, l.state.eventsEnd); err != nil {
		return err
	}
	if r.CutDetails, err = cut(l.details, l.state.detailsEnd); err != nil {
		return err
	}
	if _, err = cut(l.hashes, storedCount(l.state.size)*tlog.HashSize); err != nil {
		return err
	}
	former := filepath.Join(l.opt.Dir, formerHashes)
	if _, missing := l.opt.FS.Stat(former); missing == nil {
		if err = l.opt.FS.Remove(former); err != nil {
			return err
		}
	}
	if r.Signed = l.state.size - signed.size; r.Signed > 0 {
		if err = harden(l.details, signed.detailsEnd, l.state.detailsEnd); err != nil {
			return err
		}
		if err = harden(l.events, signed.eventsEnd, l.state.eventsEnd); err != nil {
			return err
		}
		if l.state.checkpoint, err = l.replaceCheckpoint(&l.tree); err != nil {
			return err
		}
	}
	if *r != (Recovery{}) {
		l.opt.Logger.Warn("ledger recovered", "dir", l.opt.Dir, "events", l.state.size,
			"cut_events_bytes", r.CutEvents, "cut_details_bytes", r.CutDetails, "signed", r.Signed)
	}
	return nil
}

// harden writes a range again and fsyncs it. It may be in memory only, and
// after a failed fsync marked as written there, so that an fsync alone would do nothing.
func harden(f disk.File, from, to int64) error {
	buf := make([]byte, readSize)
	for at := from; at < to; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), to-at)]
		if _, err := f.ReadAt(buf, at); err != nil {
			return err
		}
		if _, err := f.WriteAt(buf, at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// cut truncates the file to size and returns how many bytes that took away.
func cut(f disk.File, size int64) (int64, error) {
	length, err := f.Seek(0, io.SeekEnd)
	if err != nil || length <= size {
		return 0, err
	}
	return length - size, f.Truncate(size)
}

// salvage shows what can be read of a damaged ledger from its beginning on.
func (l *Log) salvage(ctx context.Context) (err error) {
	var s state
	if _, s.checkpoint, err = readCheckpoint(l.opt, l.verifier); err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	size, err := l.events.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if s.detailsEnd, err = l.details.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	for lines := newLineReader(l.events, 0, size); ctx.Err() == nil; {
		line, err := lines.next()
		if err != nil && !isEnd(err) {
			return err
		}
		if n, ok := indexOf(line); err != nil || !ok || n != s.size {
			break
		}
		s.size, s.eventsEnd = s.size+1, lines.off
	}
	l.state = s
	return ctx.Err()
}
