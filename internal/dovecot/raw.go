package dovecot

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// sessionTimeout bounds a raw session without a deadline in its context.
const sessionTimeout = 5 * time.Minute

// maxStatusLine is far more than the 512 octets of RFC 1939 section 3.
const maxStatusLine = 64 << 10

// A RawMessage is what a server has under a message number.
type RawMessage struct {
	// SHA256 is the hash of the exact bytes as sent by RETR, with only the
	// dot-stuffing removed, in lower-case hex.
	SHA256 string
	Size   int64 // octets of the same bytes
	UIDL   string
}

// RawRetrieve reads every message of a mailbox over a plain connection and
// deletes nothing. It is deliberately a POP3 client of its own, as simple as can be,
// so that tests can compare what ours has stored with what was on the wire.
func RawRetrieve(ctx context.Context, addr, user, password string) (map[int]RawMessage, error) {
	c, err := login(ctx, addr, user, password)
	if err != nil {
		return nil, fmt.Errorf("retrieve from %s: %w", addr, err)
	}
	defer c.close()
	n, err := c.stat()
	if err != nil {
		return nil, err
	}
	uidls, err := c.uidl()
	if err != nil {
		return nil, err
	}
	messages := make(map[int]RawMessage, n)
	for i := 1; i <= n; i++ {
		m, err := c.retr(i)
		if err != nil {
			return nil, err
		}
		m.UIDL = uidls[i]
		messages[i] = m
	}
	return messages, c.quit()
}

// Count returns the number of messages in a user's mailbox, by STAT.
func (s *Server) Count(ctx context.Context, user string) (int, error) {
	c, err := login(ctx, s.Addr, user, s.opts.Users[user])
	if err != nil {
		return 0, fmt.Errorf("count messages of %s: %w", user, err)
	}
	defer c.close()
	n, err := c.stat()
	return n, errors.Join(err, c.quit())
}

// dial connects and reads the greeting, which must be that of this server: a
// port may have gone to another one that was started at the same time.
func (s *Server) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	setDeadline(ctx, conn)
	if addr == s.TLSAddr {
		conn = tls.Client(conn, &tls.Config{RootCAs: s.CAPool, ServerName: "localhost", MinVersion: tls.VersionTLS12})
	}
	line, err := newRawClient(conn).status("greeting")
	if err == nil && !strings.HasSuffix(line, s.greeting()) {
		err = fmt.Errorf("%s is another server: %q", addr, line)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (s *Server) greeting() string { return "test server " + filepath.Base(s.dir) }

func setDeadline(ctx context.Context, conn net.Conn) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(sessionTimeout)
	}
	_ = conn.SetDeadline(deadline) // fails only on a closed connection, as the next read will
}

type rawClient struct {
	conn net.Conn
	r    *bufio.Reader
}

func newRawClient(conn net.Conn) *rawClient {
	return &rawClient{conn, bufio.NewReaderSize(conn, maxStatusLine)}
}

func login(ctx context.Context, addr, user, password string) (*rawClient, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	setDeadline(ctx, conn)
	c := newRawClient(conn)
	_, err = c.status("greeting")
	if err == nil {
		_, err = c.command("USER " + user)
	}
	if err == nil {
		_, err = c.command("PASS " + password)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *rawClient) close() { _ = c.conn.Close() }

func (c *rawClient) quit() error {
	_, err := c.command("QUIT")
	return err
}

func (c *rawClient) command(line string) (string, error) {
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		return "", err
	}
	verb, _, _ := strings.Cut(line, " ") // the rest may be a password
	return c.status(verb)
}

func (c *rawClient) status(what string) (string, error) {
	line, err := c.line()
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if !strings.HasPrefix(line, "+OK") {
		return "", fmt.Errorf("%s: server says %q", what, line)
	}
	return line, nil
}

func (c *rawClient) line() (string, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(line), "\r\n"), nil
}

func (c *rawClient) stat() (n int, err error) {
	line, err := c.command("STAT")
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscanf(line, "+OK %d ", &n); err != nil {
		return 0, fmt.Errorf("STAT: %q: %w", line, err)
	}
	return n, nil
}

func (c *rawClient) uidl() (map[int]string, error) {
	if _, err := c.command("UIDL"); err != nil {
		return nil, err
	}
	uidls := make(map[int]string)
	for {
		line, err := c.line()
		if err != nil {
			return nil, fmt.Errorf("UIDL: %w", err)
		}
		if line == "." {
			return uidls, nil
		}
		var n int
		var id string
		if _, err := fmt.Sscanf(line, "%d %s", &n, &id); err != nil {
			return nil, fmt.Errorf("UIDL: %q: %w", line, err)
		}
		uidls[n] = id
	}
}

// retr hashes one message. A line ends with CRLF and nothing else; the one that
// is a single dot ends the message, any other leading dot is doubled (RFC 1939 section 3).
func (c *rawClient) retr(n int) (RawMessage, error) {
	if _, err := c.command(fmt.Sprintf("RETR %d", n)); err != nil {
		return RawMessage{}, err
	}
	h := sha256.New()
	var size int64
	start, cr := true, false // at the start of a line; the last byte was CR
	for {
		// A piece of a line: up to LF, or a full buffer of a longer line.
		piece, err := c.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return RawMessage{}, fmt.Errorf("RETR %d: %w", n, err)
		}
		crlf := bytes.HasSuffix(piece, []byte("\r\n")) || (cr && string(piece) == "\n")
		cr = bytes.HasSuffix(piece, []byte("\r"))
		if start && string(piece) == ".\r\n" {
			return RawMessage{SHA256: hex.EncodeToString(h.Sum(nil)), Size: size}, nil
		}
		if start && piece[0] == '.' {
			piece = piece[1:]
		}
		start = crlf
		h.Write(piece)
		size += int64(len(piece))
	}
}
