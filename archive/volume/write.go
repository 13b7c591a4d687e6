package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
)

// Append adds a message to the batch and returns where it will be and where it ends in the
// uncompressed tar stream. It is neither readable nor durable before Commit. A *MismatchError, ErrTooLarge, an
// error of m.Body or of ctx leave nothing of the message; the rest of the batch
// stays. After ErrBroken nothing more can be written.
func (s *Set) Append(ctx context.Context, m Message) (Place, int64, error) {
	if m.Kind == KindUnknown {
		m.Kind = KindMessage
	}
	if m.Kind != KindRecipe {
		m.SHA256 = m.ID
	}
	switch {
	case m.Kind != KindMessage && m.Kind != KindRecipe && m.Kind != KindPart:
		return Place{}, 0, fmt.Errorf("append %s: an entry of kind %d has no message", m.ID, m.Kind)
	case !validID(m.ID) || !validID(m.SHA256) || m.Size < 0 || m.Body == nil:
		return Place{}, 0, fmt.Errorf("append message: id %.70q and size %d, want a lower-case hex SHA-256, a size and a body", m.ID, m.Size)
	case m.Size > MaxMessageBytes:
		return Place{}, 0, fmt.Errorf("append message %s of %d bytes: %w", m.ID, m.Size, ErrTooLarge)
	}
	return s.append(ctx, newEntry{name: entryName(m.Kind, m.ID), sha256: m.SHA256, size: m.Size, time: m.Time, body: m.Body})
}

// AppendDeposit adds the record of the n-th deposit of a message to the batch, like Append. The record is JSON.
func (s *Set) AppendDeposit(ctx context.Context, id string, n int, t time.Time, record []byte) (Place, int64, error) {
	switch {
	case !validID(id) || n < 0 || n > MaxDeposit:
		return Place{}, 0, fmt.Errorf("append deposit: id %.70q and number %d, want a lower-case hex SHA-256 and 0 to %d", id, n, MaxDeposit)
	case len(record) > MaxDepositBytes:
		return Place{}, 0, fmt.Errorf("append deposit %d of %s of %d bytes: %w", n, id, len(record), ErrTooLarge)
	}
	sum := sha256.Sum256(record)
	return s.append(ctx, newEntry{name: depositName(id, n), sha256: hex.EncodeToString(sum[:]),
		size: int64(len(record)), time: t, body: bytes.NewReader(record)})
}

func (s *Set) append(ctx context.Context, e newEntry) (Place, int64, error) {
	err := s.writable()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && s.w == nil {
		err = s.create()
	}
	if err != nil {
		return Place{}, 0, fmt.Errorf("append %s: %w", e.name, err)
	}
	at, end, err := s.w.append(ctx, e)
	if err != nil {
		return Place{}, 0, s.failed(fmt.Errorf("append %s: %w", e.name, err))
	}
	return Place{Volume: s.w.v.number, Offset: at}, end, nil
}

// Commit makes everything durable that was appended, and then readable. A volume that has
// reached its size is sealed; the next Append begins another. After an error the batch
// may be found by OpenSet, in part or as a whole.
func (s *Set) Commit(ctx context.Context) (Committed, error) {
	err := s.writable()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Committed{}, fmt.Errorf("commit: %w", err)
	}
	w := s.w
	if w == nil {
		return Committed{}, nil
	}
	if err := w.sync(); err != nil {
		return Committed{}, s.failed(fmt.Errorf("commit volume %d: %w", w.v.number, err))
	}
	if len(w.frames) == 0 {
		return Committed{}, nil
	}
	s.publish(w)
	c := Committed{Volume: w.v.number, End: w.v.end}
	if w.v.size >= s.o.MaxBytes || len(w.v.frames) >= sealFrames {
		if err := s.seal(); err != nil {
			return Committed{}, s.failed(fmt.Errorf("seal volume %d: %w", w.v.number, err))
		}
		c.Sealed = c.Volume
	}
	return c, nil
}

// publish lets readers see what w has synced.
func (s *Set) publish(w *writer) {
	w.extendSide(w.frames)
	s.mu.Lock()
	defer s.mu.Unlock()
	w.v.frames = append(w.v.frames, w.frames...)
	w.v.size, w.v.end = last(w.v.frames).end(), last(w.v.frames).tarEnd()
	w.frames = nil
}

