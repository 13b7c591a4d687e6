package pop3_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// accessToken is as long as Microsoft's are.
var accessToken = strings.Repeat("t0ken", 300)

// withToken makes options for access tokens. Each refused token is followed by
// the next one.
func withToken(options pop3.Options, tokens ...string) pop3.Options {
	options.Token = func(_ context.Context, refused string) (string, error) {
		return tokens[min(slices.Index(tokens, refused)+1, len(tokens)-1)], nil
	}
	return options
}

func startTokenServer(t *testing.T, config pop3test.Config, user, token string) *pop3test.Server {
	t.Helper()
	config.Mailboxes = append(config.Mailboxes, pop3test.Mailbox{User: user, Token: token})
	return startServer(t, config)
}

func TestEachMechanismLogsInAndRefusesWrongSecrets(t *testing.T) {
	password := []pop3.Mechanism{
		pop3.MechanismSCRAM, pop3.MechanismPlain, pop3.MechanismLogin, pop3.MechanismUser, pop3.MechanismCRAMMD5, pop3.MechanismAPOP,
	}
	for _, m := range append(password, pop3.MechanismXOAuth2, pop3.MechanismOAuthBearer) {
		for _, right := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", m, right), func(t *testing.T) {
				const name = "a=b,c@example.com" // OAUTHBEARER and SCRAM encode it
				server := startServer(t, pop3test.Config{
					APOP: true, SASL: []string{string(m)},
					Mailboxes: []pop3test.Mailbox{{User: name, Password: "right", Token: "right"}},
				})
				options := optionsFor(server)
				options.Mechanism = m
				cred := pop3.Credentials{Username: name, Password: "wrong"}
				if right {
					cred.Password = "right"
				}
				if !slices.Contains(password, m) {
					options, cred.Password = withToken(options, cred.Password), ""
				}
				conn := dial(t, options)
				err := conn.Login(t.Context(), cred)
				if right != (err == nil) || err != nil && pop3.KindOf(err) != pop3.KindAuth {
					t.Fatalf("login: %v", err)
				}
				if conn.Mechanism() != m {
					t.Errorf("mechanism %q", conn.Mechanism())
				}
			})
		}
	}
}

func TestStrongestMechanismThatIsOfferedIsChosen(t *testing.T) {
	all := []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "GSSAPI"}
	for name, tc := range map[string]struct {
		tls   bool
		sasl  []string
		token bool
		want  pop3.Mechanism
	}{
		"all":                       {true, all, false, pop3.MechanismSCRAM},
		"TLS protects PLAIN better": {true, []string{"CRAM-MD5", "PLAIN"}, false, pop3.MechanismPlain},
		"only CRAM-MD5":             {true, []string{"CRAM-MD5"}, false, pop3.MechanismCRAMMD5},
		"only LOGIN":                {true, []string{"LOGIN"}, false, pop3.MechanismLogin},
		"nothing that we know":      {true, []string{"GSSAPI"}, false, pop3.MechanismUser},
		"plaintext, all":            {false, all, false, pop3.MechanismSCRAM},
		"plaintext, CRAM-MD5":       {false, []string{"CRAM-MD5", "PLAIN"}, false, pop3.MechanismCRAMMD5},
		"plaintext, APOP":           {false, []string{"LOGIN", "PLAIN"}, false, pop3.MechanismAPOP},
		"token":                     {true, all, true, pop3.MechanismOAuthBearer},
		"token, Microsoft":          {true, []string{"PLAIN", "XOAUTH2"}, true, pop3.MechanismXOAuth2},
	} {
		t.Run(name, func(t *testing.T) {
			config := pop3test.Config{SASL: tc.sasl, APOP: true}
			if tc.tls {
				config.TLS = pop3test.TLSImplicit
			}
			server := startTokenServer(t, config, "token@example.com", accessToken)
			options, cred := optionsFor(server), pop3.Credentials{Username: user, Password: password}
			if tc.tls {
				options.TLS, options.TLSConfig = pop3.TLSImplicit, server.ClientTLS()
			}
			if tc.token {
				options, cred = withToken(options, accessToken), pop3.Credentials{Username: "token@example.com"}
			}
			conn := dial(t, options)
			if err := conn.Login(t.Context(), cred); err != nil || conn.Mechanism() != tc.want {
				t.Errorf("by %s: %v", conn.Mechanism(), err)
			}
		})
	}
}

