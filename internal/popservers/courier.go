package popservers

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // preload.c
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	courierDir   = "usr/lib/courier/courier"
	courierLogin = courierDir + "/courierpop3login"
	// maxAuthRequest is far more than a login that Courier passes on.
	maxAuthRequest = 64 << 10
	authTimeout    = 10 * time.Second
)

// StartCourier starts Courier's POP3 server on maildirs. Its authdaemon has
// fixed paths under /etc and /run; another stands in for it, which knows users.
func StartCourier(ctx context.Context, users Users) (*Server, error) {
	return start(ctx, courier{}, users)
}

//go:embed testdata/preload.c
var preload []byte

type courier struct{}

func (courier) login(user string) string { return user }

func (courier) prepare(s *Server) error {
	for name := range s.users {
		for _, dir := range []string{"", "new", "cur", "tmp"} {
			if err := s.makeDir(name, "Maildir", dir); err != nil { // the first is the maildir itself
				return err
			}
		}
	}
	if err := os.WriteFile(s.path("preload.c"), preload, 0o600); err != nil {
		return err
	}
	cc := exec.Command("gcc", "-shared", "-fPIC", "-o", s.path("preload.so"), s.path("preload.c")) //nolint:noctx // compiles forty lines
	if out, err := cc.CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w: %s", err, out)
	}
	l, err := net.Listen("unix", s.path("auth")) //nolint:noctx // ends with Stop
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	serving.Go(func() { s.authenticate(l, &serving) })
	s.closers = append(s.closers, func() error {
		err := l.Close()
		serving.Wait()
		return err
	})
	return os.Chmod(s.path("auth"), 0o666)
}

func (courier) commands(s *Server) ([]*exec.Cmd, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	couriertls := filepath.Join(root, "usr/bin/couriertls")
	session := []string{filepath.Join(root, courierLogin), filepath.Join(root, courierDir, "courierpop3d"), "Maildir"}
	var commands []*exec.Cmd
	for _, way := range []struct {
		addr    string
		through []string
	}{{s.Addr, nil}, {s.TLSAddr, []string{couriertls, "-server", "-tcpd"}}} {
		host, port, err := net.SplitHostPort(way.addr)
		if err != nil {
			return nil, err
		}
		args := []string{"-address=" + host, "-maxprocs=50", "-maxperip=50", "-nodnslookup", "-noidentlookup", port}
		cmd, err := program("usr/sbin/couriertcpd", append(append(args, way.through...), session...)...)
		if err != nil {
			return nil, err
		}
		cmd.Env = append(cmd.Env, "LD_PRELOAD="+s.path("preload.so"), "POSTKEEP_AUTHDAEMON="+s.path("auth"),
			"POP3AUTH=PLAIN LOGIN", "POP3AUTH_TLS=PLAIN LOGIN", "POP3_STARTTLS=YES", "POP3_TLS_REQUIRED=0",
			"COURIERTLS="+couriertls, "TLS_CERTFILE="+s.path("both.pem"), "TLS_VERIFYPEER=NONE")
		commands = append(commands, cmd)
	}
	return commands, nil
}

// deliver puts a file into new, by way of tmp. Lines end in LF there.
func (courier) deliver(s *Server, user string, msg []byte) error {
	f, err := os.CreateTemp(s.path(user, "Maildir", "tmp"), strconv.FormatInt(time.Now().UnixNano(), 10)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n")))
	if err = errors.Join(err, f.Chown(s.uid, s.gid), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(user, "Maildir", "new", filepath.Base(f.Name())))
}

// authenticate answers in place of authdaemond, one request a connection, until
// the listener is closed.
func (s *Server) authenticate(l net.Listener, serving *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		serving.Go(func() {
			defer conn.Close()
			if conn.SetDeadline(time.Now().Add(authTimeout)) == nil {
				_, _ = io.WriteString(conn, s.authAnswer(conn)) // Courier reports what it misses
			}
		})
	}
}

// authAnswer reads "AUTH length", after lines of environment, and that many
// octets: service, "login", user and password, a line each.
func (s *Server) authAnswer(r io.Reader) string {
	const refused = "FAIL\n"
	br := bufio.NewReader(io.LimitReader(r, maxAuthRequest))
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return refused
		}
		length, found := strings.CutPrefix(strings.TrimSpace(line), "AUTH ")
		if !found {
			continue
		}
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > maxAuthRequest {
			return refused
		}
		request := make([]byte, n)
		if _, err := io.ReadFull(br, request); err != nil {
			return refused
		}
		words := strings.Split(string(request), "\n")
		if len(words) < 4 || words[1] != "login" {
			return refused
		}
		if password, ok := s.users[words[2]]; !ok || password != words[3] {
			return refused
		}
		home := s.path(words[2])
		return fmt.Sprintf("UID=%d\nGID=%d\nHOME=%s\nADDRESS=%s\nMAILDIR=%s/Maildir\n.\n", s.uid, s.gid, home, words[2], home)
	}
}
