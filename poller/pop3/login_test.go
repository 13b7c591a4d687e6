package pop3_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

func TestLoginByEachWay(t *testing.T) {
	for _, tc := range []struct {
		name   string
		server pop3test.Config
		tls    pop3.TLSMode
		cred   pop3.Mechanism
		uses   string
	}{
		{"implicit TLS, SASL", pop3test.Config{TLS: pop3test.TLSImplicit, APOP: true}, pop3.TLSImplicit, "", "AUTH PLAIN"},
		{"implicit TLS, no SASL", pop3test.Config{TLS: pop3test.TLSImplicit, APOP: true, Without: []string{"SASL"}}, pop3.TLSImplicit, "", "PASS"},
		{"STLS", pop3test.Config{TLS: pop3test.TLSStart}, pop3.TLSStart, "", "AUTH PLAIN"},
		{"plaintext, timestamp", pop3test.Config{APOP: true}, pop3.TLSNone, "", "APOP " + user},
		{"plaintext", pop3test.Config{}, pop3.TLSNone, "", "AUTH PLAIN"},
		{"no CAPA", pop3test.Config{Without: []string{"CAPA"}}, pop3.TLSNone, "", "PASS"},
		{"forced USER", pop3test.Config{APOP: true}, pop3.TLSNone, pop3.MechanismUser, "PASS"},
		{"forced PLAIN", pop3test.Config{APOP: true}, pop3.TLSNone, pop3.MechanismPlain, "AUTH PLAIN"},
		{"APOP refused as unknown", pop3test.Config{APOP: true, Hook: pop3test.Reply("APOP", "", "-ERR unknown command")}, pop3.TLSNone, "", "AUTH PLAIN"},
		{"PLAIN refused as unknown", pop3test.Config{Hook: pop3test.Reply("AUTH", "", "-ERR mechanism not supported")}, pop3.TLSNone, "", "PASS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var rec pop3test.Recorder
			tc.server.OnCommand = rec.OnCommand
			server := startServer(t, tc.server, "a\r\n")
			options := optionsFor(server)
			options.TLS, options.TLSConfig = tc.tls, server.ClientTLS()
			options.Mechanism = tc.cred
			conn := dial(t, options)
			if err := conn.Login(t.Context(), pop3.Credentials{Username: user, Password: password}); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(rec.Commands(), ": "+tc.uses) {
				t.Errorf("commands %q, want %q", rec.Commands(), tc.uses)
			}
			if state := conn.TLS(); (state != nil) != (tc.tls != pop3.TLSNone) || state != nil && state.Version < tls.VersionTLS12 {
				t.Errorf("TLS state %+v", state)
			}
			if count, octets, err := conn.Stat(t.Context()); count != 1 || octets != 3 || err != nil {
				t.Errorf("Stat: %d, %d, %v", count, octets, err)
			}
		})
	}
}

