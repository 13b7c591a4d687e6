package pop3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// drip returns options for a server that sends text over and over, one byte
// each interval.
func drip(t *testing.T, text string, interval time.Duration) pop3.Options {
	client, server := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { _ = server.Close() }()
		for i := 0; ; i++ {
			<-time.After(interval)
			if _, err := server.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		_ = client.Close()
		wg.Wait()
	})
	return pop3.Options{
		Host: "localhost", TLS: pop3.TLSNone,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return client, nil },
	}
}

func TestEveryWaitIsBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		lines []string
		call  func(context.Context, *pop3.Conn) error
	}{
		"NOOP": {[]string{"C: NOOP", "HANG"}, func(ctx context.Context, c *pop3.Conn) error { return c.Noop(ctx) }},
		"QUIT": {[]string{"C: QUIT", "HANG"}, func(ctx context.Context, c *pop3.Conn) error { return c.Quit(ctx) }},
		"LIST in the middle": {[]string{"C: LIST", "+OK\r\n1 2\r\n", "HANG"}, func(ctx context.Context, c *pop3.Conn) error {
			_, err := c.List(ctx)
			return err
		}},
		"RETR in mid-line": {[]string{"C: RETR 1", "+OK\r\nabc", "HANG"}, func(ctx context.Context, c *pop3.Conn) error {
			_, err := c.Retr(ctx, 1, io.Discard)
			return err
		}},
		"RETR at the dot": {[]string{"C: RETR 1", "+OK\r\nabc\r\n.\r", "HANG"}, func(ctx context.Context, c *pop3.Conn) error {
			_, err := c.Retr(ctx, 1, io.Discard)
			return err
		}},
		"write": {[]string{"+"}, func(ctx context.Context, c *pop3.Conn) error { return c.Noop(ctx) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := login(t, script(t, session("", tc.lines...)...))
				start := time.Now()
				err := tc.call(t.Context(), conn)
				if pop3.KindOf(err) != pop3.KindTimeout || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != pop3.DefaultCommandTimeout {
					t.Errorf("after %s: %v", time.Since(start), err)
				}
			})
		})
	}
}

func TestConnectingIsBounded(t *testing.T) {
	for name, lines := range map[string][]string{
		"no greeting":        {"HANG"},
		"no end of greeting": {"+OK", "HANG"},
		"no answer to CAPA":  {"+OK\r\n", "C: CAPA", "HANG"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := pop3.Dial(t.Context(), script(t, lines...))
				if pop3.KindOf(err) != pop3.KindTimeout || time.Since(start) != pop3.DefaultConnectTimeout {
					t.Errorf("after %s: %v", time.Since(start), err)
				}
			})
		})
	}
	t.Run("drop at CAPA", func(t *testing.T) {
		_, err := pop3.Dial(t.Context(), script(t, "+OK\r\n", "C: CAPA"))
		if pop3.KindOf(err) != pop3.KindClosed || !strings.HasPrefix(err.Error(), "CAPA at localhost:110: the server closed the connection") {
			t.Errorf("error %v", err)
		}
	})
}

func TestOneByteAMinuteIsTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := drip(t, "x", time.Minute)
		options.ConnectTimeout = 1000 * time.Hour
		start := time.Now()
		_, err := pop3.Dial(t.Context(), options)
		if pop3.KindOf(err) != pop3.KindTimeout || time.Since(start) > 3*pop3.DefaultCommandTimeout {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestTimeOfTheCallerIsNotTheServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := login(t, script(t, session("", "C: RETR 1", "+OK\r\na", "b", "c", "\r\n.\r\n", "HANG")...))
		err := conn.Retrieve(t.Context(), []int{1}, func(m *pop3.Message) error {
			buf := make([]byte, 1)
			for {
				<-time.After(time.Hour)
				if _, err := m.Body.Read(buf); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestStallAfterADotExplainsItself(t *testing.T) {
	for _, body := range []string{"no line end before the dot.\r\n", "line ends of LF\n.\r\n", "line ends of LF\n.\n"} {
		synctest.Test(t, func(t *testing.T) {
			conn := login(t, script(t, session("", "C: RETR 1", "+OK\r\nSubject: x\r\n\r\n"+body, "HANG")...))
			_, err := conn.Retr(t.Context(), 1, io.Discard)
			if pop3.KindOf(err) != pop3.KindTimeout || !strings.Contains(err.Error(), "the last line ends in a dot") {
				t.Errorf("%q: %v", body, err)
			}
		})
	}
}

func TestEndlessAnswersAreCutOff(t *testing.T) {
	for verb, text := range map[string][2]string{
		pop3test.VerbGreeting: {"+OK ", "x"},
		"CAPA":                {"+OK\r\n", "X\r\n"},
		"UIDL":                {"+OK\r\n", "1 " + strings.Repeat("x", 20000) + "\r\n"},
		"RETR":                {"+OK\r\n", strings.Repeat("x", 20000)},
	} {
		t.Run(verb, func(t *testing.T) {
			server := startServer(t, pop3test.Config{Hook: pop3test.On(verb, "", func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
				return func(w io.Writer) error {
					_, err := io.WriteString(w, text[0])
					for err == nil {
						_, err = io.WriteString(w, text[1])
					}
					return err
				}
			})})
			options := optionsFor(server)
			options.MaxMessageBytes = 1 << 20
			conn, err := pop3.Dial(t.Context(), options)
			if err == nil {
				err = errors.Join(
					conn.Login(t.Context(), pop3.Credentials{Username: user, Password: password}),
					onlyError(conn.UIDL(t.Context())),
					onlyError(conn.Retr(t.Context(), 1, io.Discard)),
					conn.Close(),
				)
			}
			if pop3.KindOf(err) != pop3.KindLimit {
				t.Errorf("error %v", err)
			}
		})
	}
}

func onlyError[T any](_ T, err error) error { return err }

func TestContextInterruptsAtOnce(t *testing.T) {
	operator := errors.New("the operator said stop")
	for _, verb := range []string{"NOOP", "LIST", "RETR", "DELE", "QUIT"} {
		t.Run(verb, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			server := startServer(t, pop3test.Config{Hook: pop3test.On(verb, "", func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
				cancel(operator)
				return pop3test.Stall(s, nil, normal)
			})}, "a")
			conn := login(t, optionsFor(server))
			var err error
			switch verb {
			case "NOOP":
				err = conn.Noop(ctx)
			case "LIST":
				_, err = conn.List(ctx)
			case "RETR":
				_, err = conn.Retr(ctx, 1, io.Discard)
			case "DELE":
				err = conn.Dele(ctx, 1)
			case "QUIT":
				err = conn.Quit(ctx)
			}
			if pop3.KindOf(err) != pop3.KindCanceled || !errors.Is(err, operator) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestContextInterruptsDialAndHandshake(t *testing.T) {
	for _, mode := range []pop3.TLSMode{pop3.TLSImplicit, pop3.TLSNone} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		accepted := make(chan net.Conn, 1)
		go func() {
			conn, _ := listener.Accept()
			cancel()
			accepted <- conn
		}()
		addr, _ := listener.Addr().(*net.TCPAddr)
		_, err = pop3.Dial(ctx, pop3.Options{Host: "127.0.0.1", Port: addr.Port, TLS: mode})
		if pop3.KindOf(err) != pop3.KindCanceled || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", mode, err)
		}
		if err := errors.Join((<-accepted).Close(), listener.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestSessionOutlivesAContextThatEndedBetweenCommands(t *testing.T) {
	server := startServer(t, pop3test.Config{}, "a")
	conn := login(t, optionsFor(server))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := conn.Noop(ended); pop3.KindOf(err) != pop3.KindCanceled {
		t.Errorf("error %v", err)
	}
	if err := conn.Quit(t.Context()); err != nil {
		t.Errorf("the session ended: %v", err)
	}
}

func TestCloseInterruptsAMethod(t *testing.T) {
	inside := make(chan struct{})
	server := startServer(t, pop3test.Config{Hook: pop3test.On("NOOP", "", func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
		close(inside)
		return pop3test.Stall(s, nil, normal)
	})})
	conn := login(t, optionsFor(server))
	go func() {
		<-inside
		_ = conn.Close()
	}()
	if err := conn.Noop(t.Context()); pop3.KindOf(err) != pop3.KindClosed {
		t.Errorf("error %v", err)
	}
}

func ExampleConn_Retrieve() {
	server, err := pop3test.Start(pop3test.Config{Mailboxes: []pop3test.Mailbox{{
		User: "ann", Password: "secret", Messages: []pop3test.Message{pop3test.Bytes([]byte("Subject: hello\r\n\r\nbody\r\n"))},
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = server.Close() }()

	ctx := context.Background()
	conn, err := pop3.Dial(ctx, pop3.Options{Host: server.Host(), Port: server.Port(), TLS: pop3.TLSNone})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Login(ctx, pop3.Credentials{Username: "ann", Password: "secret"}); err != nil {
		fmt.Println(err)
		return
	}
	err = conn.Retrieve(ctx, []int{1, 2}, func(m *pop3.Message) error {
		if m.Err != nil {
			fmt.Println("message", m.Number, pop3.KindOf(m.Err))
			return nil
		}
		n, err := io.Copy(io.Discard, m.Body)
		fmt.Println("message", m.Number, n, "bytes")
		return err
	})
	fmt.Println(err, conn.Quit(ctx))
	// Output:
	// message 1 24 bytes
	// message 2 refused
	// <nil> <nil>
}
