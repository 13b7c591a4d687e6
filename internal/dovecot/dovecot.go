// Package dovecot runs a real Dovecot POP3 server for tests.
//
// The server listens on free loopback ports, keeps everything in a temporary
// directory and works for root and for an ordinary user. It is Dovecot 2.3 as
// Debian packages it (dovecot-pop3d).
package dovecot

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// startAttempts covers another process taking a port between its choice
	// and Dovecot's start.
	startAttempts = 3
	startTimeout  = 20 * time.Second
	pollInterval  = 20 * time.Millisecond
	// logTail is how much of Dovecot's log an error shows, in bytes.
	logTail = 4 << 10
)

// Storage is how Dovecot keeps mail.
type Storage string

// The kinds of storage.
const (
	Maildir Storage = "maildir"
	Mbox    Storage = "mbox"
)

// Options describe a server. The zero value has no user.
type Options struct {
	// Users maps login names to passwords. Neither may hold a colon or control
	// characters, and a name no slash.
	Users map[string]string
	// Storage is Maildir if empty.
	Storage Storage
	// ExtraConfig is appended to the configuration, in Dovecot's syntax. It must
	// leave login_greeting alone, by which Start knows its own server.
	ExtraConfig string
}

// A Server is a running Dovecot.
type Server struct {
	// Addr is the host:port that speaks plain POP3 and offers STLS.
	Addr string
	// TLSAddr is the host:port with TLS from the first byte.
	TLSAddr string
	// CAFile holds the PEM of the certificate, which is valid for localhost,
	// 127.0.0.1 and ::1 and signed by itself.
	CAFile string
	// CAPool holds the same certificate.
	CAPool *x509.CertPool

	opts     Options
	dir      string
	owner    *owner // nil: mail belongs to the current user
	cmd      *exec.Cmd
	exited   chan struct{} // closed when cmd has been waited for
	waitErr  error         // valid after exited is closed
	stopOnce sync.Once
	stopErr  error

	mu        sync.Mutex // guards delivered
	delivered int
}

// Require skips the test, loudly, where Dovecot is not installed. With
// POSTKEEP_REAL=required in the environment the test fails instead.
func Require(tb testing.TB) {
	tb.Helper()
	require(tb, binary)
}

func require(tb testing.TB, find func() (string, error)) {
	tb.Helper()
	if _, err := find(); err != nil {
		if os.Getenv("POSTKEEP_REAL") == "required" {
			tb.Fatalf("POSTKEEP_REAL=required, but %v", err)
		}
		tb.Skipf("SKIPPED, NOTHING WAS TESTED AGAINST A REAL SERVER: %v", err)
	}
}

func binary() (string, error) {
	path, err := exec.LookPath("dovecot")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/dovecot") // not in an ordinary user's PATH
	}
	if err != nil {
		return "", errors.New("dovecot is not installed (Debian: apt-get install dovecot-pop3d)")
	}
	return path, nil
}

// Start starts a server and waits until it answers. ctx bounds the start only;
// the server runs until Stop.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Storage == "" {
		opts.Storage = Maildir
	}
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("start dovecot: %w", err)
	}
	// Not t.TempDir: Dovecot's sockets need a path of less than 108 bytes.
	dir, err := os.MkdirTemp("", "dc")
	if err != nil {
		return nil, fmt.Errorf("start dovecot: %w", err)
	}
	s := &Server{opts: opts, dir: dir}
	if err = s.prepare(); err == nil {
		err = s.launch(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start dovecot: %w", err), os.RemoveAll(dir))
	}
	return s, nil
}

var errPortTaken = errors.New("another process took the port")

func (o Options) validate() error {
	for name, password := range o.Users {
		bad := func(r rune) bool { return r <= ' ' || r == ':' || r == 0x7f }
		if name == "" || strings.ContainsFunc(name+password, bad) || strings.ContainsAny(name, `/\`) || name[0] == '.' {
			return fmt.Errorf("user name %q or its password cannot stand in a passwd-file", name)
		}
	}
	if o.Storage != Maildir && o.Storage != Mbox {
		return fmt.Errorf("unknown storage %q", o.Storage)
	}
	return nil
}

// prepare writes everything but the ports.
func (s *Server) prepare() error {
	var err error
	if s.owner, err = mailOwner(); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // the mail owner must reach its files
		return err
	}
	for name := range s.opts.Users {
		if err := s.makeHome(name); err != nil {
			return err
		}
	}
	if s.CAPool, err = writeCertificate(s.path("cert.pem"), s.path("key.pem")); err != nil {
		return err
	}
	s.CAFile = s.path("cert.pem")
	return s.writePasswords()
}

func (s *Server) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s *Server) launch(ctx context.Context) error {
	var err error
	for range startAttempts {
		if err = s.launchOnce(ctx); !errors.Is(err, errPortTaken) {
			break
		}
	}
	return err
}

// launchOnce starts Dovecot on two free ports and waits for both greetings.
func (s *Server) launchOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	path, err := binary()
	if err != nil {
		return err
	}
	if s.Addr, s.TLSAddr, err = freePorts(ctx); err != nil {
		return err
	}
	conf, err := s.config()
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("dovecot.conf"), []byte(conf), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(s.path("log"), nil, 0o600); err != nil {
		return err
	}
	cmd := exec.Command(path, "-F", "-c", s.path("dovecot.conf")) //nolint:noctx // ends with Stop, not with the start
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func() { // ends with the process, which Stop ends and waits for
		defer close(s.exited)
		s.waitErr = cmd.Wait()
	}()
	if err := s.waitReady(ctx); err != nil {
		s.endProcess()
		log := s.Log()
		if strings.Contains(log, "Address already in use") {
			return errPortTaken
		}
		return fmt.Errorf("%w; its log ends:\n%s", err, log)
	}
	return nil
}

func (s *Server) waitReady(ctx context.Context) error {
	for _, addr := range []string{s.Addr, s.TLSAddr} {
		for {
			conn, err := s.dial(ctx, addr)
			if err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-s.exited:
				return fmt.Errorf("dovecot ended: %w", s.waitErr)
			case <-ctx.Done():
				return fmt.Errorf("no greeting from %s: %w", addr, errors.Join(ctx.Err(), err))
			case <-time.After(pollInterval):
			}
		}
	}
	return nil
}

// Stop ends the server and everything it started, waits for it and removes its
// directory. It may be called more than once.
func (s *Server) Stop() error {
	s.stopOnce.Do(func() {
		s.endProcess()
		s.stopErr = os.RemoveAll(s.dir)
	})
	return s.stopErr
}

func (s *Server) endProcess() {
	// Not SIGTERM: an orderly end takes a second, and nothing is kept.
	_ = killGroup(s.cmd.Process) // fails only where all have ended
	<-s.exited
}

// Log returns the end of Dovecot's log.
func (s *Server) Log() string {
	data, err := os.ReadFile(s.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-logTail):])
}

// freePorts chooses two ports that nothing listens on now.
func freePorts(ctx context.Context) (first, second string, err error) {
	var addrs [2]string
	for i := range addrs {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close() // kept until both are chosen, so that they differ
		addrs[i] = l.Addr().String()
	}
	return addrs[0], addrs[1], nil
}
