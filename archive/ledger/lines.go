package ledger

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// maxLine is the longest line of either file: both limits with room for
	// index, type, time and salt.
	maxLine = max(MaxLeaf, MaxDetails) + 2*headSize
	// readSize is the unit of sequential reading.
	readSize = 16 << 10
)

var (
	errTorn = errors.New("the last line is not complete")
	errLong = fmt.Errorf("a line is longer than %d bytes", maxLine)
)

// isEnd says whether an error of a lineReader means that no further line can be read.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, errTorn) || errors.Is(err, errLong)
}

// A lineReader reads lines of at most maxLine bytes.
type lineReader struct {
	r     *bufio.Reader
	off   int64 // where the next line starts
	line  []byte
	again bool // line has been unread
	buf   []byte
}

// newLineReader reads the lines of f between two offsets.
func newLineReader(f io.ReaderAt, from, to int64) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(io.NewSectionReader(f, from, to-from), readSize), off: from}
}

// next returns a line without its newline, valid until the next call. It
// returns io.EOF after the last line and errTorn if that has no newline.
func (l *lineReader) next() ([]byte, error) {
	if !l.again {
		line, err := l.read()
		if err != nil {
			return nil, err
		}
		l.line = line[:len(line)-1]
	}
	l.again = false
	l.off += int64(len(l.line)) + 1
	return l.line, nil
}

// unread lets next return the last line again.
func (l *lineReader) unread() {
	l.again = true
	l.off -= int64(len(l.line)) + 1
}

// read returns a line with its newline.
func (l *lineReader) read() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.buf = l.buf[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			if l.buf = append(l.buf, line...); len(l.buf) > maxLine {
				return nil, errLong
			}
			line, err = l.r.ReadSlice('\n')
		}
		l.buf = append(l.buf, line...)
		line = l.buf
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		return nil, errTorn
	}
	return line, err
}

// skip passes over the line after errLong.
func (l *lineReader) skip() error {
	l.off += int64(len(l.buf))
	for {
		line, err := l.r.ReadSlice('\n')
		l.off += int64(len(line))
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// followedBy says whether the next line has the index. The last line that next
// returned is no longer valid.
func (l *lineReader) followedBy(index int64) bool {
	head, _ := l.r.Peek(len(linePrefix) + 20) // what is missing does not parse
	n, ok := indexOf(head)
	return ok && n == index
}

// A walker reads lines in the order of their indexes, and finds its way again
// behind lines that are broken or missing.
type walker struct {
	lines *lineReader
	want  int64 // the index of the next line
	size  int64 // all indexes are below
	end   int64 // of the last line that was in its place
}

// A placed line is one that is where its index says.
type placed struct {
	index int64
	line  []byte // valid until the next one
	from  int64  // its offset
	// missing is how many lines are missing before it, junk how many bytes there
	// are between it and the line before.
	missing, junk int64
}

// next returns the next line that is in its place, or io.EOF. A line is if its
// index is the next one; or if it is a later one and the line behind it has the
// one after that, so that a flipped digit does not look like a gap.
func (w *walker) next() (placed, error) {
	for {
		from := w.lines.off
		line, err := w.lines.next()
		if errors.Is(err, errLong) {
			if err := w.lines.skip(); err == nil {
				continue
			}
		}
		if isEnd(err) {
			return placed{}, io.EOF
		}
		if err != nil {
			return placed{}, err
		}
		n, ok := indexOf(line)
		if !ok || n < w.want || n >= w.size {
			continue
		}
		if n > w.want {
			line = bytes.Clone(line)
			if !w.lines.followedBy(n+1) && n < w.size-1 {
				continue
			}
		}
		p := placed{index: n, line: line, from: from, missing: n - w.want, junk: from - w.end}
		w.want, w.end = n+1, w.lines.off
		return p, nil
	}
}

// find returns a reader at the line of an event among the first size bytes of
// events.jsonl or details.jsonl. The lines are sorted, so it bisects: no table of
// offsets has to be kept. What cannot be read as a line is taken to be a torn
// write after the one that is looked for.
func find(f io.ReaderAt, size, index int64) (*lineReader, error) {
	lo, hi := int64(0), size // the line starts in [lo, hi), and some line starts at lo
	for hi-lo > readSize {
		mid := lo + (hi-lo)/2
		at, err := nextStart(f, mid, hi)
		if err != nil {
			return nil, err
		}
		if n, ok := startIndex(f, at, hi); ok && n <= index {
			lo = at
		} else {
			hi = mid
		}
	}
	return scanTo(newLineReader(f, lo, size), index)
}

// near is how many lines a cursor reads on for the next one that is wanted: about as many as finding it reads.
const near = 64

const (
	// gathered is how many lines a cursor reads in the order of the file for somebody who wants them in another.
	gathered = 1024
	// maxHeldLine is the longest line in bytes that is kept until it is wanted, so that all of them take 64 MiB at most. Those of deposits
	// have a few hundred.
	maxHeldLine = 64 << 10
)

// A cursor finds lines by their indexes. It reads on where the next one is near.
type cursor struct {
	f     io.ReaderAt
	size  int64
	lines *lineReader // nil at first
	next  int64       // index of the line that lines has next
	held  map[int64][]byte
}

// gather reads lines, at most gathered, that are going to be wanted in this order. What cannot be read is an error when it is wanted.
func (c *cursor) gather(indexes []int64) {
	clear(c.held)
	if slices.IsSorted(indexes) {
		return
	}
	if c.held == nil {
		c.held = make(map[int64][]byte, len(indexes))
	}
	for _, index := range slices.Sorted(slices.Values(indexes)) {
		line, err := c.line(index)
		if err != nil {
			return
		}
		if len(line) <= maxHeldLine {
			c.held[index] = bytes.Clone(line)
		}
	}
}

// line returns the line of an event, valid until the next call.
func (c *cursor) line(index int64) (line []byte, err error) {
	if line, ok := c.held[index]; ok {
		return line, nil
	}
	if c.lines != nil && c.next <= index && index-c.next <= near {
		if _, err := scanTo(c.lines, index); err == nil {
			c.next = index + 1
			return c.lines.next()
		}
	}
	if c.lines, err = find(c.f, c.size, index); err != nil {
		return nil, err
	}
	c.next = index + 1
	return c.lines.next()
}

// scanTo moves the reader to the line of an event.
func scanTo(lines *lineReader, index int64) (*lineReader, error) {
	missing := ErrShort
	for {
		line, err := lines.next()
		if isEnd(err) {
			return nil, fmt.Errorf("%w: event %d is missing: %w after byte %d", missing, index, err, lines.off)
		}
		if err != nil {
			return nil, err
		}
		switch n, ok := indexOf(line); {
		case !ok:
			missing = ErrDiverged
		case n == index:
			lines.unread()
			return lines, nil
		case n > index:
			return nil, fmt.Errorf("%w: event %d is missing: that before byte %d is %d", ErrDiverged, index, lines.off, n)
		}
	}
}

// nextStart returns the first offset from on at which a line starts, or end if
// there is none before it.
func nextStart(f io.ReaderAt, from, end int64) (int64, error) {
	buf := make([]byte, 4<<10) // a few lines
	for at := from - 1; at < end; at += int64(len(buf)) {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return min(at+int64(i)+1, end), nil
		}
	}
	return end, nil
}

// startIndex returns the index of the line at an offset.
func startIndex(f io.ReaderAt, at, end int64) (int64, bool) {
	buf := make([]byte, len(linePrefix)+20)
	n, _ := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at) // what is missing does not parse
	return indexOf(buf[:n])
}