// Cases 21: the token in a line of its own, the challenge that carries the error.
func TestXOAUTH2InTwoLinesWithErrorChallenge(t *testing.T) {
	response := base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + accessToken + "\x01\x01"))
	verdict := base64.StdEncoding.EncodeToString([]byte(`{"status":"401","schemes":"Bearer","scope":"https://mail.google.com/"}`))
	conn := dial(t, withToken(script(t, "+OK\r\n", "C: CAPA", "+OK\r\nSASL PLAIN XOAUTH2\r\n.\r\n",
		"C: AUTH XOAUTH2", "+ \r\n", "C: "+response, "+ "+verdict+"\r\n", "C: ", "-ERR bad token "+accessToken+"\r\n", "HANG"), accessToken))
	err := conn.Login(t.Context(), pop3.Credentials{Username: user})
	if pop3.KindOf(err) != pop3.KindAuth || !strings.Contains(err.Error(), `"bad token [secret] [status 401, scope https://mail.google.com/]"`) {
		t.Errorf("got %v", err)
	}
}

func TestLongTokenIsSentInOneLineToServersThatWantThat(t *testing.T) {
	response := base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + accessToken + "\x01\x01"))
	conn := dial(t, withToken(script(t, "+OK\r\n", "C: CAPA", "-ERR\r\n",
		"C: AUTH XOAUTH2", "-ERR malformed command\r\n", "C: AUTH XOAUTH2 "+response, "+OK\r\n", "C: CAPA", "-ERR\r\n", "HANG"), accessToken))
	if err := conn.Login(t.Context(), pop3.Credentials{Username: user}); err != nil {
		t.Error(err)
	}
}

func TestServerWithoutInitialResponsesGetsTwoLines(t *testing.T) {
	server := startTokenServer(t, pop3test.Config{SASL: []string{"XOAUTH2"}, NoInitialResponse: true}, "m@example.com", accessToken)
	conn := dial(t, withToken(optionsFor(server), accessToken))
	if err := conn.Login(t.Context(), pop3.Credentials{Username: "m@example.com"}); err != nil {
		t.Error(err)
	}
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		tokens   []string
		attempts int
		kind     pop3.Kind
	}{
		"expired in the meantime": {[]string{"old", accessToken}, 2, 0},
		"both refused":            {[]string{"old", "other", accessToken}, 2, pop3.KindAuth},
		"no other one":            {[]string{"old"}, 1, pop3.KindAuth},
	} {
		t.Run(name, func(t *testing.T) {
			var rec pop3test.Recorder
			server := startTokenServer(t, pop3test.Config{SASL: []string{"OAUTHBEARER", "XOAUTH2"}, OnCommand: rec.OnCommand}, "m@example.com", accessToken)
			conn := dial(t, withToken(optionsFor(server), tc.tokens...))
			err := conn.Login(t.Context(), pop3.Credentials{Username: "m@example.com"})
			attempts := 0
			for _, c := range rec.Commands() {
				if strings.Contains(c, "AUTH OAUTHBEARER") {
					attempts++
				}
			}
			if attempts != tc.attempts || pop3.KindOf(err) != tc.kind || tc.kind == 0 && err != nil {
				t.Errorf("%d attempts, %v", attempts, err)
			}
		})
	}
}

