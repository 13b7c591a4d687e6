package volume

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A sealed volume ends in three frames: the tar trailer, a skippable seal frame,
// and a seek table in the Zstandard Seekable Format
// (https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md).
const (
	tableMagic     = 0x184D2A5E
	tableEndMagic  = 0x8F92EAB1
	tableHead      = 8
	tableEntry     = 12
	tableFoot      = 9
	tableDescribed = 0x80 // every entry has a checksum

	// The seal frame holds the version of the format, a checksum of the seek table, which that format
	// does not have (a flipped bit in it would send readers to the wrong place), and a
	// checksum of the packed bytes of every frame, so that no byte of the file is without one.
	sealMagic   = 0x184D2A5D
	sealName    = "postkeep"
	sealHead    = tableHead + len(sealName) + 8
	sealEntry   = 4
	sealVersion = 1

	// maxTableFrames bounds the memory that a seek table takes when it is read.
	maxTableFrames = 1 << 24
	// maxSealBytes leaves later versions room for more than a checksum of every frame.
	maxSealBytes = 2 * sealEntry * maxTableFrames
	// sealFrames seals a volume of many small batches before its table outgrows what a reader
	// likes to hold in memory (32 bytes a frame).
	sealFrames = 1 << 17
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(packed []byte) uint32 { return crc32.Checksum(packed, castagnoli) }

// errTable means that the file does not end in a good seek table.
var errTable = errors.New("no good seek table")

// appendTable appends the seal frame and the seek table for frames, of which
// the last is the tar trailer.
func appendTable(dst []byte, frames []frame) []byte {
	le := binary.LittleEndian
	sealBytes := sealHead + sealEntry*len(frames)
	table := make([]byte, 0, sealBytes+tableHead+tableEntry*len(frames)+tableEntry+tableFoot)
	for _, f := range frames {
		table = le.AppendUint32(table, f.crc)
	}
	frames = append(frames[:len(frames):len(frames)], last(frames).next(uint32(sealBytes), 0, 0))
	table = le.AppendUint32(table, tableMagic)
	table = le.AppendUint32(table, uint32(tableEntry*len(frames)+tableFoot))
	for _, f := range frames {
		table = le.AppendUint32(table, f.packed)
		table = le.AppendUint32(table, f.bytes)
		table = le.AppendUint32(table, f.sum)
	}
	table = le.AppendUint32(table, uint32(len(frames)))
	table = append(table, tableDescribed)
	table = le.AppendUint32(table, tableEndMagic)

	start := len(dst)
	dst = le.AppendUint32(dst, sealMagic)
	dst = le.AppendUint32(dst, uint32(sealBytes-tableHead))
	dst = append(dst, sealName...)
	dst = le.AppendUint32(dst, sealVersion)
	dst = le.AppendUint32(dst, crc32.Update(checksum(dst[start:]), castagnoli, table))
	return append(dst, table...)
}

// readTable reads the seek table of a sealed volume: the frames up to and with the tar trailer.
func readTable(r io.ReaderAt, size int64) ([]frame, error) {
	le := binary.LittleEndian
	var foot [tableEntry + tableFoot]byte // with the entry of the seal frame
	if size < int64(sealHead+tableHead+len(foot)) {
		return nil, fmt.Errorf("%w: file is too short", errTable)
	}
	if err := readFull(r, foot[:], size-int64(len(foot))); err != nil {
		return nil, err
	}
	sealBytes, n := int64(le.Uint32(foot[:])), int64(le.Uint32(foot[tableEntry:]))
	start := size - tableFoot - n*tableEntry - tableHead - sealBytes
	if le.Uint32(foot[tableEntry+5:]) != tableEndMagic || foot[tableEntry+4] != tableDescribed ||
		n < 2 || n > maxTableFrames || sealBytes < int64(sealHead) || sealBytes > maxSealBytes || start < 0 {
		return nil, fmt.Errorf("%w: file does not end in one", errTable)
	}
	buf := make([]byte, size-start)
	if err := readFull(r, buf, start); err != nil {
		return nil, err
	}
	seal, table := buf[:sealBytes], buf[sealBytes:]
	if le.Uint32(seal) != sealMagic || int64(le.Uint32(seal[4:])) != sealBytes-tableHead ||
		string(seal[tableHead:tableHead+len(sealName)]) != sealName || le.Uint32(table) != tableMagic ||
		int64(le.Uint32(table[4:])) != n*tableEntry+tableFoot ||
		le.Uint32(seal[sealHead-4:]) != crc32.Update(checksum(seal[:sealHead-4]), castagnoli, buf[sealHead:]) {
		return nil, fmt.Errorf("%w: checksum is wrong", errTable)
	}
	if v := le.Uint32(seal[sealHead-8:]); v != sealVersion {
		return nil, fmt.Errorf("volume has format version %d, known is %d: %w", v, sealVersion, ErrNewer)
	}
	if sealBytes != int64(sealHead)+(n-1)*sealEntry {
		return nil, fmt.Errorf("%w: seal has another number of frames", errTable)
	}
	frames := tableFrames(table[tableHead:], seal[sealHead:])
	if last(frames).end() != start || last(frames).bytes != trailerBytes {
		return nil, fmt.Errorf("%w: it does not fit the file", errTable)
	}
	return frames, nil
}

// tableFrames returns the frames before the seal, one for each checksum of packed bytes.
func tableFrames(entries, sums []byte) []frame {
	le := binary.LittleEndian
	frames := make([]frame, 0, len(sums)/sealEntry)
	for ; len(sums) > 0; entries, sums = entries[tableEntry:], sums[sealEntry:] {
		f := last(frames).next(le.Uint32(entries), le.Uint32(entries[4:]), le.Uint32(entries[8:]))
		f.crc = le.Uint32(sums)
		frames = append(frames, f)
	}
	return frames
}

// The side file holds the frames of a volume that is not sealed: a header, and
// a record for every frame. It is never synced and can be made again; a record
// is written when its frame has been synced. The last record of a commit is
// marked: an entry ends there, and everything before it was once durable.
const (
	sideMagic  = "PKSEEK1\n"
	sideHead   = len(sideMagic) + 4
	sideRecord = 24
	sideCommit = 1 // flag of the last record of a commit
)

// appendSideHead starts a side file. It returns the checksum to go on with.
func appendSideHead(dst []byte, number uint32) ([]byte, uint32) {
	dst = append(dst, sideMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, number)
	return dst, crc32.Checksum(dst[len(dst)-sideHead:], castagnoli)
}

// appendSide appends the records of one commit. The checksum of a record covers everything before it.
func appendSide(dst []byte, crc uint32, frames []frame) ([]byte, uint32) {
	le := binary.LittleEndian
	for i, f := range frames {
		var flags uint32
		if i == len(frames)-1 {
			flags = sideCommit
		}
		start := len(dst)
		dst = le.AppendUint32(dst, f.packed)
		dst = le.AppendUint32(dst, f.bytes)
		dst = le.AppendUint32(dst, f.sum)
		dst = le.AppendUint32(dst, f.crc)
		dst = le.AppendUint32(dst, flags)
		crc = crc32.Update(crc, castagnoli, dst[start:])
		dst = le.AppendUint32(dst, crc)
	}
	return dst, crc
}

// parseSide returns what is good of a side file: the frames of the commits that are whole in it,
// and lie in a volume file of size bytes.
func parseSide(data []byte, number uint32, size int64) (side sideFile) {
	head, sum := appendSideHead(nil, number)
	if len(data) < len(head) || string(data[:len(head)]) != string(head) {
		side.wrong = len(data) >= len(head)
		return side
	}
	le := binary.LittleEndian
	side.crc = sum
	var frames []frame
	kept := 0
	rest := data[len(head):]
	for ; len(rest) >= sideRecord; rest = rest[sideRecord:] {
		f := last(frames).next(le.Uint32(rest), le.Uint32(rest[4:]), le.Uint32(rest[8:]))
		f.crc = le.Uint32(rest[12:])
		sum = crc32.Update(sum, castagnoli, rest[:sideRecord-4])
		if side.wrong = sum != le.Uint32(rest[sideRecord-4:]); side.wrong || f.end() > size {
			break
		}
		frames = append(frames, f)
		if le.Uint32(rest[16:])&sideCommit != 0 {
			kept, side.crc = len(frames), sum
		}
	}
	side.frames, side.whole = frames[:kept], len(rest) == 0 && kept == len(frames)
	return side
}