func TestWrongPasswordIsSentOnceAndNamedSo(t *testing.T) {
	var rec pop3test.Recorder
	server := startServer(t, pop3test.Config{OnCommand: rec.OnCommand})
	conn := dial(t, optionsFor(server))
	err := conn.Login(t.Context(), pop3.Credentials{Username: user, Password: "wrong"})
	want := "login to " + server.Addr() + ` as sales@example.com refused: "[AUTH] Authentication failed" (check username and password)`
	if err == nil || err.Error() != want || pop3.KindOf(err) != pop3.KindAuth {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	var e *pop3.Error
	if !errors.As(err, &e) || e.Temporary() || e.Code != "AUTH" {
		t.Errorf("%+v", e)
	}
	if n := len(rec.Commands()); n != 2 { // CAPA, AUTH PLAIN
		t.Errorf("commands %q", rec.Commands())
	}
	if err := conn.Quit(t.Context()); err != nil {
		t.Errorf("Quit after a refused login: %v", err)
	}
}

func TestTemporaryRefusalOfLoginIsNeverAWrongPassword(t *testing.T) {
	for answer, want := range map[string]pop3.Kind{
		"-ERR [IN-USE] x":                            pop3.KindBusy,
		"-ERR [LOGIN-DELAY] x":                       pop3.KindBusy,
		"-ERR [SYS/TEMP] x":                          pop3.KindTemporary,
		"-ERR [SYS/PERM] x":                          pop3.KindRefused,
		"-ERR Unable to lock maildrop: is locked":    pop3.KindBusy,
		"-ERR authentication service is unavailable": pop3.KindTemporary,
		"-ERR wait a while":                          pop3.KindBusy,
		"-ERR no":                                    pop3.KindRefused,
		"-ERR [AUTH] no":                             pop3.KindAuth,
	} {
		var rec pop3test.Recorder
		server := startServer(t, pop3test.Config{
			Without: []string{"SASL"}, OnCommand: rec.OnCommand, Hook: pop3test.Reply("PASS", "", answer),
		})
		conn := dial(t, optionsFor(server))
		err := conn.Login(t.Context(), pop3.Credentials{Username: user, Password: password})
		var e *pop3.Error
		if !errors.As(err, &e) || e.Kind != want || e.Temporary() != (want == pop3.KindBusy || want == pop3.KindTemporary) {
			t.Errorf("%q: %v, want kind %s", answer, err, want)
		}
		if want != pop3.KindAuth && strings.Contains(err.Error(), "password") {
			t.Errorf("%q: blames the password: %v", answer, err)
		}
	}
}

func TestGreetingRefusedIsTemporary(t *testing.T) {
	server := startServer(t, pop3test.Config{Hook: pop3test.Reply(pop3test.VerbGreeting, "", "-ERR go away")})
	_, err := pop3.Dial(t.Context(), optionsFor(server))
	want := "greeting of " + server.Addr() + ` refused: "go away" (try again later)`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestSecretsAreNeitherInErrorsNorInLogs(t *testing.T) {
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	for name, tc := range map[string]struct{ without, verb, answer string }{
		"echoed by PASS":               {"SASL", "PASS", "-ERR bad command PASS " + password + "\r\n"},
		"echoed by AUTH":               {"", "AUTH", "-ERR [AUTH] AUTH PLAIN " + response + "\r\n"},
		"echoed as something else":     {"SASL", "PASS", "PASS " + password + "\r\n"},
		"echoed on top of an answer":   {"SASL", "PASS", "+OK\r\nPASS " + password + "\r\n"},
		"cut in two by the limit":      {"SASL", "PASS", "-ERR " + strings.Repeat("x", 195) + password + "\r\n"},
		"echoed as a SASL challenge":   {"", "AUTH", "+ " + response + "\r\n"},
		"echoed in the wrong encoding": {"SASL", "PASS", "\x00" + password + "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			server := startServer(t, pop3test.Config{
				Without: []string{tc.without},
				Hook:    pop3test.On(tc.verb, "", func(*pop3test.Session, pop3test.Answer) pop3test.Answer { return pop3test.Raw(tc.answer) }),
			})
			options := optionsFor(server)
			options.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			conn := dial(t, options)
			err := conn.Login(t.Context(), pop3.Credentials{Username: user, Password: password})
			if err == nil {
				t.Fatal("login succeeded")
			}
			for _, secret := range []string{password, password[:5], response} {
				if strings.Contains(err.Error()+log.String(), secret) {
					t.Errorf("%q in %v\n%s", secret, err, log.String())
				}
			}
		})
	}
}

func TestUnusableCredentialsAreNotSent(t *testing.T) {
	for name, tc := range map[string]struct {
		cred pop3.Credentials
		host string
	}{
		"no username":         {pop3.Credentials{Password: password}, "localhost"},
		"CRLF in the user":    {pop3.Credentials{Username: "a\r\nDELE 1", Password: password}, "localhost"},
		"LF in the password":  {pop3.Credentials{Username: user, Password: "a\nDELE 1"}, "localhost"},
		"NUL in the password": {pop3.Credentials{Username: user, Password: "a\x00"}, "localhost"},
		"no password":         {pop3.Credentials{Username: user}, "localhost"},
		"not encrypted":       {pop3.Credentials{Username: user, Password: password}, "pop.example.com"},
	} {
		options := script(t, "+OK <1.2> no timestamp\r\n", "C: CAPA", "-ERR\r\n", "HANG")
		options.Host = tc.host
		conn := dial(t, options)
		err := conn.Login(t.Context(), tc.cred)
		if pop3.KindOf(err) != pop3.KindConfig || strings.Contains(err.Error(), tc.cred.Password) && tc.cred.Password != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAllowPlaintextPermitsLogin(t *testing.T) {
	options := script(t, session("", "HANG")...)
	options.Host, options.AllowPlaintext = "pop.example.com", true
	login(t, options)
}

func TestLongSASLResponseIsSentAfterTheChallenge(t *testing.T) {
	long := strings.Repeat("p", 300)
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + long))
	conn := dial(t, script(t, "+OK\r\n", "C: CAPA", "+OK\r\nSASL PLAIN\r\n.\r\n",
		"C: AUTH PLAIN", "+ \r\n", "C: "+response, "+OK\r\n", "C: CAPA", "+OK\r\nUIDL\r\nEXPIRE 30 USER\r\n.\r\n", "HANG"))
	if err := conn.Login(t.Context(), pop3.Credentials{Username: user, Password: long}); err != nil {
		t.Fatal(err)
	}
	if caps := conn.Capabilities(); !caps.Has("uidl") || caps.HasSASL("PLAIN") || !slices.Equal(caps["EXPIRE"], []string{"30", "USER"}) {
		t.Errorf("capabilities after login: %v", caps)
	}
}

