package volume

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

const (
	tarBlock = 512
	// trailerBytes is the size of the end of a tar file: two blocks of zeros, in a frame of their own.
	trailerBytes = 2 * tarBlock
	// maxPackedBytes bounds the compressed size of a frame: zstd adds 3 bytes to each
	// block of 128 KiB that it cannot compress, and a header.
	maxPackedBytes = MaxFrameBytes + MaxFrameBytes>>10
	// maxBlockBytes is the Block_Maximum_Size of RFC 8878 section 3.1.1.2.4.
	maxBlockBytes = 128 << 10

	checksumBytes = 4
	// decodeSlack behind the output lets the decoder use its fast copies to the end.
	decodeSlack = 16
)

// A frame is where a zstd frame is in the file, and what part of the tar stream it holds.
type frame struct {
	off, tar      int64 // first byte in the file and in the tar stream
	packed, bytes uint32
	sum           uint32 // content checksum; 0 for a skippable frame, which holds no tar
	crc           uint32 // CRC-32C of the packed bytes, 0 if it is not known
}

func (f frame) end() int64    { return f.off + int64(f.packed) }
func (f frame) tarEnd() int64 { return f.tar + int64(f.bytes) }

// next returns the frame that begins where f ends.
func (f frame) next(packed, bytes, sum uint32) frame {
	return frame{off: f.end(), tar: f.tarEnd(), packed: packed, bytes: bytes, sum: sum}
}

// frameAt returns the index of the frame that holds the byte at offset tar.
func frameAt(frames []frame, tar int64) (int, bool) {
	i := sort.Search(len(frames), func(i int) bool { return frames[i].tarEnd() > tar })
	return i, i < len(frames) && frames[i].tar <= tar
}

// frameEnding returns how many frames there are up to the first that ends at offset tar.
func frameEnding(frames []frame, tar int64) (int, bool) {
	if tar == 0 {
		return 0, true
	}
	i := sort.Search(len(frames), func(i int) bool { return frames[i].tarEnd() >= tar })
	return i + 1, i < len(frames) && frames[i].tarEnd() == tar
}

// last returns the last frame, or the zero frame, which ends where the first one begins.
func last(frames []frame) frame {
	if len(frames) == 0 {
		return frame{}
	}
	return frames[len(frames)-1]
}

// errFrame means that the bytes are not a whole frame of a volume. Errors of
// reading the file are never wrapped in it: they say nothing about the bytes.
var errFrame = errors.New("not a whole frame of a volume")

// errNotInTable means that a frame is there, but another one.
var errNotInTable = errors.New("frame is not the one in the seek table")

// readFrame reads the structure of the frame at prev's end, without decoding it
// (RFC 8878 section 3.1). limit is the size of the file.
func readFrame(r io.ReaderAt, prev frame, limit int64) (f frame, skippable bool, err error) {
	start := prev.end()
	var buf [zstd.HeaderMaxSize]byte
	head := buf[:min(int64(len(buf)), limit-start)]
	if err := readFull(r, head, start); err != nil {
		return frame{}, false, err
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return frame{}, false, fmt.Errorf("%w: %w", errFrame, err)
	}
	pos := start + int64(h.HeaderSize)
	if h.Skippable && binary.LittleEndian.Uint32(head) == envelopeMagic {
		f, err := readEnvelope(r, prev, limit)
		return f, false, err
	}
	if h.Skippable {
		pos += int64(h.SkippableSize)
		if pos > limit || pos-start > maxPackedBytes {
			return frame{}, false, fmt.Errorf("%w: skippable frame is cut off", errFrame)
		}
		return prev.next(uint32(pos-start), 0, 0), true, nil
	}
	// Bit 4 of the descriptor has no meaning yet; a decoder ignores it, a flipped bit must not pass.
	if !h.SingleSegment || !h.HasCheckSum || h.DictionaryID != 0 || head[4]&0x10 != 0 ||
		h.FrameContentSize == 0 || h.FrameContentSize > MaxFrameBytes || h.FrameContentSize%tarBlock != 0 {
		return frame{}, false, fmt.Errorf("%w: header is not of the kind that volumes have", errFrame)
	}
	if pos, err = skipBlocks(r, pos, limit); err != nil {
		return frame{}, false, err
	}
	var sum [checksumBytes]byte
	if pos+checksumBytes > limit || pos+checksumBytes-start > maxPackedBytes {
		return frame{}, false, fmt.Errorf("%w: cut off", errFrame)
	}
	if err := readFull(r, sum[:], pos); err != nil {
		return frame{}, false, err
	}
	return prev.next(uint32(pos+checksumBytes-start), uint32(h.FrameContentSize), binary.LittleEndian.Uint32(sum[:])), false, nil
}

