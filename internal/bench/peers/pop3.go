package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/postkeep/postkeep/internal/bench/fill"
	"github.com/postkeep/postkeep/internal/dovecot"
)

const password = "geheim"

// client is a program that empties a mailbox. prepare writes its configuration into dir.
type client struct {
	name string
	most int // rounds
	// prepare returns what is run, the only thing that is measured.
	prepare func(dir, host, port string) ([]*exec.Cmd, error)
	// keeps is where it keeps the mail in dir, "" if nowhere.
	keeps string
}

// durable is case a.
func (b *bench) durable(ctx context.Context) error {
	return b.race(ctx, "POP3 to durable", []client{
		{name: "postkeep poll --no-index", prepare: b.preparePoll("index: { extract: false }", "--no-index"), keeps: "data"},
		{name: "mpop (Maildir)", prepare: prepareMpop, keeps: "Maildir"},
		{name: "nothing kept (pipelined RETR, DELE, QUIT)", prepare: prepareDrain},
		{name: "getmail6 (Maildir)", prepare: prepareGetmail, keeps: "Maildir"},
		{name: "fetchmail (dovecot-lda, Maildir)", most: 1, prepare: prepareFetchmail, keeps: "Maildir"},
	})
}

// searchable is case c.
func (b *bench) searchable(ctx context.Context) error {
	return b.race(ctx, "POP3 to searchable", []client{
		{name: "postkeep poll", prepare: b.preparePoll("index: { extract: false }"), keeps: "data"},
		{name: "mpop, then notmuch new", keeps: "Maildir", prepare: func(dir, host, port string) ([]*exec.Cmd, error) {
			cmds, err := prepareMpop(dir, host, port)
			if err != nil {
				return nil, err
			}
			index, err := b.notmuch(filepath.Join(dir, "Maildir"), "new", "--quiet")
			return append(cmds, index), err
		}},
		{name: "postkeep poll, attachments read", prepare: b.preparePoll(""), keeps: "data"},
	})
}

// race measures clients with a mailbox of all the mail, which they have to empty. What they have written is removed at the end, see
// exporting.
func (b *bench) race(ctx context.Context, title string, clients []client) (err error) {
	all := filepath.Join(b.dir, "clients")
	if err := errors.Join(os.RemoveAll(all), os.Mkdir(all, 0o755)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(all)) }()
	contenders := make([]contender, len(clients))
	for i, c := range clients {
		contenders[i] = contender{name: c.name, most: c.most, run: func(ctx context.Context) (result, error) { return b.empty(ctx, c, all) }}
	}
	return b.turns(ctx, title, contenders)
}

// empty has a client empty a new mailbox. The server has counted the mail before, so that it does not
// do so in the time of the client.
func (b *bench) empty(ctx context.Context, c client, all string) (r result, err error) {
	dir, err := os.MkdirTemp(all, "")
	if err != nil {
		return r, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // peers that do not work as root
		return r, err
	}
	s, err := dovecot.Start(ctx, dovecot.Options{Users: map[string]string{mailbox: password}})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := b.mail.each(ctx, func(msg []byte) error { return s.Deliver(mailbox, msg) }); err != nil {
		return r, err
	}
	if _, err := s.Count(ctx, mailbox); err != nil {
		return r, err
	}
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return r, err
	}
	cmds, err := c.prepare(dir, host, port)
	if err != nil {
		return r, err
	}
	for _, cmd := range cmds {
		u, err := b.measured(ctx, cmd)
		if err != nil {
			return r, err
		}
		r.usage = r.usage.plus(u)
	}
	if n, err := s.Count(ctx, mailbox); err != nil || n != 0 {
		return r, errors.Join(fmt.Errorf("%d messages are left in the mailbox", n), err)
	}
	if c.keeps != "" {
		r.disk, err = fill.Size(filepath.Join(dir, c.keeps))
	}
	return r, err
}

func (b *bench) preparePoll(options string, flags ...string) func(dir, host, port string) ([]*exec.Cmd, error) {
	return func(dir, host, port string) ([]*exec.Cmd, error) {
		if err := b.initialise(dir, host, port, options); err != nil {
			return nil, err
		}
		return []*exec.Cmd{b.postkeep(dir, append([]string{"poll"}, flags...)...)}, nil
	}
}

