package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/users"
)

// waits says that a change takes a second person, and ends with the code for what is partly done.
func (a *app) waits(what, change string) error {
	if _, err := fmt.Fprintf(a.stdout, "%s until somebody else approves change %s on the pages\n", what, change); err != nil {
		return err
	}
	return &exitError{exitPartly, nil}
}

func (a *app) changesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "changes", Short: "List releases and removals that take two people", Args: cobra.NoArgs,
		Long: `With dual_control the release of a hold and the removal of a rule take two people:
one asks for it, and somebody else approves it on the pages. Removing any rule
counts: of several that match, the one that asks for more decides.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				all, err := c.Changes(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return jsonLines(a.stdout, all)
				}
				for i := range all {
					a.printChange(cfg, &all[i])
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func (a *app) userChangesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "changes", Short: "List grants that take two administrators", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				all, err := c.Grants(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return jsonLines(a.stdout, all)
				}
				for i := range all {
					a.printChange(cfg, &all[i])
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func (a *app) printChange(cfg *config.Config, c *archive.Change) {
	what := "release of hold"
	switch c.Kind {
	case archive.ChangeRemove:
		what = "removal of rule"
	case archive.ChangeGrant:
		what = "grant of " + strings.Join(c.Grant.Roles, ", ") + " to"
	}
	fmt.Fprintf(a.stdout, "change %s  %s, %s %q\n  asked for %s by %s", a.styleFor(a.stdout).bold(c.ID), c.State, what, printable(c.Name), moment(cfg, c.Asked), oneLine(c.By))
	if c.Reason != "" {
		fmt.Fprintf(a.stdout, ": %s", oneLine(c.Reason))
	}
	fmt.Fprintln(a.stdout)
	if d := c.Decision; d != nil {
		fmt.Fprintf(a.stdout, "  %s %s by %s\n", c.State, moment(cfg, d.Time), oneLine(d.By))
	}
}

func (a *app) rejectCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reject CHANGE", Short: "Reject a release or removal that waits for a second person", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				rejected, err := c.RejectChange(cmd.Context(), args[0])
				if err == nil {
					a.printChange(cfg, &rejected)
				}
				return err
			})
		},
	}
}

// checkDualControl is an error where two people are wanted and there is nobody who could be the second: approvals come from officers
// with accounts.
func checkDualControl(cfg *config.Config, people *users.Store) error {
	if !cfg.DualControl {
		return nil
	}
	for _, u := range people.List() {
		p := u.Principal()
		if !u.Disabled && p.May(access.Comply) {
			return nil
		}
	}
	return usage(fmt.Errorf("dual_control: approvals come from people with the role officer, and no account has it: " +
		"postkeep user add NAME --role officer makes one"))
}
