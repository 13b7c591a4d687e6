package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/time/rate"

	"github.com/postkeep/postkeep/archive/disk"
)

// A verification is one run of Verify.
type verification struct {
	l      *Log
	opt    VerifyOptions
	limit  *rate.Limiter
	result VerifyResult
	unpaid int64 // bytes read since the last pace

	cp                    checkpoint // size is -1 if there is none
	size                  int64      // the events below are verified
	eventsEnd, detailsEnd int64

	events  walker
	details *sidecar // nil unless deep
	tree    tree
	buf     []byte    // hashes that an event adds to the tree
	last    time.Time // of an event
	unknown bool      // an event's hash is not known, so neither is the root

	rehashed bool // allEvents has come to its verdict
	verdict  error

	stored    *bufio.Reader
	storedEnd bool // the file of stored hashes has ended
}

func (v *verification) report(d *Damage) {
	v.result.Damages++
	if v.opt.Report != nil {
		v.opt.Report(d)
	}
}

// file reports damage to a file as a whole.
func (v *verification) file(name string, err error) {
	v.report(&Damage{File: name, Index: -1, Err: err})
}

func (v *verification) run(ctx context.Context) error {
	if err := v.begin(); err != nil {
		return err
	}
	if err := v.seek(v.opt.From); err != nil {
		return err
	}
	for v.result.Next < v.size {
		line, err := v.events.next()
		if errors.Is(err, io.EOF) {
			return v.finish(ctx)
		}
		if err == nil {
			err = v.gap(line.index, line.missing, line.from-line.junk, line.junk)
		}
		if err == nil {
			err = v.event(ctx, line)
		}
		if err == nil {
			err = v.pace(ctx, v.events.end-line.from)
		}
		if err != nil {
			return err
		}
	}
	return v.finish(ctx)
}

// begin fixes what is verified, and verifies the keys and the checkpoint.
func (v *verification) begin() error {
	l := v.l
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if err := v.keys(); err != nil {
		return err
	}
	s := l.snapshot()
	v.size, v.eventsEnd, v.detailsEnd = s.size, s.eventsEnd, s.detailsEnd
	if err := v.checkpoint(s); err != nil {
		return err
	}
	v.result.Size = v.size
	if l.damage == nil {
		return nil
	}
	// The state shows only what comes before the damage.
	if v.result.Size, v.size = v.cp.size, v.cp.size; v.size < 0 {
		v.size = math.MaxInt64
	}
	var err error
	if v.eventsEnd, err = l.events.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	v.detailsEnd, err = l.details.Seek(0, io.SeekEnd)
	return err
}

// keys compares the files of the keys, byte for byte, with what Create has written.
func (v *verification) keys() error {
	opt := v.l.opt
	check := func(name, prefix string, key interface {
		Name() string
		KeyHash() uint32
	}, err error) error {
		if errors.Is(err, ErrKey) || errors.Is(err, fs.ErrNotExist) {
			v.file(name, err)
			return nil
		}
		if err != nil {
			return err
		}
		data, err := disk.ReadFile(opt.FS, filepath.Join(opt.KeyDir, name), maxKeyFile)
		head := fmt.Sprintf("%s%s+%08x+", prefix, key.Name(), key.KeyHash())
		if err == nil && (!bytes.HasPrefix(data, []byte(head)) || len(data) != len(head)+base64.StdEncoding.EncodedLen(33)+1 || data[len(data)-1] != '\n') {
			v.file(name, fmt.Errorf("%w: the key is sound, but the file is not as it was written", ErrKey))
		}
		return err
	}
	pub, _, err := readVerifier(opt)
	if err := check(pubName, "", pub, err); err != nil {
		return err
	}
	key, err := readSigner(opt, v.l.verifier)
	if opt.ReadOnly && errors.Is(err, fs.ErrNotExist) {
		return nil // who only reads need not have it
	}
	return check(keyName, "PRIVATE+KEY+", key, err)
}

