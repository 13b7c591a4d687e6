package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// startScripted starts a POP3 server with one mailbox inside the test.
func startScripted(t *testing.T, cfg pop3test.Config, messages ...pop3test.Message) *pop3test.Server {
	t.Helper()
	cfg.Mailboxes = []pop3test.Mailbox{{User: "sales", Password: "geheim", Messages: messages}}
	s, err := pop3test.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// scriptedYAML is the configuration of a mailbox on it. The keys in more come
// instead of those given here.
func scriptedYAML(s *pop3test.Server, more string) string {
	keys := fmt.Sprintf("name: sales, host: %s, port: %d, tls: none, username: sales, password_file: password, schedule: \"0 0 1 1 *\"", s.Host(), s.Port())
	for _, kv := range strings.Split(more, ", ") {
		name, _, _ := strings.Cut(kv, ":")
		var kept []string
		for _, old := range strings.Split(keys, ", ") {
			if n, _, _ := strings.Cut(old, ":"); n != name {
				kept = append(kept, old)
			}
		}
		keys = strings.Join(append(kept, kv), ", ")
	}
	return "mailboxes:\n  - { " + strings.TrimSuffix(keys, ", ") + " }\n"
}

// TestBadInputGivesOneClearLineAndTheRightExitCode runs the program with
// everything that people get wrong.
func TestBadInputGivesOneClearLineAndTheRightExitCode(t *testing.T) {
	plain := startScripted(t, pop3test.Config{})
	encrypted := startScripted(t, pop3test.Config{TLS: pop3test.TLSImplicit})
	for _, c := range []struct {
		name string
		yaml string
		args []string
		code int
		want []string // all in the one line
	}{
		{"wrong password", scriptedYAML(plain, "password_file: other"), []string{"poll"}, 1, []string{"sales", "login", "check"}},
		{"unknown host", scriptedYAML(plain, "host: no-such-host.invalid, tls: implicit"), []string{"poll"}, 1, []string{"no-such-host.invalid"}},
		{"refused connection", scriptedYAML(plain, "port: 1"), []string{"poll"}, 1, []string{"127.0.0.1:1", "refused"}},
		{"bad certificate", scriptedYAML(encrypted, "tls: implicit"), []string{"poll"}, 1, []string{"certificate"}},
		{"unreadable secret", scriptedYAML(plain, "password_file: missing"), []string{"poll"}, 1, []string{"sales", "password_file", "missing"}},
		{"unreadable secret in config check", scriptedYAML(plain, "password_file: missing"), []string{"config", "check"}, 2, []string{"password_file", "missing"}},
		{"unknown mailbox", scriptedYAML(plain, ""), []string{"poll", "--mailbox", "nobody"}, 2, []string{"nobody", "has sales"}},
		{"unknown mailbox, unreachable NATS", scriptedYAML(plain, "") + "nats: { url: \"nats://127.0.0.1:1\" }\n", []string{"poll", "--mailbox", "nobody"}, 2, []string{"nobody", "has sales"}},
		{"mailbox test of an unknown one", scriptedYAML(plain, ""), []string{"mailbox", "test", "nobody"}, 2, []string{"nobody"}},
		{"no mailboxes", "mailboxes: []\n", []string{"poll"}, 2, []string{"no mailboxes"}},
		{"bad query", scriptedYAML(plain, ""), []string{"search", "from:(a OR"}, 2, []string{"column 11", "expected"}},
		{"bad date", scriptedYAML(plain, ""), []string{"search", "date:yesterdayish"}, 2, []string{"column", "yesterdayish"}},
		{"unknown flag of search", scriptedYAML(plain, ""), []string{"search", "--limt", "5", "a"}, 2, []string{"--limt"}},
		{"search without the value of -c", scriptedYAML(plain, ""), []string{"search", "a", "-c"}, 2, []string{"-c"}},
		{"search with another configuration", scriptedYAML(plain, ""), []string{"search", "a", "-c=ontract"}, 2, []string{"ontract"}},
		{"bad sort", scriptedYAML(plain, ""), []string{"search", "--sort", "colour", "a"}, 2, []string{"colour", "-date", "size", "relevance"}},
		{"bad export query", scriptedYAML(plain, ""), []string{"export", "--query", "(", "--out", "x"}, 2, []string{"column"}},
		{"unknown id", scriptedYAML(plain, ""), []string{"show", "0123456789"}, 1, []string{"no such message", "0123456789"}},
		{"short id", scriptedYAML(plain, ""), []string{"show", "0123"}, 1, []string{"8 to 64"}},
		{"no id", scriptedYAML(plain, ""), []string{"show"}, 2, []string{"1 arg", "--help"}},
		{"unknown flag", scriptedYAML(plain, ""), []string{"poll", "--fast"}, 2, []string{"--fast"}},
		{"unknown command", scriptedYAML(plain, ""), []string{"pool"}, 2, []string{"pool"}},
		{"unknown format", scriptedYAML(plain, ""), []string{"export", "--format", "pst", "--out", "x"}, 2, []string{"pst", "eml, mbox, maildir"}},
		{"export without destination", scriptedYAML(plain, ""), []string{"export", "--query", "a"}, 2, []string{"--out"}},
		{"second init", scriptedYAML(plain, ""), []string{"init", "."}, 1, []string{"already"}},
		{"no configuration", scriptedYAML(plain, ""), []string{"status", "-c", "other.yaml"}, 2, []string{"other.yaml", "postkeep init"}},
		{"unreachable NATS", scriptedYAML(plain, "") + "nats: { url: \"nats://127.0.0.1:1\" }\n", []string{"poll"}, 1, []string{"127.0.0.1:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, c.yaml)
			s.write("other", "not-the-password\n")
			r := s.run(c.args...)
			if r.code != c.code {
				t.Errorf("exit code %d, want %d\n%s%s", r.code, c.code, r.stdout, r.stderr)
			}
			line := theLine(r.stdout + r.stderr)
			if line == "" {
				t.Fatalf("no single line says what was wrong:\n%s%s", r.stdout, r.stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(line, want) {
					t.Errorf("line %q lacks %q", line, want)
				}
			}
			if strings.Contains(r.stdout+r.stderr, "not-the-password") {
				t.Error("the password is in the output")
			}
		})
	}
}

// theLine is the only line of the output that is not part of a table, "" if
// there are none or several.
func theLine(out string) string {
	var found []string
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		table := strings.HasPrefix(line, "MAILBOX") || strings.HasPrefix(line, "sales  ")
		if !table && strings.TrimSpace(line) != "" {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

func TestUnknownConfigurationKeyIsShownWithTheNearest(t *testing.T) {
	s := newSite(t, "")
	s.write("postkeep.yaml", "mailboxes:\n  - name: sales\n    hots: pop.example.com\n    username: s\n    password_file: p\n")
	for _, args := range [][]string{{"config", "check"}, {"status"}, {"run"}} {
		r := s.run(args...)
		if r.code != 2 {
			t.Errorf("%v: exit code %d", args, r.code)
		}
		for _, want := range []string{"postkeep.yaml:3:5", `"hots"`, `"host"`, "^"} {
			if !strings.Contains(r.stderr, want) {
				t.Errorf("%v: %s lacks %q", args, r.stderr, want)
			}
		}
	}
}

func TestDataDirectoryOwnedByAnotherProcessIsAnError(t *testing.T) {
	s := newSite(t, "")
	store, err := archive.Open(t.Context(), filepath.Join(s.dir, "data"), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	for _, args := range [][]string{{"run"}, {"search", "x"}} {
		if r := s.run(args...); r.code != 1 || !strings.Contains(r.stderr, "in use by another process") {
			t.Errorf("%v: exit code %d, %s", args, r.code, r.stderr)
		}
	}
}

func TestSignalsEndSessionsProperlyAndThenAtOnce(t *testing.T) {
	inSession := make(chan struct{}, 1)
	release := make(chan struct{})
	hook := pop3test.On("RETR", "2", func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
		inSession <- struct{}{}
		return pop3test.Stall(s, release, normal)
	})
	server := startScripted(t, pop3test.Config{Hook: hook, Without: []string{"PIPELINING"}}, small(3)...)
	s := newSite(t, scriptedYAML(server, `schedule: "@every 1h", jitter: 0s`))

	_, stop := s.daemon()
	<-inSession
	go func() { // the message that is under way is finished
		<-time.After(100 * time.Millisecond)
		close(release)
	}()
	if code, log := stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, log)
	}
	if left, err := server.Messages("sales"); err != nil || len(left) == 3 || len(left) == 0 {
		t.Errorf("%d messages left (%v), want those that were not fetched", len(left), err)
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	inSession := make(chan struct{}, 1)
	hook := pop3test.On("RETR", "1", func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
		inSession <- struct{}{}
		return pop3test.Stall(s, nil, normal)
	})
	server := startScripted(t, pop3test.Config{Hook: hook}, small(1)...)
	s := newSite(t, scriptedYAML(server, `schedule: "@every 1h", jitter: 0s`))
	_, stop := s.daemon()
	<-inSession
	again := time.AfterFunc(300*time.Millisecond, func() { _ = s.process.Signal(os.Interrupt) })
	defer again.Stop()
	began := time.Now()
	if code, _ := stop(os.Interrupt); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if left, err := server.Messages("sales"); err != nil || len(left) != 1 {
		t.Errorf("%d messages left (%v), want 1", len(left), err)
	}
}

func small(n int) []pop3test.Message {
	var out []pop3test.Message
	for i := range n {
		out = append(out, pop3test.Bytes([]byte(fmt.Sprintf("Message-ID: <%d@x>\r\nSubject: number %d\r\n\r\nhello\r\n", i, i))))
	}
	return out
}
