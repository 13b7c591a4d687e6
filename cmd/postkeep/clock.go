package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

const confirmClock = "confirm-clock"

func clockFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, confirmClock, false, "the clock is right, although it has jumped")
}

func (a *app) clockCommand() *cobra.Command {
	var confirm, asJSON bool
	cmd := &cobra.Command{
		Use: "clock", Short: "Show whether the clock has jumped, or confirm it", Args: cobra.NoArgs,
		Long: `A clock that jumps would end retention periods early. It is compared with the
clock of the machine that nobody can set, with earlier events of the ledger, and
with time stamps of authorities (anchors). A jump is an event of the ledger, a
problem in "status", and keeps everything from being disposed of until somebody
has looked at the clock and says with --confirm that it is right now. Mail that
was archived before counts as younger by the jump, also then: it is due later,
not earlier.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				ask := c.Clock
				if confirm {
					ask = c.ConfirmClock
				}
				st, err := ask(cmd.Context())
				switch {
				case err != nil:
					return err
				case asJSON:
					return jsonLines(a.stdout, []api.ClockState{st})
				case st.Jump != nil:
					_, err = fmt.Fprintln(a.stdout, st.Jump)
				case confirm:
					_, err = fmt.Fprintln(a.stdout, "the clock is confirmed")
				default:
					_, err = fmt.Fprintln(a.stdout, "the clock has not jumped, or was confirmed since")
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&confirm, "confirm", false, "the clock is right now")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}
