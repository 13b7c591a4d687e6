// Command mailboxes measures postkeep run with thousands of mailboxes on a
// schedule: is each polled in time, and at what cost?
//
//	go run ./internal/bench/mailboxes -mailboxes 10000 -every 5m -rounds 2
//
// It builds the program, runs it with GOMAXPROCS=2 against POP3 servers in its own
// process, where each mailbox has one new message at every poll, and prints how
// late polls were, the CPU time and the anonymous memory (Linux only) of the program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	mailboxes, servers, rounds, sessions int

	every, jitter time.Duration
	tls           bool
	binary, dir   string
}

func main() {
	var o options
	flag.IntVar(&o.mailboxes, "mailboxes", 10_000, "number of mailboxes")
	flag.IntVar(&o.servers, "servers", 8, "number of servers that have them, at 127.0.0.1, 127.0.0.2 and so on (on macOS: 1)")
	flag.IntVar(&o.rounds, "rounds", 2, "how many intervals to run")
	flag.IntVar(&o.sessions, "sessions", 64, "poller.sessions; each server gets its share")
	flag.DurationVar(&o.every, "every", 5*time.Minute, "interval of the polls")
	flag.DurationVar(&o.jitter, "jitter", 0, "jitter of the schedules; 0 is all at the same moment")
	flag.BoolVar(&o.tls, "tls", false, "implicit TLS instead of plaintext")
	flag.StringVar(&o.binary, "binary", "", "program to measure; built if empty")
	flag.StringVar(&o.dir, "dir", "", "keep configuration, log and archive in this new folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "mailboxes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.mailboxes < 1 || o.servers < 1 || o.servers > 250 || o.rounds < 1 || o.sessions < o.servers {
		return errors.New("need at least one mailbox, server and round, and as many sessions as servers")
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "postkeep-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	} else if err := os.Mkdir(o.dir, 0o700); err != nil {
		return err
	}
	if o.binary == "" {
		o.binary = filepath.Join(o.dir, "postkeep")
		if err := command(ctx, "go", "build", "-o", o.binary, "github.com/postkeep/postkeep/cmd/postkeep").Run(); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	farm, err := startFarm(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, farm.close()) }()
	if err := configure(o, farm); err != nil {
		return err
	}
	if err := command(ctx, o.binary, "init", o.dir).Run(); err != nil {
		return fmt.Errorf("postkeep init: %w", err)
	}
	if err := measure(ctx, o, farm); err != nil {
		return err
	}
	return command(ctx, o.binary, "status", "-c", filepath.Join(o.dir, "postkeep.yaml"), "--json").Run()
}

// command prepares a program whose output is ours.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

// configure writes postkeep.yaml with a line for each mailbox.
func configure(o options, f *farm) error {
	var b strings.Builder
	share := (o.sessions + o.servers - 1) / o.servers
	fmt.Fprintf(&b, "data_dir: data\nlog: { level: warn }\npoller: { sessions: %d, sessions_per_host: %d }\n", o.sessions, share)
	mode := "none"
	if o.tls {
		mode = "implicit, ca_file: ca.pem"
		if err := os.WriteFile(filepath.Join(o.dir, "ca.pem"), f.certificate, 0o600); err != nil {
			return err
		}
	}
	fmt.Fprintf(&b, "defaults: { schedule: \"@every %s\", jitter: %s, tls: %s }\nmailboxes:\n", o.every, o.jitter, mode)
	for i := range o.mailboxes {
		s := f.servers[i%o.servers]
		fmt.Fprintf(&b, "- {name: %s, host: %s, port: %d, username: %[1]s, password_file: p}\n", user(i), s.Host(), s.Port())
	}
	return errors.Join(
		os.WriteFile(filepath.Join(o.dir, "postkeep.yaml"), []byte(b.String()), 0o600),
		os.WriteFile(filepath.Join(o.dir, "p"), []byte(password), 0o600))
}
