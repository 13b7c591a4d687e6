package pop3_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// windows are the ways to send commands: as the server likes it, and one by one.
var windows = map[string]int{"pipelined": 0, "window of 2": 2, "one by one": 1}

func TestRetrieveKeepsEveryByte(t *testing.T) {
	messages := []string{
		"Subject: plain\r\n\r\nbody\r\n",
		"",
		".\r\n..\r\n.a\r\n",
		"NUL \x00, 8-bit \xff\xfe\r\n",
		"bare LF\n.\nbare CR\r.\r end\r\n",
		"answer within\n.\r\n+OK forged\r\n",
		"no final line end",
		"final LF\n",
		"final CR\r",
		"long line " + strings.Repeat("x", 5<<20) + "\r\n.\r\n",
		strings.Repeat(".\r\n", 20000),
	}
	for name, window := range windows {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, pop3test.Config{}, messages...)
			options := optionsFor(server)
			options.PipelineWindow = window
			conn := login(t, options)
			next := 0
			err := conn.Retrieve(t.Context(), list(len(messages)), func(m *pop3.Message) error {
				got, err := io.ReadAll(m.Body)
				if want := pop3test.OnWire([]byte(messages[next])); m.Number != next+1 || !bytes.Equal(got, want) {
					t.Errorf("message %d: got %d bytes, want %d", m.Number, len(got), len(want))
				}
				next++
				return err
			})
			if err != nil || next != len(messages) {
				t.Errorf("%d messages, error %v", next, err)
			}
		})
	}
}

func TestRetrieveGoesOnAfterRefusalsAndUnreadMessages(t *testing.T) {
	for name, window := range windows {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, pop3test.Config{Hook: pop3test.Hooks(
				pop3test.Reply("RETR", "2", "-ERR Message can not load"),
				pop3test.Reply("RETR", "4", "-ERR [SYS/TEMP] Download exceed"),
			)}, "one\r\n", "two\r\n", strings.Repeat("three\r\n", 100000), "four\r\n", "five\r\n")
			options := optionsFor(server)
			options.PipelineWindow = window
			conn := login(t, options)
			var got []string
			err := conn.Retrieve(t.Context(), []int{1, 2, 3, 4, 5, 99}, func(m *pop3.Message) error {
				if m.Err != nil {
					got = append(got, pop3.KindOf(m.Err).String())
					return nil
				}
				b, err := io.ReadAll(io.LimitReader(m.Body, 5))
				got = append(got, string(b))
				return err
			})
			want := []string{"one\r\n", "refused", "three", "temporary", "five\r", "refused"}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got %q, error %v", got, err)
			}
			if err := conn.Noop(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestRetrieveStopsAtAnErrorOfTheCallback(t *testing.T) {
	for name, window := range windows {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, pop3test.Config{}, slices.Repeat([]string{strings.Repeat("x\r\n", 5000)}, 100)...)
			options := optionsFor(server)
			options.PipelineWindow = window
			conn := login(t, options)
			enough := errors.New("enough")
			var body io.Reader
			calls := 0
			err := conn.Retrieve(t.Context(), list(100), func(m *pop3.Message) error {
				calls++
				body = m.Body
				return enough
			})
			if !errors.Is(err, enough) || calls != 1 {
				t.Errorf("%d calls, error %v", calls, err)
			}
			if n, err := body.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("read after the callback: %d, %v", n, err)
			}
			if err := conn.Quit(t.Context()); err != nil {
				t.Errorf("the session did not stay usable: %v", err)
			}
		})
	}
}

func TestDropInMidMessageIsNeverAnEnd(t *testing.T) {
	const message = "Subject: x\r\n\r\nbody\r\n"
	for cut := range int64(len(message) + len("+OK 20 octets\r\n.\r\n")) {
		server := startServer(t, pop3test.Config{Hook: pop3test.On("RETR", "2", func(_ *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
			return pop3test.DropAfter(cut, normal)
		})}, message, message, message)
		conn := login(t, optionsFor(server))
		whole := 0
		err := conn.Retrieve(t.Context(), list(3), func(m *pop3.Message) error {
			if _, err := io.ReadAll(m.Body); err == nil {
				whole++
			}
			return nil // an error that the callback swallows is one all the same
		})
		if whole != 1 || pop3.KindOf(err) != pop3.KindClosed || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %d whole messages, error %v", cut, whole, err)
		}
		if err := conn.Noop(t.Context()); pop3.KindOf(err) != pop3.KindClosed {
			t.Errorf("cut at %d: a command afterwards: %v", cut, err)
		}
	}
}

func TestPipelineWindowIsKept(t *testing.T) {
	const window, total = 4, 20
	client, server := net.Pipe()
	most := make(chan int64)
	go func() { most <- commandsAhead(server, window, total) }()
	options := pop3.Options{
		Host: "localhost", TLS: pop3.TLSNone, PipelineWindow: window, CommandTimeout: 10 * time.Second,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return client, nil },
	}
	conn := login(t, options)
	err := conn.Delete(t.Context(), list(total), func(int, error) {})
	if got := <-most; err != nil || got != window {
		t.Errorf("at most %d commands at once, error %v", got, err)
	}
}

