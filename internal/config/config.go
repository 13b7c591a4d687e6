// Package config reads postkeep.yaml.
//
// It is strict: an unknown key, a value of the wrong type, a schedule that
// never happens or a mailbox without a host is an error that names the line and
// the column, shows it, and says what was expected. All that is wrong is
// reported at once. What a file does not say has the default that the types
// here document; docs/configuration.md is written for operators.
//
// Secrets are never part of a Config: it names the file or the environment
// variable, and Mailbox.Password and ReadSecret read it when a session needs it.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"time"
)

// maxFileBytes bounds the configuration file: twenty thousand mailboxes fit, and a
// wrong path (a mailbox, a disk image) is refused at once.
const maxFileBytes = 4 << 20

// Config is a validated configuration. File names in it are absolute.
type Config struct {
	// DataDir holds the archive; relative to the folder of the configuration
	// file. Default "data".
	DataDir string `yaml:"data_dir" path:"yes"`
	// TimeZone is the IANA zone in which days begin and schedules run. Default
	// the system's.
	TimeZone TimeZone `yaml:"time_zone"`

	// DualControl wants the approval of a second person before anything is
	// disposed of. Default false.
	DualControl bool `yaml:"dual_control"`

	NATS    NATS    `yaml:"nats"`
	Web     Web     `yaml:"web"`
	Log     Log     `yaml:"log"`
	Poller  Poller  `yaml:"poller"`
	Archive Archive `yaml:"archive"`
	Index   Index   `yaml:"index"`
	// Anchors are places outside the archive that the ledger's checkpoints are taken to. Default none.
	Anchors []Anchor `yaml:"anchors"`

	// Defaults is what a mailbox has that does not say otherwise. It precedes
	// Mailboxes because sections are read in the order of the fields.
	Defaults  Session   `yaml:"defaults"`
	Mailboxes []Mailbox `yaml:"mailboxes"`
}

// NATS says which JetStream carries the messages.
type NATS struct {
	// URL is one server, or several separated by commas. "" is a server inside
	// the process, which listens nowhere.
	URL string `yaml:"url"`
	// CredentialsFile is a .creds file (user JWT and seed). Default none.
	CredentialsFile string `yaml:"credentials_file" path:"yes"`
	// CAFile holds, in PEM, the authorities to trust instead of the system's.
	CAFile string `yaml:"ca_file" path:"yes"`
	// Prefix begins the names of streams and subjects. Default: one made of the installation's identity.
	Prefix string `yaml:"prefix"`
	// MaxStoreBytes is the disk space in bytes of all streams together, at least
	// 16 MiB. 0, the default, is what package pipeline says.
	MaxStoreBytes Bytes `yaml:"max_store_bytes"`
}

// Log is what goes to standard error.
type Log struct {
	// Level is the lowest level that is written. Default info.
	Level slog.Level `yaml:"level" enum:"debug,info,warn,error"`
	// Format is text (the default) or json.
	Format string `yaml:"format" enum:"text,json"`
}

// Poller bounds what is polled at the same time.
type Poller struct {
	// Sessions is the number of concurrent POP3 sessions, 1 to 1000. Default 16.
	Sessions int `yaml:"sessions"`
	// SessionsPerHost is how many of them may go to one host, 1 to 1000.
	// Default 4: providers throttle or lock out clients that open more.
	SessionsPerHost int `yaml:"sessions_per_host"`
}

// Archive is the store.
type Archive struct {
	// VolumeSize is the size in bytes at which a volume is sealed, 1 MiB to 1 TiB.
	// Default 1 GiB.
	VolumeSize Bytes `yaml:"volume_size"`
	// Verify is when the archive is verified without being asked. Default never.
	Verify Verify `yaml:"verify"`
	// Encryption encrypts volumes. Default none.
	Encryption Encryption `yaml:"encryption"`
}

// Encryption is who can read new volumes, and the key by which this instance does. All keys are of age
// (https://age-encryption.org/v1).
type Encryption struct {
	// Recipients are public keys (age1…).
	Recipients []string `yaml:"recipients"`
	// RecipientsFile holds more of them, one a line.
	RecipientsFile string `yaml:"recipients_file" path:"yes"`
	// IdentityFile holds private keys, as age-keygen writes them. Without it messages are archived, but not indexed,
	// searched or shown.
	IdentityFile string `yaml:"identity_file" path:"yes"`
}

// Verify is a verification by schedule.
type Verify struct {
	// Schedule says when; "" is never, if there is no such section.
	Schedule Schedule `yaml:"schedule" required:"yes"`
	// Deep reads every byte again. Default true.
	Deep bool `yaml:"deep"`
	// Rate is how many bytes a second are read at most. Default 0, no limit.
	Rate Bytes `yaml:"rate"`
}

