package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// oauthServer grants what it is asked for, by device codes, until it is revoked.
type oauthServer struct {
	*httptest.Server
	revoked atomic.Bool
	issued  atomic.Int32
}

func startOAuthServer(t *testing.T) *oauthServer {
	t.Helper()
	o := &oauthServer{}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{
			"device_code": "d", "user_code": "ABCD", "verification_uri": "https://example.com/device", "expires_in": 60, "interval": 1,
		})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_secret") != "geheim" || o.revoked.Load() {
			answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
			return
		}
		answer(w, http.StatusOK, map[string]any{
			"access_token": fmt.Sprintf("access-%d", o.issued.Add(1)), "refresh_token": "r", "token_type": "Bearer", "expires_in": 3600,
		})
	})
	o.Server = httptest.NewServer(mux)
	t.Cleanup(o.Close)
	return o
}

func startPOP3(t *testing.T, config pop3test.Config) *pop3test.Server {
	t.Helper()
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

// expectAll checks that each is in the text.
func expectAll(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

func TestMailboxWithOAuth2IsAuthorizedPolledAndRevoked(t *testing.T) {
	auth := startOAuthServer(t)
	// The first token has been withdrawn by the time it is used.
	const user = "office@example.com"
	box := pop3test.Mailbox{User: user, Token: "access-2", Messages: []pop3test.Message{pop3test.Bytes([]byte("Subject: a\r\n\r\nb\r\n"))}}
	server := startPOP3(t, pop3test.Config{SASL: []string{"XOAUTH2"}, Mailboxes: []pop3test.Mailbox{box}})
	s := newSite(t, fmt.Sprintf(`mailboxes:
  - name: office
    host: 127.0.0.1
    port: %d
    tls: none
    username: %s
    oauth2: { client_id: id, client_secret_file: password, token_url: "%[3]s/token", device_url: "%[3]s/device", scopes: pop }
  - { name: plain, host: 127.0.0.1, tls: none, username: u, password_file: password }
`, server.Port(), user, auth.URL))

	r := s.run("mailbox", "test", "office")
	expectAll(t, r.stderr, "not authorized yet", "run postkeep mailbox authorize office")
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	expectAll(t, s.ok("mailbox", "authorize", "office"), "https://example.com/device", user, "ABCD", "authorized")
	file := filepath.Join(s.dir, "data", "oauth", "office.json")
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("token file: %v, %v", info, err)
	}
	expectAll(t, s.ok("mailbox", "test", "office"), "by XOAUTH2", "1, 17 B")
	if report := reports(t, s.ok("poll", "--json", "--mailbox", "office"))["office"]; report.Archived != 1 || report.Deleted != 1 {
		t.Errorf("report %+v", report)
	}

	auth.revoked.Store(true)
	server.AddMailbox(pop3test.Mailbox{User: user, Token: "access-9"})
	r = s.run("poll", "--json", "--mailbox", "office")
	report := reports(t, r.stdout)["office"]
	expectAll(t, report.Error, "invalid_grant", "run postkeep mailbox authorize office")
	if r.code != 1 || strings.Contains(r.stdout+r.stderr, "geheim") || strings.Contains(r.stdout+r.stderr, "access-") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := s.run("mailbox", "authorize", "plain"); r.code != 2 {
		t.Errorf("authorize without oauth2: exit code %d", r.code)
	}
}

func TestClientCredentialsNeedNoAuthorization(t *testing.T) {
	auth := startOAuthServer(t)
	server := startPOP3(t, pop3test.Config{SASL: []string{"OAUTHBEARER"}, Mailboxes: []pop3test.Mailbox{{User: "u", Token: "access-1"}}})
	s := newSite(t, fmt.Sprintf(`mailboxes:
  - name: app
    host: 127.0.0.1
    port: %d
    tls: none
    username: u
    oauth2: { client_id: id, client_secret_file: password, token_url: "%s/token", grant: client_credentials }
`, server.Port(), auth.URL))
	expectAll(t, s.ok("mailbox", "test", "app"), "by OAUTHBEARER")
	expectAll(t, s.ok("mailbox", "authorize", "app"), "no permission")
}

func TestMailboxTestWithPinAndClientCertificate(t *testing.T) {
	certificate, err := pop3test.NewCertificate(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour), "old.example", "10.1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	client, err := pop3test.NewCertificate(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "client.example")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(client.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	server := startPOP3(t, pop3test.Config{
		TLS: pop3test.TLSImplicit, Certificate: &certificate, ClientCAs: pool, SASL: []string{"EXTERNAL"},
		Capabilities: []string{"LOGIN-DELAY 60", "EXPIRE 30 USER"}, Mailboxes: []pop3test.Mailbox{{User: "u"}},
	})
	fingerprint := fmt.Sprintf("%x", sha256.Sum256(certificate.Certificate[0]))
	yaml := func(pin, version string) string {
		return fmt.Sprintf(`mailboxes:
  - { name: certified, host: 127.0.0.1, port: %d, username: u, client_cert_file: crt, client_key_file: key, tls_pin: %s, tls_min_version: %s }
`, server.Port(), pin, version)
	}
	s := newSite(t, yaml(fingerprint, "1.3"))
	if r := s.run("config", "check"); r.code != 2 || !strings.Contains(r.stderr, "client_cert_file") {
		t.Errorf("no certificate file: %+v", r)
	}
	key, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	s.write("crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.Certificate[0]})))
	s.write("key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	expectAll(t, s.ok("mailbox", "test", "certified"), "TLS 1.3", "old.example 10.1.2.3", "SHA-256 "+fingerprint, "tls_pin", "EXTERNAL",
		"by EXTERNAL", "login delay  1m0s", "after 30 days", "0, 0 B")

	s.write("postkeep.yaml", "data_dir: data\n"+yaml(strings.Repeat("ab", 32), "1.3"))
	r := s.run("mailbox", "test", "certified")
	expectAll(t, r.stderr, fingerprint, strings.Repeat("ab", 32))
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	server.Close()

	old := startPOP3(t, pop3test.Config{
		Addr: server.Addr(), TLS: pop3test.TLSImplicit, Certificate: &certificate, MaxTLSVersion: tls.VersionTLS12, ClientCAs: pool,
		SASL: []string{"EXTERNAL"}, Mailboxes: []pop3test.Mailbox{{User: "u"}},
	})
	s.write("postkeep.yaml", "data_dir: data\n"+yaml(fingerprint, "1.3"))
	if r := s.run("mailbox", "test", "certified"); r.code != 1 {
		t.Errorf("TLS 1.2 accepted: %+v", r)
	}
	s.write("postkeep.yaml", "data_dir: data\n"+yaml(fingerprint, "1.2"))
	expectAll(t, s.ok("mailbox", "test", "certified"), "TLS 1.2", old.Addr())
}