// commandsAhead plays a server that answers total DELEs, the first one after it
// has got a whole window, and returns how many were under way at most.
func commandsAhead(conn net.Conn, window, total int) int64 {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for _, line := range session("PIPELINING\r\n") {
		if strings.HasPrefix(line, "C: ") {
			_, _ = r.ReadString('\n') // TestLoginByEachWay looks at these
		} else if _, err := io.WriteString(conn, line); err != nil {
			return -1
		}
	}
	var pending, most atomic.Int64
	commands := make(chan struct{}, total)
	go func() {
		defer close(commands)
		for range total {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
			most.Store(max(most.Load(), pending.Add(1)))
			commands <- struct{}{}
		}
	}()
	for range window {
		<-commands
	}
	for answered, taken := 0, window; answered < total; answered++ {
		if answered == taken {
			<-commands
			taken++
		}
		pending.Add(-1)
		if _, err := io.WriteString(conn, "+OK\r\n"); err != nil {
			return -1
		}
	}
	return most.Load()
}

func TestPipeliningDoesNotDeadlockOnLargeMessages(t *testing.T) {
	// 128 messages of 256 KiB are far more than all socket buffers hold.
	message := strings.Repeat(strings.Repeat("x", 62)+"\r\n", 4096)
	server := startServer(t, pop3test.Config{TLS: pop3test.TLSImplicit}, slices.Repeat([]string{message}, 300)...)
	options := optionsFor(server)
	options.TLS, options.TLSConfig, options.PipelineWindow = pop3.TLSImplicit, server.ClientTLS(), 1000
	conn := login(t, options)
	want := sha256.Sum256([]byte(message))
	count := 0
	err := conn.Retrieve(t.Context(), list(300), func(m *pop3.Message) error {
		hash := sha256.New()
		if _, err := io.Copy(hash, m.Body); err != nil {
			return err
		}
		if !bytes.Equal(hash.Sum(nil), want[:]) {
			return fmt.Errorf("message %d is damaged", m.Number)
		}
		count++
		return nil
	})
	if err != nil || count != 300 {
		t.Errorf("%d messages, error %v", count, err)
	}
}

func TestServerOfBareLF(t *testing.T) {
	conn := login(t, script(t, "+OK\n", "C: CAPA", "-ERR\n", "C: USER "+user, "+OK\n", "C: PASS "+password, "+OK\n", "C: CAPA", "-ERR\n",
		"C: UIDL", "+OK\n1 a\n.\n", "C: RETR 1", "+OK\nSubject: x\n\n..dot\n.\n", "C: QUIT", "+OK\n"))
	if entries, err := conn.UIDL(t.Context()); len(entries) != 1 || err != nil {
		t.Errorf("%v, %v", entries, err)
	}
	var b bytes.Buffer
	if _, err := conn.Retr(t.Context(), 1, &b); err != nil || b.String() != "Subject: x\n\n.dot\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	if err := conn.Quit(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBareLFOptionReadsMessagesOfMixedServers(t *testing.T) {
	options := script(t, session("", "C: RETR 1", "+OK\r\na\nb\n.\r\n", "HANG")...)
	options.BareLF = true
	conn := login(t, options)
	var b bytes.Buffer
	if _, err := conn.Retr(t.Context(), 1, &b); err != nil || b.String() != "a\nb\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestMessageOverTheLimitIsAnError(t *testing.T) {
	server := startServer(t, pop3test.Config{}, strings.Repeat("x", 100000))
	options := optionsFor(server)
	options.MaxMessageBytes = 1000
	conn := login(t, options)
	if _, err := conn.Retr(t.Context(), 1, io.Discard); pop3.KindOf(err) != pop3.KindLimit {
		t.Errorf("error %v", err)
	}
}

