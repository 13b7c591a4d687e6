// Package popservers runs POP3 servers other than Dovecot for tests: GNU
// mailutils and Courier, as Debian packages them.
//
// The packages exclude each other and Dovecot's, so they are not installed:
// .ci/deps unpacks them under a cache directory. Like Dovecot in package
// dovecot, the servers listen on free loopback ports, keep everything in a
// temporary directory, and work for root and for an ordinary user.
package popservers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// startAttempts covers another process taking a port between its choice and
	// the server's start.
	startAttempts = 3
	startTimeout  = 20 * time.Second
	pollInterval  = 20 * time.Millisecond
	// logTail is how much of the server's log an error shows, in bytes.
	logTail = 4 << 10
)

// Users maps login names to passwords. Neither may hold a colon or control
// characters, and a name no slash.
type Users map[string]string

// A Server is a running POP3 server.
type Server struct {
	Addr    string // host:port that speaks plain POP3 and offers STLS
	TLSAddr string // host:port with TLS from the first byte
	// CAPool holds the server's certificate, which is for localhost and
	// 127.0.0.1 and signed by itself.
	CAPool *x509.CertPool

	users    Users
	dir      string
	uid, gid int // to whom mail belongs

	kind      kind
	processes []*process
	closers   []func() error // what else Stop ends
	stopOnce  sync.Once
	stopErr   error
}

// kind is what differs between servers.
type kind interface {
	// prepare writes everything but the ports.
	prepare(s *Server) error
	// commands start the server on Addr and TLSAddr.
	commands(s *Server) ([]*exec.Cmd, error)
	// login is what the server calls the user.
	login(user string) string
	// deliver adds a message to the maildrop of a user who is not logged in.
	deliver(s *Server, user string, msg []byte) error
}

// Root returns the directory under which .ci/deps unpacks the packages. For root
// it is one that the user nobody can reach, too.
func Root() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/postkeep-tests/pop3-servers", nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "postkeep-tests", "pop3-servers"), nil
}

// Require skips the test, loudly, where the servers are not unpacked. With
// POSTKEEP_REAL=required in the environment the test fails instead.
func Require(tb testing.TB) {
	tb.Helper()
	root, err := Root()
	for _, file := range []string{mailutilsBinary, courierLogin} {
		if err == nil {
			_, err = os.Stat(filepath.Join(root, file))
		}
	}
	if err == nil {
		_, err = exec.LookPath("gcc") // for preload.c
	}
	if err == nil {
		return
	}
	if os.Getenv("POSTKEEP_REAL") == "required" {
		tb.Fatalf("POSTKEEP_REAL=required, but GNU mailutils or Courier is missing (run make deps): %v", err)
	}
	tb.Skipf("SKIPPED, NOTHING WAS TESTED AGAINST GNU MAILUTILS AND COURIER (make deps): %v", err)
}

// start starts a server and waits until it answers on both ports. ctx bounds the
// start only; the server runs until Stop.
func start(ctx context.Context, k kind, users Users) (*Server, error) {
	// Not in t.TempDir: sockets need a path of less than 108 bytes.
	dir, err := os.MkdirTemp("", "pop")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, users: users, kind: k}
	if err = s.prepare(); err == nil {
		for range startAttempts {
			if err = s.launch(ctx); err == nil {
				return s, nil
			}
			s.endProcesses()
			if !strings.Contains(s.Log(), "in use") {
				break
			}
		}
	}
	return nil, errors.Join(fmt.Errorf("start POP3 server: %w; its log ends:\n%s", err, s.Log()), s.Stop())
}

func (s *Server) prepare() error {
	s.uid, s.gid = os.Getuid(), os.Getgid()
	if s.uid == 0 { // servers refuse to open mail as root
		u, err := user.Lookup("nobody")
		if err != nil {
			return err
		}
		uid, uerr := strconv.Atoi(u.Uid)
		gid, gerr := strconv.Atoi(u.Gid)
		if err := errors.Join(uerr, gerr); err != nil {
			return err
		}
		s.uid, s.gid = uid, gid
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // the owner of the mail must reach it
		return err
	}
	var err error
	if s.CAPool, err = writeCertificate(s.path("cert.pem"), s.path("key.pem"), s.path("both.pem")); err != nil {
		return err
	}
	for name := range s.users {
		if err := s.makeDir(name); err != nil {
			return err
		}
	}
	return s.kind.prepare(s)
}

