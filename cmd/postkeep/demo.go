package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/users"
)

func (a *app) demoCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a mail server, an archive and a search, all in this process",
		Long: `Starts a POP3 server with three mailboxes inside this process, empties them into
an archive in a temporary directory, and searches it. Nothing leaves the
machine. It goes on until Ctrl-C, then removes the directory.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "postkeep-demo-")
			if err != nil {
				return err
			}
			err = a.demo(cmd.Context(), dir, once)
			return errors.Join(err, removeAll(dir))
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the searches")
	return cmd
}

// removeAll removes a directory with sealed files and directories in it.
func removeAll(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}

const demoPassword = "demo"

// demo is the tour: every step prints what a newcomer would look for.
func (a *app) demo(ctx context.Context, dir string, once bool) error {
	st := a.styleFor(a.stdout)
	say := func(format string, args ...any) { fmt.Fprintf(a.stdout, format+"\n", args...) }
	server, names, err := demoServer()
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	a.configPath = filepath.Join(dir, "postkeep.yaml")
	cfg, err := demoConfiguration(a.configPath, server, names)
	if err != nil {
		return err
	}
	if err := archive.Create(ctx, cfg.DataDir, archive.Options{}); err != nil {
		return err
	}
	if err := demoUser(ctx, cfg.DataDir); err != nil {
		return err
	}
	i, err := openInstance(ctx, cfg, a.logger(cfg, true), toRun, archive.ClaimOwn, func(error) {})
	if err != nil {
		return err
	}
	client := api.Local(ctx, i.api)
	err = a.tour(ctx, client, cfg, server, names, st, say)
	if err == nil && !once {
		a.hints(st, i.address+i.web.LogInLink(demoName, demoLinkTime), say)
		<-ctx.Done()
		say("\nstopping, and removing %s", dir)
	}
	if errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C in the middle of the tour
	}
	return errors.Join(err, client.Close(), i.close())
}

const (
	// demoName is who the link of the demo logs in.
	demoName = "demo"
	// demoLinkTime is how long that link works.
	demoLinkTime = 24 * time.Hour
)

// demoUser makes somebody who may do everything, and has no password.
func demoUser(ctx context.Context, dir string) error {
	people, err := users.Open(dir, users.Options{})
	if err != nil {
		return err
	}
	return people.Add(ctx, users.User{Name: demoName, Roles: []access.Role{access.Admin, access.Officer}}, "")
}

func demoServer() (*pop3test.Server, []string, error) {
	mails, err := mailgen.Demo()
	if err != nil {
		return nil, nil, err
	}
	boxes := map[string][]pop3test.Message{}
	var names []string
	for _, m := range mails {
		if boxes[m.Mailbox] == nil {
			names = append(names, m.Mailbox)
		}
		boxes[m.Mailbox] = append(boxes[m.Mailbox], pop3test.Bytes(m.Raw))
	}
	var config pop3test.Config
	for _, name := range names {
		config.Mailboxes = append(config.Mailboxes, pop3test.Mailbox{User: name, Password: demoPassword, Messages: boxes[name]})
	}
	server, err := pop3test.Start(config)
	return server, names, err
}

// demoConfiguration writes a configuration that any other command can use.
func demoConfiguration(path string, server *pop3test.Server, names []string) (*config.Config, error) {
	var b strings.Builder
	b.WriteString("# The configuration of a running demo. Schedules are far away: poll by hand.\nlog: { level: error }\nweb: { listen: \"127.0.0.1:0\" }\nmailboxes:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  - { name: %s, host: %s, port: %d, tls: none, username: %s, password_file: password, schedule: \"0 0 1 1 *\" }\n",
			name, server.Host(), server.Port(), name)
	}
	err := errors.Join(os.WriteFile(path, []byte(b.String()), 0o600),
		os.WriteFile(filepath.Join(filepath.Dir(path), "password"), []byte(demoPassword+"\n"), 0o600))
	if err != nil {
		return nil, err
	}
	return config.Load(path)
}

func (a *app) tour(ctx context.Context, client *api.Client, cfg *config.Config, server *pop3test.Server, names []string, st style, say func(string, ...any)) error {
	say("%s", st.bold("1. A POP3 server with three mailboxes, on "+net.JoinHostPort(server.Host(), fmt.Sprint(server.Port()))))
	left, err := onServer(server, names)
	if err != nil {
		return err
	}
	say("   %s\n", left)
	say("%s", st.bold("2. postkeep poll: download, archive, receipt, delete, index"))
	b := a.newBars()
	var reports []archive.PollReport
	err = client.Poll(ctx, api.PollRequest{}, func(e api.PollEvent) {
		switch {
		case e.Progress != nil:
			b.show(*e.Progress)
		case e.Report != nil:
			b.done(e.Report.Mailbox)
			reports = append(reports, *e.Report)
		}
	})
	b.wait()
	if err != nil {
		return err
	}
	if err := a.printReports(reports, false); err != nil {
		return err
	}
	if left, err = onServer(server, names); err != nil {
		return err
	}
	say("   On the server now: %s.\n   Each message was deleted only after its receipt.\n", left)
	return errors.Join(a.tourArchive(ctx, client, cfg, st, say), a.tourSearches(ctx, client, cfg, st, say))
}

func onServer(server *pop3test.Server, names []string) (string, error) {
	var parts []string
	for _, name := range names {
		messages, err := server.Messages(name)
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("%s %d", name, len(messages)))
	}
	return strings.Join(parts, ", "), nil
}

func (a *app) tourArchive(ctx context.Context, client *api.Client, cfg *config.Config, st style, say func(string, ...any)) error {
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	say("%s", st.bold("3. What is on the disk, in "+cfg.DataDir))
	for _, v := range status.Archive.Volumes {
		say("   volumes/  %08d.tar.zst, %s for %s of mail (plain tar and zstd)", v.Number, size(v.Bytes), size(status.Archive.Bytes))
	}
	say("   ledger/   %s events in a Merkle tree, signed:", count(status.Archive.Events))
	for _, line := range strings.Split(strings.TrimSpace(status.Archive.Checkpoint), "\n") {
		if line != "" {
			say("     %s", st.dim(fit(line, minWidth-5)))
		}
	}
	say("   index/    %s documents\n", count(status.Index.Documents))
	return nil
}

// demoSearches have answers among the hand-written messages.
var demoSearches = []string{"from:maria contract", "Rechnung", "抹茶", `is:malformed OR is:journal`}

func (a *app) tourSearches(ctx context.Context, client *api.Client, cfg *config.Config, st style, say func(string, ...any)) error {
	say("%s", st.bold("4. Searches"))
	for _, q := range demoSearches {
		const few = 2
		r, err := client.Search(ctx, api.SearchRequest{Query: q, Limit: few})
		if err != nil {
			return err
		}
		say("%s", st.cyan("$ postkeep search '"+q+"' --limit 2"))
		if err := a.printHits(cfg, r, api.SearchRequest{}); err != nil {
			return err
		}
		say("")
	}
	return nil
}

func (a *app) hints(st style, link string, say func(string, ...any)) {
	say("%s", st.bold("It goes on running. In a browser, once:"))
	say("  %s\n", st.cyan(link))
	say("%s", st.bold("Or in another terminal:"))
	say("  export POSTKEEP_CONFIG=%s", a.configPath)
	for _, line := range []string{
		"postkeep search 'has:attachment date:2026'",
		"postkeep search '\"purchase order\" -from:maria' --json",
		"postkeep show ID            # an id, or its first 8 digits, from a search",
		"postkeep show --raw ID | sha256sum   # is the id",
		"postkeep export --query invoice --format eml --out invoices",
		"postkeep status",
	} {
		say("  %s", line)
	}
	say("\nCtrl-C ends the demo and removes everything.")
}
