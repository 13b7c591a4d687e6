package mailgen

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"strings"
)

const (
	rawLine  = 57 // bytes in a line of base64Line characters
	fullLine = base64Line + 2
)

// MinLarge is the size in octets below which Large does not go.
const MinLarge = 2 << 10

// Large returns a message of exactly size octets, at least MinLarge, whose
// attachment is random bytes in base64. It is made while it is read, in constant
// memory; every call with the same size gives the same bytes.
func Large(size int64) io.Reader {
	size = max(size, MinLarge)
	const head = "Return-Path: <backup@example.com>\r\nFrom: Backup <backup@example.com>\r\nTo: archive@example.com\r\n" +
		"Subject: A very large attachment\r\nDate: Mon, 05 Jan 2026 08:00:00 +0000\r\nMessage-ID: <large@example.com>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_large\"\r\n\r\n" +
		"--=_large\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nThe disk image is attached.\r\n"
	const middle = "\r\n--=_large\r\nContent-Type: application/octet-stream; name=\"disk.img\"\r\n" +
		"Content-Disposition: attachment; filename=\"disk.img\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	const tail = "\r\n--=_large--\r\n"

	rest := size - int64(len(head)+len(middle)+len(tail))
	lines := rest / fullLine
	// What is left of less than a line goes into the text.
	padding := strings.Repeat(".", int(rest%fullLine))
	body := &randomLines{rng: rand.NewPCG(uint64(size), 0), left: lines}
	return io.MultiReader(strings.NewReader(head+padding+middle), body, strings.NewReader(tail))
}

// randomLines yields lines of base64.
type randomLines struct {
	rng  *rand.PCG
	left int64
	line [fullLine]byte
	rest []byte // of line
}

func (r *randomLines) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(r.rest) == 0 {
			if r.left == 0 {
				return n, io.EOF
			}
			r.left--
			r.next()
		}
		c := copy(p[n:], r.rest)
		r.rest = r.rest[c:]
		n += c
	}
	return n, nil
}

func (r *randomLines) next() {
	var raw [rawLine + 7]byte
	for i := 0; i < rawLine; i += 8 {
		binary.LittleEndian.PutUint64(raw[i:], r.rng.Uint64())
	}
	base64.StdEncoding.Encode(r.line[:], raw[:rawLine])
	copy(r.line[base64Line:], "\r\n")
	r.rest = r.line[:]
}
