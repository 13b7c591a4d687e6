package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) policyDifferencesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "differences NAME", Short: "List what a rule finds in another way since an upgrade", Args: cobra.ExactArgs(1),
		Long: `Lists the messages that a rule by query finds now and did not find before (+), or
does not find any more (-), since messages are read in another way: after an upgrade,
or when index.extract was switched on. Nothing of that is disposed of by the rule
until it is confirmed (retention policy confirm).`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				change, err := c.RuleDifferences(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return jsonLines(a.stdout, []archive.RuleDifference{change})
				}
				return a.printDifference(change)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func (a *app) printDifference(change archive.RuleDifference) error {
	if len(change.Added)+len(change.Dropped) == 0 {
		_, err := fmt.Fprintf(a.stdout, "rule %q finds what it found before\n", printable(change.Rule))
		return err
	}
	for _, list := range []struct {
		mark string
		ids  []string
	}{{"+", change.Added}, {"-", change.Dropped}} {
		for _, id := range list.ids {
			if _, err := fmt.Fprintf(a.stdout, "%s %s\n", list.mark, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) policyConfirmCommand() *cobra.Command {
	var all, yes bool
	cmd := &cobra.Command{
		Use: "confirm NAME {ID... | --all}", Short: "Confirm what a rule finds in another way since an upgrade", Args: cobra.MinimumNArgs(1),
		Long: `Says that a rule is meant for the messages named, or with --all for each that
"retention policy differences" lists, which are shown first. It is recorded with their
ids, and the rule counts for them from then on.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids := args[1:]
			if all == (len(ids) > 0) {
				return usage(errors.New("name the messages by their ids, or all of them with --all"))
			}
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				return a.confirmDifference(cmd.Context(), c, args[0], ids, yes)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirmedAtOnce is how many ids one request has: they fit its limit.
const confirmedAtOnce = 500

// confirmDifference confirms messages of a change, all of them without ids.
func (a *app) confirmDifference(ctx context.Context, c *api.Client, name string, ids []string, yes bool) error {
	if len(ids) == 0 {
		change, err := c.RuleDifferences(ctx, name)
		if err != nil {
			return err
		}
		ids = slices.Concat(change.Added, change.Dropped)
		if len(ids) == 0 || !yes {
			err = a.printDifference(change)
		}
		if err != nil || len(ids) == 0 {
			return err
		}
		if !yes {
			if err := a.agreed(fmt.Sprintf("Is rule %q meant for these?", printable(name)), "the rule does not count for them"); err != nil {
				return err
			}
		}
	}
	var left archive.RuleDifference
	for chunk := range slices.Chunk(ids, confirmedAtOnce) {
		var err error
		if left, err = c.ConfirmRuleDifferences(ctx, name, chunk); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.stdout, "%s confirmed, %s left\n", messages(int64(len(ids))), count(len(left.Added)+len(left.Dropped)))
	return err
}

// printWaiting says what is not in a plan because rules find it in another way.
func (a *app) printWaiting(p *archive.Plan) {
	if p.Waiting > 0 {
		fmt.Fprintf(a.stdout, "  %s not looked at: a rule finds them in another way since an upgrade (postkeep status; retention policy differences)\n", deposits(p.Waiting))
	}
}