func TestSettingsOfASessionReachTheServer(t *testing.T) {
	var rec pop3test.Recorder
	server := startPOP3(t, pop3test.Config{
		SASL: []string{"SCRAM-SHA-256", "PLAIN", "LOGIN"}, Capabilities: []string{"UTF8"}, OnCommand: rec.OnCommand,
		Mailboxes: []pop3test.Mailbox{{User: "u", Password: "geheim"}},
	})
	box := func(name, keys string) string {
		return fmt.Sprintf("  - { name: %s, host: 127.0.0.1, port: %d, tls: none, username: u, password_file: password%s }\n", name, server.Port(), keys)
	}
	s := newSite(t, "mailboxes:\n"+box("auto", "")+box("forced", ", auth: login, utf8: off")+
		box("proxied", `, allow_plaintext: true, proxy: "http://127.0.0.1:1"`)+box("locked", `, allow_plaintext: true, proxy: { url: "http://127.0.0.1:1", username: p, password_file: none }`))
	expectAll(t, s.ok("mailbox", "test", "auto"), "by SCRAM-SHA-256")
	auto := strings.Join(rec.Commands(), "\n")
	expectAll(t, auto, ": UTF8")
	expectAll(t, s.ok("mailbox", "test", "forced"), "by LOGIN")
	if forced := strings.TrimPrefix(strings.Join(rec.Commands(), "\n"), auto); strings.Contains(forced, "UTF8") {
		t.Errorf("commands %s", forced)
	}
	expectAll(t, s.run("mailbox", "test", "proxied").stderr, "proxy 127.0.0.1:1")
	expectAll(t, s.run("mailbox", "test", "locked").stderr, "proxy.password_file")
}
