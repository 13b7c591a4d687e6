package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
)

func (a *app) authorizeCommand() *cobra.Command {
	var browser bool
	cmd := &cobra.Command{
		Use:   "authorize NAME",
		Short: "Ask the owner of a mailbox for permission (OAuth2)",
		Long: `Asks for permission to read a mailbox with oauth2, and keeps the tokens in the
data directory. The owner enters a code on a page of the provider, on any
machine; or, with --browser and with providers that know no such codes, opens a
page in a browser on this machine. A running postkeep uses the new tokens from
its next poll on.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.authorize(cmd, args[0], browser) },
	}
	cmd.Flags().BoolVar(&browser, "browser", false, "with a browser on this machine instead of a code")
	return cmd
}

func (a *app) authorize(cmd *cobra.Command, name string, browser bool) error {
	cfg, m, err := a.mailbox(name)
	if err != nil {
		return err
	}
	if m.OAuth2.ClientID == "" {
		return usage(fmt.Errorf("mailbox %s does not use oauth2", m.Name))
	}
	if ok, err := archive.Exists(cfg.DataDir); err != nil || !ok {
		return errors.Join(fmt.Errorf("%s holds no archive (postkeep init makes one)", cfg.DataDir), err)
	}
	source, err := tokensOf(m, a.logger(cfg, false))
	if err != nil {
		return fmt.Errorf("mailbox %s: %w", m.Name, err)
	}
	switch {
	case m.OAuth2.Grant == config.GrantClientCredentials:
		if _, err = source.Token(cmd.Context(), ""); err == nil {
			a.say("token", "client credentials need no permission from a user")
		}
	case browser || m.OAuth2.DeviceURL == "":
		err = source.AuthorizeBrowser(cmd.Context(), func(url string) {
			fmt.Fprintf(a.stdout, "Open this page in a browser on this machine, as %s:\n\n  %s\n\n"+
				"From another machine, first forward the port in its redirect_uri: ssh -L PORT:127.0.0.1:PORT …\n", m.Username, printable(url))
		})
	default:
		err = source.AuthorizeDevice(cmd.Context(), func(url, code string) {
			fmt.Fprintf(a.stdout, "Open %s in any browser, as %s, and enter the code %s\n", url, m.Username, code)
		})
	}
	if err != nil {
		return fmt.Errorf("authorize mailbox %s: %w", m.Name, err)
	}
	a.say("authorized", "tokens are in %s", m.OAuth2.TokenFile)
	_, err = fmt.Fprintf(a.stdout, "\nNext: postkeep mailbox test %s\n", m.Name)
	return err
}