// initialise makes an empty archive with one mailbox.
func (b *bench) initialise(dir, host, port, options string) error {
	text := fmt.Sprintf("data_dir: data\ntime_zone: UTC\nlog: { level: warn }\n%s\nmailboxes:\n", options) +
		fmt.Sprintf("- { name: %s, host: %s, port: %s, tls: none, username: %[1]s, password_file: p }\n", mailbox, host, port)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "postkeep.yaml"), []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "p"), []byte(password), 0o600)); err != nil {
		return err
	}
	return exec.Command(b.binary, "init", dir).Run() //nolint:noctx // takes no time
}

// write makes the configuration of a peer, and its Maildir.
func write(dir, name, text string) (string, error) {
	path := filepath.Join(dir, name)
	return path, errors.Join(os.WriteFile(path, []byte(text), 0o600), makeMaildir(filepath.Join(dir, "Maildir")))
}

// prepareMpop relies on defaults: pipelining where the server has it, an fsync for each message.
func prepareMpop(dir, host, port string) ([]*exec.Cmd, error) {
	config, err := write(dir, "mpoprc", fmt.Sprintf("account default\nhost %s\nport %s\nuser %s\npassword %s\nauth user\ntls off\nkeep off\n"+
		"delivery maildir %s\nuidls_file %s\n", host, port, mailbox, password, filepath.Join(dir, "Maildir"), filepath.Join(dir, "uidls")))
	return []*exec.Cmd{exec.Command("mpop", "--quiet", "--file="+config)}, err //nolint:noctx // measured ends it with its context
}

func prepareGetmail(dir, host, port string) ([]*exec.Cmd, error) {
	config, err := write(dir, "getmailrc", fmt.Sprintf("[retriever]\ntype = SimplePOP3Retriever\nserver = %s\nport = %s\nusername = %s\npassword = %s\ntimeout = 10\n"+
		"[destination]\ntype = Maildir\npath = %s/\n[options]\nread_all = true\ndelete = true\ndelivered_to = false\nreceived = false\nverbose = 0\n",
		host, port, mailbox, password, filepath.Join(dir, "Maildir")))
	if err != nil {
		return nil, err
	}
	cmd, err := asNobody(dir, "getmail", "--getmaildir="+dir, "--rcfile="+config)
	return []*exec.Cmd{cmd}, err
}

// asNobody prepares a program that refuses to work as root, with dir as its own.
func asNobody(dir, name string, args ...string) (*exec.Cmd, error) {
	if os.Geteuid() == 0 {
		if out, err := exec.Command("chown", "-R", "nobody:nogroup", dir).CombinedOutput(); err != nil { //nolint:noctx // takes no time
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
		args = append([]string{"--reuid=nobody", "--regid=nogroup", "--clear-groups", name}, args...)
		name = "setpriv"
	}
	cmd := exec.Command(name, args...) //nolint:noctx // measured ends it with its context
	cmd.Env = append(slices.Clone(os.Environ()), "HOME="+dir, "FETCHMAILHOME="+dir)
	return cmd, nil
}

// prepareFetchmail has dovecot-lda deliver, a process for each message: fetchmail itself writes no Maildir.
func prepareFetchmail(dir, host, port string) ([]*exec.Cmd, error) {
	lda, err := write(dir, "lda.conf", fmt.Sprintf("mail_location = maildir:%s\nlog_path = %s\npostmaster_address = bench@example.com\nfirst_valid_uid = 1\n",
		filepath.Join(dir, "Maildir"), filepath.Join(dir, "lda.log")))
	if err != nil {
		return nil, err
	}
	config, err := write(dir, "fetchmailrc", fmt.Sprintf("poll %s protocol pop3 port %s auth password username \"%s\" password \"%s\" sslproto \"\" fetchall nokeep mda \"/usr/lib/dovecot/dovecot-lda -c %s\"\n",
		host, port, mailbox, password, lda))
	if err != nil {
		return nil, err
	}
	cmd, err := asNobody(dir, "fetchmail", "--silent", "--fetchmailrc", config, "--pidfile", filepath.Join(dir, "fetchmail.pid"))
	return []*exec.Cmd{cmd}, err
}

func prepareDrain(_, host, port string) ([]*exec.Cmd, error) {
	self, err := os.Executable()
	return []*exec.Cmd{exec.Command(self, drainCommand, net.JoinHostPort(host, port))}, err //nolint:noctx // measured ends it with its context
}
