package dovecot

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	Require(t)
	s, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("dovecot's log ends:\n%s", s.Log())
		}
		if err := s.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return s
}

func retrieve(t *testing.T, s *Server, user string) map[int]RawMessage {
	t.Helper()
	got, err := RawRetrieve(t.Context(), s.Addr, user, s.opts.Users[user])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func hash(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return hex.EncodeToString(sum[:])
}

func TestServerServesWhatWasDelivered(t *testing.T) {
	messages := []struct{ delivered, served string }{
		{"Subject: LF\n\nhello\n", "Subject: LF\r\n\r\nhello\r\n"},
		{"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n", "Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n"},
		{"Subject: 8-bit\r\n\r\n\xe9\xff\r\n", "Subject: 8-bit\r\n\r\n\xe9\xff\r\n"},
		{"Subject: long\n\n" + strings.Repeat("x", 200_000) + "\n", "Subject: long\r\n\r\n" + strings.Repeat("x", 200_000) + "\r\n"},
	}
	for _, storage := range []Storage{Maildir, Mbox} {
		t.Run(string(storage), func(t *testing.T) {
			s := start(t, Options{Users: map[string]string{"anna": "secret", "bert": "other"}, Storage: storage})
			for _, m := range messages {
				if err := s.Deliver("anna", []byte(m.delivered)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // reading deletes nothing
				got := retrieve(t, s, "anna")
				if len(got) != len(messages) {
					t.Fatalf("%d messages, want %d", len(got), len(messages))
				}
				seen := map[string]bool{}
				for i, m := range messages {
					g := got[i+1]
					if g.SHA256 != hash(m.served) || g.Size != int64(len(m.served)) {
						t.Errorf("message %d is %+v, want %s of %d octets", i+1, g, hash(m.served), len(m.served))
					}
					if g.UIDL == "" || seen[g.UIDL] {
						t.Errorf("message %d has UIDL %q, which is empty or not its own", i+1, g.UIDL)
					}
					seen[g.UIDL] = true
				}
			}
			for user, want := range map[string]int{"anna": len(messages), "bert": 0} {
				if n, err := s.Count(t.Context(), user); err != nil || n != want {
					t.Errorf("Count(%s) = %d, %v; want %d", user, n, err, want)
				}
			}
		})
	}
}

func TestMboxMessageMayBeginWithFromLine(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"anna": "secret"}, Storage: Mbox})
	for range 2 {
		if err := s.Deliver("anna", []byte("From x@example.com Thu Jan  1 00:00:00 1970\nSubject: x\n\nFrom y@example.com Thu Jan  1 00:00:00 1970\nend")); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Count(t.Context(), "anna"); err != nil || n != 2 {
		t.Errorf("Count = %d, %v; want 2", n, err)
	}
}

func TestDeliveryOrderIsNumberOrder(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"anna": "secret"}})
	const n = 1200
	for i := range n {
		if err := s.Deliver("anna", fmt.Appendf(nil, "Subject: %d\r\n\r\n", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	got := retrieve(t, s, "anna")
	if len(got) != n {
		t.Fatalf("%d messages, want %d", len(got), n)
	}
	for i := 1; i <= n; i++ {
		if got[i].SHA256 != hash(fmt.Sprintf("Subject: %d\r\n\r\n", i)) {
			t.Fatalf("message %d is not the one delivered as number %d", i, i)
		}
	}
}

func TestDeliverRefusesAnUnknownUser(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"anna": "secret"}})
	if err := s.Deliver("../anna", []byte("x")); err == nil {
		t.Error("Deliver accepted a user that does not exist")
	}
}

func TestCertificateIsGoodForBothKindsOfTLS(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"anna": "secret"}})
	pem, err := os.ReadFile(s.CAFile)
	if err != nil || !strings.Contains(string(pem), "BEGIN CERTIFICATE") {
		t.Fatalf("CAFile holds %q, %v", pem, err)
	}
	for _, name := range []string{"localhost", "127.0.0.1"} {
		conf := &tls.Config{RootCAs: s.CAPool, ServerName: name, MinVersion: tls.VersionTLS12}

		implicit, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", s.TLSAddr)
		if err != nil {
			t.Fatalf("implicit TLS as %s: %v", name, err)
		}
		checkGreeting(t, implicit)

		plain, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		c := newRawClient(plain)
		if _, err := c.status("greeting"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.command("STLS"); err != nil {
			t.Fatal(err)
		}
		upgraded := tls.Client(plain, conf)
		if err := upgraded.HandshakeContext(t.Context()); err != nil {
			t.Errorf("STLS as %s: %v", name, err)
		}
		_ = upgraded.Close()
	}
	_, err = (&tls.Dialer{Config: &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12}}).DialContext(t.Context(), "tcp", s.TLSAddr)
	if err == nil {
		t.Error("the certificate is trusted without CAPool")
	}
}

func checkGreeting(t *testing.T, conn net.Conn) {
	t.Helper()
	defer func() { _ = conn.Close() }()
	if _, err := newRawClient(conn).status("greeting"); err != nil {
		t.Error(err)
	}
}

func TestWrongPasswordIsRefusedAtOnce(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"anna": "secret"}})
	began := time.Now()
	for range 3 {
		_, err := RawRetrieve(t.Context(), s.Addr, "anna", "hunter2")
		if err == nil || !strings.Contains(err.Error(), "PASS") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want an error of PASS without the password", err)
		}
	}
	if d := time.Since(began); d > 5*time.Second { // Dovecot's own penalty is 2 s and doubles
		t.Errorf("three refusals took %v", d)
	}
}

