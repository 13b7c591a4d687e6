package pop3

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

var errConnectTimeout = errors.New("connecting took too long")

// run calls f while ctx can interrupt it.
func (c *Conn) run(ctx context.Context, op string, f func() error) error {
	c.reply = ""
	if c.broken != nil {
		return &Error{Op: op, Host: c.addr, Kind: KindClosed, Err: fmt.Errorf("the session has ended: %w", c.broken)}
	}
	if ctx.Err() != nil { // nothing is under way: the session stays usable
		e := &Error{Op: op, Host: c.addr}
		e.Kind, e.Err = c.explainCause(context.Cause(ctx))
		return e
	}
	release := c.guard.watch(ctx)
	defer release()
	return f()
}

// fail makes an Error out of a failure of the connection and ends the session.
func (c *Conn) fail(op string, err error) *Error {
	e := &Error{Op: op, Host: c.addr, Pipelined: c.outstanding > 1}
	var (
		injection *tlsInjection
		left      *leftOver
	)
	if cause := c.guard.interruptedBy(); cause != nil {
		e.Kind, e.Err = c.explainCause(cause)
	} else if errors.As(err, &injection) {
		e.Kind, e.Err = KindTLS, err
	} else {
		e.Kind, e.Hint, e.Err = explain(err, c.opts.CommandTimeout)
	}
	if e.Pipelined && e.Kind == KindProtocol {
		e.Hint = "the server may not cope with pipelined commands, or does not double the dots in messages"
	} else if e.Kind == KindProtocol && strings.HasPrefix(op, "RETR ") || errors.As(err, &left) {
		e.Hint = "the message before may have a line of one dot that the server did not double"
	}
	c.broken = e
	_ = c.guard.Close()
	c.log.Debug("session broken", "error", e)
	return e
}

func (c *Conn) explainCause(cause error) (Kind, error) {
	if errors.Is(cause, errConnectTimeout) {
		return KindTimeout, fmt.Errorf("connecting took longer than %s: %w", c.opts.ConnectTimeout, context.DeadlineExceeded)
	}
	return KindCanceled, cause
}

// refused makes an Error out of a -ERR; fallback is its kind if neither
// code nor words give one.
func (c *Conn) refused(op string, s status, fallback Kind) *Error {
	kind := refusalKind(s.code, s.text, fallback)
	e := &Error{Op: op, Host: c.addr, Kind: kind, Code: s.code, Text: c.words(s.text), Hint: refusalHint(kind)}
	c.log.Debug("refused", "error", e)
	return e
}

// words makes text from the server fit for an error, whatever its charset. A
// server may echo what it was sent.
func (c *Conn) words(text string) string {
	for _, secret := range c.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	return printable(decodeText(text))
}

// write sends commands with their line ends.
func (c *Conn) write(op string, commands []byte, count int) error {
	// An answer that nothing asked for would be taken for the answer to this
	// command, and a message for another one.
	if c.outstanding == 0 && c.br.Buffered() > 0 {
		text, _ := c.br.Peek(c.br.Buffered())
		return c.fail(op, &leftOver{c.words(string(text))})
	}
	c.outstanding += count
	if _, err := c.rw.Write(commands); err != nil {
		return c.fail(op, err)
	}
	return nil
}

// readStatus reads the first line of an answer. The caller decrements
// outstanding when it has read the whole of it.
func (c *Conn) readStatus(op string) (status, error) {
	c.guard.newAnswer()
	s, err := readStatus(c.br)
	c.reply = s.original
	c.guard.newAnswer() // what follows need not make up for a late start
	if err == nil && s.more && op != opLogin {
		err = protocolError("the answer is a SASL challenge")
	}
	var protocol protocolError
	if errors.As(err, &protocol) && s.original != "" {
		err = protocolError(fmt.Sprintf("%s: %q", protocol, c.words(s.original)))
	}
	if err != nil {
		return s, c.fail(op, err)
	}
	return s, nil
}

// exchange sends one line and reads a one-line answer. op stands for the line
// in errors, which must not repeat a password.
func (c *Conn) exchange(op, line string) (status, error) {
	if err := c.write(op, []byte(line+"\r\n"), 1); err != nil {
		return status{}, err
	}
	s, err := c.readStatus(op)
	if err == nil {
		c.outstanding--
	}
	return s, err
}

func (c *Conn) simple(command string) (status, error) { return c.exchange(command, command) }

// command is a whole method: one line there, one line back.
func (c *Conn) command(ctx context.Context, command string, fallback Kind) error {
	return c.run(ctx, command, func() error {
		s, err := c.simple(command)
		if err == nil && !s.ok {
			return c.refused(command, s, fallback)
		}
		return err
	})
}

// listing sends a command and calls each with the lines of its answer. An error
// of each is returned after the whole answer was read.
func (c *Conn) listing(command string, maxLines int, each func(line []byte) error) error {
	if err := c.write(command, []byte(command+"\r\n"), 1); err != nil {
		return err
	}
	s, err := c.readStatus(command)
	if err != nil {
		return err
	}
	if !s.ok {
		c.outstanding--
		return c.refused(command, s, KindRefused)
	}
	var bad error
	err = readLines(c.br, maxLines, func(line []byte) {
		if bad == nil {
			bad = each(line)
		}
	})
	if err != nil {
		return c.fail(command, err)
	}
	c.outstanding--
	if bad != nil {
		return &Error{Op: command, Host: c.addr, Kind: KindProtocol, Err: bad}
	}
	return nil
}
