package pop3

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// protocolError is an answer that is not POP3, limitError one that is too
// large.
type (
	protocolError string
	limitError    string
)

func (e protocolError) Error() string { return string(e) }
func (e limitError) Error() string    { return string(e) }

// leftOver is what a server sent before a command was sent.
type leftOver struct{ text string }

func (e *leftOver) Error() string {
	return fmt.Sprintf("the server sent something that no command asked for: %q", e.text)
}

// errTooSlow is a server that keeps below minBytesPerSecond.
var errTooSlow = errors.New("the server sends too slowly")

// pinError is a certificate that is not the pinned one.
type pinError struct{ want, got [sha256.Size]byte }

func (e *pinError) Error() string {
	return fmt.Sprintf("the SHA-256 of the certificate is %x, pinned is %x", e.got, e.want)
}

// explain sorts a failure to read or write, and puts its cause in better words.
func explain(err error, idle time.Duration) (kind Kind, hint string, cause error) {
	var (
		protocol protocolError
		limit    limitError
		left     *leftOver
	)
	switch {
	case errors.As(err, &protocol), errors.As(err, &left):
		return KindProtocol, "", err
	case errors.As(err, &limit):
		return KindLimit, "", err
	case errors.Is(err, errTooSlow):
		return KindTimeout, "", fmt.Errorf("%w: less than %d bytes a second for %s", err, minBytesPerSecond, 2*idle)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return KindTimeout, "", fmt.Errorf("no answer for %s: %w", idle, os.ErrDeadlineExceeded)
	case errors.Is(err, net.ErrClosed):
		return KindClosed, "", net.ErrClosed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		// Whether the end arrives as FIN or as RST is a matter of timing.
		return KindClosed, "", fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	if hint, cause := explainTLS(err); cause != nil {
		return KindTLS, hint, cause
	}
	return KindClosed, "", err
}

// explainTLS returns nil if err is no failure of TLS.
func explainTLS(err error) (hint string, cause error) {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		op        *net.OpError
		pin       *pinError
	)
	switch {
	case errors.As(err, &pin):
		return "the server has another certificate, or somebody is in between: find out before you change the pin", pin
	case errors.As(err, &host):
		return "check the host name", fmt.Errorf("the certificate is for another host: %w", host)
	case errors.As(err, &authority):
		return "configure the CA file of the server",
			fmt.Errorf("the certificate is self-signed or its authority is unknown: %w", authority)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the certificate of the server or check the clock",
			fmt.Errorf("the certificate is expired or not yet valid: %w", invalid)
	case errors.As(err, &verify):
		return "", err
	case errors.As(err, &record):
		return "use starttls, or the port for implicit TLS, usually 995",
			fmt.Errorf("the server does not speak TLS here: %w", err)
	// crypto/tls wraps alerts in a net.OpError with these operations.
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"), strings.HasPrefix(err.Error(), "tls: "):
		return explainHandshake(err)
	}
	return "", nil
}

// rsaHint is for a server with which no cipher suite is common.
const rsaHint = "the server has no cipher suite in common with this program: it may know only RSA key exchange, " +
	"which is off because it keeps nothing secret once the server's key is known; update the server, or set tls_rsa_key_exchange: true"

// explainHandshake tells the failures of crypto/tls apart by their words, for
// it has no types for them.
func explainHandshake(err error) (hint string, cause error) {
	text := err.Error()
	has := func(words string) bool { return strings.Contains(text, words) }
	switch {
	case has("handshake failure"), has("unconfigured cipher suite"), has("no cipher suite supported"), has("insufficient security level"):
		return rsaHint, err
	case has("protocol version"):
		return "the server does not speak the versions of TLS that this program accepts (1.2 and 1.3, see tls_min_version): update the server", err
	case has("negative serial number"):
		return "the certificate breaks RFC 5280, and the environment (GODEBUG) forbids to accept that: take x509negativeserial=0 out of it, " +
			"or renew the certificate of the server", err
	case has("failed to parse certificate"):
		return "the certificate is malformed, and cannot be compared with a pin either: renew the certificate of the server", err
	case has("bad certificate"), has("certificate required"), has("unknown certificate"):
		return "the server does not accept the client certificate, or wants one: check client_cert_file", err
	}
	return "", err
}

// explainDial sorts a failure of Options.Dialer.
func explainDial(err error) (kind Kind, hint string, cause error) {
	var (
		timeout net.Error
		proxy   *proxyError
	)
	switch {
	case isUnknownHost(err):
		return KindConnect, "check the host name", fmt.Errorf("unknown host: %w", err)
	case errors.Is(err, syscall.ECONNREFUSED) && !errors.As(err, &proxy):
		return KindConnect, "check host and port, and whether the server is running", err
	case errors.As(err, &timeout) && timeout.Timeout():
		return KindTimeout, "check host, port and firewall", err
	case errors.As(err, &proxy):
		return KindConnect, "check the proxy, and host and port", err
	}
	return KindConnect, "", err
}

func isUnknownHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
