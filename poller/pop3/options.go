package pop3

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// TLSMode says how a connection is encrypted.
type TLSMode int

const (
	// TLSImplicit starts with the TLS handshake (RFC 8314); the zero value.
	TLSImplicit TLSMode = iota
	// TLSStart upgrades a plaintext connection with STLS (RFC 2595). A server
	// that refuses STLS is an error: there is no fall back to plaintext.
	TLSStart
	// TLSNone never encrypts.
	TLSNone
)

// String returns "implicit", "starttls" or "none".
func (m TLSMode) String() string {
	switch m {
	case TLSImplicit:
		return "implicit"
	case TLSStart:
		return "starttls"
	case TLSNone:
		return "none"
	}
	return "TLSMode(" + strconv.Itoa(int(m)) + ")"
}

// Defaults of Options.
const (
	// DefaultTLSPort is used with TLSImplicit, DefaultPort otherwise.
	DefaultTLSPort = 995
	DefaultPort    = 110

	// DefaultConnectTimeout covers servers that look the client up in the DNS
	// (30 s when that fails) before they greet it.
	DefaultConnectTimeout = time.Minute

	// DefaultCommandTimeout covers servers that scan or lock a large maildrop
	// before they answer; RFC 1939 lets the server wait ten.
	DefaultCommandTimeout = 2 * time.Minute

	// DefaultPipelineWindow hides a round trip of 100 ms down to 3 ms a message.
	DefaultPipelineWindow = 32

	// DefaultMaxMessageBytes is far above what any server accepts; it ends a
	// response that never would.
	DefaultMaxMessageBytes = 16 << 30
)

// Limits that no honest server comes near.
const (
	// maxPipelineWindow keeps all outstanding commands, 22 octets each, under
	// the smallest socket buffers in use, so that writing them can never block
	// while the server waits for its answers to be read.
	maxPipelineWindow = 128

	// maxLineBytes bounds a status line and a line of a listing. RFC 1939 says
	// 512; some servers put whole paths into UIDLs. It is also the size of the
	// read buffer; the lines of a message are not bounded.
	maxLineBytes = 32 << 10

	// maxListEntries and maxListBytes bound what UIDL and LIST hold in memory.
	// The largest maildrops known have some hundred thousand messages.
	maxListEntries = 1 << 20
	maxListBytes   = 64 << 20

	// maxCapabilities bounds the lines of CAPA; servers send about 15.
	maxCapabilities = 256

	// minBytesPerSecond ends sessions with servers that send one byte a
	// minute. It is below any link that can still carry mail. Only time spent
	// waiting for the server counts, in stretches of twice CommandTimeout.
	minBytesPerSecond = 256
)

