package export

import (
	"context"
	"fmt"
	"io"
	"time"
)

// daemonAddress stands in a From_ line for a missing sender (RFC 4155 appendix A
// leaves the choice open; this is what mail servers write).
const daemonAddress = "MAILER-DAEMON"

// maxFromAddress is the longest address that SMTP can carry (RFC 5321 section
// 4.5.3.1.3, without the angle brackets).
const maxFromAddress = 254

// mboxFormat writes all messages into one file, in the mboxrd format: reading it
// with UnquoteMbox gives back the exact bytes.
type mboxFormat struct{ mbox *sharedFile }

func openMbox(v *volume) (format, error) {
	s, err := v.grow(v.x.opts.MboxName)
	return &mboxFormat{s}, err
}

func (f *mboxFormat) add(ctx context.Context, it *item) error {
	piece := Piece{Path: f.mbox.name, Offset: f.mbox.size}
	if _, err := fmt.Fprintf(f.mbox, "From %s %s\n", fromAddress(it.From), it.Received.UTC().Format(time.ANSIC)); err != nil {
		return err
	}
	quoted := newFromRewriter(f.mbox, quote)
	if err := it.writeTo(ctx, quoted); err != nil {
		return err
	}
	if err := quoted.finish(); err != nil {
		return err
	}
	piece.AddedNewline = !quoted.head
	end := "\n"
	if piece.AddedNewline {
		end = "\n\n"
	}
	if _, err := io.WriteString(f.mbox, end); err != nil {
		return err
	}
	piece.Length = f.mbox.size - piece.Offset
	it.entry.Piece = &piece
	return nil
}

func (f *mboxFormat) finish() error { return nil }

// fromAddress keeps an address that other programs can read back from a From_
// line: ASCII (Python's mailbox stops at anything else) without white space.
func fromAddress(addr string) string {
	if addr == "" || len(addr) > maxFromAddress {
		return daemonAddress
	}
	for _, c := range []byte(addr) {
		if c <= ' ' || c >= 0x7f {
			return daemonAddress
		}
	}
	return addr
}
