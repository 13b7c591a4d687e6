package pop3

import (
	"errors"
	"strings"
)

// Kind says what sort of failure an Error is.
type Kind int

// What went wrong. Temporary says which are worth another try.
const (
	KindConfig      Kind = iota + 1 // options or credentials that cannot be used; nothing was sent
	KindConnect                     // no connection: unknown host, refused, unreachable
	KindTLS                         // STLS refused, handshake or certificate failed
	KindAuth                        // the server says that username or password are wrong: do not try again soon, accounts get locked
	KindBusy                        // maildrop in use, login too soon, or another limit (IN-USE, LOGIN-DELAY)
	KindTemporary                   // the server says that it cannot now (SYS/TEMP)
	KindRefused                     // the server refused the command (SYS/PERM or no reason known)
	KindUnsupported                 // the server does not know the command; also errors.ErrUnsupported
	KindProtocol                    // an answer that is not POP3
	KindLimit                       // an answer larger than a limit
	KindTimeout                     // the server was silent or too slow
	KindClosed                      // the connection was closed or lost; io.ErrUnexpectedEOF if by the server
	KindCanceled                    // the context ended; wraps its cause
)

var kindNames = [...]string{
	KindConfig: "config", KindConnect: "connect", KindTLS: "tls", KindAuth: "auth", KindBusy: "busy",
	KindTemporary: "temporary", KindRefused: "refused", KindUnsupported: "unsupported",
	KindProtocol: "protocol", KindLimit: "limit", KindTimeout: "timeout", KindClosed: "closed",
	KindCanceled: "canceled",
}

// String returns a lower-case word for the kind.
func (k Kind) String() string {
	if k <= 0 || int(k) >= len(kindNames) {
		return "unknown"
	}
	return kindNames[k]
}

// Error is the type of every error that this package returns, apart from those
// that a callback returned. Its text is one line and holds no secret.
type Error struct {
	Op   string // what was tried: "connect", "greeting", "login", "RETR 5", …
	Host string // host:port
	User string // whose login it was; only for Op "login"
	Kind Kind
	Code string // response code (RFC 2449, 3206) in upper case without brackets, such as "IN-USE"
	Text string // the server's words after the code, made printable and shortened
	Hint string // what the operator can do

	// Pipelined says that several commands were under way when the connection
	// failed. A next session does well to set PipelineWindow to 1.
	Pipelined bool

	Err error // the cause, unless the server refused
}

// Error returns one line: what, where, why, what to do.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	switch e.Op {
	case opConnect, opLogin:
		b.WriteString(" to ")
	case opTLS:
		b.WriteString(" with ")
	case opGreeting:
		b.WriteString(" of ")
	default:
		b.WriteString(" at ")
	}
	b.WriteString(e.Host)
	if e.User != "" {
		b.WriteString(" as " + e.User)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	} else {
		b.WriteString(` refused: "` + e.words() + `"`)
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

func (e *Error) words() string {
	if e.Code == "" {
		return e.Text
	}
	return strings.TrimSuffix("["+e.Code+"] "+e.Text, " ")
}

// Unwrap returns the cause; nil if the server refused.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an error of KindUnsupported an errors.ErrUnsupported.
func (e *Error) Is(target error) bool {
	return target == errors.ErrUnsupported && e.Kind == KindUnsupported
}

// Temporary reports whether the same may succeed later without anybody
// changing anything.
func (e *Error) Temporary() bool {
	switch e.Kind {
	case KindBusy, KindTemporary, KindTimeout, KindClosed, KindCanceled:
		return true
	case KindConnect:
		return !isUnknownHost(e.Err)
	default:
		return false
	}
}

// KindOf returns the kind of the Error in err's tree, or 0.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}
