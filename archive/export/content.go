package export

import (
	"context"
	"io"
	"time"
)

// Content is what a message says, as a Parser reads it. Every string is valid UTF-8.
type Content struct {
	Date                  time.Time // zero if missing or unreadable
	From, To, Cc, Bcc     []string  // Name <local@domain>
	Subject               string
	MessageID             string   // without angle brackets
	InReplyTo, References []string // without angle brackets
	Flags                 []string
	Text                  string // readable text without that of attachments
	Attachments           []Attachment
}

// An Attachment is a file that a message carries.
type Attachment struct {
	Part      string // by which the Parser finds it again
	Name      string // as the sender gave it; may be empty, or hold a path
	MediaType string
	Text      string // of a text attachment
	// Size is the number of decoded octets.
	Size int64
}

// A Parser reads messages. It must give the same result for the same bytes. It is used for several at a time.
type Parser interface {
	// Parse reads a message. No content of a message is an error.
	Parse(ctx context.Context, r io.ReaderAt, size int64) (*Content, error)
	// Attachments hands the decoded octets of attachments to the writers that open
	// returns, one after the other; open gets the place in Content.Attachments. An
	// attachment that cannot be taken out of the message is left out.
	Attachments(ctx context.Context, r io.ReaderAt, size int64, c *Content, open func(n int) (io.WriteCloser, error)) error
}

// date is what people take for the date of a message.
func (it *item) date() time.Time {
	if it.content.Date.IsZero() {
		return it.Received
	}
	return it.content.Date
}
