package dovecot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// An owner is the system user to whom mail belongs while we are root: Dovecot
// refuses to open mail as root.
type owner struct{ uid, gid int }

func mailOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	return &owner{uid, gid}, errors.Join(uerr, gerr)
}

// ids are what passwd-file entries carry.
func (s *Server) ids() (uid, gid int) {
	if s.owner != nil {
		return s.owner.uid, s.owner.gid
	}
	return os.Getuid(), os.Getgid()
}

func (s *Server) writePasswords() error {
	uid, gid := s.ids()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.opts.Users)) {
		fmt.Fprintf(&b, "%s:{PLAIN}%s:%d:%d::%s\n", name, s.opts.Users[name], uid, gid, s.home(name))
	}
	if err := os.WriteFile(s.path("passwd"), []byte(b.String()), 0o600); err != nil {
		return err
	}
	if s.owner == nil {
		return nil
	}
	u, err := user.Lookup(internalUser)
	if err != nil {
		return fmt.Errorf("dovecot's own user: %w", err)
	}
	id, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	return os.Chown(s.path("passwd"), id, -1) // the auth process reads it
}

// The users that Debian's package creates. Only root can switch to them.
const (
	internalUser = "dovecot"
	loginUser    = "dovenull"
)

var configTemplate = template.Must(template.New("dovecot.conf").Parse(`
base_dir = {{.Dir}}/run
state_dir = {{.Dir}}/state
log_path = {{.Dir}}/log
protocols = pop3
listen = 127.0.0.1
login_greeting = {{.Greeting}}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
mail_location = {{.Location}}
mail_fsync = never
first_valid_uid = 1
first_valid_gid = 1
ssl = yes
ssl_cert = <{{.Dir}}/cert.pem
ssl_key = <{{.Dir}}/key.pem
default_internal_user = {{.Internal}}
default_internal_group = {{.Group}}
default_login_user = {{.Login}}
passdb {
  driver = passwd-file
  args = {{.Dir}}/passwd
}
userdb {
  driver = passwd-file
  args = {{.Dir}}/passwd
}
protocol pop3 {
  mail_max_userip_connections = 100
}
service pop3-login {
  {{.Chroot}}
  inet_listener pop3 {
    port = {{.Port}}
  }
  inet_listener pop3s {
    port = {{.TLSPort}}
    ssl = yes
  }
}
service anvil {
  {{.Chroot}}
  # Failed logins are part of the tests and must not slow down the next one.
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  {{.Chroot}}
}
{{.Extra}}
`))

func (s *Server) config() (string, error) {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return "", err
	}
	_, tlsPort, err := net.SplitHostPort(s.TLSAddr)
	if err != nil {
		return "", err
	}
	data := struct{ Dir, Location, Internal, Group, Login, Chroot, Greeting, Port, TLSPort, Extra string }{
		Dir: s.dir, Location: "maildir:~/Maildir",
		Internal: internalUser, Group: internalUser, Login: loginUser,
		Greeting: s.greeting(), Port: port, TLSPort: tlsPort, Extra: s.opts.ExtraConfig,
	}
	if s.opts.Storage == Mbox {
		data.Location = "mbox:~/mail:INBOX=~/inbox"
	}
	if s.owner == nil { // an ordinary user can neither switch users nor chroot
		u, err := user.Current()
		if err != nil {
			return "", err
		}
		g, err := user.LookupGroupId(u.Gid)
		if err != nil {
			return "", err
		}
		data.Internal, data.Group, data.Login, data.Chroot = u.Username, g.Name, u.Username, "chroot ="
	}
	var b strings.Builder
	if err := configTemplate.Execute(&b, data); err != nil {
		return "", err
	}
	return b.String(), nil
}

// writeCertificate makes a key and a certificate for the loopback addresses.
func writeCertificate(certFile, keyFile string) (*x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "localhost"},
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certPEM) {
		return nil, errors.New("own certificate is unreadable")
	}
	return pool, errors.Join(os.WriteFile(certFile, certPEM, 0o644), os.WriteFile(keyFile, keyPEM, 0o600))
}
