package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/internal/corpus"
	"github.com/postkeep/postkeep/internal/dovecot"
	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/web/api"
)

// The tests of this package run the program as a user would: the built binary,
// against real servers where there are any.

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == extractName { // started by a command that runs in this process
		main()
	}
	dir, err := os.MkdirTemp("", "postkeep-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "postkeep")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	// Bleve starts its analysis workers when it is imported.
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// patience bounds a single command of a test.
const patience = 5 * time.Minute

// site is a configuration with its archive.
type site struct {
	t      *testing.T
	dir    string
	config string

	process *os.Process     // of the daemon
	wrap    func(*exec.Cmd) // changes how commands are run; nil leaves them
}

// newSite writes a configuration (the data directory and the log level are
// added) and makes the archive with postkeep init.
func newSite(t *testing.T, yaml string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.config = filepath.Join(s.dir, "postkeep.yaml")
	s.write("postkeep.yaml", "data_dir: data\n"+yaml)
	s.write("password", "geheim\n")
	s.ok("init", s.dir)
	return s
}

func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// command prepares a run of the program.
func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "POSTKEEP_CONFIG="+s.config)
	cmd.Dir = s.dir
	if s.wrap != nil {
		s.wrap(cmd)
	}
	return cmd
}

// result is what a run of the program left.
type result struct {
	code           int
	stdout, stderr string
}

func (s *site) run(args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := s.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		s.t.Fatalf("postkeep %v: %v %v", args, err, ctx.Err())
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ok runs a command that must succeed, and returns its output.
func (s *site) ok(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != 0 {
		s.t.Fatalf("postkeep %v: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// daemon starts postkeep run and waits until it answers. The returned function
// sends the signal and waits for the end; it is called at the end of the test
// if it has not been before.
func (s *site) daemon(flags ...string) (client *api.Client, stop func(os.Signal) (int, string)) {
	s.t.Helper()
	var stderr bytes.Buffer
	cmd := s.command(context.Background(), append([]string{"run"}, flags...)...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = cmd.Process
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	done := false
	stop = func(sig os.Signal) (int, string) {
		done = true
		_ = cmd.Process.Signal(sig) // it may have ended by itself
		select {
		case <-exited:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-exited
			s.t.Error("postkeep run did not stop")
		}
		return cmd.ProcessState.ExitCode(), stderr.String()
	}
	s.t.Cleanup(func() {
		if !done {
			if code, log := stop(os.Interrupt); code != 0 {
				s.t.Errorf("postkeep run: exit code %d\n%s", code, log)
			}
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if client, err := api.Dial(s.t.Context(), filepath.Join(s.dir, "data")); err == nil {
			s.t.Cleanup(func() { _ = client.Close() })
			return client, stop
		}
		select {
		case <-exited:
			s.t.Fatalf("postkeep run ended: %s", stderr.String())
		default:
		}
	}
	return nil, nil // not reached: the ticker goes on
}

// reports reads the lines of poll --json.
func reports(t *testing.T, out string) map[string]pollLine {
	t.Helper()
	all := map[string]pollLine{}
	dec := json.NewDecoder(strings.NewReader(out))
	for dec.More() {
		var r pollLine
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		all[r.Mailbox] = r
	}
	return all
}

// realMail is the 6,046 messages of natural-small, or 2,000 generated ones,
// dealt out to mailboxes.
func realMail(t *testing.T, users []string) map[string][][]byte {
	t.Helper()
	out := map[string][][]byte{}
	n := 0
	deal := func(msg []byte) {
		user := users[n%len(users)]
		out[user] = append(out[user], bytes.Clone(msg))
		n++
	}
	if corpus.Available(t, "natural-small") {
		if err := corpus.Load(t.Context(), "natural-small", func(_ string, msg []byte) error {
			deal(msg)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, msg := range generated(t, 2000) {
		deal(msg)
	}
	return out
}

func generated(t *testing.T, n int) [][]byte {
	t.Helper()
	g, err := mailgen.New(mailgen.Options{Seed: 7, Count: n})
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, msg := range g.All() {
		out = append(out, msg)
	}
	return out
}

// startDovecot starts a real server with users whose password is "geheim".
func startDovecot(t *testing.T, users ...string) *dovecot.Server {
	t.Helper()
	dovecot.Require(t)
	opts := dovecot.Options{Users: map[string]string{}}
	for _, u := range users {
		opts.Users[u] = "geheim"
	}
	s, err := dovecot.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func deliver(t *testing.T, s *dovecot.Server, user string, messages [][]byte) {
	t.Helper()
	for _, m := range messages {
		if err := s.Deliver(user, m); err != nil {
			t.Fatal(err)
		}
	}
}

// mailboxYAML is the configuration of a mailbox on a Dovecot, over TLS.
func mailboxYAML(s *dovecot.Server, user, more string) string {
	host, port, _ := strings.Cut(s.TLSAddr, ":")
	return fmt.Sprintf("  - { name: %s, host: %s, port: %s, ca_file: %q, username: %s, password_file: password, schedule: \"0 0 1 1 *\"%s }\n",
		user, host, port, s.CAFile, user, more)
}

func wantEmpty(t *testing.T, s *dovecot.Server, users ...string) {
	t.Helper()
	for _, u := range users {
		if n, err := s.Count(t.Context(), u); err != nil || n != 0 {
			t.Errorf("mailbox %s still has %d messages (%v)", u, n, err)
		}
	}
}
