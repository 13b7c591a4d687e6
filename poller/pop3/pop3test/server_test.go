package pop3test_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, config pop3test.Config, messages ...string) *pop3test.Server {
	t.Helper()
	box := pop3test.Mailbox{User: "ann", Password: "pw"}
	for _, m := range messages {
		box.Messages = append(box.Messages, pop3test.Bytes([]byte(m)))
	}
	config.Mailboxes = append(config.Mailboxes, box)
	server, err := pop3test.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// client is a raw connection.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func connect(t *testing.T, server *pop3test.Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, Conn: conn, r: bufio.NewReader(conn)}
}

// say sends text and checks that the answer starts as it should.
func (c *client) say(text string, want ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
	for _, w := range want {
		line, err := c.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, w) {
			c.t.Fatalf("after %q: got %q, error %v, want %q", text, line, err, w)
		}
	}
}

func login(t *testing.T, server *pop3test.Server) *client {
	t.Helper()
	c := connect(t, server)
	c.say("", "+OK")
	c.say("USER ann\r\nPASS pw\r\n", "+OK", "+OK")
	return c
}

func contents(t *testing.T, server *pop3test.Server) []string {
	t.Helper()
	messages, err := server.Messages("ann")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range messages {
		b, err := m.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}

func TestStuff(t *testing.T) {
	const message = "A: b\r\n\r\n.one\r\ntwo\n.\r\nthree"
	for lines, want := range map[int]string{
		-1: "A: b\r\n\r\n..one\r\ntwo\n.\r\nthree\r\n.\r\n",
		0:  "A: b\r\n\r\n.\r\n",
		1:  "A: b\r\n\r\n..one\r\n.\r\n",
		9:  "A: b\r\n\r\n..one\r\ntwo\n.\r\nthree\r\n.\r\n",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(message), "bytes": iotest.OneByteReader(strings.NewReader(message))} {
			var b bytes.Buffer
			if err := pop3test.Stuff(&b, r, lines); err != nil || b.String() != want {
				t.Errorf("%d lines, %s: got %q, error %v, want %q", lines, name, b.String(), err, want)
			}
		}
	}
	broken := errors.New("broken disk")
	var b bytes.Buffer
	if err := pop3test.Stuff(&b, iotest.ErrReader(broken), -1); !errors.Is(err, broken) || b.Len() != 0 {
		t.Errorf("a message that cannot be read ends like one that can: %q, %v", b.String(), err)
	}
}

func TestSessionSeesTheMaildropAsItWasAtLogin(t *testing.T) {
	server := start(t, pop3test.Config{}, "one", "two")
	c := login(t, server)
	if err := server.Deliver("ann", pop3test.Bytes([]byte("three"))); err != nil {
		t.Fatal(err)
	}
	c.say("STAT\r\n", "+OK 2 6")
	c.say("DELE 1\r\nSTAT\r\nRETR 1\r\nDELE 1\r\n", "+OK", "+OK 1 3", "-ERR", "-ERR")
	c.say("LIST\r\n", "+OK", "2 3", ".")
	c.say("UIDL 2\r\n", "+OK 2 uid-2")
	if got := contents(t, server); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("before QUIT: %q", got)
	}
	c.say("QUIT\r\n", "+OK")
	if got := contents(t, server); !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("after QUIT: %q", got)
	}
	c = login(t, server)
	c.say("UIDL\r\n", "+OK", "1 uid-2", "2 uid-3", ".")
}

func TestMaildropIsLockedForOneSession(t *testing.T) {
	server := start(t, pop3test.Config{}, "one")
	c := login(t, server)
	other := connect(t, server)
	other.say("", "+OK")
	other.say("USER ann\r\nPASS pw\r\n", "+OK", "-ERR [IN-USE]")
	c.say("DELE 1\r\n", "+OK")
	c.say("QUIT\r\n", "+OK")
	other.say("USER ann\r\nPASS pw\r\n", "+OK", "+OK 0")
}

func TestDropWithoutQuitDeletesNothing(t *testing.T) {
	released := make(chan struct{})
	server := start(t, pop3test.Config{}, "one")
	c := login(t, server)
	c.say("DELE 1\r\n", "+OK")
	server.CloseSessions()
	go func() {
		defer close(released)
		_, _ = io.Copy(io.Discard, c.r)
	}()
	<-released
	if err := server.Close(); err != nil { // waits for the session
		t.Fatal(err)
	}
	if locked, err := server.Locked("ann"); locked || err != nil {
		t.Errorf("locked %v, %v", locked, err)
	}
	if got := contents(t, server); len(got) != 1 {
		t.Errorf("%q remain", got)
	}
}

