package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/web/api"
)

// big is a message of which a client that stops reading gets only a part: more than the
// buffers of a connection hold.
func big() mail {
	m := hello()
	const lines = 400_000 // some 30 MB
	line := strings.Repeat("x", 74) + "\r\n"
	m.raw = strings.Replace(m.raw, "the plan\r\n", strings.Repeat(line, lines), 1)
	return m
}

func TestClientsThatStallOrGoAwayLeaveNothingBehind(t *testing.T) {
	m := big()
	s := newSite(t, m)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	s.check(err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- api.ServePeople(ctx, l, s.web) }()
	officer, admin := s.browser("officer").session(), s.browser("admin").session()
	before := openFiles(t)
	for _, c := range []struct{ session, request string }{
		{officer, "GET /m/" + m.id() + "/raw"},
		{officer, "GET /m/" + m.id() + "/part/1.2"},
		{officer, "GET /api/v1/messages/" + m.id() + "/raw"},
		{officer, "GET /api/v1/messages/" + m.id() + "/parts/1.2"},
		{officer, "POST /api/v1/exports"},
		{admin, "GET /mailboxes/events"},
	} {
		t.Run(c.request, func(t *testing.T) {
			var conns []net.Conn
			for range 8 { // which read the head and then nothing
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
				body := ""
				if strings.HasPrefix(c.request, "POST") {
					body = `{"query":"*"}`
				}
				_, err = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: archive.example.com\r\nCookie: postkeep_session=%s\r\nContent-Length: %d\r\n\r\n%s", c.request, c.session, len(body), body)
				if err != nil {
					t.Fatal(err)
				}
				head := make([]byte, len("HTTP/1.1 200 OK"))
				if _, err := io.ReadFull(conn, head); err != nil || string(head) != "HTTP/1.1 200 OK" {
					t.Fatalf("%q, %v", head, err)
				}
			}
			if n := requests(); n < len(conns) {
				t.Errorf("%d clients that stall keep %d requests busy: the test proves nothing", len(conns), n)
			}
			// Others are served meanwhile.
			if got := s.browser("officer").get("/search?q=contract"); got.code != 200 {
				t.Errorf("somebody else: %d", got.code)
			}
			for _, conn := range conns {
				_ = conn.Close()
			}
			until(t, "requests go on", func() bool { return requests() == 0 })
			until(t, "files stay open", func() bool { return openFiles(t) <= before })
		})
	}
	cancel()
	s.check(errors.Join(<-served))
}

// requests is how many requests are being answered, by their goroutines.
func requests() int {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Count(stacks, []byte("web.(*Server).ServeHTTP("))
}

// openFiles counts the open files of this process, 0 where that cannot be found
// out. Those of the catalog are not counted: SQLite keeps its connections, of which the
// pool has no more than it may.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		// One that was closed meanwhile has no target.
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && !strings.Contains(target, "catalog.db") {
			n++
		}
	}
	return n
}

// until waits for something that has to come true.
func until(t *testing.T, otherwise string, is func() bool) {
	t.Helper()
	const patience = 30 * time.Second
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s after %v", otherwise, patience)
		}
	}
}
