package mailparse

import (
	"bufio"
	"compress/zlib"
	"errors"
	"io"
	"strings"
)

// What is wrong with an S/MIME part.
const (
	issueCMS      = "S/MIME content that cannot be read"
	issueInflated = "compressed S/MIME content too large, cut"
)

const (
	// maxInflatedBytes is what is taken of the compressed content of one message:
	// more than most mail servers let through, and nothing that takes long.
	maxInflatedBytes = 64 << 20
	// maxBERDepth is the number of constructed strings within each other; one is
	// what programs write.
	maxBERDepth = 8
	// maxBERLength is the number of octets of a length.
	maxBERLength = 8
)

// Content types of CMS (RFC 5652 section 14), encoded.
const (
	oidSignedData     = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
	oidEnvelopedData  = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
	oidEncryptedData  = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06"
	oidAuthEnveloped  = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17" // RFC 5083
	oidCompressedData = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09" // RFC 3274
)

// Tags of BER (X.690).
const (
	berOctets      = 0x04
	berOID         = 0x06
	berSequence    = 0x30
	berContext     = 0xa0 // [0], constructed
	berConstructed = 0x20
	berIndefinite  = -1
)

// errBER says that something else is expected.
var errBER = errors.New("not the expected BER")

// isCMS reports whether a part is S/MIME other than a detached signature. RFC 8551
// section 3.2.1 wants files of any type to be recognised by their name.
func isCMS(p *Part) bool {
	switch p.MediaType {
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	case "application/octet-stream":
		return strings.HasSuffix(strings.ToLower(p.FileName), ".p7m")
	}
	return false
}

// unwrapCMS reads the content of part, and parses the entity that is signed or
// compressed in it. What is encrypted is flagged. It reports whether there is an entity.
func (s *state) unwrapCMS(r io.Reader, part int) bool {
	p := &s.msg.Parts[part]
	kind := strings.ToLower(p.Params["smime-type"])
	b := berReader{bufio.NewReader(r)}
	oid, err := b.contentType()
	switch {
	case err != nil && kind == "signed-data":
		s.issue(part, issueCMS)
		return false
	case err != nil && kind == "":
		s.flag(FlagEncrypted) // it most often is
		return false
	case err != nil:
		return false
	}
	switch string(oid) {
	case oidEnvelopedData, oidEncryptedData, oidAuthEnveloped:
		s.flag(FlagEncrypted)
		return false
	case oidSignedData:
		s.flag(FlagSigned)
	case oidCompressedData:
	default:
		return false
	}
	if p.Depth >= s.opts.MaxDepth {
		s.cut(issueTooDeep)
		return false
	}
	w := newWalker(s, p.Path+".1", p.Depth+1, part, false)
	defer w.finish()
	if string(oid) == oidCompressedData {
		z := newFeed(func(r io.Reader) { s.inflate(w, r, part) })
		err = b.content(z.take)
		z.finish()
	} else {
		err = b.content(w.take)
	}
	if err != nil {
		s.issue(part, issueCMS)
	}
	return true
}

func (s *state) inflate(w *walker, r io.Reader, part int) {
	z, err := zlib.NewReader(r)
	if err != nil {
		s.issue(part, issueCMS)
		return
	}
	buf := make([]byte, chunkBytes)
	for err == nil {
		var n int
		n, err = io.ReadFull(z, buf)
		if s.inflated += int64(n); s.inflated > maxInflatedBytes {
			s.cut(issueInflated)
			return
		}
		w.take(buf[:n])
	}
	if !errors.Is(err, io.EOF) && z.Close() != nil {
		s.issue(part, issueCMS)
	}
}

// berReader walks over BER without keeping any of it.
type berReader struct{ *bufio.Reader }

// header reads tag and length. The length is berIndefinite if the value ends with
// an empty element.
func (b berReader) header() (tag byte, length int64, err error) {
	if tag, err = b.ReadByte(); err != nil {
		return 0, 0, err
	}
	if tag&0x1f == 0x1f {
		return 0, 0, errBER // not in CMS
	}
	first, err := b.ReadByte()
	switch {
	case err != nil || first < 0x80:
		return tag, int64(first), err
	case first == 0x80:
		return tag, berIndefinite, nil
	case first > 0x80+maxBERLength:
		return 0, 0, errBER
	}
	for range first & 0x7f {
		c, err := b.ReadByte()
		if err != nil {
			return 0, 0, err
		}
		length = length<<8 | int64(c)
	}
	if length < 0 {
		return 0, 0, errBER
	}
	return tag, length, nil
}

// expect reads the header of an element with this tag.
func (b berReader) expect(want byte) (length int64, err error) {
	tag, length, err := b.header()
	if err == nil && tag != want {
		err = errBER
	}
	return length, err
}

// oid reads an object identifier.
func (b berReader) oid() ([]byte, error) {
	length, err := b.expect(berOID)
	if err != nil || length < 0 || length > maxNameBytes {
		return nil, errBER
	}
	oid := make([]byte, length)
	_, err = io.ReadFull(b, oid)
	return oid, err
}

// skip skips an element of definite length.
func (b berReader) skip() error {
	_, length, err := b.header()
	if err != nil || length < 0 {
		return errBER
	}
	_, err = io.CopyN(io.Discard, b, length)
	return err
}

// contentType reads up to the content of a ContentInfo (RFC 5652 section 3).
func (b berReader) contentType() ([]byte, error) {
	if _, err := b.expect(berSequence); err != nil {
		return nil, err
	}
	oid, err := b.oid()
	if err != nil {
		return nil, err
	}
	_, err = b.expect(berContext)
	return oid, err
}

// content gives out the octets that SignedData (section 5.1) or CompressedData (RFC 3274)
// enclose. There are none in a bare list of certificates.
func (b berReader) content(take func([]byte)) error {
	if _, err := b.expect(berSequence); err != nil {
		return err
	}
	for range 2 { // version, algorithms
		if err := b.skip(); err != nil {
			return err
		}
	}
	length, err := b.expect(berSequence)
	if err != nil {
		return err
	}
	if length >= 0 {
		b = berReader{bufio.NewReader(io.LimitReader(b, length))}
	}
	if _, err := b.oid(); err != nil {
		return err
	}
	tag, _, err := b.header()
	switch {
	case errors.Is(err, io.EOF) || err == nil && tag != berContext:
		return nil // without content: certificates only, or a detached signature
	case err != nil:
		return err
	}
	return b.octets(take, 0)
}

// octets gives out an octet string, which may be made of several.
func (b berReader) octets(take func([]byte), depth int) error {
	tag, length, err := b.header()
	switch {
	case err != nil:
		return err
	case tag == 0 && length == 0:
		return io.EOF // the end of what has no length
	case tag == berOctets && length >= 0:
		return b.give(take, length)
	case tag != berOctets|berConstructed || depth > maxBERDepth:
		return errBER
	case length == berIndefinite:
		for err == nil {
			err = b.octets(take, depth+1)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
	inner := berReader{bufio.NewReader(io.LimitReader(b, length))}
	for err == nil {
		err = inner.octets(take, depth+1)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

func (b berReader) give(take func([]byte), length int64) error {
	buf := make([]byte, min(length, chunkBytes))
	for length > 0 {
		n, err := io.ReadFull(b, buf[:min(length, int64(len(buf)))])
		take(buf[:n])
		if err != nil {
			return err
		}
		length -= int64(n)
	}
	return nil
}
