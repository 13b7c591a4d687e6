package anchor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
)

var update = flag.Bool("update", false, "write testdata anew, under new certificates")

// An authority is the openssl command behind an HTTP server.
type authority struct {
	t   testing.TB
	dir string
	url string

	mu     sync.Mutex // guards what follows
	change func(*answer)
	calls  int
}

// An answer is what the authority sends.
type answer struct {
	mediaType string
	status    int
	body      []byte
}

// changing sets what happens to the authority's answers.
func (a *authority) changing(change func(*answer)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.change = change
}

// called returns how often the authority was asked.
func (a *authority) called() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

const caConfig = `
[ req ]
distinguished_name = dn
[ dn ]
[ ca ]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign
[ signer ]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[ tsa ]
default_tsa = stamp
[ stamp ]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
certs = chain.pem
signer_key = tsa.key
signer_digest = %s
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1, millisecs:500, microsecs:100
clock_precision_digits = 3
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = %s
`

// newAuthority makes a root, an authority below it, and the server.
func newAuthority(t testing.TB, newkey, digest, essDigest string) *authority {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("POSTKEEP_REAL") == "required" {
			t.Fatal("openssl is required: ", err)
		}
		t.Skip("SKIPPED: openssl is not installed")
	}
	a := &authority{t: t, dir: t.TempDir()}
	writeFile(t, filepath.Join(a.dir, "conf"), fmt.Sprintf(caConfig, digest, essDigest))
	writeFile(t, filepath.Join(a.dir, "serial"), "01\n")
	a.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Root", "-days", "3650", "-config", "conf", "-extensions", "ca")
	request := append([]string{"req", "-new", "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/O=Stamps/CN=Authority", "-config", "conf"}, strings.Fields(newkey)...)
	a.openssl(request...)
	a.openssl("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "tsa.pem", "-days", "3650", "-extfile", "conf", "-extensions", "signer")
	writeFile(t, filepath.Join(a.dir, "chain.pem"), readFile(t, filepath.Join(a.dir, "tsa.pem"))+readFile(t, filepath.Join(a.dir, "ca.pem")))
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func (a *authority) openssl(args ...string) string {
	a.t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = a.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.t.Errorf("openssl %s: %v\n%s", args, err, out)
	}
	return string(out)
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	query, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/timestamp-query" {
		a.t.Errorf("%s with %q, %v", r.Method, r.Header, err)
	}
	writeFile(a.t, filepath.Join(a.dir, "q.tsq"), string(query))
	a.openssl("ts", "-reply", "-queryfile", "q.tsq", "-config", "conf", "-out", "r.tsr")
	ans := answer{"application/timestamp-reply", http.StatusOK, []byte(readFile(a.t, filepath.Join(a.dir, "r.tsr")))}
	if a.change != nil {
		a.change(&ans)
	}
	w.Header().Set("Content-Type", ans.mediaType)
	w.WriteHeader(ans.status)
	if _, err := w.Write(ans.body); err != nil {
		a.t.Log(err) // whoever asked has gone
	}
}

func (a *authority) roots() *x509.CertPool { return pool(a.t, filepath.Join(a.dir, "ca.pem")) }

func pool(t testing.TB, name string) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(readFile(t, name))) {
		t.Fatal("no certificate in ", name)
	}
	return p
}