// Anchor is a place for checkpoints. Exactly one of TSA, File and URL is given.
type Anchor struct {
	// TSA is the URL of a time-stamping authority (RFC 3161).
	TSA AnchorURL `yaml:"tsa"`
	// CAFile holds, in PEM, the roots of the authority's certificate. Needed with TSA.
	CAFile string `yaml:"ca_file" path:"yes"`
	// File is appended to.
	File string `yaml:"file" path:"yes"`
	// URL gets every checkpoint as the body of a request.
	URL AnchorURL `yaml:"url"`
	// Method is POST (the default) or PUT.
	Method string `yaml:"method" enum:"POST,PUT"`
	// TokenFile holds what is sent to URL as a bearer token. Default none.
	TokenFile string `yaml:"token_file" path:"yes"`
	// Schedule says when. Default @daily. A checkpoint that has not changed is left out.
	Schedule Schedule `yaml:"schedule"`
}

// Index is the search index.
type Index struct {
	// Extract has attachments read, so that their text is found. Default true.
	Extract bool `yaml:"extract"`
	// MaxAttachmentBytes is the size in bytes above which an attachment is not read,
	// 64 KiB to 1 GiB. Reading may take six times as much memory. Default 32 MiB.
	MaxAttachmentBytes Bytes `yaml:"max_attachment_bytes"`
	// Unconfined lets the processes that read attachments run on a Linux that does not confine them. Default false.
	Unconfined bool `yaml:"unconfined"`
}

// Session is how a mailbox is polled.
type Session struct {
	// Schedule says when. Default "@every 5m".
	Schedule Schedule `yaml:"schedule"`
	// Jitter is the longest random delay of a scheduled poll, 0 to 1 h, so that
	// mailboxes with the same schedule do not all start in the same second.
	// Default 10 s.
	Jitter time.Duration `yaml:"jitter"`
	// Delete says when the server is told to delete. Default after_archive.
	Delete Delete `yaml:"delete"`
	// ReceiptWait is how long a session waits for an archive that says nothing,
	// before it ends and leaves the rest to the next poll, 10 s to 10 min. Default
	// 5 min.
	ReceiptWait time.Duration `yaml:"receipt_wait"`
	// MaxMessageBytes leaves larger messages on the server. Default 0, no limit.
	MaxMessageBytes Bytes `yaml:"max_message_bytes"`
	// MaxMessages is how many messages a poll downloads; the next one goes on.
	// Default 0, no limit.
	MaxMessages int `yaml:"max_messages"`
	// MaxDuration is how long after its start a poll begins to download further
	// messages. Default 0, no limit.
	MaxDuration time.Duration `yaml:"max_duration"`
	// CommitEvery is after how many messages that may be deleted a poll has the
	// server delete them, which takes a new login. Default 0, at the end only.
	CommitEvery int `yaml:"commit_every"`
	// Timeout is how long the server may be silent, 1 s to 1 h. Default 2 min:
	// listing a very large mailbox for the first time takes servers that long.
	Timeout time.Duration `yaml:"timeout"`
	// TLS is implicit (the default), starttls or none.
	TLS string `yaml:"tls" enum:"implicit,starttls,none"`
	// TLSMinVersion is the lowest version of TLS, 1.2 (the default) or 1.3.
	TLSMinVersion string `yaml:"tls_min_version" enum:"1.2,1.3"`
	// TLSRSAKeyExchange permits cipher suites without forward secrecy, for old
	// servers that have no other. Default false.
	TLSRSAKeyExchange bool `yaml:"tls_rsa_key_exchange"`
	// CAFile holds, in PEM, the authorities to trust instead of the system's.
	CAFile string `yaml:"ca_file" path:"yes"`
	// Proxy is what connections go through. Default none.
	Proxy Proxy `yaml:"proxy"`
	// Auth is the mechanism to log in with, or auto (the default).
	Auth string `yaml:"auth" enum:"auto,scram-sha-256,plain,login,user,cram-md5,apop,oauthbearer,xoauth2,external"`
	// UTF8 is auto (ask servers that offer it for messages as they are stored,
	// RFC 6856; the default) or off.
	UTF8 string `yaml:"utf8" enum:"auto,off"`
	// Pipelining is auto (use it when the server offers it, the default) or off.
	Pipelining string `yaml:"pipelining" enum:"auto,off"`
}

// The values of Session.TLS.
const (
	TLSImplicit = "implicit" // TLS from the first byte (RFC 8314)
	TLSStartTLS = "starttls" // STLS (RFC 2595), required
	TLSNone     = "none"     // passwords and mail in the clear
)

// TLS13 is the value of Session.TLSMinVersion that is not the default.
const TLS13 = "1.3"

// Off is the value of Session.Pipelining and Session.UTF8 that is not auto.
const Off = "off"

