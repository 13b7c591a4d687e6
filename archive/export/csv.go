package export

import (
	"context"
	"encoding/csv"
	"slices"
	"strconv"
	"strings"
	"time"
)

// csvFormat writes the metadata (RFC 4180, UTF-8 with a byte order mark, without
// which spreadsheets take it for something else).
type csvFormat struct {
	v *volume
	f *sharedFile
	w *csv.Writer
}

func openCSV(v *volume) (format, error) {
	f, err := v.grow("metadata.csv")
	if err != nil {
		return nil, err
	}
	c := &csvFormat{v, f, csv.NewWriter(f)}
	c.w.UseCRLF = true
	if _, err := f.Write([]byte("\ufeff")); err != nil {
		return nil, err
	}
	return c, c.row([]string{
		"id", "date", "received", "from", "to", "cc", "bcc", "subject", "message_id",
		"mailboxes", "size", "attachments", "flags",
	})
}

func (c *csvFormat) add(_ context.Context, it *item) error {
	m := it.content
	names := make([]string, len(m.Attachments))
	for i, a := range m.Attachments {
		names[i] = a.Name
	}
	at := func(t time.Time) string { return t.In(c.v.x.opts.Location).Format(time.RFC3339) }
	row := []string{
		it.ID, at(it.date()), at(it.Received), list(m.From), list(m.To), list(m.Cc), list(m.Bcc), m.Subject, m.MessageID,
		list(it.mailboxes()), strconv.FormatInt(it.Size, 10), list(names), list(m.Flags),
	}
	for i := range row {
		row[i] = Cell(row[i])
	}
	return c.row(row)
}

func (c *csvFormat) row(row []string) error {
	if err := c.w.Write(row); err != nil {
		return err
	}
	c.w.Flush()
	return c.w.Error()
}

func (c *csvFormat) finish() error { return nil }

// oneLine replaces control characters.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
}

func list(values []string) string { return strings.Join(values, "; ") }

// mailboxes lists where the message was taken from, each once, sorted.
func (it *item) mailboxes() []string {
	var out []string
	for _, d := range it.Deposits {
		out = append(out, d.Mailbox)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