// Options say where and how to connect.
type Options struct {
	Host string // name or address, required; also the name that the certificate must have
	Port int    // 0 means DefaultTLSPort or DefaultPort
	TLS  TLSMode

	// TLSConfig is the base for TLS; it is cloned. An empty ServerName is
	// filled from Host and MinVersion is raised to TLS 1.2. A client certificate
	// in it is what MechanismExternal logs in with.
	TLSConfig *tls.Config

	// Pin, if not nil, is the SHA-256 of the server's certificate (of its DER
	// form). It takes the place of every other check: with the right certificate
	// neither its authority, nor its host, nor its dates matter.
	Pin *[sha256.Size]byte

	// RSAKeyExchange permits cipher suites in which the client encrypts a secret
	// with the server's RSA key, for servers of before about 2012 that know no
	// other. Whoever gets that key later can read what was recorded.
	RSAKeyExchange bool

	// Mechanism is how Login logs in.
	Mechanism Mechanism

	// NoAPOP leaves APOP out of MechanismAuto: for servers that have refused it
	// before and took another mechanism.
	NoAPOP bool

	// Token gives the OAuth2 access token to log in with, in place of a
	// password. refused is "" at first; if the server refuses a token, Token is asked
	// once more with that token, for it may have been withdrawn before its time,
	// and Login tries the one that it returns, if it is another. An *Error from
	// Token is returned by Login as it is; any other becomes one of KindTemporary.
	Token func(ctx context.Context, refused string) (string, error)

	// NoUTF8 leaves out the UTF8 command (RFC 6856), which is sent to servers
	// that offer it: without it they rewrite internationalized messages (RFC 6857),
	// with it they send them as they are stored.
	NoUTF8 bool

	// ConnectTimeout bounds Dial as a whole: lookup, connection, greeting, TLS
	// and CAPA. 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// CommandTimeout bounds each wait for bytes from the server, and each
	// write. Time that the caller spends between reads of a message does not
	// count. 0 means DefaultCommandTimeout.
	CommandTimeout time.Duration

	// PipelineWindow is the number of commands that may be under way at once
	// when the server offers PIPELINING: 0 means DefaultPipelineWindow, 1 turns
	// pipelining off, more than 128 counts as 128.
	PipelineWindow int

	// MaxMessageBytes bounds a single message. One that exceeds it breaks the
	// connection, for it may never end: leave out large messages by their LIST
	// size instead. 0 means DefaultMaxMessageBytes.
	MaxMessageBytes int64

	// AllowPlaintext permits Login without TLS, by any mechanism, to a host that
	// is not loopback.
	AllowPlaintext bool

	// BareLF is for servers that end the lines of messages in bare LF though
	// their status lines end in CRLF; see "Where a message ends".
	BareLF bool

	// Dialer replaces net.Dialer.DialContext, for proxies (Proxy.DialContext)
	// and tests. Its connections must honour deadlines.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

	// Logger gets one debug record for each step of a session, without secrets
	// and without content. nil discards.
	Logger *slog.Logger
}

// resolved returns the options with defaults filled in.
func (o Options) resolved() (Options, error) {
	if o.Host == "" {
		return o, errors.New("no host given")
	}
	if o.TLS < TLSImplicit || o.TLS > TLSNone {
		return o, fmt.Errorf("unknown TLS mode %d", int(o.TLS))
	}
	if !o.Mechanism.known() {
		return o, fmt.Errorf("unknown mechanism %q", printable(string(o.Mechanism)))
	}
	if o.Port < 0 || o.Port > 65535 {
		return o, fmt.Errorf("port %d is outside 1 to 65535", o.Port)
	}
	if o.ConnectTimeout < 0 || o.CommandTimeout < 0 || o.PipelineWindow < 0 || o.MaxMessageBytes < 0 {
		return o, errors.New("timeouts, pipeline window and message limit must not be negative")
	}
	if o.Port == 0 {
		o.Port = DefaultPort
		if o.TLS == TLSImplicit {
			o.Port = DefaultTLSPort
		}
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	if o.CommandTimeout == 0 {
		o.CommandTimeout = DefaultCommandTimeout
	}
	if o.PipelineWindow == 0 {
		o.PipelineWindow = DefaultPipelineWindow
	}
	o.PipelineWindow = min(o.PipelineWindow, maxPipelineWindow)
	if o.MaxMessageBytes == 0 {
		o.MaxMessageBytes = DefaultMaxMessageBytes
	}
	if o.Dialer == nil {
		o.Dialer = new(net.Dialer).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func (o Options) tlsConfig() *tls.Config {
	config := &tls.Config{}
	if o.TLSConfig != nil {
		config = o.TLSConfig.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = o.Host
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if o.RSAKeyExchange {
		config.CipherSuites = suitesWithRSA()
	}
	if o.Pin != nil {
		config.InsecureSkipVerify = true // VerifyConnection is stricter
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if got := sha256.Sum256(state.PeerCertificates[0].Raw); got != *o.Pin {
				return &pinError{want: *o.Pin, got: got}
			}
			return nil
		}
	}
	return config
}

// suitesWithRSA are the suites that are on by default and those of RSA key
// exchange with AES; not those with RC4 and 3DES, which are broken.
func suitesWithRSA() []uint16 {
	var ids []uint16
	for _, suite := range tls.CipherSuites() {
		ids = append(ids, suite.ID)
	}
	return append(ids,
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
}

// isLoopback goes by the name that was asked for, not by the address that
// was reached: behind a proxy on this machine every address is loopback.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}
