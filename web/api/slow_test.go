package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postkeep/postkeep/web/bounds"
)

// served runs a server on connections inside the process, in time that passes when all wait.
func served(t *testing.T, serve func(context.Context, net.Listener, http.Handler) error, h http.HandlerFunc, test func(dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, done := newMemory(), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- serve(ctx, l, h) }()
		test(func() net.Conn {
			c, err := l.dial(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return c
		})
		cancel()
		if err := errors.Join(<-done, l.Close()); err != nil {
			t.Error(err)
		}
	})
}

// people serves as the pages do.
func people(ctx context.Context, l net.Listener, h http.Handler) error {
	return ServePeople(ctx, l, bounds.Handler(h))
}

var servers = map[string]func(context.Context, net.Listener, http.Handler) error{"people": people, "the socket": Serve}

func TestSlowBodiesEnd(t *testing.T) {
	for name, serve := range servers {
		t.Run(name, func(t *testing.T) {
			served(t, serve, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/unread" { // as what is refused before it is read
					w.WriteHeader(http.StatusForbidden)
					return
				}
				if _, err := io.Copy(io.Discard, r.Body); bounds.Status(err) != http.StatusRequestTimeout {
					t.Errorf("%v", err)
				}
			}, func(dial func() net.Conn) {
				began := time.Now()
				var conns []net.Conn
				for i := range 100 {
					c := dial()
					defer func() { _ = c.Close() }()
					conns = append(conns, c)
					length := []string{"Content-Length: 1000", "Transfer-Encoding: chunked"}[i%2]
					path := []string{"/read", "/unread"}[i/2%2]
					if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n1", path, length); err != nil {
						t.Fatal(err)
					}
				}
				for _, c := range conns {
					_ = c.SetReadDeadline(began.Add(time.Hour))
					if _, err := io.Copy(io.Discard, c); err != nil {
						t.Error("a slow body is waited for")
					}
				}
				if took := time.Since(began); took > bounds.BodyTime+time.Second {
					t.Errorf("slow bodies are waited for for %v", took)
				}
			})
		})
	}
}

func TestAnswersThatNobodyReadsEnd(t *testing.T) {
	for name, serve := range servers {
		t.Run(name, func(t *testing.T) {
			var took chan time.Duration
			served(t, serve, func(w http.ResponseWriter, _ *http.Request) {
				began := time.Now()
				for range 1000 {
					if _, err := w.Write(make([]byte, 1<<20)); err != nil {
						break
					}
				}
				took <- time.Since(began)
			}, func(dial func() net.Conn) {
				took = make(chan time.Duration, 1)
				c := dial()
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				select {
				case d := <-took:
					if d > 5*time.Minute {
						t.Errorf("%v", d)
					}
				case <-time.After(time.Hour):
					t.Error("an answer that nobody reads is kept")
					_ = c.Close()
					<-took
				}
			})
		})
	}
}

// A long answer, a slow download and a stream of events are not slow requests.
func TestLongAnswersAreNotCutOff(t *testing.T) {
	const steps = 50
	for name, serve := range servers {
		t.Run(name, func(t *testing.T) {
			served(t, serve, func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err != nil {
					t.Error(err)
				}
				for range steps {
					time.Sleep(10 * time.Minute)
					if r.Context().Err() != nil {
						t.Error("somebody who waits is taken for gone")
					}
					_, err := io.WriteString(w, "event\n")
					if err = errors.Join(err, http.NewResponseController(w).Flush()); err != nil {
						t.Error(err)
						return
					}
				}
			}, func(dial func() net.Conn) {
				c := dial()
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				if n := strings.Count(string(got), "event"); n != steps || err != nil {
					t.Errorf("%d of %d events, %v", n, steps, err)
				}
			})
		})
	}
}
