package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/postkeep/postkeep/archive/disk"
)

const (
	// erasingName is the file that says which details are being erased, so that an
	// erasure that a crash has torn is finished when the ledger is opened.
	erasingName = "erasing"
	// eraseBatch is how many details are erased at once: appends wait meanwhile.
	eraseBatch = 4096
	maxErasing = eraseBatch*21 + 128 // bytes: indexes have up to 19 digits
)

// Erase overwrites the details of events, and their salts, in place, and returns
// when that is durable. The events themselves and all proofs stay as they are; see
// Entry.Erased. What is erased already is left so. An index that does not exist is
// ErrNoEvent, and nothing was erased. Details that cannot be found because the sidecar
// is damaged are ErrDiverged; all others were erased.
//
// A crash, or an error that is ErrBroken, leaves some details erased and some not,
// and an erasure that is finished when the ledger is opened for writing. Nothing is
// recorded: that is up to the caller. What the file system or the medium keep of
// overwritten blocks is beyond reach.
func (l *Log) Erase(ctx context.Context, indexes []int64) error {
	if l.opt.ReadOnly {
		return ErrReadOnly
	}
	size := l.Size()
	for _, index := range indexes {
		if index < 0 || index >= size {
			return fmt.Errorf("%w: %d of %d", ErrNoEvent, index, size)
		}
	}
	indexes = slices.Compact(slices.Sorted(slices.Values(indexes)))
	var errs []error
	for batch := range slices.Chunk(indexes, eraseBatch) {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		err := l.eraseBatch(batch)
		if errs = append(errs, err); err != nil && !errors.Is(err, ErrDamaged) {
			break
		}
	}
	return errors.Join(errs...)
}

func (l *Log) eraseBatch(indexes []int64) error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	switch {
	case l.closed:
		return ErrClosed
	case l.broken != nil:
		return fmt.Errorf("%w: %w", ErrBroken, l.broken)
	}
	spans, err := l.spans(indexes)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	if failed := l.overwrite(spans); failed != nil {
		l.broken = failed
		l.opt.Logger.Error("erasing details failed", "dir", l.opt.Dir, "err", failed)
		return fmt.Errorf("%w: %w", ErrBroken, failed)
	}
	return err
}

// A span is where a line of details.jsonl is, without its newline.
type span struct{ index, from, length int64 }

// spans finds the lines of events. Those that it does not find are missing from
// the result, and the error is ErrDiverged.
func (l *Log) spans(indexes []int64) (found []span, err error) {
	s := l.snapshot()
	var errs []error
	for _, index := range indexes {
		details, err := l.openSidecar(s, index)
		if err != nil {
			return nil, err
		}
		ok, err := details.at(index)
		if err != nil {
			return nil, err
		}
		line := span{index, details.line.from, int64(len(details.line.line))}
		if !ok || line.length < int64(len(erasedLine(line))) {
			errs = append(errs, fmt.Errorf("%w: %s: the line of event %d is damaged, its details cannot be erased", ErrDiverged, detailsName, index))
			continue
		}
		found = append(found, line)
	}
	return found, errors.Join(errs...)
}

// erasedLine is what replaces a line.
func erasedLine(s span) []byte {
	line := strconv.AppendInt([]byte(linePrefix), s.index, 10)
	line = append(line, erasedTail...)
	return append(line, bytes.Repeat([]byte{' '}, max(0, int(s.length)-len(line)))...)
}

// overwrite erases lines: first it is made durable which they are.
func (l *Log) overwrite(lines []span) error {
	if len(lines) == 0 {
		return nil
	}
	var indexes []int64
	for _, line := range lines {
		indexes = append(indexes, line.index)
	}
	intent, err := encodeErasing(indexes)
	if err != nil {
		return err
	}
	name := filepath.Join(l.opt.Dir, erasingName)
	if err := disk.WriteFile(l.opt.FS, name, intent, disk.FilePerm); err != nil {
		return err
	}
	for _, line := range lines {
		if _, err := l.details.WriteAt(erasedLine(line), line.from); err != nil {
			return err
		}
	}
	if err := l.details.Sync(); err != nil {
		return err
	}
	return l.opt.FS.Remove(name) // if it comes back after a crash, the same is erased again
}

// resumeErasing finishes what a crash has interrupted.
func (l *Log) resumeErasing() error {
	name := filepath.Join(l.opt.Dir, erasingName)
	data, err := disk.ReadFile(l.opt.FS, name, maxErasing)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	indexes, err := decodeErasing(data)
	if err != nil {
		return fmt.Errorf("%s: %w: erase again what was to be erased, then remove the file", name, err)
	}
	lines, err := l.spans(indexes)
	if err != nil {
		return err
	}
	l.opt.Logger.Warn("finishing an interrupted erasure of details", "dir", l.opt.Dir, "events", len(lines))
	return l.overwrite(lines)
}

// encodeErasing returns the indexes as a line of JSON, and a line with its
// SHA-256: a flipped bit must not erase the details of another event.
func encodeErasing(indexes []int64) ([]byte, error) {
	list, err := encode(indexes)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s\n%x\n", list, sha256.Sum256(list)), nil
}

func decodeErasing(data []byte) (indexes []int64, err error) {
	list, sum, _ := bytes.Cut(data, []byte("\n"))
	want := sha256.Sum256(list)
	if string(sum) != hex.EncodeToString(want[:])+"\n" {
		return nil, fmt.Errorf("%w: the list of details that are being erased is altered", ErrDiverged)
	}
	if err := json.Unmarshal(list, &indexes); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDiverged, err)
	}
	return indexes, nil
}

// refill looks again at details that were found damaged: they may have been read
// while they were erased.
func (l *Log) refill(s state, e *Entry) {
	if l.opt.ReadOnly {
		return
	}
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	lines, err := find(l.details, s.detailsEnd, e.Index)
	if err != nil {
		return
	}
	if line, err := lines.next(); err == nil {
		e.Damaged = false
		e.setDetails(line)
	}
}
