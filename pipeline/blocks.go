package pipeline

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minio/highwayhash"
)

// blocks are the files of the streams of a name (a pattern of path.Match) that hold messages. Everything else that the
// server keeps can be made again, and may be what is damaged.
func blocks(dir, stream string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		parent := filepath.Dir(path)
		match, err := filepath.Match(stream, filepath.Base(filepath.Dir(parent)))
		if e.Type().IsRegular() && filepath.Ext(path) == ".blk" && filepath.Base(parent) == "msgs" &&
			match && filepath.Base(filepath.Dir(filepath.Dir(parent))) == "streams" {
			files = append(files, path)
		}
		return err
	})
	slices.SortFunc(files, func(x, y string) int { return cmp.Compare(filepath.Base(x), filepath.Base(y)) })
	return files, err
}

// A record in a block of the server's file store (server/filestore.go of
// nats-server 2.15): length, sequence, time, length of the subject, subject, then
// the length of headers where headerBit is set, headers, body, checksum. The
// server cuts off a block at the first bad record without a word; only here is it
// noticed.
const (
	recordHeader = 22
	recordSum    = 8
	headerBit    = 1 << 31
	// maxBlock bounds a block that is read into memory. The server's are 8 MiB and one message.
	maxBlock = 64 << 20
)

// sound reports whether all records of a block are whole.
func sound(file, stream string) (bool, error) {
	info, err := os.Stat(file)
	if err != nil {
		return false, err
	}
	if info.Size() > maxBlock {
		return false, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%s", stream, strings.TrimSuffix(filepath.Base(file), ".blk")))
	hash, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return false, err
	}
	for len(data) > 0 {
		if len(data) < recordHeader {
			return false, nil
		}
		length := binary.LittleEndian.Uint32(data)
		skip := 0
		if length&headerBit != 0 {
			length, skip = length&^headerBit, 4
		}
		subject := int(binary.LittleEndian.Uint16(data[recordHeader-2:]))
		if int64(length) > int64(len(data)) || int(length) < recordHeader+subject+skip+recordSum {
			return false, nil
		}
		body, sum := data[recordHeader:length-recordSum], data[length-recordSum:length]
		hash.Reset()
		_, err := hash.Write(data[4:20])
		_, err2 := hash.Write(body[:subject])
		_, err3 := hash.Write(body[subject+skip:])
		if err := errors.Join(err, err2, err3); err != nil {
			return false, err
		}
		if !bytes.Equal(hash.Sum(nil), sum) {
			return false, nil
		}
		data = data[length:]
	}
	return true, nil
}