// Rollback drops what was appended since the last Commit.
func (s *Set) Rollback() error {
	if err := s.writable(); err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	if s.w == nil {
		return nil
	}
	if err := s.w.discard(); err != nil {
		return s.failed(fmt.Errorf("roll back volume %d: %w", s.w.v.number, err))
	}
	return nil
}

// writable returns why nothing can be written.
func (s *Set) writable() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.o.ReadOnly:
		return ErrReadOnly
	}
	return s.broken
}

// failed keeps an error after which the state of the disk is unknown.
func (s *Set) failed(err error) error {
	if errors.Is(err, ErrBroken) {
		s.mu.Lock()
		s.broken = err
		s.mu.Unlock()
	}
	return err
}

// create begins a new volume.
func (s *Set) create() error {
	number := uint32(1)
	if n := len(s.vols); n > 0 {
		number = s.vols[n-1].number + 1
	}
	if number > MaxVolume {
		return fmt.Errorf("volume %d: no number is left", number)
	}
	v := &vol{number: number, encrypted: len(s.o.Recipients) > 0}
	suffix := volumeSuffix
	if v.encrypted {
		suffix = cipherSuffix
	}
	v.path = filepath.Join(s.o.Dir, fmt.Sprintf("%08d%s", number, suffix))
	f, err := s.o.FS.OpenFile(v.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, disk.FilePerm)
	if err != nil {
		return fmt.Errorf("new volume: %w", err)
	}
	s.w = newWriter(s, v, f)
	s.w.fresh = true
	s.w.startSide()
	s.mu.Lock()
	s.vols = append(s.vols, v)
	s.mu.Unlock()
	return nil
}

// Seal commits, and ends the volume that is being written before it has reached its size. The next Append begins
// another. Without such a volume, or with an empty one, Committed.Sealed is 0.
func (s *Set) Seal(ctx context.Context) (Committed, error) {
	c, err := s.Commit(ctx)
	w := s.w
	if err != nil || w == nil || len(w.v.frames) == 0 {
		return c, err
	}
	c = Committed{Volume: w.v.number, End: w.v.end, Sealed: w.v.number}
	if err := s.seal(); err != nil {
		return Committed{}, s.failed(fmt.Errorf("seal volume %d: %w", c.Volume, err))
	}
	return c, nil
}

// seal ends the volume: the end of the tar file and the seek table, and then it is never written again. A
// crash before they are durable leaves a volume whose end OpenSet cuts off.
func (s *Set) seal() error {
	w := s.w
	tail, err := sealTail(s.codec, w.v.frames)
	if err != nil {
		return broken("trailer", err)
	}
	if _, err := w.f.WriteAt(tail, w.v.size); err != nil {
		return broken("write", err)
	}
	if err := w.f.Sync(); err != nil {
		return broken("sync", err)
	}
	s.mu.Lock()
	w.v.sealed = true
	w.v.size += int64(len(tail))
	s.mu.Unlock()
	s.w = nil
	if err := w.close(); err != nil {
		s.o.Logger.Warn("close sealed volume", "volume", w.v.number, "error", err)
	}
	s.finishSeal(w.v, disk.FilePerm)
	return nil
}

// sealTail returns what follows the frames of all entries in a sealed volume. It is never encrypted.
func sealTail(c *codec, frames []frame) ([]byte, error) {
	j := job{src: make([]byte, trailerBytes)}
	if err := j.pack(c.plain()); err != nil {
		return nil, err
	}
	return appendTable(j.packed, append(slices.Clip(frames), j.frame(last(frames)))), nil
}

func broken(op string, err error) error { return &brokenError{op, err} }

// A brokenError is an ErrBroken.
type brokenError struct {
	op  string
	err error
}

func (e *brokenError) Error() string   { return fmt.Sprintf("%v: %s: %v", ErrBroken, e.op, e.err) }
func (e *brokenError) Unwrap() []error { return []error{ErrBroken, e.err} }

// A newEntry is to be appended.
type newEntry struct {
	name   string
	sha256 string // "": not checked
	size   int64
	time   time.Time
	body   io.Reader
}

// check compares what was written with what was announced.
func (e newEntry) check(sum []byte) error {
	if got := hex.EncodeToString(sum); got != e.sha256 && e.sha256 != "" {
		return &MismatchError{WantID: e.sha256, GotID: got, WantSize: e.size, GotSize: e.size}
	}
	return nil
}

// wrongSize says that the body has got octets.
func (e newEntry) wrongSize(got int64) error {
	return &MismatchError{WantID: e.sha256, WantSize: e.size, GotSize: got}
}
