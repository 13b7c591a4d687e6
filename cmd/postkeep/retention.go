package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/retention"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) retentionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "retention", Short: "How long mail is kept, and the disposal of what is due", Args: cobra.NoArgs,
		Long: `Rules say how long mail is kept: at least (--min) and at most (--max), counted
from the time of archiving. Without a rule mail is kept for ever; of several rules
that match the one that asks for more counts. Nothing is disposed of by itself:
"plan" lists what is due and not held, and "apply" disposes of it for good and
writes a certificate. Where dual_control is on a second person, who logs in on the
pages with an account, approves plans, releases of holds and removals of rules.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	policy := &cobra.Command{Use: "policy", Short: "Manage the rules", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	policy.AddCommand(a.policyAddCommand(), a.policyListCommand(), a.policyRemoveCommand(), a.policyDifferencesCommand(), a.policyConfirmCommand())
	plan := a.planCommand()
	plan.AddCommand(a.planListCommand(), a.planShowCommand())
	cmd.AddCommand(policy, plan, a.approveCommand(), a.applyCommand(), a.clockCommand(), a.changesCommand(), a.rejectCommand())
	return cmd
}

func (a *app) policyAddCommand() *cobra.Command {
	var r api.NewRule
	cmd := &cobra.Command{
		Use: "add --name NAME [--mailbox NAME] [--query QUERY] [--min PERIOD] [--max PERIOD]", Short: "Add a rule", Args: cobra.NoArgs,
		Long: `Adds a rule for the deposits of a mailbox, for what a query finds, for both
