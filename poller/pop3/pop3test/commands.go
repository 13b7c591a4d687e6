package pop3test

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// handler returns the normal answer to a command.
func (s *Session) handler(cmd Command, secret string) Answer {
	return func(w io.Writer) error {
		switch cmd.Verb {
		case "QUIT":
			return s.quitNow(w)
		case "CAPA":
			return s.capa(w)
		}
		if s.maildrop != nil {
			return s.transaction(w, cmd)
		}
		switch cmd.Verb {
		case "STLS":
			return s.stls(w)
		case "USER":
			s.user = cmd.Arg
			return line(w, "+OK")
		case "PASS":
			return s.login(w, s.user, password(secret))
		case "APOP":
			return s.apop(w, cmd.Arg, secret)
		case "AUTH":
			return s.auth(w, cmd.Arg, secret)
		case "UTF8", "LANG":
			if s.server.offers(cmd.Verb) {
				return line(w, "+OK")
			}
		}
		return line(w, "-ERR unknown command, or not before login")
	}
}

// transaction executes the commands that need a login.
func (s *Session) transaction(w io.Writer, cmd Command) error {
	if !s.has(cmd.Verb) {
		return line(w, "-ERR unknown command")
	}
	switch cmd.Verb {
	case "STAT":
		return s.stat(w)
	case "LIST":
		return s.list(w, cmd.Arg)
	case "UIDL":
		return s.uidl(w, cmd.Arg)
	case "RETR":
		return s.retr(w, cmd.Arg)
	case "TOP":
		return s.top(w, cmd.Arg)
	case "DELE":
		return s.dele(w, cmd.Arg)
	case "NOOP":
		return line(w, "+OK")
	case "RSET":
		clear(s.deleted)
		return line(w, "+OK")
	}
	return line(w, "-ERR unknown command")
}

func (s *Session) capa(w io.Writer) error {
	if !s.has("CAPA") {
		return line(w, "-ERR unknown command")
	}
	text := "+OK\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nIMPLEMENTATION postkeep-pop3test\r\n"
	for _, capability := range [...]string{"TOP", "UIDL", "USER", "PIPELINING"} {
		if s.has(capability) {
			text += capability + "\r\n"
		}
	}
	if s.has("SASL") {
		text += "SASL " + strings.Join(s.server.config.SASL, " ") + "\r\n"
	}
	for _, capability := range s.server.config.Capabilities {
		text += capability + "\r\n"
	}
	if s.server.config.TLS == TLSStart && s.tls == nil {
		text += "STLS\r\n"
	}
	return line(w, text+".")
}

func (s *Session) stls(w io.Writer) error {
	if s.server.config.TLS != TLSStart || s.tls != nil {
		return line(w, "-ERR command not supported")
	}
	s.startTLS = true
	return line(w, "+OK begin TLS")
}

func (s *Session) login(w io.Writer, user string, check func(box *maildrop) bool) error {
	drop := s.server.maildrop(user)
	if drop == nil || !check(drop) {
		return line(w, "-ERR [AUTH] Authentication failed")
	}
	messages, ok := drop.lock()
	if !ok {
		return line(w, "-ERR [IN-USE] another session has the maildrop")
	}
	s.user, s.maildrop, s.messages, s.deleted = user, drop, messages, make([]bool, len(messages))
	return line(w, fmt.Sprintf("+OK %d messages", len(messages)))
}

func (s *Session) apop(w io.Writer, user, digest string) error {
	if s.timestamp == "" {
		return line(w, "-ERR command not supported")
	}
	return s.login(w, user, func(box *maildrop) bool {
		sum := md5.Sum([]byte(s.timestamp + box.password))
		return hex.EncodeToString(sum[:]) == strings.ToLower(digest)
	})
}

func (s *Session) quitNow(w io.Writer) error {
	s.quit = true
	if s.maildrop != nil {
		s.maildrop.remove(s.messages, s.deleted)
		s.release() // before the answer, so that the client can come back at once
	}
	return line(w, "+OK")
}

func (s *Session) stat(w io.Writer) error {
	var count int
	var size int64
	for i, msg := range s.messages {
		if !s.deleted[i] {
			count++
			size += msg.Size
		}
	}
	return line(w, fmt.Sprintf("+OK %d %d", count, size))
}

func (s *Session) list(w io.Writer, arg string) error {
	return s.listing(w, arg, func(msg Message) string { return strconv.FormatInt(msg.Size, 10) })
}

func (s *Session) uidl(w io.Writer, arg string) error {
	return s.listing(w, arg, func(msg Message) string { return msg.UIDL })
}

func (s *Session) listing(w io.Writer, arg string, value func(Message) string) error {
	if arg != "" {
		i, err := s.find(arg)
		if err != nil {
			return line(w, "-ERR "+err.Error())
		}
		return line(w, fmt.Sprintf("+OK %d %s", i+1, value(s.messages[i])))
	}
	if err := line(w, "+OK"); err != nil {
		return err
	}
	for i, msg := range s.messages {
		if s.deleted[i] {
			continue
		}
		if err := line(w, fmt.Sprintf("%d %s", i+1, value(msg))); err != nil {
			return err
		}
	}
	return line(w, ".")
}

func (s *Session) retr(w io.Writer, arg string) error { return s.send(w, arg, -1) }

func (s *Session) top(w io.Writer, arg string) error {
	number, count, _ := strings.Cut(arg, " ")
	lines, err := strconv.Atoi(count)
	if err != nil || lines < 0 {
		return line(w, "-ERR expected a message number and a number of lines")
	}
	return s.send(w, number, lines)
}

func (s *Session) send(w io.Writer, number string, lines int) error {
	i, err := s.find(number)
	if err != nil {
		return line(w, "-ERR "+err.Error())
	}
	r, err := s.messages[i].Open()
	if err != nil {
		return line(w, "-ERR [SYS/TEMP] message cannot be read")
	}
	err = line(w, fmt.Sprintf("+OK %d octets", s.messages[i].Size))
	if err == nil {
		if s.buf == nil {
			s.buf = make([]byte, copyBytes)
		}
		err = stuff(w, r, lines, s.buf)
	}
	return errors.Join(err, r.Close())
}

func (s *Session) dele(w io.Writer, arg string) error {
	i, err := s.find(arg)
	if err != nil {
		return line(w, "-ERR "+err.Error())
	}
	s.deleted[i] = true
	return line(w, "+OK")
}

// find returns the index of a message that is not deleted.
func (s *Session) find(number string) (int, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(s.messages) {
		return 0, errors.New("no such message")
	}
	if s.deleted[n-1] {
		return 0, errors.New("message is deleted")
	}
	return n - 1, nil
}
