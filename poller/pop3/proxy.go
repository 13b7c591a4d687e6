package pop3

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"
)

// ProxyKind is the protocol of a Proxy.
type ProxyKind string

// Values of ProxyKind.
const (
	ProxySOCKS5 ProxyKind = "socks5" // RFC 1928, 1929
	ProxyHTTP   ProxyKind = "http"   // CONNECT (RFC 9110, section 9.3.6)
)

// maxProxyHeader bounds the answer of a proxy to CONNECT.
const maxProxyHeader = 16 << 10

// Proxy reaches servers through a proxy, which also looks up their names.
type Proxy struct {
	Kind     ProxyKind
	Addr     string // host:port
	Username string // "" for none
	Password string
}

// proxyError is a failure on the way to or at a proxy.
type proxyError struct {
	addr string
	err  error
}

func (e *proxyError) Error() string { return "proxy " + e.addr + ": " + e.err.Error() }
func (e *proxyError) Unwrap() error { return e.err }

// DialContext connects to addr (host:port); it fits Options.Dialer. The end of
// ctx interrupts it, and does not matter once it has returned.
func (p Proxy) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var conn net.Conn
	var err error
	switch p.Kind {
	case ProxySOCKS5:
		conn, err = p.dialSOCKS(ctx, network, addr)
	case ProxyHTTP:
		conn, err = p.dialHTTP(ctx, network, addr)
	default:
		err = fmt.Errorf("unknown kind %q", string(p.Kind))
	}
	if err != nil {
		return nil, &proxyError{p.Addr, err}
	}
	return conn, nil
}

func (p Proxy) dialSOCKS(ctx context.Context, network, addr string) (net.Conn, error) {
	var auth *proxy.Auth
	if p.Username != "" {
		auth = &proxy.Auth{User: p.Username, Password: p.Password}
	}
	dialer, err := proxy.SOCKS5(network, p.Addr, auth, nil)
	if err != nil {
		return nil, err
	}
	contextual, ok := dialer.(proxy.ContextDialer)
	if !ok {
		return nil, errors.ErrUnsupported // cannot be, as its documentation says
	}
	return contextual.DialContext(ctx, network, addr)
}

func (p Proxy) dialHTTP(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, p.Addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	rest, err := p.connect(conn, addr)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close() // nothing was sent that it could lose
		return nil, err
	}
	return &tunnel{Conn: conn, rest: rest}, nil
}

// connect asks for a tunnel and returns what has come through it already.
func (p Proxy) connect(conn net.Conn, addr string) (*bytes.Reader, error) {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	request.Header.Set("User-Agent", "") // leaves it out
	if p.Username != "" {
		basic := http.Request{Header: http.Header{}}
		basic.SetBasicAuth(p.Username, p.Password)
		request.Header.Set("Proxy-Authorization", basic.Header.Get("Authorization"))
	}
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	br := bufio.NewReader(io.LimitReader(conn, maxProxyHeader))
	response, err := http.ReadResponse(br, request)
	if err != nil {
		return nil, fmt.Errorf("answer to CONNECT: %s", printable(err.Error())) // it quotes
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, fmt.Errorf("CONNECT %s refused: %q", addr, printable(strings.TrimSpace(response.Status)))
	}
	rest, err := br.Peek(br.Buffered())
	return bytes.NewReader(bytes.Clone(rest)), err
}

// tunnel is a connection of which some has been read already.
type tunnel struct {
	net.Conn
	rest *bytes.Reader
}

func (t *tunnel) Read(p []byte) (int, error) {
	if t.rest.Len() > 0 {
		return t.rest.Read(p)
	}
	return t.Conn.Read(p)
}
