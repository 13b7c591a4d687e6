package pop3

import (
	"context"
	"fmt"
	"io"
	"strconv"
)

// Message is a message, or its head, on its way from the server.
type Message struct {
	Number int // the number asked for

	// Err is an *Error if the server refused this message. The walk goes on.
	Err error

	// Body is nil if Err is not. It gives the message as it was sent, and
	// io.EOF only at its true end; any other error has ended the session. It is
	// valid until the callback returns; what the callback leaves is read
	// and thrown away.
	Body io.Reader
}

// Retrieve downloads messages in the order given, and calls fn for each as it
// comes in. It sends up to a window of commands ahead if the server offers
// PIPELINING. If fn returns an error, no more messages are asked for, those under
// way are read and thrown away, and the error is returned; the session stays
// usable. Cancel ctx, or Close, to stop at once instead.
//
// Some servers hide a message after RETR, without any DELE (Gmail): fn is the only
// chance to keep it.
func (c *Conn) Retrieve(ctx context.Context, numbers []int, fn func(m *Message) error) error {
	return c.walkMessages(ctx, walk{verb: "RETR", numbers: numbers}, fn)
}

// RetrieveTop is Retrieve for the head of messages: the header and the given
// number of lines of the body (TOP, optional in RFC 1939).
func (c *Conn) RetrieveTop(ctx context.Context, numbers []int, lines int, fn func(m *Message) error) error {
	if lines < 0 {
		return &Error{Op: "TOP", Host: c.addr, Kind: KindConfig, Err: fmt.Errorf("number of lines %d is negative", lines)}
	}
	return c.walkMessages(ctx, walk{verb: "TOP", numbers: numbers, suffix: " " + strconv.Itoa(lines)}, fn)
}

// Delete marks messages as deleted, pipelined as in Retrieve, and calls fn with
// the outcome of each: nil, or an *Error if the server refused. Nothing is deleted
// before Quit. If Delete returns an error, the session has ended and what is marked
// is for the server to forget.
func (c *Conn) Delete(ctx context.Context, numbers []int, fn func(number int, err error)) error {
	return c.walk(ctx, walk{verb: "DELE", numbers: numbers}, func(op string, number int, s status) error {
		if s.ok {
			fn(number, nil)
		} else {
			fn(number, c.refused(op, s, KindRefused))
		}
		return nil
	})
}

// Retr writes one message to w and returns the number of bytes written.
func (c *Conn) Retr(ctx context.Context, number int, w io.Writer) (int64, error) {
	return copyOne(w, func(fn func(*Message) error) error { return c.Retrieve(ctx, []int{number}, fn) })
}

// Top writes the header and the given number of lines of the body to w and
// returns the number of bytes written.
func (c *Conn) Top(ctx context.Context, number, lines int, w io.Writer) (int64, error) {
	return copyOne(w, func(fn func(*Message) error) error { return c.RetrieveTop(ctx, []int{number}, lines, fn) })
}

// Dele marks one message as deleted.
func (c *Conn) Dele(ctx context.Context, number int) (err error) {
	failed := c.Delete(ctx, []int{number}, func(_ int, refused error) { err = refused })
	if failed != nil {
		return failed
	}
	return err
}

func copyOne(w io.Writer, walk func(fn func(*Message) error) error) (n int64, err error) {
	err = walk(func(m *Message) (err error) {
		if m.Err == nil {
			n, err = io.Copy(w, m.Body)
			return err
		}
		return m.Err
	})
	return n, err
}

// walk is a series of the same command.
type walk struct {
	verb    string
	numbers []int
	suffix  string
}

func (w walk) command(number int) string { return w.verb + " " + strconv.Itoa(number) + w.suffix }

func (c *Conn) walkMessages(ctx context.Context, w walk, fn func(m *Message) error) error {
	var stopped error
	return c.walk(ctx, w, func(op string, number int, s status) error {
		m := &Message{Number: number}
		var b *body
		if s.ok {
			b = c.newBody(op, s)
			m.Body = b
		} else {
			m.Err = c.refused(op, s, KindRefused)
		}
		if stopped == nil {
			stopped = fn(m)
		}
		if b != nil {
			if err := b.finish(); stopped == nil {
				stopped = err
			}
		}
		return stopped
	})
}

// walk sends the commands of w and calls handle with the first line of each
// answer; handle reads the rest. Once handle returns an error, which it then must
// go on to do, no more is sent, but what is under way is handled.
func (c *Conn) walk(ctx context.Context, w walk, handle func(op string, number int, s status) error) error {
	for _, n := range w.numbers {
		if n < 1 {
			return &Error{Op: w.verb, Host: c.addr, Kind: KindConfig, Err: fmt.Errorf("message number %d is not positive", n)}
		}
	}
	window := 1
	if c.caps.Has("PIPELINING") {
		window = c.opts.PipelineWindow
	}
	return c.run(ctx, w.verb, func() error {
		var stopped error
		for done, sent := 0, 0; done < len(w.numbers) && (stopped == nil || done < sent); done++ {
			// Half a window at a time makes fewer packets.
			if next := min(done+window, len(w.numbers)); stopped == nil && sent < next && sent-done <= window/2 {
				if err := c.sendAll(w, w.numbers[sent:next]); err != nil {
					return err
				}
				sent = next
			}
			number := w.numbers[done]
			op := w.command(number)
			s, err := c.readStatus(op)
			if err != nil {
				return err
			}
			stopped = handle(op, number, s)
			if c.broken != nil {
				return stopped
			}
			c.outstanding--
		}
		return stopped
	})
}

func (c *Conn) sendAll(w walk, numbers []int) error {
	var commands []byte
	for _, n := range numbers {
		commands = append(commands, w.command(n)...)
		commands = append(commands, '\r', '\n')
	}
	return c.write(w.command(numbers[0]), commands, len(numbers))
}
