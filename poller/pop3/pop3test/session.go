package pop3test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxCommandBytes bounds a line from the client; RFC 2449 says 255, SASL
// responses may be longer.
const maxCommandBytes = 16 << 10

// Session is one connection.
type Session struct {
	server    *Server
	raw       net.Conn
	r         *bufio.Reader
	w         *bufio.Writer
	number    int       // of the connection
	tls       *tls.Conn // nil while not encrypted
	timestamp string
	quit      bool
	startTLS  bool // STLS was answered

	user     string // logged in, or named by USER
	maildrop *maildrop
	messages []Message // nil before login
	deleted  []bool
	buf      []byte // for stuff

	done     chan struct{}
	dropOnce sync.Once
}

func newSession(server *Server, conn net.Conn, number int) *Session {
	s := &Session{server: server, raw: conn, number: number, done: make(chan struct{})}
	if server.config.APOP {
		s.timestamp = fmt.Sprintf("<%d.%d@pop3test.invalid>", number, time.Now().UnixNano())
	}
	s.use(conn)
	return s
}

func (s *Session) use(conn net.Conn) {
	s.r, s.w = bufio.NewReaderSize(conn, maxCommandBytes), bufio.NewWriterSize(conn, 32<<10)
}

// Done is closed when the server is closed or drops the session.
func (s *Session) Done() <-chan struct{} { return s.done }

// User returns who is logged in, "" before login.
func (s *Session) User() string {
	if s.maildrop == nil {
		return ""
	}
	return s.user
}

// Flush sends what has been written so far.
func (s *Session) Flush() error { return s.w.Flush() }

// drop closes the connection; it may be called at any time.
func (s *Session) drop() {
	s.dropOnce.Do(func() {
		close(s.done)
		_ = s.raw.Close()
	})
}

func (s *Session) run() {
	defer s.drop()
	defer s.release()
	err := s.talk()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.server.config.Logger.Debug("session", "user", s.user, "error", err)
	}
}

// release gives the maildrop back.
func (s *Session) release() {
	if s.maildrop != nil {
		s.maildrop.unlock()
		s.maildrop = nil
	}
}

func (s *Session) talk() error {
	if s.server.config.TLS == TLSImplicit {
		if err := s.handshake(); err != nil {
			return err
		}
	}
	err := s.answer(Command{Verb: VerbGreeting}, s.greet)
	for err == nil && !s.quit {
		var cmd Command
		var secret string
		if cmd, secret, err = s.readCommand(); err == nil {
			err = s.answer(cmd, s.handler(cmd, secret))
		}
		if err == nil && s.startTLS && s.tls == nil {
			err = s.handshake()
		}
	}
	return errors.Join(err, s.w.Flush())
}

func (s *Session) handshake() error {
	if err := s.w.Flush(); err != nil {
		return err
	}
	conn := tls.Server(s.raw, s.server.tls)
	_ = s.raw.SetDeadline(time.Now().Add(s.server.config.IdleTimeout))
	if err := conn.HandshakeContext(context.Background()); err != nil { // drop interrupts it
		return err
	}
	s.tls = conn
	s.use(conn)
	return nil
}

func (s *Session) greet(w io.Writer) error {
	return line(w, strings.TrimSpace("+OK POP3 server ready "+s.timestamp))
}

// answer runs the callbacks of the configuration and answers.
func (s *Session) answer(cmd Command, normal Answer) error {
	config := &s.server.config
	config.Logger.Debug("command", "user", s.User(), "command", cmd.String())
	if config.OnCommand != nil && cmd.Verb != VerbGreeting {
		config.OnCommand(s.User(), cmd)
	}
	answer := normal
	if config.Hook != nil {
		if other := config.Hook(s, cmd, normal); other != nil {
			answer = other
		}
	}
	_ = s.raw.SetWriteDeadline(time.Now().Add(config.IdleTimeout))
	if err := answer(s.w); err != nil {
		return err
	}
	if s.r.Buffered() == 0 { // answers to pipelined commands share packets
		return s.w.Flush()
	}
	return nil
}

// readCommand reads a line. What must not reach hooks and logs is returned as
// secret.
func (s *Session) readCommand() (cmd Command, secret string, err error) {
	text, err := s.readLine()
	if err != nil {
		return Command{}, "", err
	}
	verb, arg, _ := strings.Cut(text, " ")
	cmd = Command{Verb: strings.ToUpper(verb), Arg: arg}
	switch cmd.Verb {
	case "PASS":
		cmd.Arg, secret = "", arg
	case "APOP", "AUTH":
		cmd.Arg, secret, _ = strings.Cut(arg, " ")
	}
	return cmd, secret, nil
}

func (s *Session) readLine() (string, error) {
	_ = s.raw.SetReadDeadline(time.Now().Add(s.server.config.IdleTimeout))
	text, err := s.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// has reports whether the capability was left in.
func (s *Session) has(capability string) bool {
	return !slices.Contains(s.server.config.Without, capability)
}

func line(w io.Writer, text string) error {
	_, err := io.WriteString(w, text+"\r\n")
	return err
}
