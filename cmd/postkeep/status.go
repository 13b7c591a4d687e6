package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the state of archive, index, streams and mailboxes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(cfg *config.Config, client *api.Client) error {
				st, err := client.Status(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(a.stdout).Encode(st)
				}
				boxes, err := client.Mailboxes(cmd.Context())
				if err != nil {
					return err
				}
				a.printStatus(st)
				fmt.Fprintln(a.stdout)
				return a.printMailboxes(cfg, boxes)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func (a *app) printStatus(s api.Status) {
	st := a.styleFor(a.stdout)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%s %s\n", st.dim(pad(name, 10)), fmt.Sprintf(format, args...))
	}
	state := "not running (answered by this command)"
	if s.Running {
		state = st.green("running")
	}
	line("postkeep", "%s, %s", s.Version, state)
	line("data", "%s", s.DataDir)
	var stored int64
	for _, v := range s.Archive.Volumes {
		stored += v.Bytes
	}
	line("archive", "%s messages, %s deposits, %s in %s of %d volume(s)", count(s.Archive.Messages),
		count(s.Archive.Deposits), size(s.Archive.Bytes), size(stored), len(s.Archive.Volumes))
	line("ledger", "%s events", count(s.Archive.Events))
	behind := "up to date"
	if s.Index.Behind {
		behind = st.yellow("catching up")
	}
	line("index", "%s documents, %s", count(s.Index.Documents), behind)
	var queued uint64
	for _, stream := range s.Streams.Streams {
		queued += stream.Waiting + uint64(stream.InHand)
	}
	line("streams", "%s, %s waiting, %s dead letters", s.Streams.Server, count(queued), count(s.Streams.DeadLetters))
	for _, p := range s.Problem {
		line("PROBLEM", "%s", st.red(printable(p)))
	}
}

func (a *app) printMailboxes(cfg *config.Config, boxes []api.Mailbox) error {
	if len(boxes) == 0 {
		_, err := fmt.Fprintf(a.stdout, "no mailboxes: add one to %s\n", a.configPath)
		return err
	}
	st := a.styleFor(a.stdout)
	rows := make([][]string, len(boxes))
	var notes []string
	for i, m := range boxes {
		last, next := "never", ""
		if m.LastPoll != nil {
			last = m.LastPoll.Started.In(cfg.TimeZone.Location).Format("01-02 15:04")
			if m.LastPoll.Error != "" {
				last += " failed"
				notes = append(notes, fmt.Sprintf("%s: %s", m.Name, st.red(printable(m.LastPoll.Error))))
			}
		}
		switch {
		case !m.Configured:
			next = "not configured"
		case !m.NextPoll.IsZero():
			next = m.NextPoll.In(cfg.TimeZone.Location).Format("15:04:05")
		}
		rows[i] = []string{fit(m.Name, 24), last, next, count(m.Deposits), size(m.Bytes)}
	}
	if err := table(a.stdout, st, []string{"MAILBOX", "LAST POLL", "NEXT", "MESSAGES", "SIZE"}, 3, rows); err != nil {
		return err
	}
	for _, note := range notes {
		if _, err := fmt.Fprintln(a.stdout, note); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) mailboxCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "mailbox", Short: "List and test mailboxes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var asJSON bool
	list := &cobra.Command{
		Use: "list", Short: "List the mailboxes with their last poll", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(cfg *config.Config, client *api.Client) error {
				boxes, err := client.Mailboxes(cmd.Context())
				if err != nil {
					return err
				}
				if !asJSON {
					return a.printMailboxes(cfg, boxes)
				}
				enc := json.NewEncoder(a.stdout)
				for _, m := range boxes {
					if err := enc.Encode(m); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.AddCommand(list, &cobra.Command{
		Use: "test NAME", Short: "Connect to a mailbox, log in, count, and change nothing", Args: cobra.ExactArgs(1),
		RunE: a.testMailbox,
	})
	return cmd
}

// testMailbox says step by step what works, so that the first line that is
// missing is what to mend.
func (a *app) testMailbox(cmd *cobra.Command, args []string) (err error) {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	for _, m := range cfg.Mailboxes {
		if m.Name == args[0] {
			return a.testServer(cmd, cfg, m)
		}
	}
	return usage(fmt.Errorf("no mailbox %q in %s", args[0], a.configPath))
}

func (a *app) testServer(cmd *cobra.Command, cfg *config.Config, m config.Mailbox) error {
	ctx, log, st := cmd.Context(), a.logger(cfg, false), a.styleFor(a.stdout)
	say := func(what, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%s  %s %s\n", st.green("ok"), pad(what, 12), printable(fmt.Sprintf(format, args...)))
	}
	password, err := m.Password(ctx, log)
	if err != nil {
		return err
	}
	say("secret", "read")
	server, err := serverOf(m, log)
	if err != nil {
		return err
	}
	conn, err := pop3.Dial(ctx, server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	say("connection", "%s", net.JoinHostPort(m.Host, strconv.Itoa(m.Port)))
	if state := conn.TLS(); state != nil {
		say("TLS", "%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
		leaf := state.PeerCertificates[0]
		say("certificate", "%s, issued by %s, until %s", strings.Join(leaf.DNSNames, " "), leaf.Issuer.CommonName, leaf.NotAfter.Format(time.DateOnly))
	} else {
		fmt.Fprintf(a.stdout, "%s  %s the connection is not encrypted\n", st.yellow("--"), pad("TLS", 12))
	}
	if err := conn.Login(ctx, pop3.Credentials{Username: m.Username, Password: password.Reveal()}); err != nil {
		return err
	}
	say("login", "as %s", m.Username)
	var caps []string
	for name, args := range conn.Capabilities() {
		caps = append(caps, strings.TrimSpace(name+" "+strings.Join(args, " ")))
	}
	say("capabilities", "%s", strings.Join(slices.Sorted(slices.Values(caps)), ", "))
	messages, octets, err := conn.Stat(ctx)
	if err != nil {
		return err
	}
	say("messages", "%s, %s", count(messages), size(octets))
	_, err = conn.UIDL(ctx)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		fmt.Fprintf(a.stdout, "%s  %s not supported: every poll downloads what is on the server\n", st.yellow("--"), pad("UIDL", 12))
	case err != nil:
		return err
	default:
		say("UIDL", "supported")
	}
	return conn.Quit(ctx)
}
