package pop3_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

func TestRefusedAPOPIsFollowedByOneMoreAttempt(t *testing.T) {
	for name, tc := range map[string]struct {
		sasl   []string
		apop   string // the answer to it
		pass   string // the answer to the next mechanism, "" for the truth
		wrong  bool
		want   []string
		kind   pop3.Kind
		anyway bool // logged in
	}{
		"no secret for APOP":     {apop: "-ERR [AUTH] Bad login", want: []string{": APOP " + user, ": AUTH PLAIN"}, anyway: true},
		"in other words":         {apop: "-ERR", want: []string{": APOP " + user, ": AUTH PLAIN"}, anyway: true},
		"no SASL":                {sasl: []string{}, apop: "-ERR Bad login", want: []string{": APOP " + user, ": USER " + user, ": PASS"}, anyway: true},
		"wrong password":         {sasl: []string{"PLAIN", "LOGIN"}, apop: "-ERR Bad login", wrong: true, want: []string{": APOP " + user, ": AUTH PLAIN"}, kind: pop3.KindAuth},
		"next does not exist":    {sasl: []string{"PLAIN", "LOGIN"}, apop: "-ERR Bad login", pass: "-ERR unknown mechanism", want: []string{": APOP " + user, ": AUTH PLAIN", ": AUTH PLAIN", ": AUTH LOGIN", ": AUTH LOGIN", ": USER " + user, ": PASS"}, anyway: true},
		"mailbox in use":         {apop: "-ERR [IN-USE] another session", want: []string{": APOP " + user}, kind: pop3.KindBusy},
		"server has no time now": {apop: "-ERR try again later", want: []string{": APOP " + user}, kind: pop3.KindTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			var rec pop3test.Recorder
			hooks := []pop3test.Hook{pop3test.Reply("APOP", "", tc.apop)}
			if tc.pass != "" {
				hooks = append(hooks, pop3test.Reply("AUTH", "", tc.pass))
			}
			server := startServer(t, pop3test.Config{APOP: true, SASL: tc.sasl, OnCommand: rec.OnCommand, Hook: pop3test.Hooks(hooks...)})
			cred := pop3.Credentials{Username: user, Password: password}
			if tc.wrong {
				cred.Password = "wrong"
			}
			conn := dial(t, optionsFor(server))
			err := conn.Login(t.Context(), cred)
			if (err == nil) != tc.anyway || pop3.KindOf(err) != tc.kind {
				t.Errorf("login: %v, want kind %s", err, tc.kind)
			}
			got := slices.DeleteFunc(rec.Commands(), func(c string) bool { return strings.HasSuffix(c, "CAPA") })
			if !slices.Equal(got, tc.want) {
				t.Errorf("commands %q, want %q", got, tc.want)
			}
		})
	}
}

func apopDigest(timestamp string) string {
	return fmt.Sprintf("%x", md5.Sum([]byte(timestamp+password)))
}

func TestServerThatClosesAfterARefusedAPOPHasRefusedTheLogin(t *testing.T) {
	conn := dial(t, script(t, "+OK <1.2@example.com>\r\n", "C: CAPA", "-ERR\r\n", "C: APOP "+user+" "+apopDigest("<1.2@example.com>"), "-ERR Bad login\r\n"))
	err := conn.Login(t.Context(), pop3.Credentials{Username: user, Password: password})
	if pop3.KindOf(err) != pop3.KindAuth || !strings.Contains(err.Error(), "Bad login") {
		t.Errorf("got %v", err)
	}
}

func TestAPOPThatWasRefusedBeforeIsLeftOut(t *testing.T) {
	var rec pop3test.Recorder
	server := startServer(t, pop3test.Config{APOP: true, OnCommand: rec.OnCommand})
	options := optionsFor(server)
	options.NoAPOP = true
	login(t, options)
	if slices.Contains(rec.Commands(), ": APOP "+user) {
		t.Errorf("commands %q", rec.Commands())
	}
}

