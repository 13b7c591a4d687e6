package document

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/richardlehane/mscfb"

	"github.com/postkeep/postkeep/internal/mailparse"
)

var errOldOffice = errors.New("a format of Office before 2007, not read")

// storage is the streams of a compound file ([MS-CFB]) by path, "a/b/stream".
type storage map[string][]byte

// compound reads an Outlook message ([MS-OXMSG]); other compound files are
// only recognised.
func (r *reader) compound(data []byte, where string, depth int) error {
	doc, err := mscfb.New(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%w (%w)", errDamaged, err)
	}
	streams := make(storage)
	for f, err := doc.Next(); err == nil; f, err = doc.Next() {
		if f.FileInfo().IsDir() {
			continue
		}
		if f.Size > int64(len(data)) {
			return errDamaged // a stream is not larger than the file
		}
		content, err := r.unpack(f, -1)
		if err != nil {
			return err
		}
		streams[strings.Join(append(slices.Clone(f.Path), f.Name), "/")] = content
	}
	switch {
	case streams["EncryptedPackage"] != nil:
		return errEncrypted // [MS-OFFCRYPTO] section 2.3.4.4
	case streams["__properties_version1.0"] != nil:
		return r.outlook(streams, "", where, depth)
	case streams["WordDocument"] != nil || streams["Workbook"] != nil || streams["Book"] != nil || streams["PowerPoint Document"] != nil:
		return errOldOffice
	}
	return errors.New("a format that is not read")
}

// Properties of messages and attachments ([MS-OXPROPS]), as streams are named.
const (
	propSubject     = "0037"
	propSenderName  = "0C1A"
	propSenderSMTP  = "5D01"
	propSenderEmail = "0C1F"
	propDisplayTo   = "0E04"
	propDisplayCc   = "0E03"
	propDisplayBcc  = "0E02"
	propBody        = "1000"
	propHTML        = "1013"
	propRTF         = "1009"
	propData        = "3701"
	propLongName    = "3707"
	propShortName   = "3704"
	propMediaType   = "370E"

	propStream = "__substg1.0_"
	attachment = "__attach_version1.0_#"
)

// string returns a property of text, in Unicode or else in the code page of the
// message.
func (s storage) string(prefix, property string) string {
	if b := s[prefix+propStream+property+"001F"]; len(b) > 0 {
		return mailparse.DecodeText(b, "utf-16le")
	}
	return mailparse.DecodeText(s[prefix+propStream+property+"001E"], s.codePage())
}

// codePage returns the charset of text that is not Unicode, "" if nothing says
// it: PidTagMessageCodepage among the properties of fixed length ([MS-OXMSG]
// section 2.4).
func (s storage) codePage() string {
	const header, entry, value = 32, 16, 8
	tag := []byte{0x03, 0x00, 0xfd, 0x3f}
	for b := s["__properties_version1.0"]; len(b) >= header+entry; b = b[entry:] {
		if bytes.HasPrefix(b[header:], tag) {
			return mailparse.CodePageCharset(binary.LittleEndian.Uint32(b[header+value:]))
		}
	}
	return ""
}

func (s storage) binary(prefix, property string) []byte { return s[prefix+propStream+property+"0102"] }

// outlook reads the message whose streams begin with prefix.
func (r *reader) outlook(s storage, prefix, where string, depth int) error {
	for _, property := range []string{propSubject, propSenderName, propSenderSMTP, propSenderEmail, propDisplayTo, propDisplayCc, propDisplayBcc} {
		r.field(strings.TrimRight(s.string(prefix, property), "\x00"))
	}
	r.recipients(s, prefix)
	if err := r.outlookBody(s, prefix); err != nil {
		r.note(where, err)
	}
	var attachments []string
	for name := range s {
		rest, ok := strings.CutPrefix(name, prefix)
		if dir, _, inside := strings.Cut(rest, "/"); ok && inside && strings.HasPrefix(dir, attachment) && !slices.Contains(attachments, dir) {
			attachments = append(attachments, dir)
		}
	}
	slices.Sort(attachments)
	for _, dir := range attachments {
		if err := r.stopped(); err != nil {
			return err
		}
		at := prefix + dir + "/"
		f := File{Name: s.string(at, propLongName), MediaType: s.string(at, propMediaType), Data: s.binary(at, propData)}
		if f.Name == "" {
			f.Name = s.string(at, propShortName)
		}
		embedded := at + propStream + propData + "000D/"
		if s[embedded+"__properties_version1.0"] == nil {
			r.member(f, where, depth)
			continue
		}
		if depth >= maxDepth {
			return errDeep
		}
		r.members++
		if err := r.outlook(s, embedded, where, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// recipients reads names and addresses, which Outlook keeps one by one.
func (r *reader) recipients(s storage, prefix string) {
	var lines []string
	for name, value := range s {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || !strings.HasPrefix(rest, "__recip_version1.0_#") || strings.Count(rest, "/") != 1 {
			continue
		}
		switch _, property, _ := strings.Cut(rest, "/"); strings.TrimPrefix(property, propStream) {
		case "3001001F", "39FE001F", "3003001F":
			lines = append(lines, mailparse.DecodeText(value, "utf-16le"))
		case "3001001E", "39FE001E", "3003001E":
			lines = append(lines, mailparse.DecodeText(value, s.codePage()))
		}
	}
	slices.Sort(lines)
	for _, line := range slices.Compact(lines) {
		r.field(strings.TrimRight(line, "\x00"))
	}
}

// outlookBody reads the body in the best of the forms in which it is kept.
func (r *reader) outlookBody(s storage, prefix string) error {
	if text := s.string(prefix, propBody); strings.TrimSpace(text) != "" {
		r.text(text)
		r.newline()
		return nil
	}
	if b := s.binary(prefix, propHTML); len(b) > 0 {
		r.html(b, "")
		r.newline()
		return nil
	}
	if text := s.string(prefix, propHTML); text != "" {
		r.html([]byte(text), "utf-8")
		r.newline()
		return nil
	}
	packed := s.binary(prefix, propRTF)
	if len(packed) == 0 {
		return nil
	}
	text := mailparse.DecompressRTF(packed, int(min(r.limits.MemberBytes, r.limits.UnpackedBytes-r.unpacked)))
	r.unpacked += int64(len(text))
	if text == nil {
		return errDamaged
	}
	return r.rtf(text)
}