// checkpoint verifies the checkpoint. Without a sound public key it is still
// taken to say what the ledger should be.
func (v *verification) checkpoint(s state) error {
	v.cp = checkpoint{size: -1}
	name := filepath.Join(v.l.opt.Dir, checkpointName)
	cp, msg, err := readCheckpoint(v.l.opt, v.l.verifier)
	if err != nil && v.l.verifier == nil {
		if msg, err = disk.ReadFile(v.l.opt.FS, name, maxCheckpoint); err == nil {
			text, _, _ := strings.Cut(string(msg), "\n\n")
			cp, err = parseState(text + "\n")
		}
	} else if err == nil && !canonical(msg, v.l.verifier) {
		v.file(checkpointName, fmt.Errorf("%w: the signature is sound, but its text is not as it was written", ErrCheckpoint))
	}
	switch {
	case errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist):
		v.file(checkpointName, err)
		return nil
	case err != nil:
		return err
	case cp.size < s.size && !v.l.opt.ReadOnly:
		v.file(checkpointName, fmt.Errorf("%w: it covers %d events of %d: it was put back from an older copy", ErrCheckpoint, cp.size, s.size))
	}
	v.cp = cp
	return nil
}

// canonical says whether the signature is encoded as we do: base64 leaves bits
// unused that may be anything.
func canonical(msg []byte, verifier note.Verifier) bool {
	n, err := note.Open(msg, note.VerifierList(verifier))
	if err != nil {
		return false
	}
	_, err = base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64)
	return err == nil
}

// seek begins at an event, or at 0 if the stored hashes do not connect the
// events before it with the checkpoint.
func (v *verification) seek(from int64) error {
	l := v.l
	lines := newLineReader(l.events, 0, v.eventsEnd)
	if from > 0 && from < v.size && from <= v.cp.size {
		t, err := readTree(l.hashes, from)
		var path []tlog.Hash
		if err == nil {
			path, err = tlog.ProveTree(v.cp.size, from, hashReader(l.hashes))
		}
		if err == nil {
			err = tlog.CheckTree(path, v.cp.size, v.cp.root, from, t.root())
		}
		if err == nil {
			if at, findErr := find(l.events, v.eventsEnd, from-1); findErr == nil {
				line, _ := at.next() // find has read it
				if e, err := parseLeaf(line, from-1); err == nil {
					v.tree, v.last, lines = t, e.Time, at
				}
			}
		}
	}
	from = v.tree.size
	v.result.From, v.result.Next = from, from
	v.events = walker{lines: lines, want: from, size: v.size, end: lines.off}
	at := storedCount(from) * tlog.HashSize
	v.stored = bufio.NewReaderSize(io.NewSectionReader(l.hashes, at, math.MaxInt64-at), readSize)
	if v.opt.Deep {
		var err error
		v.details, err = l.openSidecar(state{size: v.size, detailsEnd: v.detailsEnd}, from)
		return err
	}
	return nil
}

// gap reports what comes before the line of an event, or before the end.
func (v *verification) gap(index, missing, from, length int64) error {
	switch {
	case missing > 0:
		v.report(&Damage{
			File: eventsName, Index: index - missing, Events: missing, Offset: from, Length: length,
			Err: fmt.Errorf("%w: there is no line with the index", ErrDiverged),
		})
	case length > 0:
		v.report(&Damage{
			File: eventsName, Index: index, Offset: from, Length: length,
			Err: fmt.Errorf("%w: bytes before the line that belong to no event", ErrDiverged),
		})
	}
	for ; v.result.Next < index; v.result.Next++ {
		h, ok, err := v.storedLeaf(v.result.Next)
		if err != nil {
			return err
		}
		v.unknown = v.unknown || !ok
		if err := v.add(v.result.Next, h); err != nil {
			return err
		}
	}
	return nil
}