func TestCommandsAreNotServedOutOfPlace(t *testing.T) {
	server := start(t, pop3test.Config{Without: []string{"TOP"}}, "one")
	c := connect(t, server)
	c.say("", "+OK")
	for _, command := range []string{"STAT", "RETR 1", "STLS", "APOP ann x", "AUTH CRAM-MD5", "XYZ", ""} {
		c.say(command+"\r\n", "-ERR")
	}
	c.say("USER ann\r\nPASS wrong\r\n", "+OK", "-ERR [AUTH]")
	c.say("USER bob\r\nPASS pw\r\n", "+OK", "-ERR [AUTH]")
	c.say("USER ann\r\nPASS pw\r\n", "+OK", "+OK")
	for _, command := range []string{"TOP 1 0", "RETR 0", "RETR x", "RETR 2", "DELE -1", "USER ann", "XYZ"} {
		c.say(command+"\r\n", "-ERR")
	}
	c.say("RETR 1\r\n", "+OK 3 octets", "one", ".")
}

func TestSecretsDoNotReachHooks(t *testing.T) {
	var rec pop3test.Recorder
	server := start(t, pop3test.Config{OnCommand: rec.OnCommand, APOP: true}, "one")
	c := connect(t, server)
	c.say("", "+OK")
	c.say("USER ann\r\nPASS nope\r\nAPOP ann 0123\r\nAUTH PLAIN AGFubgBwdw==\r\nNOOP\r\n", "+OK", "-ERR", "-ERR", "+OK", "+OK")
	want := []string{": USER ann", ": PASS", ": APOP ann", ": AUTH PLAIN", "ann: NOOP"}
	if got := rec.Commands(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestHooks(t *testing.T) {
	release := make(chan struct{})
	server := start(t, pop3test.Config{Hook: pop3test.Hooks(
		pop3test.Times(1, pop3test.Reply("NOOP", "", "-ERR once")),
		pop3test.Reply("RETR", "1", "-ERR not this one"),
		pop3test.On("LIST", "", func(_ *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
			return pop3test.Edit(normal, func(raw []byte) []byte { return bytes.ReplaceAll(raw, []byte(" 3"), []byte(" -7")) })
		}),
		pop3test.On("STAT", "", func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
			return pop3test.Stall(s, release, normal)
		}),
		pop3test.On("DELE", "", func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
			if s.User() != "ann" {
				t.Errorf("user %q", s.User())
			}
			return pop3test.DropAfter(2, normal)
		}),
	)}, "one", "two")
	c := login(t, server)
	c.say("NOOP\r\nNOOP\r\n", "-ERR once", "+OK")
	c.say("RETR 1\r\nRETR 2\r\n", "-ERR not this one", "+OK", "two", ".")
	c.say("LIST\r\n", "+OK", "1 -7", "2 -7", ".")
	c.say("STAT\r\n")
	close(release)
	c.say("", "+OK 2")
	c.say("DELE 1\r\n")
	if rest, err := io.ReadAll(c.r); string(rest) != "+O" || err != nil {
		t.Errorf("after the drop: %q, %v", rest, err)
	}
}

func TestCloseEndsStalls(t *testing.T) {
	inside := make(chan struct{})
	server := start(t, pop3test.Config{Hook: pop3test.On("RETR", "", func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
		close(inside)
		return pop3test.StallAfter(s, 5, normal)
	})}, "one")
	c := login(t, server)
	c.say("RETR 1\r\n")
	<-inside
	if err := errors.Join(server.Close(), server.Close()); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(c.r); len(rest) > 5 {
		t.Errorf("%q", rest)
	}
}

func TestSTLS(t *testing.T) {
	server := start(t, pop3test.Config{TLS: pop3test.TLSStart}, "one")
	c := connect(t, server)
	c.say("", "+OK")
	c.say("STLS\r\n", "+OK")
	config := server.ClientTLS()
	config.ServerName = "localhost"
	conn := tls.Client(c.Conn, config)
	encrypted := &client{t: t, Conn: conn, r: bufio.NewReader(conn)}
	encrypted.say("USER ann\r\nPASS pw\r\n", "+OK", "+OK")
	encrypted.say("STLS\r\n", "-ERR")
}

func TestMessagesAreStreamedFromTheirOpener(t *testing.T) {
	const size = 64 << 20
	server := start(t, pop3test.Config{})
	err := server.SetMessages("ann", pop3test.Message{
		UIDL: "large", Size: size,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(xs{}, size)), nil },
	}, pop3test.Message{
		Open: func() (io.ReadCloser, error) { return nil, errors.New("broken disk") },
	})
	if err != nil {
		t.Fatal(err)
	}
	c := login(t, server)
	c.say("RETR 1\r\n", "+OK")
	if n, err := io.CopyN(io.Discard, c.r, size); n != size || err != nil {
		t.Fatal(n, err)
	}
	c.say("RETR 2\r\n", "\r\n", ".\r\n", "-ERR [SYS/TEMP]")
	if server.SetMessages("bob") == nil {
		t.Error("a mailbox that is none takes messages")
	}
}

// xs is an endless x.
type xs struct{}

func (xs) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
