package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"filippo.io/age"
)

const (
	// minStoreBytes is the least that package pipeline works with.
	minStoreBytes = 16 << 20
	// maxCount is more messages than a mailbox has; what is above is a mistake.
	maxCount = 1_000_000_000
)

// failKey notes a problem with the value at path, unless there is one already.
// It says nothing where the file has no such key: our defaults are valid, and
// those of the defaults section are reported there.
func (d *decoder) failKey(path, format string, args ...any) {
	at, given := d.at[path]
	reported := slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Line == at.line && p.Column == at.column })
	if given && !reported {
		d.fail(at, "%s "+format, append([]any{lastKey(path)}, args...)...)
	}
}

// validate checks what a single scalar cannot tell, and fills in ports.
func (d *decoder) validate(cfg *Config) {
	if cfg.DataDir == "" {
		d.failKey("data_dir", "is empty")
	}
	d.checkNATS(cfg.NATS)
	d.checkWeb(cfg.Web)
	checkRange(d, "poller.sessions", cfg.Poller.Sessions, 1, 1000)
	checkRange(d, "poller.sessions_per_host", cfg.Poller.SessionsPerHost, 1, 1000)
	if size := cfg.Archive.VolumeSize; size < 1<<20 || size > 1<<40 {
		d.failKey("archive.volume_size", "must be from 1MiB to 1TiB")
	}
	for i, r := range cfg.Archive.Encryption.Recipients {
		if _, err := age.ParseRecipients(strings.NewReader(r)); err != nil {
			d.failKey(fmt.Sprintf("archive.encryption.recipients[%d]", i), "is not an age recipient (age1…)")
		}
	}
	if size := cfg.Index.MaxAttachmentBytes; size < 64<<10 || size > 1<<30 {
		d.failKey("index.max_attachment_bytes", "must be from 64KiB to 1GiB")
	}
	for i, anchor := range cfg.Anchors {
		d.checkAnchor(fmt.Sprintf("anchors[%d]", i), anchor)
	}
	d.checkSession("defaults", cfg.Defaults)
	first := make(map[string]int)
	for i := range cfg.Mailboxes {
		m, path := &cfg.Mailboxes[i], fmt.Sprintf("mailboxes[%d]", i)
		d.checkMailbox(path, m)
		if j, used := first[m.Name]; used {
			d.failKey(path+".name", "%q is used twice, first in line %d", m.Name,
				d.at[fmt.Sprintf("mailboxes[%d].name", j)].line)
		} else {
			first[m.Name] = i
		}
	}
}

func (d *decoder) checkAnchor(path string, a Anchor) {
	given := 0
	for _, key := range []string{".tsa", ".file", ".url"} {
		if _, ok := d.at[path+key]; ok {
			given++
		}
	}
	switch {
	case given != 1:
		d.fail(d.at[path], "an entry of anchors needs one of tsa, file and url")
	case a.TSA == "" && a.URL == "" && a.File == "":
		d.failKey(path+".file", "is empty")
	case a.TSA != "" && a.CAFile == "":
		d.fail(d.at[path], "an entry of anchors with tsa needs ca_file, the roots of the authority")
	case a.TSA == "" && a.CAFile != "":
		d.failKey(path+".ca_file", "belongs to tsa")
	case a.URL == "" && a.TokenFile != "":
		d.failKey(path+".token_file", "belongs to url")
	}
}

// natsPrefix is what can be part of the names of streams and of subjects.
var natsPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)

func (d *decoder) checkNATS(n NATS) {
	if n.MaxStoreBytes != 0 && n.MaxStoreBytes < minStoreBytes {
		d.failKey("nats.max_store_bytes", "must be at least 16MiB, or 0 for the default")
	}
	if n.URL == "" {
		const needs = "needs nats.url: the server inside the process has no listener"
		if n.CredentialsFile != "" {
			d.failKey("nats.credentials_file", needs)
		}
		if n.CAFile != "" {
			d.failKey("nats.ca_file", needs)
		}
		if n.Prefix != "" {
			d.failKey("nats.prefix", needs)
		}
		return
	}
	if !natsPrefix.MatchString(n.Prefix) {
		d.failKey("nats.prefix", "must be 1 to 64 letters, digits, '-' and '_'")
	}
	for server := range strings.SplitSeq(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		switch {
		// The message does not quote the URL, which may have a password in it.
		case err != nil, !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme), u.Hostname() == "":
			d.failKey("nats.url", "must be like nats://host:4222 or tls://host:4222, several separated by commas")
		case u.User != nil:
			d.failKey("nats.url", "must not hold a user or a password: use nats.credentials_file")
		}
	}
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

func (d *decoder) checkSession(path string, s Session) {
	checkRange(d, path+".jitter", s.Jitter, 0, time.Hour)
	checkRange(d, path+".receipt_wait", s.ReceiptWait, 10*time.Second, 10*time.Minute)
	checkRange(d, path+".max_messages", s.MaxMessages, 0, maxCount)
	checkRange(d, path+".commit_every", s.CommitEvery, 0, maxCount)
	checkRange(d, path+".timeout", s.Timeout, time.Second, time.Hour)
	_, user := d.at[path+".proxy.username"]
	if _, password := d.at[path+".proxy.password_file"]; user != password {
		d.failKey(path+".proxy", "needs username and password_file, both or none of them")
	}
	if s.Delete.After < time.Second { // with the form { after: … } only
		d.failKey(path+".delete.after", "must be at least 1s; to delete at once write delete: after_archive")
	}
}

// checkRange is for values that print as they are written.
func checkRange[T int | time.Duration](d *decoder, path string, value, lowest, highest T) {
	if value < lowest || value > highest {
		d.failKey(path, "must be from %v to %v, is %v", lowest, highest, value)
	}
}

var (
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9_@+][A-Za-z0-9_@+.-]{0,63}$`)
	hostForm   = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$`)
	envForm    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	portSuffix = regexp.MustCompile(`^\[?([^\]]*)\]?:\d+$`)
)

func (d *decoder) checkMailbox(path string, m *Mailbox) {
	if !nameForm.MatchString(m.Name) {
		d.failKey(path+".name", "must be 1 to 64 letters (A-Z, a-z), digits and . _ - @ +, and not begin with . or -, is %q", m.Name)
	}
	d.applyProvider(path, m)
	if _, given := d.at[path+".host"]; given {
		d.checkHost(path+".host", m.Host)
	} else if m.Host == "" {
		d.fail(d.at[path], "an entry of mailboxes needs: host, or a provider that knows it")
	}
	if m.Port == 0 && d.at[path+".port"] == (position{}) {
		m.Port = 110
		if m.TLS == TLSImplicit {
			m.Port = 995
		}
	}
	checkRange(d, path+".port", m.Port, 1, 65535)
	d.checkTLS(path, m)
	if m.Username == "" || strings.ContainsFunc(m.Username, unicode.IsControl) {
		d.failKey(path+".username", "must be text in one line")
	}
	d.checkCredentials(path, m)
	d.checkSession(path, m.Session)
}

func (d *decoder) checkHost(path, host string) {
	_, err := netip.ParseAddr(host)
	switch m := portSuffix.FindStringSubmatch(host); {
	case err == nil:
	case m != nil:
		d.failKey(path, "must not have a port in it: write host: %s and port: on its own", m[1])
	case !hostForm.MatchString(host):
		d.failKey(path, "must be a host name or an IP address, is %q", host)
	}
}
