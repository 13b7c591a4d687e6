package pop3

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
)

// Values of Error.Op that are no commands.
const (
	opConnect  = "connect"
	opGreeting = "greeting"
	opTLS      = "TLS handshake"
	opLogin    = "login"
)

// Conn is a POP3 session. Its methods must not be called concurrently, apart
// from Close. A method that fails on the connection, as opposed to being refused,
// leaves the session unusable: all that is left to do is Close. The end of the
// context of a method in the middle of an answer does so too.
type Conn struct {
	opts Options
	addr string
	log  *slog.Logger

	guard *guardedConn
	tls   *tls.Conn // nil without TLS
	rw    net.Conn  // tls or guard
	br    *bufio.Reader

	timestamp   string    // of the greeting, for APOP
	mechanism   Mechanism // tried last
	apopRefused bool      // by a server that offers it
	prepared    bool      // the settings before login have been made
	caps        Capabilities
	outstanding int      // commands whose answers have not been read to their end
	secrets     []string // what must not be repeated in errors
	reply       string   // first line of the last answer, raw
	broken      *Error   // why the session is unusable
}

// Dial connects, encrypts as asked for, and reads the capabilities. With
// TLSStart, STLS is sent without asking for the capabilities first: what a
// server says before TLS cannot be relied on, and a refusal is an error anyway.
func Dial(ctx context.Context, options Options) (*Conn, error) {
	opts, err := options.resolved()
	if err != nil {
		return nil, &Error{Op: opConnect, Host: options.Host, Kind: KindConfig, Err: err}
	}
	c := &Conn{opts: opts, addr: net.JoinHostPort(opts.Host, strconv.Itoa(opts.Port))}
	c.log = opts.Logger.With("host", c.addr)

	ctx, cancel := context.WithTimeoutCause(ctx, opts.ConnectTimeout, errConnectTimeout)
	defer cancel()
	raw, err := opts.Dialer(ctx, "tcp", c.addr)
	if err != nil {
		e := &Error{Op: opConnect, Host: c.addr}
		if cause := context.Cause(ctx); cause != nil {
			e.Kind, e.Err = c.explainCause(cause)
		} else {
			e.Kind, e.Hint, e.Err = explainDial(err)
		}
		return nil, e
	}
	c.guard = &guardedConn{Conn: raw, idle: opts.CommandTimeout}
	c.use(c.guard)
	if err := c.run(ctx, opConnect, func() error { return c.open(ctx) }); err != nil {
		return nil, joinClose(err, c)
	}
	c.log.Debug("connected", "tls", c.opts.TLS.String(), "capabilities", c.caps)
	return c, nil
}

// joinClose closes c, whose closing cannot add anything to err.
func joinClose(err error, c *Conn) error {
	_ = c.Close()
	return err
}

func (c *Conn) open(ctx context.Context) error {
	if c.opts.TLS == TLSImplicit {
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	greeting, err := c.readStatus(opGreeting)
	if err != nil {
		return err
	}
	if !greeting.ok {
		// A server that turns clients away at the door seldom means for ever.
		return c.refused(opGreeting, greeting, KindTemporary)
	}
	c.timestamp = apopTimestamp(greeting.original)
	if c.opts.TLS == TLSStart {
		if err := c.startTLS(ctx); err != nil {
			return err
		}
	}
	return c.readCapabilities()
}

func (c *Conn) startTLS(ctx context.Context) error {
	s, err := c.simple("STLS")
	if err != nil {
		return err
	}
	if !s.ok {
		e := c.refused("STLS", s, KindTLS)
		if e.Kind == KindUnsupported {
			e.Kind = KindTLS
		}
		if e.Kind == KindTLS {
			e.Hint = "the server offers no encryption here; use implicit TLS, usually on port 995"
		}
		return e
	}
	// What came with the answer was sent before the handshake, by anybody.
	if n := c.br.Buffered(); n > 0 {
		return c.fail("STLS", &tlsInjection{n})
	}
	return c.handshake(ctx)
}

// tlsInjection is plaintext after the answer to STLS (as in CVE-2011-0411).
type tlsInjection struct{ bytes int }

func (e *tlsInjection) Error() string {
	return fmt.Sprintf("%d bytes of plaintext after the answer to STLS: somebody may be tampering with the connection", e.bytes)
}

func (c *Conn) handshake(ctx context.Context) error {
	c.guard.newAnswer()
	conn := tls.Client(c.guard, c.opts.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		e := c.fail(opTLS, err)
		if e.Kind == KindClosed && e.Hint == "" && !c.opts.RSAKeyExchange {
			// QUIRK: Windows resets the connection in place of an alert.
			e.Hint = "it may have no version or cipher suite of TLS in common with this program: update it, or try tls_rsa_key_exchange: true"
		}
		return e
	}
	c.tls = conn
	c.use(conn)
	return nil
}

func (c *Conn) use(rw net.Conn) {
	c.rw, c.br = rw, bufio.NewReaderSize(rw, maxLineBytes)
}

// Capabilities returns what the server offered last: after login if it still
// answered CAPA, else before. The map is shared.
func (c *Conn) Capabilities() Capabilities { return c.caps }

// Mechanism returns the mechanism that Login tried last: after a successful
// one, that by which it logged in.
func (c *Conn) Mechanism() Mechanism { return c.mechanism }

// RefusedAPOP reports whether Login tried APOP, which the server offers, and was
// refused; see Options.NoAPOP.
func (c *Conn) RefusedAPOP() bool { return c.apopRefused }

// TLS returns the state of TLS, nil without.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.ConnectionState()
	return &state
}

// LastReply returns the first line of the last answer, made fit for a log, "" if
// the last method got none. While Delete calls back it is the answer that the
// call is about.
func (c *Conn) LastReply() string { return c.words(c.reply) }

// Quit ends the session: the server deletes what is marked and answers, then
// the connection is closed, whatever happens. After an error it is unknown
// whether the server deleted anything.
func (c *Conn) Quit(ctx context.Context) error {
	err := c.command(ctx, "QUIT", KindRefused)
	if err == nil && c.tls != nil {
		_ = c.tls.CloseWrite() // a courtesy
	}
	return joinClose(err, c)
}

// Noop keeps the session alive.
func (c *Conn) Noop(ctx context.Context) error { return c.command(ctx, "NOOP", KindRefused) }

// Rset takes all deletion marks back.
func (c *Conn) Rset(ctx context.Context) error { return c.command(ctx, "RSET", KindRefused) }

// Close closes the connection at once, without QUIT: the server deletes
// nothing. It may be called at any time, repeatedly, and interrupts a method that
// is under way.
func (c *Conn) Close() error {
	_ = c.guard.Close() // nothing was written that a failure could lose
	return nil
}
