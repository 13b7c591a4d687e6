package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/web/api"
)

const authorityConfig = `
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
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
`

// startAuthority serves openssl as a time-stamping authority. It returns its URL and the file of its root.
func startAuthority(t *testing.T) (url, root string) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("POSTKEEP_REAL") == "required" {
			t.Fatal("openssl is required: ", err)
		}
		t.Skip("SKIPPED: openssl is not installed")
	}
	dir := t.TempDir()
	openssl := func(args string) {
		cmd := exec.Command("openssl", strings.Fields(args)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("openssl %s: %v\n%s", args, err, out)
		}
	}
	for name, content := range map[string]string{"conf": authorityConfig, "serial": "01\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=Root -days 10 -config conf -extensions ca")
	openssl("req -new -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj /CN=Authority -config conf")
	openssl("x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tsa.pem -days 10 -extfile conf -extensions signer")
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		query, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "query"), query, 0o600)
		}
		openssl("ts -reply -queryfile query -config conf -out reply")
		reply, readErr := os.ReadFile(filepath.Join(dir, "reply"))
		if err != nil || readErr != nil {
			t.Error(err, readErr)
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		_, _ = w.Write(reply)
	}))
	t.Cleanup(server.Close)
	return server.URL, filepath.Join(dir, "ca.pem")
}

func TestCheckpointsAreStampedByAuthorities(t *testing.T) {
	s := filled(t, 3)
	one, root := startAuthority(t)
	two, otherRoot := startAuthority(t)
	s.configure("anchors:\n  - { tsa: \"" + one + "\", ca_file: " + root + " }\n  - { tsa: \"" + two + "\", ca_file: " + otherRoot + " }\n")
	client, stop := s.daemon()
	await(t, client, "stamped", func(st api.Status) bool {
		return len(st.Anchors) == 2 && !st.Anchors[0].Last.IsZero() && !st.Anchors[1].Last.IsZero()
	})
	check := func() {
		t.Helper()
		if _, r := verified(t, s.ok("verify", "--json")); r.Checkpoints != 2 {
			t.Errorf("%+v", r)
		}
	}
	check()
	stop(os.Interrupt)
	check()
	stamps, err := filepath.Glob(s.data("ledger", "anchors", "*.tsr"))
	if err != nil || len(stamps) != 2 {
		t.Fatalf("%v, %v", stamps, err)
	}
	s.spoil(200, "ledger", "anchors", filepath.Base(stamps[0]))
	if r := s.run("verify"); r.code != exitFailed || !strings.Contains(r.stdout, filepath.Base(stamps[0])[:20]) {
		t.Errorf("exit code %d\n%s", r.code, r.stdout)
	}
}
