package bounds_test

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/postkeep/postkeep/web/bounds"
)

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	const each = 20
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := bounds.Listen(inner, each, slog.New(slog.DiscardHandler))
	accepted := make(chan net.Conn, 100)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	try := func(from string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
		return d.DialContext(t.Context(), "tcp", l.Addr().String())
	}
	dial := func(from string) net.Conn {
		t.Helper()
		c, err := try(from)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for range each {
		c := dial("127.0.0.1")
		defer func() { _ = c.Close() }()
	}
	var held []net.Conn
	for range each {
		held = append(held, <-accepted)
	}
	for range 3 * each {
		c, err := try("127.0.0.1")
		if err != nil { // closed so soon
			continue
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection too many is answered")
		}
		_ = c.Close()
	}
	other := dial("127.0.0.2")
	defer func() { _ = other.Close() }()
	if c := <-accepted; bounds.Network(c.RemoteAddr().String()) != "127.0.0.2" {
		t.Errorf("%v is let in", c.RemoteAddr())
	} else {
		_ = c.Close()
	}
	_ = held[0].Close()
	_ = held[0].Close() // as servers do
	again := dial("127.0.0.1")
	defer func() { _ = again.Close() }()
	c := <-accepted
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Error(err)
	}
	for _, c := range append(held, c) {
		_ = c.Close()
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for range accepted {
		t.Error("one more connection was let in")
	}
}
