package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
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
)

func (a *app) testCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test NAME", Short: "Connect to a mailbox, log in, count, and change nothing", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, m, err := a.mailbox(args[0])
			if err != nil {
				return err
			}
			return a.testServer(cmd.Context(), cfg, m)
		},
	}
}

// mailbox finds a mailbox in the configuration.
func (a *app) mailbox(name string) (*config.Config, config.Mailbox, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, config.Mailbox{}, err
	}
	for _, m := range cfg.Mailboxes {
		if m.Name == name {
			return cfg, m, nil
		}
	}
	return nil, config.Mailbox{}, usage(fmt.Errorf("no mailbox %q in %s", name, a.configPath))
}

// say prints a step that works.
func (a *app) say(what, format string, args ...any) {
	fmt.Fprintf(a.stdout, "%s  %s %s\n", a.styleFor(a.stdout).green("ok"), pad(what, 12), printable(fmt.Sprintf(format, args...)))
}

// note prints what works and might be better.
func (a *app) note(what, format string, args ...any) {
	fmt.Fprintf(a.stdout, "%s  %s %s\n", a.styleFor(a.stdout).yellow("--"), pad(what, 12), printable(fmt.Sprintf(format, args...)))
}

// testServer says step by step what works, so that the first line that is
// missing is what to mend.
func (a *app) testServer(ctx context.Context, cfg *config.Config, m config.Mailbox) error {
	log := a.logger(cfg, false)
	password, err := m.Password(ctx, log)
	if err != nil {
		return err
	}
	server, err := serverOf(m, log)
	if err != nil {
		return fmt.Errorf("mailbox %s: %w", m.Name, err)
	}
	a.say("secrets", "read")
	conn, err := pop3.Dial(ctx, server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	via := ""
	if m.Proxy.URL != "" {
		via = " through " + string(m.Proxy.URL)
	}
	a.say("connection", "%s%s", net.JoinHostPort(m.Host, strconv.Itoa(m.Port)), via)
	if state := conn.TLS(); state != nil {
		a.sayTLS(state, server.Pin != nil)
	} else {
		a.note("TLS", "the connection is not encrypted")
	}
	a.sayCapabilities("offered", conn.Capabilities())
	if err := conn.Login(ctx, pop3.Credentials{Username: m.Username, Password: password.Reveal()}); err != nil {
		if by := conn.Mechanism(); by != pop3.MechanismAuto {
			return fmt.Errorf("by %s: %w", by, err)
		}
		return err
	}
	a.say("login", "as %s by %s", m.Username, conn.Mechanism())
	a.sayCapabilities("after login", conn.Capabilities())
	return errors.Join(a.sayMaildrop(ctx, conn), conn.Quit(ctx))
}

func (a *app) sayTLS(state *tls.ConnectionState, pinned bool) {
	a.say("TLS", "%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	leaf := state.PeerCertificates[0]
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	a.say("certificate", "%s, for %s", subject(leaf), strings.Join(names, " "))
	a.say("", "issued by %s", leaf.Issuer)
	days := int(time.Until(leaf.NotAfter).Hours() / 24)
	const soon = 14
	if days < soon {
		a.note("", "until %s, in %d days", leaf.NotAfter.Format(time.DateOnly), days)
	} else {
		a.say("", "until %s, in %d days", leaf.NotAfter.Format(time.DateOnly), days)
	}
	how := "trusted by its authority"
	if pinned {
		how = "trusted by tls_pin alone"
	}
	a.say("", "SHA-256 %x, %s", sha256.Sum256(leaf.Raw), how)
}

func subject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return s
	}
	return "no subject"
}

func (a *app) sayCapabilities(when string, caps pop3.Capabilities) {
	if caps == nil {
		a.note(when, "the server does not say what it can (no CAPA)")
		return
	}
	var list []string
	for name, args := range caps {
		list = append(list, strings.TrimSpace(name+" "+strings.Join(args, " ")))
	}
	slices.Sort(list)
	a.say(when, "%s", strings.Join(list, ", "))
}

func (a *app) sayMaildrop(ctx context.Context, conn *pop3.Conn) error {
	caps := conn.Capabilities()
	if delay := caps.LoginDelay(); delay > 0 {
		a.say("login delay", "%s between two logins", delay)
	}
	switch after, ok := caps.Expire(); {
	case ok && after == 0:
		a.note("expiry", "the server may delete a message as soon as it has been read")
	case ok:
		a.note("expiry", "the server deletes messages after %d days", int(after.Hours()/24))
	}
	messages, octets, err := conn.Stat(ctx)
	if err != nil {
		return err
	}
	a.say("messages", "%s, %s", count(messages), size(octets))
	_, err = conn.UIDL(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		a.note("UIDL", "not supported: every poll downloads what is on the server")
		return nil
	}
	if err == nil {
		a.say("UIDL", "supported")
	}
	return err
}
