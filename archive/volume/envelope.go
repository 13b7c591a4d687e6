package volume

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"filippo.io/age"
)

// In an encrypted volume every frame is in an envelope: a skippable zstd frame that holds an age file
// (https://age-encryption.org/v1), whose content is the zstd frame. What a program needs that has no key
// is in front of it.
const (
	envelopeMagic = 0x184D2A5C
	envelopeHead  = 20
	// envelopeEnds is set in the flags if an entry ends where the frame does. Without a key nobody else can tell
	// where a volume may be cut.
	envelopeEnds = 1
)

// ErrNoIdentity means that a volume is encrypted and cannot be read with the identities at hand.
var ErrNoIdentity = errors.New("volume is encrypted, and none of the given identities opens it")

// putEnvelope encrypts a packed frame that holds size bytes of tar.
func putEnvelope(packed []byte, size int, ends bool, recipients []age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(len(packed) + len(packed)>>10 + 4096)
	b.Write(make([]byte, envelopeHead))
	w, err := age.Encrypt(&b, recipients...)
	if err == nil {
		_, err = w.Write(packed)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	out := b.Bytes()
	le := binary.LittleEndian
	le.PutUint32(out, envelopeMagic)
	le.PutUint32(out[4:], uint32(len(out)-tableHead))
	le.PutUint32(out[8:], uint32(size))
	if ends {
		le.PutUint32(out[12:], envelopeEnds)
	}
	le.PutUint32(out[16:], envelopeSum(out))
	return out, nil
}

// envelopeSum is the checksum of an envelope without that itself.
func envelopeSum(packed []byte) uint32 {
	return crc32.Update(checksum(packed[:16]), castagnoli, packed[envelopeHead:])
}

func isEnvelope(packed []byte) bool {
	return len(packed) >= envelopeHead && binary.LittleEndian.Uint32(packed) == envelopeMagic
}

// entryEnds reports whether an entry ends where the frame does, that packed is the envelope of.
func entryEnds(packed []byte) bool {
	return isEnvelope(packed) && binary.LittleEndian.Uint32(packed[12:])&envelopeEnds != 0
}

// readEnvelope is readFrame for an envelope.
func readEnvelope(r io.ReaderAt, prev frame, limit int64) (frame, error) {
	start := prev.end()
	var head [envelopeHead]byte
	if start+envelopeHead > limit {
		return frame{}, fmt.Errorf("%w: cut off", errFrame)
	}
	if err := readFull(r, head[:], start); err != nil {
		return frame{}, err
	}
	le := binary.LittleEndian
	packed, size := tableHead+int64(le.Uint32(head[4:])), le.Uint32(head[8:])
	if packed < envelopeHead || packed > maxPackedBytes || start+packed > limit || size == 0 || size > MaxFrameBytes || size%tarBlock != 0 {
		return frame{}, fmt.Errorf("%w: bad or cut off envelope", errFrame)
	}
	if flags := le.Uint32(head[12:]); flags&^envelopeEnds != 0 {
		whole := make([]byte, packed) // once: with a flag that is not known, and not a flipped bit, the volume is not read
		if err := readFull(r, whole, start); err != nil {
			return frame{}, err
		}
		if checkEnvelope(whole) == nil {
			return frame{}, fmt.Errorf("volume has an envelope with flags %#x: %w", flags, ErrNewer)
		}
	}
	return prev.next(uint32(packed), size, le.Uint32(head[16:])), nil
}

// openEnvelope returns the packed frame that is in one.
func (c *codec) openEnvelope(packed []byte) ([]byte, error) {
	if err := checkEnvelope(packed); err != nil {
		return nil, err
	}
	if len(c.identities) == 0 {
		return nil, ErrNoIdentity
	}
	r, err := age.Decrypt(bytes.NewReader(packed[envelopeHead:]), c.identities...)
	var noMatch *age.NoIdentityMatchError
	if errors.As(err, &noMatch) {
		return nil, ErrNoIdentity
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	inner, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return inner, nil
}

// checkEnvelope checks what can be checked without a key.
func checkEnvelope(packed []byte) error {
	if envelopeSum(packed) != binary.LittleEndian.Uint32(packed[16:]) {
		return errors.New("envelope does not have its checksum")
	}
	return nil
}

// wholeEnvelopes is wholeEntries for one who has no key: it goes by the checksums.
func (s *Set) wholeEnvelopes(st *stream, frames []frame, n int) (int, error) {
	if err := st.open(); err != nil {
		return 0, err
	}
	for i := n; i < len(frames); i++ {
		st.cur = frames[i]
		if err := st.readPacked(); err != nil {
			return 0, err
		}
		if err := s.codec.check(st.packed, st.cur); err != nil {
			break
		}
		if entryEnds(st.packed) {
			n = i + 1
		}
	}
	return n, nil
}

// Check compares the frames of the entry at a place with their checksums, which needs no key. It gives ErrNoEntry or a *DamageError. Of a
// volume that is not encrypted it tells the same, but Open tells more.
func (s *Set) Check(ctx context.Context, p Place) error {
	s.mu.RLock()
	i, ok := s.find(p.Volume)
	if s.closed || !ok || p.Offset < 0 || p.Offset >= s.vols[i].end {
		closed := s.closed
		s.mu.RUnlock()
		if closed {
			return ErrClosed
		}
		return fmt.Errorf("check %v: %w", p, ErrNoEntry)
	}
	st := s.stream(ctx, s.vols[i])
	s.mu.RUnlock()
	err := st.checkFrames(p.Offset)
	if err = errors.Join(err, st.Close()); err != nil {
		return fmt.Errorf("check %v: %w", p, err)
	}
	return nil
}

// checkFrames checks frames from the one at an offset on, to the first that an entry ends with: an entry has frames of its own, or
// lies in one with others.
func (st *stream) checkFrames(offset int64) error {
	if err := st.open(); err != nil {
		return err
	}
	for st.pos = offset; st.pos < st.limit; st.pos = st.cur.tarEnd() {
		if err := errors.Join(st.ctx.Err(), st.find()); err != nil {
			return err
		}
		if err := st.readPacked(); err != nil {
			return err
		}
		if err := st.set.codec.check(st.packed, st.cur); err != nil {
			return st.damage(err)
		}
		if entryEnds(st.packed) {
			return nil
		}
	}
	return nil
}

// maxAgeHeader bounds the header of an age file, with some dozens of recipients.
const maxAgeHeader = 64 << 10

// Locked returns an error that is ErrNoIdentity if there is an encrypted volume that Options.Identities do not
// open, or if they would not open the next one. Only the first frame of every volume is tried.
func (s *Set) Locked(ctx context.Context) error {
	if len(s.o.Recipients) > 0 {
		sample, err := putEnvelope([]byte{0}, tarBlock, true, s.o.Recipients)
		if err == nil {
			_, err = s.codec.openEnvelope(sample)
		}
		if err != nil {
			return fmt.Errorf("for the recipients of new volumes: %w", err)
		}
	}
	for _, v := range s.Volumes() {
		if !v.Encrypted || v.End == 0 {
			continue
		}
		if err := s.locked(ctx, v.Number); err != nil {
			return fmt.Errorf("volume %d: %w", v.Number, err)
		}
	}
	return nil
}

func (s *Set) locked(ctx context.Context, number uint32) error {
	if len(s.o.Identities) == 0 {
		return ErrNoIdentity
	}
	s.mu.RLock()
	i, ok := s.find(number)
	if !ok || s.closed {
		s.mu.RUnlock()
		return ErrClosed
	}
	st := s.stream(ctx, s.vols[i])
	s.mu.RUnlock()
	err := st.open()
	if err == nil {
		err = st.find()
	}
	if err == nil {
		head := io.NewSectionReader(st.f, st.cur.off+envelopeHead, min(int64(st.cur.packed)-envelopeHead, maxAgeHeader))
		_, err = age.Decrypt(head, s.o.Identities...)
		var noMatch *age.NoIdentityMatchError
		switch {
		case errors.As(err, &noMatch):
			err = ErrNoIdentity
		case err != nil:
			s.o.Logger.Error("volume is damaged at its beginning", "volume", number, "error", err)
			err = nil // of which reading tells
		}
	}
	return errors.Join(err, st.Close())
}

// Cat writes the tar stream of a volume, encrypted or not, to w: all frames in the file r of size bytes. It needs
// nothing but the file. Errors are a *DamageError, ErrNoIdentity, or those of r, w and ctx.
func Cat(ctx context.Context, w io.Writer, r io.ReaderAt, size int64, identities ...age.Identity) error {
	codec, err := newCodec(Options{}.withDefaults().Level, 1)
	if err != nil {
		return err
	}
	codec.identities = identities
	frames, err := readTable(r, size)
	if errors.Is(err, errTable) {
		frames, _, err = walk(r, nil, size)
	}
	if err != nil {
		return err
	}
	var packed, data []byte
	for _, f := range frames {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.bytes == 0 {
			continue
		}
		packed = append(packed[:0], make([]byte, f.packed)...)
		if err := readFull(r, packed, f.off); err != nil {
			return err
		}
		if data, err = codec.unpack(data, packed, f); errors.Is(err, ErrNoIdentity) {
			return err
		} else if err != nil {
			return &DamageError{Offset: f.off, Size: int64(f.packed), Err: err}
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	if end := last(frames).end(); end < size && (len(frames) == 0 || last(frames).bytes != trailerBytes) {
		return &DamageError{Offset: end, Size: size - end, Err: errors.New("no whole frame")}
	}
	return nil
}