func TestFailureToGetATokenIsReported(t *testing.T) {
	server := startServer(t, pop3test.Config{})
	for name, tc := range map[string]struct {
		token string
		err   error
		kind  pop3.Kind
		want  string
	}{
		"network": {"", errors.New("no route"), pop3.KindTemporary, "get an access token: no route"},
		"revoked": {"", &pop3.Error{Op: "login", Kind: pop3.KindAuth, Err: errors.New("revoked"), Hint: "authorize"}, pop3.KindAuth, "login to " + server.Addr() + " as " + user + ": revoked (authorize)"},
		"empty":   {"", nil, pop3.KindConfig, "the access token is empty"},
		"forged":  {"a\r\nDELE 1", nil, pop3.KindConfig, "characters"},
	} {
		options := optionsFor(server)
		options.Token = func(context.Context, string) (string, error) { return tc.token, tc.err }
		err := dial(t, options).Login(t.Context(), pop3.Credentials{Username: user})
		if pop3.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSCRAMServerMustProveThatItKnowsThePassword(t *testing.T) {
	for name, answers := range map[string]func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer{
		"+OK at once": func(*pop3test.Session, pop3test.Answer) pop3test.Answer { return pop3test.Raw("+OK\r\n") },
		"hours of computing": func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
			return pop3test.Raw("+ " + base64.StdEncoding.EncodeToString([]byte("r=x,s=AAAA,i=2000000000")) + "\r\n")
		},
		"too few iterations": func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
			return pop3test.Raw("+ " + base64.StdEncoding.EncodeToString([]byte("r=x,s=AAAA,i=1")) + "\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, pop3test.Config{SASL: []string{"SCRAM-SHA-256", "PLAIN"}, Hook: pop3test.On("AUTH", "", answers)})
			err := dial(t, optionsFor(server)).Login(t.Context(), pop3.Credentials{Username: user, Password: password})
			if pop3.KindOf(err) != pop3.KindProtocol {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestEndlessChallengesEnd(t *testing.T) {
	lines := []string{"+OK\r\n", "C: CAPA", "-ERR\r\n", "C: AUTH CRAM-MD5", "+ AA==\r\n"}
	for range 8 {
		lines = append(lines, "C: "+cramResponse(user, password, "\x00"), "+ AA==\r\n")
	}
	options := script(t, append(lines, "C: *", "-ERR\r\n", "HANG")...)
	options.Mechanism = pop3.MechanismCRAMMD5
	if err := dial(t, options).Login(t.Context(), pop3.Credentials{Username: user, Password: password}); pop3.KindOf(err) != pop3.KindProtocol {
		t.Errorf("got %v", err)
	}
}

func TestClientCertificateLogsInByEXTERNAL(t *testing.T) {
	certificate, pool := clientCertificate(t)
	server := startServer(t, pop3test.Config{TLS: pop3test.TLSImplicit, SASL: []string{"EXTERNAL"}, ClientCAs: pool})
	options := optionsFor(server)
	options.TLS, options.TLSConfig = pop3.TLSImplicit, server.ClientTLS()
	err := dial(t, options).Login(t.Context(), pop3.Credentials{Username: user})
	if pop3.KindOf(err) != pop3.KindConfig {
		t.Errorf("without a certificate: %v", err)
	}
	options.TLSConfig.Certificates = []tls.Certificate{certificate}
	conn := dial(t, options)
	if err := conn.Login(t.Context(), pop3.Credentials{Username: user}); err != nil || conn.Mechanism() != pop3.MechanismExternal {
		t.Errorf("by %s: %v", conn.Mechanism(), err)
	}
}

func clientCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	certificate, err := pop3test.NewCertificate(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "client.example")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return certificate, pool
}

func TestPinReplacesEveryOtherCheckOfTheCertificate(t *testing.T) {
	expired, err := pop3test.NewCertificate(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour), "other.example")
	if err != nil {
		t.Fatal(err)
	}
	right := sha256.Sum256(expired.Certificate[0])
	for _, mode := range []struct {
		server pop3test.TLSMode
		client pop3.TLSMode
	}{{pop3test.TLSImplicit, pop3.TLSImplicit}, {pop3test.TLSStart, pop3.TLSStart}} {
		server := startServer(t, pop3test.Config{TLS: mode.server, Certificate: &expired})
		options := optionsFor(server)
		options.TLS, options.Pin = mode.client, &right
		login(t, options)

		wrong := right
		wrong[0] ^= 1
		options.Pin = &wrong
		_, err = pop3.Dial(t.Context(), options)
		if pop3.KindOf(err) != pop3.KindTLS || !strings.Contains(err.Error(), fmt.Sprintf("is %x, pinned is %x", right, wrong)) {
			t.Errorf("wrong pin: %v", err)
		}
	}
}

func TestTLSBelowTheMinimumIsRefused(t *testing.T) {
	certificate, pool := clientCertificate(t)
	server := startServer(t, pop3test.Config{TLS: pop3test.TLSImplicit, Certificate: &certificate, MaxTLSVersion: tls.VersionTLS12})
	options := optionsFor(server)
	options.TLS, options.TLSConfig = pop3.TLSImplicit, &tls.Config{RootCAs: pool, ServerName: "client.example"}
	login(t, options)
	options.TLSConfig.MinVersion = tls.VersionTLS13
	if _, err := pop3.Dial(t.Context(), options); pop3.KindOf(err) != pop3.KindTLS {
		t.Errorf("got %v", err)
	}
}

func TestUTF8AndLanguageAreSetBeforeLoginWhereOffered(t *testing.T) {
	for name, tc := range map[string]struct {
		offered []string
		no      bool
		hook    pop3test.Hook
		want    []string
	}{
		"offered":     {[]string{"UTF8 USER", "LANG"}, false, nil, []string{": UTF8", ": LANG en"}},
		"not offered": {nil, false, nil, nil},
		"turned off":  {[]string{"UTF8"}, true, nil, nil},
		"refused": {
			[]string{"UTF8", "LANG"}, false, pop3test.Hooks(pop3test.Reply("UTF8", "", "-ERR no"), pop3test.Reply("LANG", "", "-ERR no")),
			[]string{": UTF8", ": LANG en"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var rec pop3test.Recorder
			server := startServer(t, pop3test.Config{Capabilities: tc.offered, Hook: tc.hook, OnCommand: rec.OnCommand})
			options := optionsFor(server)
			options.NoUTF8 = tc.no
			login(t, options)
			want := slices.Concat([]string{": CAPA"}, tc.want, []string{": AUTH PLAIN", user + ": CAPA"})
			if got := rec.Commands(); !slices.Equal(got, want) {
				t.Errorf("commands %q, want %q", got, want)
			}
		})
	}
}

func TestLoginDelayAndExpireAreRead(t *testing.T) {
	const days = 24 * time.Hour
	for line, want := range map[string]struct {
		delay, after time.Duration
		expires      bool
	}{
		"":                               {},
		"LOGIN-DELAY 900":                {delay: 15 * time.Minute},
		"login-delay 900 USER|EXPIRE 30": {15 * time.Minute, 30 * days, true},
		"EXPIRE 0":                       {0, 0, true},
		"EXPIRE 5 USER":                  {0, 5 * days, true},
		"EXPIRE NEVER":                   {},
		"LOGIN-DELAY|EXPIRE":             {},
		"LOGIN-DELAY -1|EXPIRE 99999999": {},
	} {
		server := startServer(t, pop3test.Config{Capabilities: strings.Split(line, "|")})
		caps := dial(t, optionsFor(server)).Capabilities()
		after, expires := caps.Expire()
		if caps.LoginDelay() != want.delay || after != want.after || expires != want.expires {
			t.Errorf("%q: %v, %v %v", line, caps.LoginDelay(), after, expires)
		}
	}
}

func TestServerOnIPv6(t *testing.T) {
	server, err := pop3test.Start(pop3test.Config{
		Addr: "[::1]:0", TLS: pop3test.TLSImplicit, Mailboxes: []pop3test.Mailbox{{User: user, Password: password}},
	})
	if err != nil {
		t.Skipf("SKIPPED, NO IPv6 HERE: %v", err)
	}
	t.Cleanup(func() { _ = server.Close() })
	options := optionsFor(server)
	options.TLS, options.TLSConfig = pop3.TLSImplicit, server.ClientTLS()
	login(t, options)
}
