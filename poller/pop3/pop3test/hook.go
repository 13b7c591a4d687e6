package pop3test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// VerbGreeting is the Verb of the pseudo-command that is answered by the
// greeting.
const VerbGreeting = "GREETING"

// Command is a command as the server got it.
type Command struct {
	Verb string // in upper case
	Arg  string // the rest of the line; empty for PASS, APOP digests and SASL responses are left out
}

// String returns the command as a line.
func (c Command) String() string { return strings.TrimSuffix(c.Verb+" "+c.Arg, " ") }

// Answer writes the answer to a command. An error drops the connection after
// what was written has been sent.
type Answer func(w io.Writer) error

// Hook sees a command before it is executed and returns what answers it in
// place of normal, or nil for normal itself. normal executes the command when
// it is called: an Answer that does not call it leaves the state of the session
// as it was. A Hook may block, until s.Done() is closed.
type Hook func(s *Session, cmd Command, normal Answer) Answer

// ErrDrop is returned by an Answer to drop the connection.
var ErrDrop = errors.New("connection dropped by a hook")

// Raw answers with exactly text, which needs its own line ends.
func Raw(text string) Answer {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

// Drop drops the connection without an answer.
func Drop() Answer { return func(io.Writer) error { return ErrDrop } }

// DropAfter gives the first n bytes of an answer and drops the connection. An
// answer that is not longer is given whole, and then the connection is dropped.
func DropAfter(n int64, answer Answer) Answer {
	return func(w io.Writer) error {
		return errors.Join(ErrDrop, answer(&limitedWriter{w, n}))
	}
}

type limitedWriter struct {
	w    io.Writer
	left int64
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	n, err := l.w.Write(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	if err == nil && n < len(p) {
		err = ErrDrop
	}
	return n, err
}

// Stall sends what was written so far, waits until release is closed or the
// server is, and then gives the answer. A nil release waits for the server.
func Stall(s *Session, release <-chan struct{}, answer Answer) Answer {
	return func(w io.Writer) error {
		if err := s.Flush(); err != nil {
			return err
		}
		select {
		case <-release:
			return answer(w)
		case <-s.Done():
			return ErrDrop
		}
	}
}

// StallAfter gives the first n bytes of an answer and then nothing until the
// server is closed.
func StallAfter(s *Session, n int64, answer Answer) Answer {
	return func(w io.Writer) error {
		if err := answer(&limitedWriter{w, n}); err != nil && !errors.Is(err, ErrDrop) {
			return err
		}
		return Stall(s, nil, Drop())(w)
	}
}

// Edit gives an answer after edit has changed it. The whole of it is held in
// memory.
func Edit(answer Answer, edit func(raw []byte) []byte) Answer {
	return func(w io.Writer) error {
		var buf bytes.Buffer
		failed := answer(&buf)
		_, err := w.Write(edit(buf.Bytes()))
		return errors.Join(failed, err)
	}
}

// On returns a Hook that applies answer to the commands of one verb and
// argument; an empty arg stands for any.
func On(verb, arg string, answer func(s *Session, normal Answer) Answer) Hook {
	return func(s *Session, cmd Command, normal Answer) Answer {
		if cmd.Verb != verb || arg != "" && cmd.Arg != arg {
			return nil
		}
		return answer(s, normal)
	}
}

// Reply returns a Hook that answers the commands of one verb and argument with a
// line, to which CRLF is added; an empty arg stands for any.
func Reply(verb, arg, line string) Hook {
	return On(verb, arg, func(*Session, Answer) Answer { return Raw(line + "\r\n") })
}

// Hooks returns a Hook that uses the first of hooks to return an Answer.
func Hooks(hooks ...Hook) Hook {
	return func(s *Session, cmd Command, normal Answer) Answer {
		for _, hook := range hooks {
			if answer := hook(s, cmd, normal); answer != nil {
				return answer
			}
		}
		return nil
	}
}

// Times returns a Hook that uses hook for the first n commands for which it
// returns an Answer, over all sessions.
func Times(n int, hook Hook) Hook {
	var mu sync.Mutex
	return func(s *Session, cmd Command, normal Answer) Answer {
		mu.Lock()
		defer mu.Unlock()
		if n == 0 {
			return nil
		}
		answer := hook(s, cmd, normal)
		if answer != nil {
			n--
		}
		return answer
	}
}

// Recorder keeps the commands of all sessions; its OnCommand goes into Config.
type Recorder struct {
	mu       sync.Mutex
	commands []string
}

// OnCommand records a command.
func (r *Recorder) OnCommand(user string, cmd Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = append(r.commands, fmt.Sprintf("%s: %s", user, cmd))
}

// Commands returns what was recorded, each as "user: command".
func (r *Recorder) Commands() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.commands...)
}
