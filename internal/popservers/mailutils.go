package popservers

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const (
	mailutilsBinary = "usr/sbin/pop3d"
	// mailutilsDomain is that of a virtual domain, whose users are in a file of
	// the server's own.
	mailutilsDomain = "mail.test"
)

// StartMailutils starts the POP3 server of GNU mailutils on mailboxes in mbox
// format. It puts a timestamp for APOP into its greeting, and has no secret of
// any user for it.
func StartMailutils(ctx context.Context, users Users) (*Server, error) {
	return start(ctx, mailutils{}, users)
}

type mailutils struct{}

func (mailutils) login(user string) string { return user + "@" + mailutilsDomain }

func (mailutils) prepare(s *Server) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.users)) {
		hash, err := exec.Command("openssl", "passwd", "-6", s.users[name]).Output() //nolint:noctx // computes for milliseconds
		if err != nil {
			return fmt.Errorf("openssl passwd: %w", err)
		}
		fmt.Fprintf(&b, "%s:%s:%d:%d::%s:/bin/sh\n", name, bytes.TrimSpace(hash), s.uid, s.gid, s.path(name))
	}
	if err := os.Mkdir(s.path("passwd"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.path("passwd", mailutilsDomain), []byte(b.String()), 0o644)
}

func (mailutils) commands(s *Server) ([]*exec.Cmd, error) {
	conf := fmt.Sprintf(`mode daemon;
foreground yes;
max-children 50;
pidfile %[1]s/pid;
logging { syslog no; };
tcp-wrappers { enable no; };
auth { authorization clear; authorization virtdomain; authentication clear; authentication generic; };
virtdomain { passwd-dir %[1]s/passwd; };
tls-file-checks { key-file none; cert-file none; };
tls { ssl-certificate-file %[1]s/cert.pem; ssl-key-file %[1]s/key.pem; };
server %[2]s { tls-mode ondemand; };
server %[3]s { tls-mode connection; };
`, s.dir, s.Addr, s.TLSAddr)
	if err := os.WriteFile(s.path("conf"), []byte(conf), 0o600); err != nil {
		return nil, err
	}
	cmd, err := program(mailutilsBinary, "--config-file="+s.path("conf"))
	return []*exec.Cmd{cmd}, err
}

// deliver appends to an mbox file, in which lines end in LF, a line "From " gets
// a ">", and the last line ends.
func (mailutils) deliver(s *Server, user string, msg []byte) error {
	path := s.path(user, "INBOX")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	msg = bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n"))
	msg = bytes.ReplaceAll(msg, []byte("\nFrom "), []byte("\n>From "))
	_, err = fmt.Fprintf(f, "From sender@example.com Thu Jan  1 00:00:00 2026\n%s\n\n", bytes.TrimSuffix(msg, []byte("\n")))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Chown(path, s.uid, s.gid)
}