func TestInitialResponseThatIsRefusedIsSentInTwoLines(t *testing.T) {
	const token = "short" // so that it would fit into one
	first := base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01"))
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	verdict := base64.StdEncoding.EncodeToString([]byte(`{"status":"401"}`))
	capable := []string{"+OK\r\n", "C: CAPA", "+OK\r\nSASL PLAIN XOAUTH2\r\n.\r\n"}
	in := []string{"+OK\r\n", "C: CAPA", "-ERR\r\n", "HANG"}
	for name, tc := range map[string]struct {
		token bool
		lines []string
		kind  pop3.Kind
	}{
		"not understood":                 {true, slices.Concat([]string{"C: AUTH XOAUTH2 " + first, "-ERR Command is not valid in this state.\r\n", "C: AUTH XOAUTH2", "+ \r\n", "C: " + first}, in), 0},
		"refused like a wrong token":     {true, slices.Concat([]string{"C: AUTH XOAUTH2 " + first, "-ERR Authentication failure: unknown user name or bad password.\r\n", "C: AUTH XOAUTH2", "+ \r\n", "C: " + first}, in), 0},
		"and two lines neither":          {true, []string{"C: AUTH XOAUTH2 " + first, "-ERR Authentication failure\r\n", "C: AUTH XOAUTH2", "-ERR no\r\n", "HANG"}, pop3.KindAuth},
		"the token is refused by a code": {true, []string{"C: AUTH XOAUTH2 " + first, "-ERR [AUTH] no\r\n", "HANG"}, pop3.KindAuth},
		"by a challenge":                 {true, []string{"C: AUTH XOAUTH2 " + first, "+ " + verdict + "\r\n", "C: ", "-ERR no\r\n", "HANG"}, pop3.KindAuth},
		"server is busy":                 {true, []string{"C: AUTH XOAUTH2 " + first, "-ERR mailbox in use\r\n", "HANG"}, pop3.KindBusy},
		"PLAIN not understood":           {false, slices.Concat([]string{"C: AUTH PLAIN " + plain, "-ERR syntax error\r\n", "C: AUTH PLAIN", "+ \r\n", "C: " + plain}, in), 0},
		"PLAIN is sent once if refused":  {false, []string{"C: AUTH PLAIN " + plain, "-ERR Login failed\r\n", "HANG"}, pop3.KindAuth},
	} {
		t.Run(name, func(t *testing.T) {
			options := script(t, slices.Concat(capable, tc.lines)...)
			cred := pop3.Credentials{Username: user, Password: password}
			if tc.token {
				options, cred.Password = withToken(options, token), ""
			}
			if err := dial(t, options).Login(t.Context(), cred); pop3.KindOf(err) != tc.kind || tc.kind == 0 && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// rsaCertificate is for 127.0.0.1.
func rsaCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestServerWithRSAKeyExchangeOnly(t *testing.T) {
	certificate := rsaCertificate(t)
	pin := sha256.Sum256(certificate.Certificate[0])
	server := startServer(t, pop3test.Config{
		TLS: pop3test.TLSImplicit, Certificate: &certificate, MaxTLSVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
	})
	options := optionsFor(server)
	options.TLS, options.Pin = pop3.TLSImplicit, &pin
	_, err := pop3.Dial(t.Context(), options)
	if pop3.KindOf(err) != pop3.KindTLS || !strings.Contains(err.Error(), "RSA key exchange") || !strings.Contains(err.Error(), "tls_rsa_key_exchange: true") {
		t.Errorf("got %v", err)
	}
	options.RSAKeyExchange = true
	login(t, options)
}

func TestRSAKeyExchangeIsNotUsedWithServersThatKnowBetter(t *testing.T) {
	certificate := rsaCertificate(t)
	pin := sha256.Sum256(certificate.Certificate[0])
	server := startServer(t, pop3test.Config{
		TLS: pop3test.TLSImplicit, Certificate: &certificate, MaxTLSVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	})
	options := optionsFor(server)
	options.TLS, options.Pin, options.RSAKeyExchange = pop3.TLSImplicit, &pin, true
	if suite := login(t, options).TLS().CipherSuite; suite != tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 {
		t.Errorf("suite %s", tls.CipherSuiteName(suite))
	}
}

func TestServerOfAnOldTLSVersionIsNamedSo(t *testing.T) {
	server := startServer(t, pop3test.Config{TLS: pop3test.TLSImplicit, MaxTLSVersion: tls.VersionTLS11})
	options := optionsFor(server)
	options.TLS, options.TLSConfig = pop3.TLSImplicit, server.ClientTLS()
	if _, err := pop3.Dial(t.Context(), options); pop3.KindOf(err) != pop3.KindTLS || !strings.Contains(err.Error(), "versions of TLS") {
		t.Errorf("got %v", err)
	}
}

// negativeSerial returns a certificate for host with a serial number below 0,
// which crypto/x509 reads and does not write: the sign is changed in the finished
// certificate, which is then signed again.
func negativeSerial(t *testing.T, host string, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial := []byte{0x02, 0x08, 0x7f, 1, 2, 3, 4, 5, 6, 7}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[2:]), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses, template.DNSNames = []net.IP{ip}, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		t.Fatal(err)
	}
	tbs := strings.Replace(string(c.TBS.FullBytes), string(serial), string(serial[:2])+"\xff"+string(serial[3:]), 1)
	c.TBS.FullBytes = []byte(tbs)
	sum := sha256.Sum256(c.TBS.FullBytes)
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	c.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	if der, err = asn1.Marshal(c); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestNegativeSerialNumberIsAccepted(t *testing.T) {
	for name, tc := range map[string]struct {
		host     string
		notAfter time.Duration
		pinned   bool
		words    string // of the error
	}{
		"by its authority":                 {"127.0.0.1", time.Hour, false, ""},
		"but not for another host":         {"other.example", time.Hour, false, "another host"},
		"nor expired":                      {"127.0.0.1", -time.Hour, false, "expired"},
		"by the pin, whatever else is bad": {"other.example", -time.Hour, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			certificate := negativeSerial(t, tc.host, time.Now().Add(tc.notAfter))
			server := startServer(t, pop3test.Config{TLS: pop3test.TLSImplicit, Certificate: &certificate})
			options := optionsFor(server)
			options.TLS = pop3.TLSImplicit
			if tc.pinned {
				pin := sha256.Sum256(certificate.Certificate[0])
				options.Pin = &pin
			} else {
				leaf, err := x509.ParseCertificate(certificate.Certificate[0])
				if err != nil {
					t.Fatal(err)
				}
				options.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool()}
				options.TLSConfig.RootCAs.AddCert(leaf)
			}
			_, err := pop3.Dial(t.Context(), options)
			if tc.words == "" && err != nil || tc.words != "" && (err == nil || !strings.Contains(err.Error(), tc.words)) {
				t.Errorf("got %v, want %q", err, tc.words)
			}
		})
	}
}