together, or for everything. Periods are a number with y, m, w, d, h or s for
years, months, weeks, days, hours or seconds, or several: 10y, 90d, 1y6m.`,
		Example: `  postkeep retention policy add --name books --query 'subject:invoice' --min 10y
  postkeep retention policy add --name news --mailbox newsletter --max 90d`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				added, err := c.AddRule(cmd.Context(), r)
				if err != nil {
					return err
				}
				if added.Warning != "" {
					fmt.Fprintf(a.stderr, "postkeep: %s\n", added.Warning)
				}
				_, err = fmt.Fprintf(a.stdout, "rule %q is in force\n", r.Name)
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Name, "name", "", "`name` of the rule")
	f.StringVar(&r.Mailbox, "mailbox", "", "deposits in this mailbox; all without")
	f.StringVar(&r.Query, "query", "", "messages that this query finds (docs/query.md); all without")
	f.StringVar(&r.Min, "min", "", "`period` for which nobody may dispose of it")
	f.StringVar(&r.Max, "max", "", "`period` after which it is due")
	f.StringVar(&r.Basis, "basis", "archived", "what periods are counted from: archived, or date (the Date header)")
	return cmd
}

func (a *app) policyListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the rules", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				rules, err := c.Rules(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return jsonLines(a.stdout, rules)
				}
				if len(rules) == 0 {
					_, err := fmt.Fprintln(a.stdout, "no rule: mail is kept for ever")
					return err
				}
				rows := make([][]string, len(rules))
				for i, r := range rules {
					basis := r.Basis
					if basis == "" {
						basis = retention.Archived
					}
					rows[i] = []string{fit(oneLine(r.Name), 18), fit(oneLine(r.Mailbox), 14), fit(oneLine(r.Query), 22), string(basis), r.Min.String(), r.Max.String()}
				}
				return table(a.stdout, a.styleFor(a.stdout), []string{"rule", "mailbox", "query", "from", "at least", "at most"}, 4, rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func (a *app) policyRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove a rule", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				rules, err := c.RemoveRule(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				for _, r := range rules {
					if r.Name == args[0] {
						return a.waits(fmt.Sprintf("rule %q stays in force", printable(r.Name)), r.Pending)
					}
				}
				_, err = fmt.Fprintf(a.stdout, "rule %q is removed\n", args[0])
				return err
			})
		},
	}
}

func (a *app) planCommand() *cobra.Command {
	var confirmed, asJSON bool
	cmd := &cobra.Command{
		Use: "plan", Short: "List what is due and not held, as a plan", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				p, err := c.MakePlan(cmd.Context(), confirmed)
				if err != nil {
					return err
				}
				if asJSON {
					return jsonLines(a.stdout, []archive.Plan{p})
				}
				if p.ID == "" {
					_, err := fmt.Fprintf(a.stdout, "nothing is to be disposed of (%s due and held)\n", deposits(p.Held))
					a.printWaiting(&p)
					return err
				}
				a.printPlan(cfg, &p)
				return nil
			})
		},
	}
	clockFlag(cmd, &confirmed)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func deposits(n int) string {
	if n == 1 {
		return "1 deposit"
	}
	return count(n) + " deposits"
}

func (a *app) printPlan(cfg *config.Config, p *archive.Plan) {
	st := a.styleFor(a.stdout)
	fmt.Fprintf(a.stdout, "plan %s  %s, %s by %s\n", st.bold(p.ID), p.State, moment(cfg, p.Made), oneLine(p.By))
	if p.Kind == archive.Erasure {
		fmt.Fprintf(a.stdout, "  erasure of %s: %s\n", deposits(p.Due), oneLine(p.Note))
	} else {
		for _, r := range p.Rules {
			fmt.Fprintf(a.stdout, "  %s due by rule %q\n", deposits(r.Deposits), printable(r.Rule))
		}
		fmt.Fprintf(a.stdout, "  %s due and held\n", deposits(p.Held))
		a.printWaiting(p)
	}
	if p.More {
		fmt.Fprintln(a.stdout, "  there is more than one plan takes: apply this one, and plan again")
	}
	if p.Dual && p.Gave == nil && p.Done == nil {
		fmt.Fprintln(a.stdout, "  somebody else has to approve it, on the pages")
	}
	if p.Gave != nil {
		fmt.Fprintf(a.stdout, "  approved %s by %s\n", moment(cfg, p.Gave.Time), oneLine(p.Gave.By))
	}
	if p.Done != nil {
		fmt.Fprintf(a.stdout, "  finished %s\n", moment(cfg, *p.Done))
	}
}

// moment is a time for people.
func moment(cfg *config.Config, t time.Time) string {
	return t.In(cfg.TimeZone.Location).Format("2006-01-02 15:04")
}

func (a *app) planListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List all plans", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				plans, err := c.Plans(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return jsonLines(a.stdout, plans)
				}
				for _, p := range plans {
					a.printPlan(cfg, &p)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func (a *app) planShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show PLAN", Short: "List what a plan disposes of", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.with(ctx, toRead, func(cfg *config.Config, c *api.Client) error {
				p, err := c.Plan(ctx, args[0])
				if err != nil {
					return err
				}
				enc := json.NewEncoder(a.stdout)
				enc.SetEscapeHTML(false)
				if !asJSON {
					a.printPlan(cfg, &p)
				}
				return c.Planned(ctx, args[0], func(d api.PlannedDeposit) error {
					if asJSON {
						return enc.Encode(d)
					}
					width := (a.width() - 46) / 2
					_, err := fmt.Fprintf(a.stdout, "%s  %s  %s  %s  %s\n", moment(cfg, d.Received), d.ID[:12], pad(oneLine(d.Mailbox), 10),
						pad(oneLine(d.From), width), fit(oneLine(d.Subject), width))
					return err
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line and deposit")
	return cmd
}

func (a *app) approveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "approve PLAN", Short: "Approve a plan", Args: cobra.ExactArgs(1),
		Long: `Approves a plan, for who looks at plans before they are applied. Where dual_control
is on, or was when the plan was made, approvals come from somebody else than the
one who made it, who logs in on the pages with an account that is older than the
plan; this command is refused then.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				p, err := c.ApprovePlan(cmd.Context(), args[0])
				if err == nil {
					a.printPlan(cfg, &p)
				}
				return err
			})
		},
	}
}

func (a *app) applyCommand() *cobra.Command {
	var confirmed, yes, asJSON bool
	cmd := &cobra.Command{
		Use: "apply PLAN", Short: "Dispose of what a plan lists", Args: cobra.ExactArgs(1),
		Long: `Disposes of what a plan lists, as far as it is still due and no hold covers it
now. It asks first. Nothing of it is left in the archive, and a certificate is
written; backups and copies elsewhere are not touched (docs/compliance.md).`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.with(ctx, toDispose, func(cfg *config.Config, c *api.Client) error {
				p, err := c.Plan(ctx, args[0])
				if err != nil {
					return err
				}
				if !yes {
					a.printPlan(cfg, &p)
					if err := a.sure("Dispose of this for good?"); err != nil {
						return err
					}
				}
				d, err := c.ApplyPlan(ctx, args[0], confirmed)
				if err != nil {
					return err
				}
				return a.printDisposal(d, asJSON)
			})
		},
	}
	clockFlag(cmd, &confirmed)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func (a *app) printDisposal(d archive.Disposal, asJSON bool) error {
	if asJSON {
		return jsonLines(a.stdout, []archive.Disposal{d})
	}
	fmt.Fprintf(a.stdout, "%s disposed of; of %s (%s) nothing is left\n", deposits(d.Deposits), messages(int64(d.Messages)), size(d.Bytes))
	if d.Held+d.NotDue > 0 {
		fmt.Fprintf(a.stdout, "%s kept: %s held now, %s not due any more\n", deposits(d.Held+d.NotDue), count(d.Held), count(d.NotDue))
	}
	_, err := fmt.Fprintf(a.stdout, "certificate: %s.html and .json\n", d.Certificate)
	return err
}

