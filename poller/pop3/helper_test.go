package pop3_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

const (
	user     = "sales@example.com"
	password = "s3cr3t Pass"
)

func startServer(t testing.TB, config pop3test.Config, messages ...string) *pop3test.Server {
	t.Helper()
	box := pop3test.Mailbox{User: user, Password: password}
	for _, m := range messages {
		box.Messages = append(box.Messages, pop3test.Bytes([]byte(m)))
	}
	config.Mailboxes = append(config.Mailboxes, box)
	server, err := pop3test.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// optionsFor returns options for a plaintext server.
func optionsFor(server *pop3test.Server) pop3.Options {
	return pop3.Options{Host: server.Host(), Port: server.Port(), TLS: pop3.TLSNone}
}

func dial(t testing.TB, options pop3.Options) *pop3.Conn {
	t.Helper()
	conn, err := pop3.Dial(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func login(t testing.TB, options pop3.Options) *pop3.Conn {
	t.Helper()
	conn := dial(t, options)
	if err := conn.Login(t.Context(), pop3.Credentials{Username: user, Password: password}); err != nil {
		t.Fatal(err)
	}
	return conn
}

// script is a server that says exactly what it is told: lines that start with
// "C: " are expected from the client, all else is sent as it is. At the end it
// closes the connection, or, if the last line is "HANG", waits for the client to
// do so.
func script(t *testing.T, lines ...string) pop3.Options {
	t.Helper()
	client, server := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { _ = server.Close() }()
		r := bufio.NewReader(server)
		for _, line := range lines {
			if line == "HANG" {
				_, _ = io.Copy(io.Discard, r)
				return
			}
			want, expected := strings.CutPrefix(line, "C: ")
			if !expected {
				if _, err := io.WriteString(server, line); err != nil {
					return // what the client did about it is for the test to see
				}
				continue
			}
			got, err := r.ReadString('\n')
			if err != nil || got != want+"\r\n" {
				t.Errorf("server expected %q, got %q, error %v", want, got, err)
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

// session returns the lines of a script up to the end of a login.
func session(capabilities string, lines ...string) []string {
	caps := "+OK\r\n" + capabilities + ".\r\n"
	return append([]string{
		"+OK ready\r\n", "C: CAPA", caps, "C: USER " + user, "+OK\r\n", "C: PASS " + password, "+OK\r\n", "C: CAPA", caps,
	}, lines...)
}

// list makes [1 … n].
func list(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i + 1
	}
	return numbers
}

func cramResponse(user, password, challenge string) string {
	mac := hmac.New(md5.New, []byte(password))
	_, _ = io.WriteString(mac, challenge)
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s %x", user, mac.Sum(nil)))
}