func (a *authority) client(t testing.TB) *TSA {
	t.Helper()
	tsa, err := NewTSA(TSAOptions{URL: a.url, Roots: a.roots(), Dir: filepath.Join(t.TempDir(), "anchors"), Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	if err != nil {
		t.Fatal(err)
	}
	return tsa
}

func TestCheckpointIsStampedAndVerifiedOffline(t *testing.T) {
	ctx := context.Background()
	l, checkpoints := newLedger(t)
	for _, c := range []struct{ newkey, digest, essDigest string }{
		{"-newkey rsa:2048", "sha256", "sha256"},
		{"-newkey rsa:2048", "sha512", "sha1"}, // the certificate is named as in RFC 2634
		{"-newkey ec -pkeyopt ec_paramgen_curve:P-256", "sha256", "sha384"},
	} {
		a := newAuthority(t, c.newkey, c.digest, c.essDigest)
		tsa := a.client(t)
		start := time.Now().Add(-time.Second)
		for range 2 { // the second time there is a stamp already
			for _, checkpoint := range checkpoints[:2] {
				if err := tsa.Anchor(ctx, checkpoint); err != nil {
					t.Fatalf("%v: %v", c, err)
				}
			}
		}
		if n := a.called(); n != 2 {
			t.Errorf("the authority was asked %d times", n)
		}
		stamps, err := tsa.Verify(ctx, l.CheckAgainst)
		if err != nil || len(stamps) != 2 {
			t.Fatalf("%v: %v, %v", c, stamps, err)
		}
		for i, s := range stamps {
			if s.Size != int64(i) || s.Time.Before(start) || time.Until(s.Time) > time.Second || s.Accuracy != 1500100*time.Microsecond ||
				s.Serial.Int64() != int64(i+2) || s.Authority != "CN=Authority,O=Stamps" {
				t.Errorf("stamp %d: %+v", i, s)
			}
			base := strings.TrimSuffix(s.File, stampSuffix)
			if out := a.openssl("ts", "-verify", "-data", base+checkpointSuffix, "-in", s.File, "-CAfile", "ca.pem"); !strings.Contains(out, "Verification: OK") {
				t.Errorf("openssl: %s", out)
			}
		}
		other, _ := newLedger(t)
		if _, err := tsa.Verify(ctx, other.CheckAgainst); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("another ledger: %v", err)
		}
		tsa.opt.Roots = newAuthority(t, "-newkey rsa:2048", "sha256", "sha256").roots()
		if stamps, err := tsa.Verify(ctx, l.CheckAgainst); !errors.Is(err, ErrInvalid) || len(stamps) > 0 {
			t.Errorf("under other roots: %v, %v", stamps, err)
		}
		if *update {
			base := strings.TrimSuffix(stamps[1].File, stampSuffix)
			kind := strings.ReplaceAll(strings.Fields(c.newkey)[1], ":", "-") + "-" + c.digest
			writeFile(t, filepath.Join("testdata", kind+stampSuffix), readFile(t, stamps[1].File))
			writeFile(t, filepath.Join("testdata", kind+checkpointSuffix), readFile(t, base+checkpointSuffix))
			writeFile(t, filepath.Join("testdata", kind+".pem"), readFile(t, filepath.Join(a.dir, "ca.pem")))
		}
	}
}

// What an authority sends is not kept unless it is the stamp that was asked for.
func TestWrongAnswerOfTheAuthorityIsRefused(t *testing.T) {
	ctx := context.Background()
	_, checkpoints := newLedger(t)
	a := newAuthority(t, "-newkey rsa:2048", "sha256", "sha256")
	var first []byte
	a.changing(func(ans *answer) { first = ans.body })
	if err := a.client(t).Anchor(ctx, checkpoints[1]); err != nil {
		t.Fatal(err)
	}
	refusal, err := asn1.Marshal(struct{ Status struct{ Status int } }{struct{ Status int }{2}})
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*answer){
		"an old stamp":        func(ans *answer) { ans.body = first },
		"a refusal":           func(ans *answer) { ans.body = refusal },
		"half of it":          func(ans *answer) { ans.body = ans.body[:len(ans.body)/2] },
		"more than it":        func(ans *answer) { ans.body = append(ans.body, 0) },
		"nothing":             func(ans *answer) { ans.body = nil },
		"an error":            func(ans *answer) { ans.status = http.StatusBadGateway },
		"a page":              func(ans *answer) { ans.mediaType = "text/html" },
		"too much":            func(ans *answer) { ans.body = make([]byte, maxAnswer+1) },
		"another signature":   func(ans *answer) { ans.body[len(ans.body)-1] ^= 1 },
		"a closed connection": func(*answer) { panic(http.ErrAbortHandler) },
	} {
		a.changing(change)
		tsa := a.client(t)
		if err := tsa.Anchor(ctx, checkpoints[1]); err == nil {
			t.Errorf("%s was accepted", what)
		}
		if files, err := os.ReadDir(tsa.opt.Dir); err == nil && len(files) > 0 {
			t.Errorf("%s was kept: %v", what, files)
		}
	}
}

// The golden stamps were made by OpenSSL.
func goldenStamps(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "*"+stampSuffix))
	if err != nil || len(names) != 3 {
		t.Fatal(names, err)
	}
	for i := range names {
		names[i] = strings.TrimSuffix(names[i], stampSuffix)
	}
	return names
}

func TestStampsOfEarlierVersionsAreStillVerified(t *testing.T) {
	names := goldenStamps(t)
	for i, name := range names {
		checkpoint, reply := []byte(readFile(t, name+checkpointSuffix)), []byte(readFile(t, name+stampSuffix))
		if s, err := VerifyStamp(checkpoint, reply, pool(t, name+".pem")); err != nil || s.Size != 1 || s.Time.Year() < 2026 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if _, err := VerifyStamp(checkpoint, reply, pool(t, names[(i+1)%3]+".pem")); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s under another root: %v", name, err)
		}
		other := bytes.Replace(checkpoint, []byte("\n1\n"), []byte("\n2\n"), 1)
		if _, err := VerifyStamp(other, reply, pool(t, name+".pem")); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s for another checkpoint: %v", name, err)
		}
	}
}

