package mailparse

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
)

// ber makes an element of definite length.
func ber(tag byte, parts ...string) string {
	content := strings.Join(parts, "")
	switch n := len(content); {
	case n < 0x80:
		return string([]byte{tag, byte(n)}) + content
	default:
		return string([]byte{tag, 0x84, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + content
	}
}

// berIndef makes an element that ends with an empty one.
func berIndef(tag byte, parts ...string) string {
	return string([]byte{tag, 0x80}) + strings.Join(parts, "") + "\x00\x00"
}

const oidData = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"

func contentInfo(oid string, content string) string {
	return ber(berSequence, ber(berOID, oid), ber(berContext, content))
}

// enclosing makes SignedData or CompressedData of an octet string.
func enclosing(oid, octets string) string {
	return contentInfo(oid, ber(berSequence, ber(0x02, "\x01"), ber(0x31), ber(berSequence, ber(berOID, oidData), ber(berContext, octets)), ber(0xa0, "certificates")))
}

func smimeMessage(header, content string) string {
	return "Subject: s\n" + header + "\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte(content)) + "\n"
}

func TestSignedAndCompressedContentIsRead(t *testing.T) {
	const inner = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsigned text\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\nx\r\n--b--\r\n"
	var deflated bytes.Buffer
	z := zlib.NewWriter(&deflated)
	_, _ = z.Write([]byte(inner))
	_ = z.Close()
	indefinite := berIndef(berSequence, ber(berOID, oidSignedData), berIndef(berContext, berIndef(berSequence, ber(0x02, "\x01"), ber(0x31),
		berIndef(berSequence, ber(berOID, oidData), berIndef(berContext, berIndef(berOctets|berConstructed, ber(berOctets, inner[:20]), ber(berOctets, inner[20:])))))))
	const smime = "Content-Type: application/pkcs7-mime; name=smime.p7m"
	for name, c := range map[string]struct {
		header, content string
		flags           []string
	}{
		"signed":           {smime + "; smime-type=signed-data", enclosing(oidSignedData, ber(berOctets, inner)), []string{FlagSigned}},
		"no smime-type":    {smime, enclosing(oidSignedData, ber(berOctets, inner)), []string{FlagSigned}},
		"by name":          {"Content-Type: application/octet-stream; name=smime.P7M", enclosing(oidSignedData, ber(berOctets, inner)), []string{FlagSigned}},
		"in several parts": {smime, enclosing(oidSignedData, ber(berOctets|berConstructed, ber(berOctets, inner[:50]), ber(berOctets, inner[50:]))), []string{FlagSigned}},
		"indefinite":       {smime, indefinite, []string{FlagSigned}},
		"compressed":       {smime, enclosing(oidCompressedData, ber(berOctets, deflated.String())), nil},
		"signed twice":     {smime, enclosing(oidSignedData, ber(berOctets, smimeMessage(smime, enclosing(oidSignedData, ber(berOctets, inner))))), []string{FlagSigned}},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, smimeMessage(c.header, c.content))
			if !slices.Equal(m.Flags, c.flags) || !strings.Contains(m.Text(), "signed text\n") || len(m.Attachments) != 1 || m.Attachments[0].FileName != "a.pdf" {
				t.Errorf("flags %v, problems %q, text %q, attachments %v", m.Flags, m.Problems, m.Text(), m.Attachments)
			}
		})
	}
}

func TestWhatIsInAnSMIMEPartIsFlagged(t *testing.T) {
	const smime = "Content-Type: application/pkcs7-mime; name=smime.p7m"
	signed := enclosing(oidSignedData, ber(berOctets, strings.Repeat("text\n", 100)))
	for name, c := range map[string]struct {
		header, content string
		flags           []string
	}{
		"enveloped":          {smime, contentInfo(oidEnvelopedData, ber(berSequence)), []string{FlagEncrypted}},
		"unreadable":         {smime, "nothing of the kind", []string{FlagEncrypted}},
		"certificates only":  {smime + "; smime-type=certs-only", contentInfo(oidSignedData, ber(berSequence, ber(0x02, "\x01"), ber(0x31), ber(berSequence, ber(berOID, oidData)), ber(0xa0, "c"))), []string{FlagSigned}},
		"cut":                {smime, signed[:len(signed)/2], []string{FlagMalformed, FlagSigned}},
		"compressed garbage": {smime, enclosing(oidCompressedData, ber(berOctets, "no zlib")), []string{FlagMalformed}},
	} {
		t.Run(name, func(t *testing.T) {
			if m := parse(t, smimeMessage(c.header, c.content)); !slices.Equal(m.Flags, c.flags) {
				t.Errorf("flags %v, want %v; problems %q", m.Flags, c.flags, m.Problems)
			}
		})
	}
}

func TestCompressedBombsAreCut(t *testing.T) {
	var bomb bytes.Buffer
	z := zlib.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range maxInflatedBytes>>20 + 1 {
		_, _ = z.Write(zeros)
	}
	_ = z.Close()
	m := parse(t, smimeMessage("Content-Type: application/pkcs7-mime", enclosing(oidCompressedData, ber(berOctets, bomb.String()))))
	if !m.HasFlag(FlagPartial) || !slices.Contains(m.Problems, issueInflated) {
		t.Errorf("flags %v, problems %q", m.Flags, m.Problems)
	}
}