func TestGarbageUnderPipeliningIsMarkedSo(t *testing.T) {
	for name, tc := range map[string]struct {
		answers   string
		pipelined bool
		kind      pop3.Kind
	}{
		"answer missing":      {"+OK\r\na\r\n.\r\nhello\r\n", true, pop3.KindProtocol},
		"blank line":          {"+OK\r\na\r\n.\r\n\r\n", true, pop3.KindProtocol},
		"dropped":             {"+OK\r\na\r\n.\r\n", true, pop3.KindClosed},
		"garbage to the last": {"+OK\r\na\r\n.\r\n+OK\r\nb\r\n.\r\n+OK\r\nc\r\n.\r\nhello\r\n", false, pop3.KindProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			conn := login(t, script(t, session("PIPELINING\r\n", "C: RETR 1", "C: RETR 2", "C: RETR 3", "C: RETR 4", tc.answers)...))
			err := conn.Retrieve(t.Context(), list(4), func(*pop3.Message) error { return nil })
			var e *pop3.Error
			if !errors.As(err, &e) || e.Pipelined != tc.pipelined || e.Kind != tc.kind {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestUnsolicitedAnswerIsNotTakenForTheNext(t *testing.T) {
	conn := login(t, script(t, session("", "C: NOOP", "+OK\r\n+OK twice\r\n", "HANG")...))
	if err := conn.Noop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Retr(t.Context(), 1, io.Discard)
	if pop3.KindOf(err) != pop3.KindProtocol || !strings.Contains(err.Error(), "+OK twice") {
		t.Errorf("error %v", err)
	}
}

func TestDeleteTakesEffectAtQuitOnly(t *testing.T) {
	remaining := func(server *pop3test.Server) string {
		messages, err := server.Messages(user)
		if err != nil {
			t.Fatal(err)
		}
		var all []byte
		for _, m := range messages {
			b, err := m.ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return string(all)
	}
	for name, window := range windows {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, pop3test.Config{Hook: pop3test.Reply("DELE", "3", "-ERR no")}, "1", "2", "3", "4")
			options := optionsFor(server)
			options.PipelineWindow = window
			conn := login(t, options)
			outcome := map[int]pop3.Kind{}
			err := conn.Delete(t.Context(), []int{1, 3, 4, 9}, func(n int, err error) { outcome[n] = pop3.KindOf(err) })
			if err != nil || outcome[1] != 0 || outcome[4] != 0 || outcome[3] != pop3.KindRefused || outcome[9] != pop3.KindRefused || len(outcome) != 4 {
				t.Errorf("outcome %v, error %v", outcome, err)
			}
			if got := remaining(server); got != "1234" {
				t.Errorf("before QUIT %q remain", got)
			}
			if err := conn.Quit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := remaining(server); got != "23" {
				t.Errorf("after QUIT %q remain", got)
			}
		})
	}
	t.Run("RSET", func(t *testing.T) {
		server := startServer(t, pop3test.Config{}, "1")
		conn := login(t, optionsFor(server))
		if err := errors.Join(conn.Dele(t.Context(), 1), conn.Rset(t.Context()), conn.Quit(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := remaining(server); got != "1" {
			t.Errorf("%q remain", got)
		}
	})
}

func TestDeleteOfANumberThatIsNoneSendsNothing(t *testing.T) {
	conn := login(t, script(t, session("", "HANG")...))
	for _, n := range []int{0, -1} {
		if err := conn.Dele(t.Context(), n); pop3.KindOf(err) != pop3.KindConfig {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestTopHashesLikeRetr(t *testing.T) {
	messages := []string{
		"Received: x\r\nSubject: a\r\n\r\nbody\r\n", "Message-ID: <a@b>\r\n.dot\r\n\r\n", "Message-ID: <a@b>", "Received: \x00\r\n folded\r\n\r\n\r\nbody",
	}
	server := startServer(t, pop3test.Config{}, messages...)
	conn := login(t, optionsFor(server))
	hashes := func(walk func(context.Context, []int, func(*pop3.Message) error) error) (all []string) {
		err := walk(t.Context(), list(len(messages)), func(m *pop3.Message) error {
			hash, confirmable, err := pop3.HeaderHash(m.Body)
			if !confirmable {
				t.Errorf("message %d is not confirmable", m.Number)
			}
			all = append(all, hash)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	retr := hashes(conn.Retrieve)
	top := hashes(func(ctx context.Context, numbers []int, fn func(*pop3.Message) error) error {
		return conn.RetrieveTop(ctx, numbers, 0, fn)
	})
	if !slices.Equal(retr, top) || len(top) != len(messages) {
		t.Errorf("RETR %q, TOP %q", retr, top)
	}
	var b strings.Builder
	if n, err := conn.Top(t.Context(), 4, 1, &b); err != nil || b.String() != "Received: \x00\r\n folded\r\n\r\n\r\n" || n != int64(b.Len()) {
		t.Errorf("TOP 4 1: %q, %v", b.String(), err)
	}
}

func BenchmarkRetrieve(b *testing.B) {
	message := []byte("Subject: x\r\n\r\n" + strings.Repeat("A line of text as long as they are in mail, give or take some.\r\n", 128))
	for name, window := range map[string]int{"pipelined": 0, "one by one": 1} {
		b.Run(name, func(b *testing.B) {
			server := startServer(b, pop3test.Config{}, slices.Repeat([]string{string(message)}, 1000)...)
			options := optionsFor(server)
			options.PipelineWindow = window
			conn := login(b, options)
			numbers := list(1000)
			b.SetBytes(int64(len(message)) * 1000)
			for b.Loop() {
				if err := conn.Retrieve(b.Context(), numbers, func(m *pop3.Message) error {
					_, err := io.Copy(io.Discard, m.Body)
					return errors.Join(m.Err, err)
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