func TestSTLSIsNeverDowngraded(t *testing.T) {
	for name, lines := range map[string][]string{
		"refused":        {"+OK\r\n", "C: STLS", "-ERR unknown command\r\n"},
		"injected":       {"+OK\r\n", "C: STLS", "+OK\r\n+OK injected\r\n"},
		"in other words": {"+OK\r\n", "C: STLS", "-ERR not now and not here\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			options := script(t, lines...)
			options.TLS = pop3.TLSStart
			conn, err := pop3.Dial(t.Context(), options)
			if conn != nil || pop3.KindOf(err) != pop3.KindTLS {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestTLSErrorsSayWhatIsWrong(t *testing.T) {
	certificate := func(from, to time.Duration, host string) *tls.Certificate {
		cert, err := pop3test.NewCertificate(time.Now().Add(from), time.Now().Add(to), host)
		if err != nil {
			t.Fatal(err)
		}
		return &cert
	}
	for name, tc := range map[string]struct {
		config pop3test.Config
		trust  bool
		want   string
	}{
		"expired":      {pop3test.Config{TLS: pop3test.TLSImplicit, Certificate: certificate(-2*time.Hour, -time.Hour, "127.0.0.1")}, true, "the certificate is expired"},
		"not yet":      {pop3test.Config{TLS: pop3test.TLSImplicit, Certificate: certificate(time.Hour, 2*time.Hour, "127.0.0.1")}, true, "not yet valid"},
		"other host":   {pop3test.Config{TLS: pop3test.TLSImplicit, Certificate: certificate(-time.Hour, time.Hour, "other.example")}, true, "the certificate is for another host"},
		"self-signed":  {pop3test.Config{TLS: pop3test.TLSImplicit}, false, "self-signed or its authority is unknown"},
		"no TLS there": {pop3test.Config{}, false, "the server does not speak TLS here"},
	} {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, tc.config)
			options := optionsFor(server)
			options.TLS = pop3.TLSImplicit
			if tc.trust {
				options.TLSConfig = server.ClientTLS()
			}
			_, err := pop3.Dial(t.Context(), options)
			if pop3.KindOf(err) != pop3.KindTLS || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			var e *pop3.Error
			if errors.As(err, &e) && (e.Temporary() || e.Hint == "") {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestConnectErrorsSayWhatIsWrong(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = pop3.Dial(t.Context(), pop3.Options{Host: "127.0.0.1", Port: addr.Port})
	var e *pop3.Error
	if !errors.As(err, &e) || e.Kind != pop3.KindConnect || !e.Temporary() || !strings.Contains(e.Error(), "refused") {
		t.Errorf("closed port: %v", err)
	}

	_, err = pop3.Dial(t.Context(), pop3.Options{
		Host: "pop.exmaple.com",
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "pop.exmaple.com", IsNotFound: true}
		},
	})
	want := "connect to pop.exmaple.com:995: unknown host: lookup pop.exmaple.com: no such host (check the host name)"
	if !errors.As(err, &e) || e.Temporary() || e.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}

	for _, options := range []pop3.Options{
		{}, {Host: "a", Port: 65536}, {Host: "a", Port: -1}, {Host: "a", TLS: 9}, {Host: "a", PipelineWindow: -1}, {Host: "a", CommandTimeout: -1}, {Host: "a", Mechanism: "X"},
	} {
		if _, err := pop3.Dial(t.Context(), options); pop3.KindOf(err) != pop3.KindConfig {
			t.Errorf("%+v: %v", options, err)
		}
	}
}
