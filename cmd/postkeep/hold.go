package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) holdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "hold", Short: "Keep mail for a legal matter, whatever the retention rules say", Args: cobra.NoArgs,
		Long: `Places, releases and lists legal holds. A hold covers mail by custodian, by date
and by a query, also mail that arrives later. What it covers is neither disposed
of nor erased until the hold is released. Mail that could not be read well enough
to say that it does not match counts as covered.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.holdPlaceCommand(), a.holdReleaseCommand(), a.holdListCommand(), a.holdShowCommand())
	return cmd
}

func (a *app) holdPlaceCommand() *cobra.Command {
	var h hold.Hold
	var yes bool
	cmd := &cobra.Command{
		Use: "place --name NAME --reason REASON [--custodian WHO]... [--query QUERY] [--from DAY] [--to DAY]", Short: "Place a hold",
		Long: `Places a hold. Custodians are mailboxes or addresses; mail of any of them is
covered, and without any that of everybody. A day is covered if the message says
that it was written on it, or was received on it. It asks first when the hold
covers nothing, or a custodian has no mail. A disposal that was decided before is
carried out: what the hold came too late for is listed.`,
		Example: `  postkeep hold place --name "Smith v Jones" --reason "claim of 3 May" --custodian smith@example.com --from 2024-01-01
  postkeep hold place --name audit --reason "tax audit 2023" --query 'subject:invoice'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := h.Validate(); err != nil {
				return usage(err)
			}
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				placed, err := a.placeHold(cmd.Context(), c, h, yes)
				if err != nil {
					return err
				}
				return a.printPlaced(placed, func() (int64, error) {
					d, err := c.Hold(cmd.Context(), h.Name)
					return d.Hits, err
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&h.Name, "name", "", "`name` of the matter")
	f.StringVar(&h.Reason, "reason", "", "why")
	f.StringArrayVar(&h.Custodians, "custodian", nil, "mailbox or address; may be repeated")
	f.StringVar(&h.Query, "query", "", "what it is about (docs/query.md); * is everything")
	f.StringVar(&h.From, "from", "", "first `day`, like 2024-01-31")
	f.StringVar(&h.To, "to", "", "last `day`")
	f.BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// placeHold asks when a hold may not be what was meant.
func (a *app) placeHold(ctx context.Context, c *api.Client, h hold.Hold, yes bool) (archive.Hold, error) {
	placed, err := c.PlaceHold(ctx, h, yes)
	question, ok := api.NeedsConfirmation(err)
	if !ok {
		return placed, err
	}
	fmt.Fprintf(a.stderr, "%s\n", oneLine(question))
	if err := a.agreed("Place the hold all the same?", "the hold is not in force"); err != nil {
		return placed, err
	}
	return c.PlaceHold(ctx, h, true)
}

// printPlaced says what a new hold came too late for, and then what it covers: that cannot be told while a disposal is carried out.
func (a *app) printPlaced(placed archive.Hold, covers func() (int64, error)) error {
	if _, err := fmt.Fprintf(a.stdout, "hold %q is in force\n", placed.Name); err != nil {
		return err
	}
	if err := a.printLate(placed.Late); err != nil {
		return err
	}
	hits, err := covers()
	if err != nil {
		return fmt.Errorf("the hold is in force; what it covers is not known yet: %w", err)
	}
	_, err = fmt.Fprintf(a.stdout, "it covers %s now, and what arrives later\n", messages(hits))
	return err
}

// printLate lists what a hold came too late for.
func (a *app) printLate(late []archive.LateMessage) error {
	if len(late) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(a.stdout, "it came too late for %s, which a disposal that was decided before removes:\n", messages(int64(len(late))))
	for _, l := range late {
		doubt := ""
		if l.InDoubt {
			doubt = "  in doubt: the text was gone already"
		}
		if err == nil {
			_, err = fmt.Fprintf(a.stdout, "  %s  %s%s\n", l.ID, l.Plan, doubt)
		}
	}
	return err
}

// messages counts messages in words.
func messages(n int64) string {
	if n == 1 {
		return "1 message"
	}
	return count(n) + " messages"
}

func (a *app) holdReleaseCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "release NAME --reason REASON", Short: "Release a hold", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return usage(fmt.Errorf("--reason is missing: why is the hold released?"))
			}
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				h, err := c.ReleaseHold(cmd.Context(), args[0], reason)
				if err == nil && h.Pending != "" {
					return a.waits(fmt.Sprintf("hold %q stays in force", printable(h.Name)), h.Pending)
				}
				if err == nil {
					_, err = fmt.Fprintf(a.stdout, "hold %q is released\n", printable(h.Name))
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func (a *app) holdListCommand() *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the holds in force", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				holds, err := c.Holds(cmd.Context(), all)
				if err != nil {
					return err
				}
				if asJSON {
					err = jsonLines(a.stdout, holds)
				} else {
					err = a.printHolds(cfg, holds)
				}
				if err == nil && slices.ContainsFunc(holds, func(h archive.Hold) bool { return h.Unreadable }) {
					return &exitError{exitPartly, errors.New("a hold may be missing: put back the newest copy of the ledger and run postkeep rebuild catalog")}
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that were released")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func (a *app) printHolds(cfg *config.Config, holds []archive.Hold) error {
	if len(holds) == 0 {
		_, err := fmt.Fprintln(a.stdout, "no hold is in force")
		return err
	}
	for _, h := range holds {
		if !h.Unreadable {
			a.printHold(cfg, &h)
			continue
		}
		if _, err := fmt.Fprintf(a.stdout, "%s\n", a.styleFor(a.stdout).red(fmt.Sprintf("%s cannot be read: an event about a hold, %s by %s,\n  of which the details in the ledger are damaged",
			h.ID, moment(cfg, h.Placed), oneLine(h.PlacedBy)))); err != nil {
			return err
		}
		if h.Evaluated.IsZero() {
			continue
		}
		if _, err := fmt.Fprintf(a.stdout, "  It covered %s, as of %s, when it was asked as\n  %s\n", messages(h.Hits), moment(cfg, h.Evaluated), oneLine(h.Query)); err != nil {
			return err
		}
	}
	return nil
}

// printHold prints a hold in a few lines.
func (a *app) printHold(cfg *config.Config, h *archive.Hold) {
	st := a.styleFor(a.stdout)
	fmt.Fprintf(a.stdout, "%s  %s\n", st.bold(oneLine(h.Name)), st.dim(h.ID))
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.stdout, "  %s %s\n", st.dim(pad(name+":", 12)), value)
		}
	}
	field("Reason", oneLine(h.Reason))
	field("Custodians", oneLine(strings.Join(h.Custodians, ", ")))
	field("Query", oneLine(h.Query))
	if h.From != "" || h.To != "" {
		field("Days", strings.TrimSpace(h.From+" to "+h.To))
	}
	field("Placed", fmt.Sprintf("%s by %s", moment(cfg, h.Placed), oneLine(h.PlacedBy)))
	if !h.Evaluated.IsZero() {
		earlier := ""
		if h.Earlier > 0 {
			earlier = fmt.Sprintf(" (%s only because they were covered before)", count(h.Earlier))
		}
		field("Covers", fmt.Sprintf("%s, as of %s%s", messages(h.Hits), moment(cfg, h.Evaluated), earlier))
	}
	if !h.Released.IsZero() {
		field("Released", fmt.Sprintf("%s by %s: %s", moment(cfg, h.Released), oneLine(h.ReleasedBy), oneLine(h.ReleaseReason)))
	}
}

func (a *app) holdShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a hold, and what it covers now", Args: cobra.ExactArgs(1),
		Long: "Shows a hold in force by its name or id, and asks what it covers now, which is\nrecorded. postkeep search is:held lists what is covered by any hold.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				d, err := c.Hold(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return jsonLines(a.stdout, []api.HoldDetail{d})
				}
				a.printHold(cfg, &d.Hold)
				if _, err = fmt.Fprintf(a.stdout, "  %s %s\n", a.styleFor(a.stdout).dim(pad("Finds:", 12)), oneLine(d.Terms)); err != nil {
					return err
				}
				return a.printLate(d.Late)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}
