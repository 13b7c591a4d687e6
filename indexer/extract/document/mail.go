package document

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/postkeep/postkeep/internal/mailparse"
)

// mail reads a saved message with its attachments.
func (r *reader) mail(data []byte, where string, depth int) error {
	var parts []*part
	m, err := mailparse.Parse(r.ctx, bytes.NewReader(data), mailparse.Options{
		MaxTextBytes: r.limits.TextBytes,
		Part: func(p *mailparse.Part) io.Writer {
			if strings.HasPrefix(p.MediaType, "text/") && p.MediaType != "text/rtf" {
				return nil // the parser makes text of it
			}
			next := &part{File: File{Name: p.FileName, MediaType: p.MediaType}, reader: r}
			parts = append(parts, next)
			return next
		},
	})
	if err != nil && !errors.Is(err, errUnpacked) {
		return err
	}
	for _, list := range [][]mailparse.Address{m.From, m.To, m.Cc, m.Bcc} {
		for _, a := range list {
			r.field(a.Name + " " + a.Addr)
		}
	}
	r.field(m.Subject)
	r.text(m.Text())
	for i := range m.Parts {
		if p := &m.Parts[i]; p.IsAttachment && p.Text != "" {
			r.field(p.FileName)
			r.text(p.Text)
			r.newline()
		}
	}
	for _, p := range parts {
		if err := r.stopped(); err != nil {
			return err
		}
		r.member(p.File, where, depth)
	}
	if m.HasFlag(mailparse.FlagEncrypted) {
		return errEncrypted
	}
	if m.HasFlag(mailparse.FlagPartial) {
		return errText
	}
	return err
}

// part collects an attachment of a saved message, as much as there is room for.
type part struct {
	File
	reader *reader
}

func (p *part) Write(b []byte) (int, error) {
	p.reader.unpacked += int64(len(b))
	if p.reader.unpacked > p.reader.limits.UnpackedBytes {
		p.Cut = true
		return 0, errUnpacked
	}
	p.Data = append(p.Data, b...)
	return len(b), nil
}