func TestExtraConfigIsUsed(t *testing.T) {
	s := start(t, Options{
		Users:       map[string]string{"anna": "secret"},
		ExtraConfig: "pop3_uidl_format = %f",
	})
	if err := s.Deliver("anna", []byte("Subject: x\n\n")); err != nil {
		t.Fatal(err)
	}
	if got := retrieve(t, s, "anna")[1].UIDL; !strings.HasSuffix(got, ".test") {
		t.Errorf("UIDL is %q, want the file name as configured", got)
	}
}

func TestBadConfigurationShowsDovecotsReason(t *testing.T) {
	Require(t)
	s, err := Start(t.Context(), Options{ExtraConfig: "ssl_cert = </nonexistent"})
	if err == nil {
		t.Fatal(errors.Join(errors.New("Start succeeded"), s.Stop()))
	}
	if !strings.Contains(err.Error(), "dovecot ended") {
		t.Errorf("got %v, want that dovecot ended", err)
	}
}

func TestStartStopsWithItsContext(t *testing.T) {
	Require(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Start(ctx, Options{}); err == nil {
		t.Fatal(errors.Join(errors.New("Start succeeded"), s.Stop()))
	}
}

func TestStopLeavesNothing(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"anna": "secret"}})
	waiting, err := s.dial(t.Context(), s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	session, err := login(t.Context(), s.Addr, "anna", "secret") // has a process of its own
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{waiting, session.conn} {
		var timeout net.Error
		if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("a session goes on")
		}
		_ = conn.Close()
	}
	for _, addr := range []string{s.Addr, s.TLSAddr} {
		if _, err := s.dial(t.Context(), addr); err == nil {
			t.Errorf("%s still answers", addr)
		}
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory is left: %v", err)
	}
}

func TestOptionsThatWouldCorruptThePasswordFileAreRefused(t *testing.T) {
	for _, users := range []map[string]string{
		{"": "x"}, {"a:b": "x"}, {"a/b": "x"}, {"..": "x"}, {"a\nb": "x"}, {"a": "x:y"}, {"a": "x\ny"},
	} {
		if s, err := Start(t.Context(), Options{Users: users}); err == nil {
			t.Error(errors.Join(fmt.Errorf("Start accepted %q", users), s.Stop()))
		}
	}
	if s, err := Start(t.Context(), Options{Storage: "dbox"}); err == nil {
		t.Error(errors.Join(errors.New("Start accepted an unknown storage"), s.Stop()))
	}
}

// verdict records what Require does to a test.
type verdict struct {
	testing.TB
	said string
}

func (*verdict) Helper()                     {}
func (v *verdict) Skipf(f string, a ...any)  { v.said = "skip: " + fmt.Sprintf(f, a...) }
func (v *verdict) Fatalf(f string, a ...any) { v.said = "fatal: " + fmt.Sprintf(f, a...); panic(v) }

func TestRequireFailsOnlyWhereRealServersAreRequired(t *testing.T) {
	missing := func() (string, error) { return "", errors.New("dovecot is missing") }
	for env, want := range map[string]string{"": "skip: SKIPPED", "required": "fatal: POSTKEEP_REAL"} {
		t.Setenv("POSTKEEP_REAL", env)
		v := &verdict{TB: t}
		func() {
			defer func() { _ = recover() }()
			require(v, missing)
		}()
		if !strings.HasPrefix(v.said, want) || !strings.Contains(v.said, "dovecot is missing") {
			t.Errorf("POSTKEEP_REAL=%q: %q, want %q and the reason", env, v.said, want)
		}
	}
}

func TestRawReaderRemovesOnlyDotStuffing(t *testing.T) {
	long := strings.Repeat("x", maxStatusLine)
	cases := map[string]struct{ wire, want string }{
		"plain":                  {"a\r\nb\r\n", "a\r\nb\r\n"},
		"empty":                  {"", ""},
		"stuffed":                {"..\r\n...a\r\n", ".\r\n..a\r\n"},
		"unstuffed dot":          {".a\r\n", "a\r\n"},
		"bare LF is no line end": {"a\n.\nb\n.\r\n..c\r\n", "a\n.\nb\n.\r\n.c\r\n"},
		"bare CR is no line end": {"a\r.\rb\r\n", "a\r.\rb\r\n"},
		"NUL":                    {"a\x00\r\n", "a\x00\r\n"},
		"dot after a full buffer": {
			long + ".\r\n" + long[1:] + "\r\n..\r\n",
			long + ".\r\n" + long[1:] + "\r\n.\r\n",
		},
		"LF after a full buffer": {long[1:] + "\r" + "\n..\r\n", long[1:] + "\r\n.\r\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			client, server := net.Pipe()
			done := make(chan error, 1)
			go func() {
				_, rerr := server.Read(make([]byte, 64))
				_, werr := io.WriteString(server, "+OK\r\n"+c.wire+".\r\n")
				done <- errors.Join(rerr, werr)
			}()
			got, err := newRawClient(client).retr(1)
			if err != nil || got.SHA256 != hash(c.want) || got.Size != int64(len(c.want)) {
				t.Errorf("got %+v, %v; want %d octets of %s", got, err, len(c.want), hash(c.want))
			}
			if err := errors.Join(<-done, client.Close(), server.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRawReaderRefusesAnUnfinishedMessage(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		_, _ = server.Read(make([]byte, 64))
		_, _ = io.WriteString(server, "+OK\r\nhalf a mess")
		_ = server.Close()
	}()
	if got, err := newRawClient(client).retr(1); err == nil {
		t.Errorf("got %+v of a broken connection, want an error", got)
	}
	_ = client.Close()
}

func TestServersAreNotMistakenForEachOther(t *testing.T) {
	s, other := start(t, Options{}), start(t, Options{})
	if conn, err := s.dial(t.Context(), other.Addr); err == nil {
		t.Error(errors.Join(errors.New("a server took another one for itself"), conn.Close()))
	}
}
