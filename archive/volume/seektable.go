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

	// The seal frame holds the version of the format and a checksum of the seek table,
	// which that format does not have: a flipped bit in it would send readers to the wrong place.
	sealMagic   = 0x184D2A5D
	sealName    = "postkeep"
	sealBytes   = tableHead + len(sealName) + 8
	sealVersion = 1

	// maxTableFrames bounds the memory that a seek table takes when it is read.
	maxTableFrames = 1 << 24
	// sealFrames seals a volume of many small batches before its table outgrows what a reader
	// likes to hold in memory (32 bytes a frame).
	sealFrames = 1 << 17
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTable means that the file does not end in a good seek table.
var errTable = errors.New("no good seek table")

// appendTable appends the seal frame and the seek table for frames, of which
// the last is the tar trailer.
func appendTable(dst []byte, frames []frame) []byte {
	frames = append(frames[:len(frames):len(frames)], last(frames).next(uint32(sealBytes), 0, 0))
	le := binary.LittleEndian
	table := make([]byte, 0, tableHead+tableEntry*len(frames)+tableFoot)
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

	dst = le.AppendUint32(dst, sealMagic)
	dst = le.AppendUint32(dst, uint32(sealBytes-tableHead))
	dst = append(dst, sealName...)
	dst = le.AppendUint32(dst, sealVersion)
	dst = le.AppendUint32(dst, crc32.Checksum(table, castagnoli))
	return append(dst, table...)
}

// readTable reads the seek table of a sealed volume: the frames up to and with the tar trailer.
func readTable(r io.ReaderAt, size int64) ([]frame, error) {
	le := binary.LittleEndian
	var foot [tableFoot]byte
	if size < int64(sealBytes+tableHead+tableFoot) {
		return nil, fmt.Errorf("%w: file is too short", errTable)
	}
	if err := readFull(r, foot[:], size-tableFoot); err != nil {
		return nil, err
	}
	n := int64(le.Uint32(foot[:]))
	start := size - tableFoot - n*tableEntry - tableHead - int64(sealBytes)
	if le.Uint32(foot[5:]) != tableEndMagic || foot[4] != tableDescribed || n < 2 || n > maxTableFrames || start < 0 {
		return nil, fmt.Errorf("%w: file does not end in one", errTable)
	}
	buf := make([]byte, size-start)
	if err := readFull(r, buf, start); err != nil {
		return nil, err
	}
	seal, table := buf[:sealBytes], buf[sealBytes:]
	if le.Uint32(seal) != sealMagic || string(seal[tableHead:tableHead+len(sealName)]) != sealName ||
		le.Uint32(seal[sealBytes-4:]) != crc32.Checksum(table, castagnoli) || le.Uint32(table) != tableMagic {
		return nil, fmt.Errorf("%w: checksum is wrong", errTable)
	}
	if v := le.Uint32(seal[sealBytes-8:]); v != sealVersion {
		return nil, fmt.Errorf("volume has format version %d, this program knows %d: update it", v, sealVersion)
	}
	frames := make([]frame, 0, n)
	for e := table[tableHead:]; len(e) > tableFoot; e = e[tableEntry:] {
		frames = append(frames, last(frames).next(le.Uint32(e), le.Uint32(e[4:]), le.Uint32(e[8:])))
	}
	frames = frames[:n-1] // the last is the seal frame
	if last(frames).end() != start || last(frames).bytes != trailerBytes {
		return nil, fmt.Errorf("%w: it does not fit the file", errTable)
	}
	return frames, nil
}

// The side file holds the frames of a volume that is not sealed: a header, and
// a record for every frame. It is never synced and can be made again; a record
// is written when its frame has been synced. The last record of a commit is
// marked: an entry ends there, and everything before it was once durable.
const (
	sideMagic  = "PKSEEK1\n"
	sideHead   = len(sideMagic) + 4
	sideRecord = 20
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
		dst = le.AppendUint32(dst, flags)
		crc = crc32.Update(crc, castagnoli, dst[start:])
		dst = le.AppendUint32(dst, crc)
	}
	return dst, crc
}

// parseSide returns the frames of the commits that are whole in a side file,
// and lie in a volume file of size bytes; whole reports that the side file holds nothing else.
func parseSide(data []byte, number uint32, size int64) (frames []frame, crc uint32, whole bool) {
	head, sum := appendSideHead(nil, number)
	if len(data) < len(head) || string(data[:len(head)]) != string(head) {
		return nil, 0, false
	}
	le := binary.LittleEndian
	crc = sum
	kept := 0
	rest := data[len(head):]
	for ; len(rest) >= sideRecord; rest = rest[sideRecord:] {
		f := last(frames).next(le.Uint32(rest), le.Uint32(rest[4:]), le.Uint32(rest[8:]))
		sum = crc32.Update(sum, castagnoli, rest[:sideRecord-4])
		if sum != le.Uint32(rest[sideRecord-4:]) || f.end() > size {
			break
		}
		frames = append(frames, f)
		if le.Uint32(rest[12:])&sideCommit != 0 {
			kept, crc = len(frames), sum
		}
	}
	return frames[:kept], crc, len(rest) == 0 && kept == len(frames)
}