// event verifies an event with its details and stored hashes.
func (v *verification) event(ctx context.Context, line placed) error {
	damaged := func(err error) {
		v.report(&Damage{File: eventsName, Index: line.index, Events: 1, Offset: line.from, Length: v.events.end - line.from, Err: err})
	}
	sound, err := v.leaf(ctx, line, damaged)
	v.result.Next = v.tree.size
	if err != nil || !sound {
		return err // what a damaged line says is not held against other lines
	}
	e, err := scanLeaf(line.line, line.index)
	if err != nil {
		damaged(err)
		return nil
	}
	if e.Time.Before(v.last) {
		damaged(fmt.Errorf("%w: its time is before that of an event before", ErrDiverged))
	} else {
		v.last = e.Time
	}
	if v.details == nil {
		return nil
	}
	return v.detailsOf(e, line.line)
}

// leaf takes the hash of an event into the tree, and decides where it is not the
// stored one which of the two is damaged. It reports whether the line is sound.
func (v *verification) leaf(ctx context.Context, line placed, damaged func(error)) (sound bool, err error) {
	h := tlog.RecordHash(line.line)
	stored, ok, err := v.storedLeaf(line.index)
	if err != nil {
		return false, err
	}
	if !ok || stored == h {
		return true, v.add(line.index, h)
	}
	path, err := tlog.ProveRecord(v.cp.size, line.index, hashReader(v.l.hashes))
	proven := func(h tlog.Hash) bool {
		return err == nil && tlog.CheckRecord(path, v.cp.size, v.cp.root, line.index, h) == nil
	}
	if proven(stored) {
		damaged(fmt.Errorf("%w: the line does not have the hash that was signed", ErrDiverged))
		return false, v.add(line.index, stored)
	}
	if !proven(h) {
		err := v.allEvents(ctx)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return false, err
		}
		if err != nil {
			damaged(fmt.Errorf("%w: the line does not have its stored hash, and neither leads to the root that was signed", ErrDiverged))
			v.unknown = true
			return false, v.add(line.index, stored)
		}
	}
	v.hash(line.index, storedIndex(0, line.index))
	return true, v.add(line.index, h)
}

// allEvents says, where the stored hashes are of no help, whether the events alone
// lead to the root that was signed. It looks only once.
func (v *verification) allEvents(ctx context.Context) error {
	if !v.rehashed {
		v.rehashed, v.verdict = true, ErrCheckpoint
		if v.cp.size >= 0 {
			v.verdict = v.l.rehash(ctx, v.cp)
		}
	}
	return v.verdict
}

// hash reports that a stored hash is wrong.
func (v *verification) hash(index, at int64) {
	v.report(&Damage{
		File: hashesName, Index: index, Events: 1, Offset: at * tlog.HashSize, Length: tlog.HashSize, Repairable: true,
		Err: fmt.Errorf("%w: the stored hash is wrong: delete the file, it is made again when the ledger is opened", ErrDamaged),
	})
}

