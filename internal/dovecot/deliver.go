package dovecot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// firstDelivery is the time in the name of the first message, in seconds.
// Dovecot numbers new mail by these names.
const firstDelivery = 1_700_000_000

func (s *Server) home(user string) string { return s.path("home", user) }

func (s *Server) makeHome(user string) error {
	dirs := []string{s.path("home"), s.home(user)}
	if s.opts.Storage == Maildir {
		m := s.path("home", user, "Maildir")
		dirs = append(dirs, m, filepath.Join(m, "cur"), filepath.Join(m, "new"), filepath.Join(m, "tmp"))
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := s.chown(dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) chown(path string) error {
	if s.owner == nil {
		return nil
	}
	return os.Chown(path, s.owner.uid, s.owner.gid)
}

// Deliver puts a message into the user's mailbox, after all earlier ones. A
// session that is open does not see it. With Mbox no session of the user may
// be open, and lines that begin with "From " get a '>' in front. Line ends may
// be LF or CRLF: POP3 serves CRLF either way.
func (s *Server) Deliver(user string, msg []byte) error {
	if _, ok := s.opts.Users[user]; !ok {
		return fmt.Errorf("deliver: no user %q", user)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.delivered
	s.delivered++
	if s.opts.Storage == Mbox {
		return s.appendMbox(user, msg)
	}
	maildir := filepath.Join(s.home(user), "Maildir")
	name := fmt.Sprintf("%d.M0P%d.test", firstDelivery+n, os.Getpid())
	tmp := filepath.Join(maildir, "tmp", name)
	if err := os.WriteFile(tmp, msg, 0o600); err != nil {
		return err
	}
	if err := s.chown(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(maildir, "new", name))
}

// appendMbox adds a message as a delivery agent does.
func (s *Server) appendMbox(user string, msg []byte) error {
	name := filepath.Join(s.home(user), "inbox")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	sep := "From sender@example.com " + time.Unix(firstDelivery, 0).UTC().Format(time.ANSIC) + "\n"
	end := "\n"
	if len(msg) == 0 || msg[len(msg)-1] != '\n' {
		end = "\n\n"
	}
	body := strings.ReplaceAll("\n"+string(msg), "\nFrom ", "\n>From ")[1:]
	_, err = f.WriteString(sep + body + end)
	return errors.Join(err, f.Close(), s.chown(name))
}