// skipBlocks returns where the blocks that begin at pos end.
func skipBlocks(r io.ReaderAt, pos, limit int64) (int64, error) {
	const headerBytes, rle, reserved = 3, 1, 3
	for {
		if pos+headerBytes > limit {
			return 0, fmt.Errorf("%w: cut off", errFrame)
		}
		var b [headerBytes]byte
		if err := readFull(r, b[:], pos); err != nil {
			return 0, err
		}
		h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		kind, size := h>>1&3, int64(h>>3)
		if kind == reserved || size > maxBlockBytes {
			return 0, fmt.Errorf("%w: bad block", errFrame)
		}
		if kind == rle {
			size = 1
		}
		if pos += headerBytes + size; pos > limit {
			return 0, fmt.Errorf("%w: cut off", errFrame)
		}
		if h&1 != 0 {
			return pos, nil
		}
	}
}

// readFull reads len(p) bytes that the size of the file says are there.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
}

// walk appends the frames from the last of frames on. It stops at the end of
// the file, or where the bytes are no whole frame. sealed reports that the last frame is a seek table.
func walk(r io.ReaderAt, frames []frame, size int64) (_ []frame, sealed bool, err error) {
	for f := last(frames); f.end() < size; {
		next, skippable, err := readFrame(r, f, size)
		if errors.Is(err, errFrame) {
			break
		}
		if err != nil {
			return nil, false, err
		}
		if skippable && next.end() == size {
			var magic [4]byte
			if err := readFull(r, magic[:], next.off); err != nil {
				return nil, false, err
			}
			sealed = binary.LittleEndian.Uint32(magic[:]) == tableMagic
		}
		frames, f = append(frames, next), next
	}
	return frames, sealed, nil
}

// A codec packs and unpacks frames. It is safe for concurrent use.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder

	recipients []age.Recipient // if there are any, frames are encrypted
	identities []age.Identity  // that open encrypted frames
}

// plain returns a codec that does not encrypt.
func (c *codec) plain() *codec {
	p := *c
	p.recipients = nil
	return &p
}

func newCodec(level zstd.EncoderLevel, parallel int) (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(parallel),
		zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true), zstd.WithWindowSize(FrameBytes))
	if err != nil {
		return nil, fmt.Errorf("zstd encoder: %w", err)
	}
	// Neither is ever closed: without a stream they own no goroutine, and a reader may
	// outlive the set.
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxFrameBytes), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("zstd decoder: %w", err)
	}
	return &codec{enc: enc, dec: dec}, nil
}

// check looks whether packed is the frame f, as far as that can be told without decoding it.
func (c *codec) check(packed []byte, f frame) error {
	got, skippable, err := readFrame(bytesAt(packed), frame{}, int64(len(packed)))
	if err == nil && (skippable || got.packed != f.packed || got.bytes != f.bytes || got.sum != f.sum) {
		err = errNotInTable
	}
	if err == nil && isEnvelope(packed) {
		err = checkEnvelope(packed)
	}
	return err
}

// unpack decodes the frame f, whose bytes are packed, into dst[:0], which is grown as needed. An error
// that is not ErrNoIdentity means that the frame is damaged.
func (c *codec) unpack(dst, packed []byte, f frame) ([]byte, error) {
	if err := c.check(packed, f); err != nil {
		return nil, err
	}
	if isEnvelope(packed) {
		var err error
		if packed, err = c.openEnvelope(packed); err != nil {
			return nil, err
		}
		inner, _, err := readFrame(bytesAt(packed), frame{}, int64(len(packed)))
		if err == nil && (inner.bytes != f.bytes || inner.end() != int64(len(packed)) || isEnvelope(packed)) {
			err = errors.New("envelope holds another frame")
		}
		if err != nil {
			return nil, err
		}
	}
	if cap(dst) < int(f.bytes) {
		dst = make([]byte, 0, f.bytes+decodeSlack)
	}
	dst, err := c.dec.DecodeAll(packed, dst[:0])
	if err != nil {
		return nil, err
	}
	if len(dst) != int(f.bytes) {
		return nil, fmt.Errorf("frame holds %d bytes instead of %d", len(dst), f.bytes)
	}
	return dst, nil
}

type bytesAt []byte

func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) {
		return 0, io.EOF
	}
	if n := copy(p, b[off:]); n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return len(p), nil
}