// printTombstones says of deposits that they were disposed of: when, why and by whom.
func (a *app) printTombstones(cfg *config.Config, graves []archive.Tombstone) {
	st := a.styleFor(a.stdout)
	for _, t := range graves {
		why := fmt.Sprintf("rule %q", printable(t.Rule))
		if t.Kind == archive.Erasure {
			why = "erasure, " + oneLine(t.Reason)
		}
		by := oneLine(t.By)
		if t.Approver != "" {
			by += ", approved by " + oneLine(t.Approver)
		}
		fmt.Fprintf(a.stdout, "%s %s, of %s, archived %s\n", st.dim(pad("Disposed:", 12)), moment(cfg, t.Disposed), oneLine(t.Mailbox), moment(cfg, t.Archived))
		fmt.Fprintf(a.stdout, "%s %s; plan %s by %s\n", pad("", 12), why, t.Plan, by)
	}
}

// sure asks whether to dispose of something, and returns an error unless the answer is yes.
func (a *app) sure(question string) error { return a.agreed(question, "nothing was disposed of") }

// agreed asks, and returns an error with the outcome unless the answer is yes.
func (a *app) agreed(question, outcome string) error {
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	const maxAnswer = 16
	answer, err := bufio.NewReader(io.LimitReader(a.stdin, maxAnswer)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("not confirmed, %s (--yes answers for scripts)", outcome)
}

func (a *app) eraseCommand() *cobra.Command {
	var reason string
	var confirmed, yes, asJSON bool
	cmd := &cobra.Command{
		Use: "erase ID --reason REASON", Short: "Erase a message for somebody who may ask for it", Args: cobra.ExactArgs(1),
		Long: `Erases a message from all mailboxes, for somebody who has a right to it. It is
refused, with the reason, when a hold covers the message or a rule asks to keep it
for longer. When it is delivered again, under whatever UIDL or size, it stays out of
the mailboxes that it was erased from: polls report it as disposed and leave it on
the server. In another mailbox, or under a hold placed since that may cover it, it
is archived and flagged (is:returned). It asks first. With dual_control in the configuration it makes a plan
that somebody else has to approve on the pages (then: retention apply).

postkeep export --query participant:ADDRESS gives a report of all that is there
about a person.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return usage(errors.New("--reason is missing: who asked for it, and why?"))
			}
			return a.with(cmd.Context(), toDispose, func(cfg *config.Config, c *api.Client) error {
				return a.erase(cmd.Context(), cfg, c, strings.ToLower(args[0]), reason, confirmed, yes, asJSON)
			})
		},
	}
	clockFlag(cmd, &confirmed)
	cmd.Flags().StringVar(&reason, "reason", "", "who asked for it, and why")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func (a *app) erase(ctx context.Context, cfg *config.Config, c *api.Client, id, reason string, confirmed, yes, asJSON bool) error {
	if !yes {
		if err := a.sure("Erase message " + printable(id) + " for good?"); err != nil {
			return err
		}
	}
	out, err := c.Erase(ctx, id, reason, confirmed)
	if err != nil {
		return err
	}
	if out.Disposal != nil {
		return a.printDisposal(*out.Disposal, asJSON)
	}
	if asJSON {
		err = jsonLines(a.stdout, []archive.Plan{out.Plan})
	} else {
		a.printPlan(cfg, &out.Plan)
		_, err = fmt.Fprintf(a.stdout, "it waits for somebody else, who approves plan %s on the pages; then: postkeep retention apply %s\n", out.Plan.ID, out.Plan.ID)
	}
	if err != nil {
		return err
	}
	return &exitError{exitPartly, nil}
}
