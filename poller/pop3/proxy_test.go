package pop3_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// remoteHost is a name that only the proxies here can look up.
const remoteHost = "pop.example.invalid"

// startProxy starts a proxy whose clients are served by handle, which returns
// where the client wants to go, and connects them to target.
func startProxy(t *testing.T, target string, handle func(conn net.Conn, r *bufio.Reader) (ok bool)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	serve := func(conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		if !handle(conn, r) {
			return
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		wg.Go(func() {
			_, _ = io.Copy(server, r)
			_ = server.Close()
		})
		_, _ = io.Copy(conn, server)
	}
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	return listener.Addr().String()
}

// socks5 is the server side of RFC 1928 with RFC 1929.
func socks5(t *testing.T, want string) func(net.Conn, *bufio.Reader) bool {
	read := func(r io.Reader, n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			t.Errorf("SOCKS: %v", err)
		}
		return b
	}
	return func(conn net.Conn, r *bufio.Reader) bool {
		read(r, int(read(r, 2)[1]))
		_, _ = conn.Write([]byte{5, 2}) // user name and password
		name := read(r, int(read(r, 2)[1]))
		secret := read(r, int(read(r, 1)[0]))
		if string(name) != "proxyuser" || string(secret) != "proxypass" {
			_, _ = conn.Write([]byte{1, 1})
			return false
		}
		_, _ = conn.Write([]byte{1, 0})
		if kind := read(r, 4)[3]; kind != 3 {
			t.Errorf("address type %d: the name was not left to the proxy", kind)
			return false
		}
		host := read(r, int(read(r, 1)[0]))
		port := read(r, 2)
		if got := fmt.Sprintf("%s:%d", host, int(port[0])<<8|int(port[1])); got != want {
			t.Errorf("asked for %s, want %s", got, want)
		}
		_, _ = conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		return true
	}
}

// connect is the server side of CONNECT.
func connect(t *testing.T, want string) func(net.Conn, *bufio.Reader) bool {
	return func(conn net.Conn, r *bufio.Reader) bool {
		request, err := http.ReadRequest(r)
		if err != nil {
			t.Errorf("CONNECT: %v", err)
			return false
		}
		basic := http.Request{Header: http.Header{"Authorization": request.Header["Proxy-Authorization"]}}
		if name, secret, _ := basic.BasicAuth(); name != "proxyuser" || secret != "proxypass" {
			_, _ = io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			return false
		}
		if request.Method != http.MethodConnect || request.RequestURI != want || request.Host != want {
			t.Errorf("%s %s, host %s; want CONNECT %s", request.Method, request.RequestURI, request.Host, want)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		return true
	}
}

func TestSessionThroughAProxyThatLooksUpTheName(t *testing.T) {
	for _, kind := range []pop3.ProxyKind{pop3.ProxySOCKS5, pop3.ProxyHTTP} {
		for _, mode := range []pop3.TLSMode{pop3.TLSNone, pop3.TLSImplicit} {
			t.Run(fmt.Sprintf("%s/%s", kind, mode), func(t *testing.T) {
				server := startServer(t, pop3test.Config{TLS: map[pop3.TLSMode]pop3test.TLSMode{pop3.TLSImplicit: pop3test.TLSImplicit}[mode]}, "a\r\n")
				want := fmt.Sprintf("%s:%d", remoteHost, server.Port())
				handle := connect(t, want)
				if kind == pop3.ProxySOCKS5 {
					handle = socks5(t, want)
				}
				proxy := pop3.Proxy{Kind: kind, Addr: startProxy(t, server.Addr(), handle), Username: "proxyuser", Password: "proxypass"}
				options := pop3.Options{
					Host: remoteHost, Port: server.Port(), TLS: mode, TLSConfig: server.ClientTLS(), AllowPlaintext: true, Dialer: proxy.DialContext,
				}
				if mode == pop3.TLSImplicit {
					options.TLSConfig.ServerName = "localhost"
				}
				conn := login(t, options)
				var body strings.Builder
				if _, err := conn.Retr(t.Context(), 1, &body); err != nil || body.String() != "a\r\n" {
					t.Errorf("%q, %v", body.String(), err)
				}
				if err := conn.Quit(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestProxyErrorsNameTheProxyAndNoPassword(t *testing.T) {
	unused := startProxy(t, "", func(net.Conn, *bufio.Reader) bool { return false })
	say := func(text string) string {
		return startProxy(t, "", func(conn net.Conn, _ *bufio.Reader) bool {
			_, _ = io.WriteString(conn, text)
			return false
		})
	}
	for name, tc := range map[string]struct {
		proxy pop3.Proxy
		want  string
	}{
		"wrong password, HTTP":  {pop3.Proxy{Kind: pop3.ProxyHTTP, Addr: startProxy(t, "", connect(t, ""))}, "407 Proxy Authentication Required"},
		"wrong password, SOCKS": {pop3.Proxy{Kind: pop3.ProxySOCKS5, Addr: startProxy(t, "", socks5(t, ""))}, "authentication failed"},
		"hangs up, HTTP":        {pop3.Proxy{Kind: pop3.ProxyHTTP, Addr: unused}, "answer to CONNECT"},
		"no HTTP":               {pop3.Proxy{Kind: pop3.ProxyHTTP, Addr: say("+OK POP3\x1b[2J\r\n")}, "answer to CONNECT"},
		"endless header":        {pop3.Proxy{Kind: pop3.ProxyHTTP, Addr: say("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20))}, "answer to CONNECT"},
		"unknown kind":          {pop3.Proxy{Kind: "ftp", Addr: unused}, "unknown kind"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.proxy.Username, tc.proxy.Password = "proxyuser", "hunter2"
			_, err := pop3.Dial(t.Context(), pop3.Options{Host: remoteHost, Dialer: tc.proxy.DialContext})
			text := fmt.Sprint(err)
			if pop3.KindOf(err) != pop3.KindConnect || !strings.Contains(text, tc.want) || !strings.Contains(text, tc.proxy.Addr) ||
				strings.Contains(text, "hunter2") || strings.Contains(text, "\x1b") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSilentProxyIsBoundedByTheContext(t *testing.T) {
	for _, kind := range []pop3.ProxyKind{pop3.ProxySOCKS5, pop3.ProxyHTTP} {
		done := make(chan struct{})
		reached := make(chan struct{})
		addr := startProxy(t, "", func(net.Conn, *bufio.Reader) bool { close(reached); <-done; return false })
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-reached; cancel() }()
		_, err := pop3.Dial(ctx, pop3.Options{Host: remoteHost, Dialer: pop3.Proxy{Kind: kind, Addr: addr}.DialContext})
		if pop3.KindOf(err) != pop3.KindCanceled || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", kind, err)
		}
		_, err = pop3.Dial(t.Context(), pop3.Options{
			Host: remoteHost, ConnectTimeout: 50 * time.Millisecond,
			Dialer: func(ctx context.Context, network, target string) (net.Conn, error) {
				silent := startProxy(t, "", func(net.Conn, *bufio.Reader) bool { <-done; return false })
				return pop3.Proxy{Kind: kind, Addr: silent}.DialContext(ctx, network, target)
			},
		})
		if pop3.KindOf(err) != pop3.KindTimeout {
			t.Errorf("%s: %v", kind, err)
		}
		close(done)
	}
}
