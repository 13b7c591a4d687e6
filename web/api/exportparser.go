package api

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/internal/mailparse"
)

// parser reads messages for exports as the index and the pages do.
type parser struct{}

func (parser) Parse(ctx context.Context, r io.ReaderAt, size int64) (*export.Content, error) {
	m, err := mailparse.Parse(ctx, io.NewSectionReader(r, 0, size), mailparse.Options{})
	if err != nil {
		return nil, err
	}
	c := &export.Content{
		Date: m.Date, From: addresses(m.From), To: addresses(m.To), Cc: addresses(m.Cc), Bcc: addresses(m.Bcc),
		Subject: m.Subject, MessageID: m.MessageID, InReplyTo: m.InReplyTo, References: m.References,
		Flags: m.Flags, Text: m.Text(),
	}
	for i := range m.Parts {
		if p := &m.Parts[i]; p.IsAttachment {
			c.Attachments = append(c.Attachments, export.Attachment{Part: p.Path, Name: p.FileName, MediaType: p.MediaType, Text: p.Text, Size: p.Size})
		}
	}
	return c, nil
}

func addresses(list []mailparse.Address) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.Addr
		if a.Name != "" {
			out[i] = a.Name + " <" + a.Addr + ">"
		}
	}
	return out
}

// maxContainers bounds how often a message is read for files that hold other
// attachments, such as winmail.dat: nobody sends more.
const maxContainers = 16

// Attachments reads the message once more, and again for every attachment that holds
// others, because both come at the same time. A message that is attached as such is
// a range of octets.
func (parser) Attachments(ctx context.Context, r io.ReaderAt, size int64, c *export.Content, open func(n int) (io.WriteCloser, error)) error {
	plain, holding, containers := map[string]int{}, map[string]bool{}, 0
	for n, a := range c.Attachments {
		plain[a.Part] = n
		for above := path.Dir(dots(a.Part)); above != "."; above = path.Dir(above) {
			holding[above] = true
		}
	}
	for n, a := range c.Attachments {
		if !holding[dots(a.Part)] || strings.HasPrefix(a.MediaType, "message/") {
			continue
		}
		delete(plain, a.Part)
		if containers++; containers > maxContainers {
			continue
		}
		if _, err := take(ctx, r, size, map[string]int{a.Part: n}, open); err != nil {
			return err
		}
	}
	m, err := take(ctx, r, size, plain, open)
	if err != nil {
		return err
	}
	places := map[string]int{}
	for n, a := range c.Attachments {
		places[a.Part] = n
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		if n, ok := places[p.Path]; ok && p.Offset > 0 {
			if err := write(open, n, io.NewSectionReader(r, p.Offset, p.Size)); err != nil {
				return err
			}
		}
	}
	return nil
}

// dots makes a path of files of a path of parts.
func dots(part string) string { return strings.ReplaceAll(part, ".", "/") }

// take reads a message and hands out the parts with these paths, none of which
// is in another.
func take(ctx context.Context, r io.ReaderAt, size int64, places map[string]int, open func(n int) (io.WriteCloser, error)) (*mailparse.Message, error) {
	t := &taker{open: open, places: places}
	m, err := mailparse.Parse(ctx, io.NewSectionReader(r, 0, size), mailparse.Options{MaxTextBytes: -1, Part: t.part})
	return m, errors.Join(err, t.end())
}

func write(open func(n int) (io.WriteCloser, error), n int, r io.Reader) error {
	w, err := open(n)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		return err
	}
	return w.Close()
}

// A taker hands out attachments while the message is parsed.
type taker struct {
	open   func(n int) (io.WriteCloser, error)
	places map[string]int // by path
	w      io.WriteCloser // of the part that is being read
	err    error
}

// part is called when the part before it has ended.
func (t *taker) part(p *mailparse.Part) io.Writer {
	t.err = t.end()
	n, ok := t.places[p.Path]
	delete(t.places, p.Path) // paths are unique, but what follows relies on it
	if !ok || t.err != nil {
		return nil
	}
	if t.w, t.err = t.open(n); t.err != nil {
		t.w = nil
		return nil
	}
	return t.w
}

// end closes the last part.
func (t *taker) end() error {
	if t.w != nil && t.err == nil {
		t.err = t.w.Close()
	}
	t.w = nil
	return t.err
}
