package export

import (
	"context"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
)

// The delimiters of Concordance: fields are enclosed in þ and separated by
// character 20, which its fonts show as ¶; ® stands for a line end in a field.
const (
	datQuote     = "\u00fe"
	datSeparator = "\x14"
	datNewline   = "\u00ae"
)

// concordanceFormat writes a DAT load file with natives and text. UTF-8 with a
// byte order mark, CRLF.
type concordanceFormat struct {
	v   *volume
	dat *sharedFile
}

func datColumns() []string {
	return []string{
		"BEGDOC", "ENDDOC", "BEGATTACH", "ENDATTACH", "PARENTID", "ATTACHIDS", "DOCTYPE", "CUSTODIAN",
		"FROM", "TO", "CC", "BCC", "SUBJECT", "DATESENT", "TIMESENT", "DATERECEIVED", "TIMERECEIVED", "TIMEZONE",
		"MESSAGEID", "INREPLYTO", "FILENAME", "FILEEXT", "MIMETYPE", "FILESIZE", "SHA256", "NATIVEPATH", "TEXTPATH",
	}
}

func openConcordance(v *volume) (format, error) {
	dat, err := v.grow("loadfile.dat")
	c := &concordanceFormat{v, dat}
	if err != nil {
		return c, err
	}
	if _, err := io.WriteString(dat, "\ufeff"); err != nil {
		return nil, err
	}
	return c, c.row(datColumns())
}

func (c *concordanceFormat) add(ctx context.Context, it *item) error {
	docs, err := c.v.family(ctx, it, "NATIVES", "TEXT")
	if err != nil {
		return err
	}
	last := docs[len(docs)-1].number
	var children []string
	for _, d := range docs[1:] {
		children = append(children, d.number)
	}
	m, zone := it.content, c.v.x.opts.Location
	day := func(t time.Time) string { return t.In(zone).Format("2006-01-02") }
	clock := func(t time.Time) string { return t.In(zone).Format("15:04:05") }
	for i, d := range docs {
		parent, attached, kind := docs[0].number, "", "Attachment"
		if i == 0 {
			parent, attached, kind = "", list(children), "Message"
		}
		ext := path.Ext(d.native.Path)
		row := []string{
			d.number, d.number, docs[0].number, last, parent, attached, kind, list(it.mailboxes()),
			list(m.From), list(m.To), list(m.Cc), list(m.Bcc), m.Subject, day(it.date()), clock(it.date()),
			day(it.Received), clock(it.Received), zone.String(), m.MessageID, list(m.InReplyTo),
			d.name, strings.TrimPrefix(ext, "."), d.mediaType, strconv.FormatInt(d.native.Size, 10), d.native.SHA256,
			c.path(d.native.Path), c.path(d.text.Path),
		}
		if err := c.row(row); err != nil {
			return err
		}
	}
	return nil
}

// path is relative to the load file, with backslashes as all who read such
// files expect.
func (c *concordanceFormat) path(name string) string {
	return strings.ReplaceAll(strings.TrimPrefix(name, c.v.prefix), "/", `\`)
}

func (c *concordanceFormat) row(fields []string) error {
	for i, f := range fields {
		fields[i] = datQuote + datField(f) + datQuote
	}
	_, err := io.WriteString(c.dat, strings.Join(fields, datSeparator)+"\r\n")
	return err
}

// datField takes the delimiters out of a value, for which the format has no
// escape: þ becomes Þ, a line end ®, other control characters spaces.
func datField(s string) string {
	s = strings.NewReplacer("\r\n", datNewline, "\n", datNewline, "\r", datNewline, datQuote, "\u00de").Replace(s)
	return oneLine(s)
}

func (c *concordanceFormat) finish() error { return nil }