// storedLeaf reads the stored hash of an event. It is not there if the event is
// not signed, or the file has ended, which is reported once.
func (v *verification) storedLeaf(index int64) (h tlog.Hash, ok bool, err error) {
	if v.storedEnd || v.cp.size >= 0 && index >= v.cp.size {
		return h, false, nil
	}
	_, err = io.ReadFull(v.stored, h[:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		v.short(index)
		return h, false, nil
	}
	return h, err == nil, err
}

// short reports that the stored hashes end too early.
func (v *verification) short(index int64) {
	v.storedEnd = true
	at := storedIndex(0, index) * tlog.HashSize
	v.report(&Damage{
		File: hashesName, Index: index, Events: 1, Offset: at, Repairable: true,
		Err: fmt.Errorf("%w: the file ends before the hashes of the event: it is made again when the ledger is opened", ErrDamaged),
	})
}

// add adds a leaf to the tree and compares the nodes above it with the stored ones.
func (v *verification) add(index int64, h tlog.Hash) error {
	v.buf = v.tree.add(h, v.buf[:0])
	for n := 1; n < len(v.buf)/tlog.HashSize && !v.storedEnd && (v.cp.size < 0 || index < v.cp.size); n++ {
		var stored tlog.Hash
		_, err := io.ReadFull(v.stored, stored[:])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			v.short(index)
			break
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(stored[:], v.buf[n*tlog.HashSize:][:tlog.HashSize]) && !v.unknown {
			v.hash(index, storedIndex(0, index)+int64(n))
		}
	}
	if v.tree.size == v.cp.size && !v.unknown && v.tree.root() != v.cp.root {
		v.file(eventsName, fmt.Errorf("%w: the root of its %d events is not that of the checkpoint", ErrDiverged, v.cp.size))
	}
	return nil
}

// detailsOf verifies the details of an event that has the leaf.
func (v *verification) detailsOf(e Entry, leaf []byte) error {
	s, before := v.details, v.details.end
	found, err := s.at(e.Index)
	if err != nil {
		return err
	}
	damaged := func(events, from, length int64, format string) {
		v.report(&Damage{File: detailsName, Index: e.Index, Events: events, Offset: from, Length: length, Err: fmt.Errorf(format, ErrDiverged)})
	}
	from, length := s.line.from, s.end-s.line.from
	switch {
	case !found && s.done:
		damaged(1, s.end, v.detailsEnd-s.end, "%w: the details are missing")
	case !found:
		damaged(1, from-s.line.junk, s.line.junk, "%w: the details are missing")
	default:
		ok, erased := v.intact(s.line.line, e)
		if !ok {
			damaged(1, from, length, "%w: the details do not have the hash in the event")
		} else if erased && !v.erasable(leaf, e.Index) {
			damaged(1, from, length, "%w: the details were erased, which nothing does to those of such an event")
		}
		if s.line.junk > 0 && s.line.missing == 0 {
			damaged(0, from-s.line.junk, s.line.junk, "%w: bytes before the line that belong to no event")
		}
	}
	v.unpaid += s.end - before
	return nil
}

// erasable says whether the details of the event with the leaf may be erased.
func (v *verification) erasable(leaf []byte, index int64) bool {
	if v.opt.Erasable == nil {
		return true
	}
	e, err := parseLeaf(leaf, index)
	return err != nil || v.opt.Erasable(e.Type) // a leaf that cannot be read is damage of its own
}

// intact says whether a line has the details of the event, or says that they are
// erased, which is counted.
func (v *verification) intact(line []byte, e Entry) (ok, erased bool) {
	d, ok := parseDetails(line, e.Index)
	if ok && !d.erased && detailsHash(d.salt[:], d.details) == e.DetailsHash {
		return true, false
	}
	if e.Erased = ok && d.erased; !e.Erased {
		v.l.refill(state{detailsEnd: v.detailsEnd}, &e) // it may be being erased just now
	}
	if e.Erased {
		v.result.Erased++
	}
	return e.Erased, e.Erased
}

// finish reports what is missing or left over at the end.
func (v *verification) finish(ctx context.Context) error {
	rest := v.eventsEnd - v.events.end
	if missing := v.size - v.result.Next; missing > 0 && v.size < math.MaxInt64 {
		kind := ErrShort
		if rest > 0 {
			kind = ErrDiverged
		}
		v.report(&Damage{
			File: eventsName, Index: v.result.Next, Events: missing, Offset: v.events.end, Length: rest,
			Err: fmt.Errorf("%w: the checkpoint covers %d events: put back the newest copy", kind, v.size),
		})
	}
	v.result.Bytes += v.unpaid
	return ctx.Err()
}

// pace counts bytes that were read, and once they are enough looks at the
// context, keeps the rate and tells the progress.
func (v *verification) pace(ctx context.Context, bytes int64) error {
	if v.unpaid += bytes; v.unpaid < paceSize {
		return nil
	}
	v.result.Bytes += v.unpaid
	for ; v.unpaid > 0; v.unpaid -= paceSize {
		if err := v.limit.WaitN(ctx, int(min(v.unpaid, paceSize))); err != nil {
			return err
		}
	}
	v.unpaid = 0
	if v.opt.Progress != nil {
		v.opt.Progress(v.result)
	}
	return ctx.Err()
}
