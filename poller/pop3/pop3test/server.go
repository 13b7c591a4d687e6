package pop3test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// TLSMode says how the server encrypts.
type TLSMode int

// Values of TLSMode.
const (
	TLSNone     TLSMode = iota // never
	TLSImplicit                // from the first byte
	TLSStart                   // after STLS
)

// Config says how the server behaves. The zero value is a plaintext server
// without mailboxes and with every capability.
type Config struct {
	Addr      string // to listen on; "" means a free port of 127.0.0.1
	TLS       TLSMode
	Mailboxes []Mailbox

	// Certificate replaces the server's own one, which is for 127.0.0.1, ::1
	// and localhost; see NewCertificate.
	Certificate *tls.Certificate

	// MaxTLSVersion, such as tls.VersionTLS12, is the highest that the server
	// speaks; 0 is the highest that Go knows.
	MaxTLSVersion uint16

	// CipherSuites are those of TLS 1.2 and below; nil means the usual ones.
	CipherSuites []uint16

	// Without names capabilities that are neither listed by CAPA nor served:
	// "CAPA", "UIDL", "TOP", "USER", "SASL", "PIPELINING" (only unlisted).
	Without []string

	// SASL lists the mechanisms of AUTH: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256,
	// XOAUTH2, OAUTHBEARER, EXTERNAL. nil means PLAIN.
	SASL []string

	// NoInitialResponse refuses AUTH with a response in the same line, as
	// Microsoft 365 does.
	NoInitialResponse bool

	// ClientCAs verify the certificates of clients, for EXTERNAL.
	ClientCAs *x509.CertPool

	// Capabilities are lines that CAPA lists besides those of the server. UTF8
	// and LANG are then accepted too, and change nothing.
	Capabilities []string

	// APOP puts a timestamp into the greeting and serves APOP.
	APOP bool

	// OnCommand is called with each command just before it is executed, in the
	// goroutine of its session, and with an empty user before login. It may block.
	OnCommand func(user string, cmd Command)

	// Hook alters answers; see the package documentation. It is called after
	// OnCommand, in the goroutine of the session.
	Hook Hook

	// IdleTimeout ends a session without a command. 0 means ten minutes, the
	// least that RFC 1939 allows.
	IdleTimeout time.Duration

	// Logger gets a debug record for each command, without passwords. nil
	// discards.
	Logger *slog.Logger
}

// Server is a running server. Its methods may be called concurrently.
type Server struct {
	config   Config
	listener net.Listener
	tls      *tls.Config
	pool     *x509.CertPool
	done     chan struct{} // closed by Close
	wg       sync.WaitGroup

	mu        sync.Mutex
	maildrops map[string]*maildrop
	sessions  map[*Session]struct{}
	closed    bool
	opened    int
}

// Start starts a server. The caller must Close it.
func Start(config Config) (*Server, error) {
	if config.Addr == "" {
		config.Addr = "127.0.0.1:0"
	}
	if config.SASL == nil {
		config.SASL = []string{"PLAIN"}
	}
	if config.IdleTimeout == 0 {
		config.IdleTimeout = 10 * time.Minute
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		config:    config,
		done:      make(chan struct{}),
		maildrops: map[string]*maildrop{},
		sessions:  map[*Session]struct{}{},
	}
	for _, box := range config.Mailboxes {
		s.AddMailbox(box)
	}
	if err := s.setCertificate(); err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", config.Addr)
	if err != nil {
		return nil, fmt.Errorf("start POP3 server: %w", err)
	}
	s.listener = listener
	s.wg.Go(s.accept)
	return s, nil
}

func (s *Server) setCertificate() error {
	if s.config.TLS == TLSNone {
		return nil
	}
	if s.config.Certificate == nil {
		cert, err := NewCertificate(time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0), "127.0.0.1", "::1", "localhost")
		if err != nil {
			return err
		}
		s.config.Certificate = &cert
	}
	s.tls = &tls.Config{
		Certificates: []tls.Certificate{*s.config.Certificate}, CipherSuites: s.config.CipherSuites,
		MinVersion: tls.VersionTLS12, MaxVersion: s.config.MaxTLSVersion,
	}
	if s.tls.MaxVersion != 0 {
		s.tls.MinVersion = min(s.tls.MinVersion, s.tls.MaxVersion)
	}
	if s.config.ClientCAs != nil {
		s.tls.ClientAuth, s.tls.ClientCAs = tls.VerifyClientCertIfGiven, s.config.ClientCAs
	}
	leaf, err := x509.ParseCertificate(s.config.Certificate.Certificate[0])
	if err != nil {
		return fmt.Errorf("start POP3 server: certificate: %w", err)
	}
	s.pool = x509.NewCertPool()
	s.pool.AddCert(leaf)
	return nil
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely
			s.config.Logger.Warn("accept", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-s.done:
				return
			}
		}
		s.serve(conn)
	}
}

// serve starts a session in a goroutine that Close waits for.
func (s *Server) serve(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return
	}
	s.opened++
	session := newSession(s, conn, s.opened)
	s.sessions[session] = struct{}{}
	s.wg.Go(func() {
		session.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sessions, session)
	})
}

// offers reports whether Config.Capabilities has the capability.
func (s *Server) offers(name string) bool {
	return slices.ContainsFunc(s.config.Capabilities, func(line string) bool {
		offered, _, _ := strings.Cut(line, " ")
		return offered == name
	})
}

// Addr returns host and port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Host returns the address without the port.
func (s *Server) Host() string { return s.tcpAddr().IP.String() }

// Port returns the port.
func (s *Server) Port() int { return s.tcpAddr().Port }

func (s *Server) tcpAddr() *net.TCPAddr {
	addr, ok := s.listener.Addr().(*net.TCPAddr)
	if !ok {
		return &net.TCPAddr{} // cannot be: Start listens on TCP
	}
	return addr
}

// CertPool returns a pool with which clients trust the server; nil without TLS.
func (s *Server) CertPool() *x509.CertPool { return s.pool }

// ClientTLS returns a client configuration that trusts the server.
func (s *Server) ClientTLS() *tls.Config {
	return &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12}
}

// Sessions returns the number of connections so far, those open included.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// CloseSessions drops the connections that are open, without an answer.
func (s *Server) CloseSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session := range s.sessions {
		session.drop()
	}
}

// Close stops the server, drops all connections, ends all stalls and waits for
// every goroutine. Nothing more is deleted. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	var err error
	if first {
		close(s.done)
		err = s.listener.Close()
		s.CloseSessions()
	}
	s.wg.Wait()
	return err
}
