package pop3_test

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/internal/dovecot"
	"github.com/postkeep/postkeep/poller/pop3"
)

// Dovecot asks this authorization server what a token is worth.
func startTokenInfo(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("token") != accessToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"email": "alice"})
	}))
	t.Cleanup(server.Close)
	return server.URL + "/?token="
}

func TestDovecotAcceptsEveryMechanism(t *testing.T) {
	dovecot.Require(t)
	dir, err := os.MkdirTemp("", "postkeep-oauth2-") // t.TempDir is closed to Dovecot's users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	settings := filepath.Join(dir, "oauth2.conf")
	text := "tokeninfo_url = " + startTokenInfo(t) + "\nusername_attribute = email\n"
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(settings, []byte(text), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	server, err := dovecot.Start(t.Context(), dovecot.Options{
		Users: map[string]string{"alice": "s3cr3t"},
		ExtraConfig: "auth_mechanisms = plain login cram-md5 scram-sha-256 xoauth2 oauthbearer\n" +
			"passdb {\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = " + settings + "\n}\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	host, port, err := net.SplitHostPort(server.TLSAddr)
	if err != nil {
		t.Fatal(err)
	}
	options := pop3.Options{Host: host, TLSConfig: &tls.Config{RootCAs: server.CAPool}}
	if options.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	for _, m := range []pop3.Mechanism{
		pop3.MechanismAuto, pop3.MechanismSCRAM, pop3.MechanismCRAMMD5, pop3.MechanismPlain, pop3.MechanismLogin, pop3.MechanismUser,
		pop3.MechanismXOAuth2, pop3.MechanismOAuthBearer,
	} {
		for _, right := range []bool{true, false} {
			t.Run(strings.TrimPrefix(string(m)+" ", " ")+strconv.FormatBool(right), func(t *testing.T) {
				options, secret := options, "s3cr3t"
				options.Mechanism = m
				if !right {
					secret = "wrong"
				}
				if slices.Contains([]pop3.Mechanism{pop3.MechanismXOAuth2, pop3.MechanismOAuthBearer}, m) {
					token := accessToken
					if !right {
						token = "wrong"
					}
					options, secret = withToken(options, token), ""
				}
				conn := dial(t, options)
				err := conn.Login(t.Context(), pop3.Credentials{Username: "alice", Password: secret})
				if right != (err == nil) || !right && pop3.KindOf(err) != pop3.KindAuth {
					t.Errorf("by %s: %v", conn.Mechanism(), err)
				}
				if m == pop3.MechanismAuto && conn.Mechanism() != pop3.MechanismSCRAM {
					t.Errorf("auto chose %s of %v", conn.Mechanism(), conn.Capabilities())
				}
			})
		}
	}
}