func (s *Server) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// makeDir makes a directory that belongs to the owner of the mail.
func (s *Server) makeDir(elem ...string) error {
	if err := os.Mkdir(s.path(elem...), 0o700); err != nil {
		return err
	}
	return os.Chown(s.path(elem...), s.uid, s.gid)
}

// launch starts the server on two free ports and waits for both greetings.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	if s.Addr, s.TLSAddr, err = freePorts(ctx); err != nil {
		return err
	}
	commands, err := s.kind.commands(s)
	if err != nil {
		return err
	}
	log, err := os.Create(s.path("log"))
	if err != nil {
		return err
	}
	defer log.Close() // the processes have their own
	for _, cmd := range commands {
		cmd.Stdout, cmd.Stderr = log, log
		p, err := run(cmd)
		if err != nil {
			return err
		}
		s.processes = append(s.processes, p)
	}
	for _, addr := range []string{s.Addr, s.TLSAddr} {
		for err := s.greeted(ctx, addr); err != nil; err = s.greeted(ctx, addr) {
			select {
			case <-s.processes[0].exited:
				return fmt.Errorf("it ended: %w", errors.Join(s.processes[0].err, err))
			case <-ctx.Done():
				return fmt.Errorf("no greeting from %s: %w", addr, errors.Join(ctx.Err(), err))
			case <-time.After(pollInterval):
			}
		}
	}
	return nil
}

func (s *Server) greeted(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if addr == s.TLSAddr {
		conn = tls.Client(conn, &tls.Config{RootCAs: s.CAPool, ServerName: "localhost", MinVersion: tls.VersionTLS12})
	}
	_, err = io.ReadFull(conn, make([]byte, len("+OK ")))
	return err
}

// Login returns what the server calls a user.
func (s *Server) Login(user string) string { return s.kind.login(user) }

// Deliver adds a message to a user's maildrop, which no session may have open.
func (s *Server) Deliver(user string, msg []byte) error {
	if _, ok := s.users[user]; !ok {
		return fmt.Errorf("deliver: no user %q", user)
	}
	return s.kind.deliver(s, user, msg)
}

// Stop ends the server and everything it started, waits for it and removes its
// directory. It may be called more than once.
func (s *Server) Stop() error {
	s.stopOnce.Do(func() {
		s.endProcesses()
		for _, c := range s.closers {
			s.stopErr = errors.Join(s.stopErr, c())
		}
		s.stopErr = errors.Join(s.stopErr, os.RemoveAll(s.dir))
	})
	return s.stopErr
}

// Log returns the end of the server's log.
func (s *Server) Log() string {
	data, err := os.ReadFile(s.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-logTail):])
}

// process is a child that has been started.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has been waited for
	err    error         // valid after exited is closed
}

func run(cmd *exec.Cmd) (*process, error) {
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() { // ends with the process, which endProcesses ends and waits for
		defer close(p.exited)
		p.err = cmd.Wait()
	}()
	return p, nil
}

func (s *Server) endProcesses() {
	for _, p := range s.processes {
		_ = killGroup(p.cmd.Process) // fails only where all have ended
		<-p.exited
	}
	s.processes = nil
}

// freePorts chooses two ports that nothing listens on now.
func freePorts(ctx context.Context) (first, second string, err error) {
	var addrs [2]string
	for i := range addrs {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close() // kept until both are chosen, so that they differ
		addrs[i] = l.Addr().String()
	}
	return addrs[0], addrs[1], nil
}

// program returns a command for an unpacked program and its libraries.
func program(file string, args ...string) (*exec.Cmd, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, pattern := range []string{"usr/lib/*-linux-*", "lib/*-linux-*", "usr/lib", "usr/lib/courier-authlib"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, found...)
	}
	cmd := exec.Command(filepath.Join(root, file), args...) //nolint:noctx // ends with Stop, not with the start
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH=" + strings.Join(dirs, ":")}
	return cmd, nil
}