// A flipped bit makes a stamp invalid, or is in something that does not matter;
// it never changes what the stamp says.
func TestFlippedBitNeverChangesAStamp(t *testing.T) {
	t.Parallel()
	for _, name := range goldenStamps(t) {
		checkpoint, reply, roots := []byte(readFile(t, name+checkpointSuffix)), []byte(readFile(t, name+stampSuffix)), pool(t, name+".pem")
		want, err := VerifyStamp(checkpoint, reply, roots)
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for at := range reply {
			flipped := bytes.Clone(reply)
			flipped[at] ^= 1 << (at % 8)
			got, err := VerifyStamp(checkpoint, flipped, roots)
			if err != nil {
				refused++
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("byte %d: %v", at, err)
				}
			} else if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s byte %d: %+v, want %+v", name, at, got, want)
			}
		}
		if refused < len(reply)/3 { // the rest is mostly the root's certificate, which is not taken from the token
			t.Errorf("%s: %d of %d flips were refused", name, refused, len(reply))
		}
	}
}

func FuzzVerifyStamp(f *testing.F) {
	names := goldenStamps(f)
	for _, name := range names {
		f.Add([]byte(readFile(f, name+stampSuffix)))
	}
	checkpoint, roots := []byte(readFile(f, names[0]+checkpointSuffix)), pool(f, names[0]+".pem")
	want, err := VerifyStamp(checkpoint, []byte(readFile(f, names[0]+stampSuffix)), roots)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		got, err := VerifyStamp(checkpoint, reply, roots)
		if err == nil && fmt.Sprint(got) != fmt.Sprint(want) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// Only a certificate for time stamps, valid when it stamped, under a root.
func TestCertificateOfTheSignerIsChecked(t *testing.T) {
	now := time.Now()
	stamping := []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}
	rootKey, root := certificate(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: now.Add(9 * time.Hour)}, nil, nil)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	critical := func(usages ...asn1.ObjectIdentifier) []pkix.Extension {
		der, err := asn1.Marshal(usages)
		if err != nil {
			t.Fatal(err)
		}
		return []pkix.Extension{{Id: oidExtKeyUsage, Critical: true, Value: der}}
	}
	oidStamping, oidServer := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	for _, c := range []struct {
		what     string
		template x509.Certificate
		at       time.Time
		ok       bool
	}{
		{"sound", x509.Certificate{ExtraExtensions: critical(oidStamping)}, now, true},
		{"expired since", x509.Certificate{ExtraExtensions: critical(oidStamping), NotAfter: now.Add(time.Hour)}, now.Add(2 * time.Hour), false},
		{"not yet valid", x509.Certificate{ExtraExtensions: critical(oidStamping)}, now.Add(-2 * time.Hour), false},
		{"not critical", x509.Certificate{ExtKeyUsage: stamping}, now, false},
		{"also for servers", x509.Certificate{ExtraExtensions: critical(oidStamping, oidServer)}, now, false},
		{"only for servers", x509.Certificate{ExtraExtensions: critical(oidServer)}, now, false},
		{"for anything", x509.Certificate{}, now, false},
	} {
		if c.template.NotAfter.IsZero() {
			c.template.NotAfter = now.Add(5 * time.Hour)
		}
		_, leaf := certificate(t, &c.template, root, rootKey)
		if err := trusted(leaf, nil, roots, c.at); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
		if err := trusted(leaf, nil, x509.NewCertPool(), c.at); err == nil {
			t.Errorf("%s: trusted without a root", c.what)
		}
	}
}

func certificate(t testing.TB, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.Subject = big.NewInt(1), time.Now().Add(-time.Hour), pkix.Name{CommonName: "Test"}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, c
}

func TestAlteredStampsAreReportedAndOthersStillVerified(t *testing.T) {
	ctx := context.Background()
	name := goldenStamps(t)[0]
	dir := t.TempDir()
	for _, file := range []string{"1", "2", "3"} {
		writeFile(t, filepath.Join(dir, file+stampSuffix), readFile(t, name+stampSuffix))
		writeFile(t, filepath.Join(dir, file+checkpointSuffix), readFile(t, name+checkpointSuffix))
	}
	if err := os.Truncate(filepath.Join(dir, "1"+stampSuffix), 100); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "2"+checkpointSuffix)); err != nil {
		t.Fatal(err)
	}
	tsa, err := NewTSA(TSAOptions{URL: "https://tsa.example.com", Roots: pool(t, name+".pem"), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	stamps, err := tsa.Verify(ctx, func(context.Context, []byte) error { checked++; return nil })
	if len(stamps) != 1 || checked != 1 || !errors.Is(err, ErrInvalid) || !errors.Is(err, os.ErrNotExist) || stamps[0].File != filepath.Join(dir, "3"+stampSuffix) {
		t.Errorf("%v, %v", stamps, err)
	}
	tsa.opt.Dir = filepath.Join(dir, "none")
	if stamps, err := tsa.Verify(ctx, nil); stamps != nil || err != nil {
		t.Errorf("without any: %v, %v", stamps, err)
	}
}