// Proxy is a SOCKS5 or HTTP proxy. The zero value is none.
type Proxy struct {
	// URL is socks5://host:port or http://host:port.
	URL ProxyURL `yaml:"url" required:"yes"`
	// Username and PasswordFile are given both or not at all.
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file" path:"yes"`
}

// Mailbox is one POP3 account.
type Mailbox struct {
	// Name identifies the mailbox for ever: in the archive, in searches, in
	// reports. 1 to 64 letters, digits and . _ - @ +, not beginning with . or -.
	Name string `yaml:"name" required:"yes"`
	// Provider is gmail or microsoft365, whose preset fills in host, TLS, and what
	// OAuth2 needs; "" for none. With gmail, Username gets the prefix recent:.
	Provider string `yaml:"provider" enum:"gmail,microsoft365"`
	// Host is a host name or an IP address.
	Host string `yaml:"host"`
	// Port defaults to 995 with implicit TLS, else 110.
	Port int `yaml:"port"`
	// AllowPlaintext permits tls: none to a host that is not this machine.
	AllowPlaintext bool `yaml:"allow_plaintext"`
	// Username is what the server calls the account.
	Username string `yaml:"username" required:"yes"`
	// PasswordFile or PasswordEnv names what holds the password. Exactly one of
	// them or OAuth2 is given; none of them if the client certificate logs in.
	PasswordFile string `yaml:"password_file" path:"yes"`
	// PasswordEnv is the name of an environment variable.
	PasswordEnv string `yaml:"password_env"`
	// OAuth2 is how access tokens are got; without ClientID it is not used.
	OAuth2 OAuth2 `yaml:"oauth2"`
	// ClientCertFile and ClientKeyFile, in PEM, are shown to the server; default none.
	ClientCertFile string `yaml:"client_cert_file" path:"yes"`
	ClientKeyFile  string `yaml:"client_key_file" path:"yes"`
	// TLSPin is the certificate that the server must have, in place of every
	// other check. The zero value is none.
	TLSPin Fingerprint `yaml:"tls_pin"`

	Session `yaml:",inline"`
}

// Delete says when the server is told to delete a message. The zero value is
// as soon as it is archived.
type Delete struct {
	// Never leaves every message on the server.
	Never bool `yaml:"-"`
	// After, if positive, leaves a message on the server for that long after it
	// was received by the archive.
	After time.Duration `yaml:"after" required:"yes"`
}

func defaults() Config {
	return Config{
		DataDir:  "data",
		TimeZone: TimeZone{time.Local},
		Log:      Log{Level: slog.LevelInfo, Format: "text"},
		Poller:   Poller{Sessions: 16, SessionsPerHost: 4},
		Index:    Index{Extract: true, MaxAttachmentBytes: 32 << 20},
		Web:      Web{SessionIdle: defaultIdle, SessionLifetime: defaultLifetime},
		Archive:  Archive{VolumeSize: 1 << 30, Verify: Verify{Deep: true}},
		Defaults: Session{
			Schedule:    "@every 5m",
			Jitter:      10 * time.Second,
			ReceiptWait: 5 * time.Minute,
			Timeout:     2 * time.Minute,
			TLS:         TLSImplicit,

			TLSMinVersion: "1.2",
			Auth:          AuthAuto,
			UTF8:          "auto",
			Pipelining:    "auto",
		},
	}
}

// Load reads and checks the configuration file. The files and variables that
// it names are not read. What is wrong with the content is an *Error.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", path, err)
	}
	return parse(filepath.Base(path), dir, data)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no configuration: %w (postkeep init writes one)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than 4 MiB and cannot be a configuration", path)
	}
	return data, nil
}

// parse checks data; name stands for the file in errors, dir is where relative
// file names begin.
func parse(name, dir string, data []byte) (*Config, error) {
	cfg := defaults()
	d := &decoder{
		text: data,
		dir:  dir,
		at:   make(map[string]position),
		newElement: func(v any) {
			switch e := v.(type) {
			case *Mailbox:
				e.Session = cfg.Defaults
			case *Anchor:
				e.Schedule, e.Method = "@daily", "POST"
			}
		},
	}
	if root := d.parseYAML(); root != nil {
		d.decode(root, reflect.ValueOf(&cfg).Elem(), "", "")
		d.validate(&cfg)
	}
	if err := d.err(name); err != nil {
		return nil, err
	}
	cfg.DataDir = d.absolute(cfg.DataDir) // the default is relative, too
	for i := range cfg.Mailboxes {
		if m := &cfg.Mailboxes[i]; m.OAuth2.ClientID != "" {
			m.OAuth2.TokenFile = filepath.Join(cfg.DataDir, "oauth", m.Name+".json")
		} else {
			m.OAuth2 = OAuth2{} // the preset's part is of no use
		}
	}
	return &cfg, nil
}
