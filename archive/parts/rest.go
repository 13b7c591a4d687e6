package parts

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxTrace bounds how much of a header is looked at for trace fields.
const maxTrace = 64 << 10

// rests returns where the rest of a message may begin that other copies of it have too: behind the first Received field, which
// the last server has added, and behind all trace fields. No offset is 0 or comes twice.
func rests(msg io.ReaderAt, size int64) ([]int64, error) {
	r := buffered(io.NewSectionReader(msg, 0, min(size, maxTrace)))
	var (
		at       []int64
		off      int64
		received bool // the field that the line may go on is the first Received
	)
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) {
			return nil, nil // no header that is worth it
		}
		if err != nil {
			return nil, err
		}
		folded := !first && (line[0] == ' ' || line[0] == '\t')
		mbox := first && bytes.HasPrefix(line, []byte("From "))
		name, _, isField := bytes.Cut(line, []byte(":"))
		if !folded {
			if received && len(at) == 0 {
				at = append(at, off)
			}
			if !mbox && (!isField || !trace(string(name))) {
				if off > 0 && (len(at) == 0 || at[0] != off) {
					at = append(at, off)
				}
				return at, nil
			}
			received = strings.EqualFold(string(bytes.TrimSpace(name)), "received")
		}
		off += int64(len(line))
	}
}

// trace reports whether a field is one of those that servers put in front of a message on its way, Received (RFC 5321
// section 4.4) and others. Copies of one message differ in them.
func trace(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case "return-path", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to",
		"received", "received-spf", "authentication-results", "x-received":
		return true
	}
	for _, prefix := range [...]string{"arc-", "x-google-", "x-spam-", "x-virus-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
