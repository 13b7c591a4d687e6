package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive/export"
)

func (a *app) verifyExportCommand() *cobra.Command {
	var (
		key, identity string
		asJSON        bool
	)
	cmd := &cobra.Command{
		Use:   "verify-export PATH",
		Short: "Check that an export is as the archive gave it out",
		Long: `Checks every file of an export, that every message in it was received when and as
the manifest says, and that nothing was added or taken away. It needs nothing but
the export: no archive and no configuration.

Without --key it says who signed the export, not whether that is who it should
be. Get the fingerprint from the keeper of the archive, by another way than the
export; "postkeep status" shows it there.

An export that an older version sealed is checked as well, and named as such: that
version signed the manifest that the exporting program reported.

Exit codes: 0 all is well and signed with the key, 1 something was changed,
3 all fits together but no key was given.`,
		Example: "  postkeep verify-export maria-2024 --key 5f0c…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts := export.VerifyOptions{Key: key}
			if identity != "" {
				f, err := os.Open(identity)
				if err != nil {
					return usage(err)
				}
				opts.Identities, err = age.ParseIdentities(f)
				if err := errors.Join(err, f.Close()); err != nil {
					return usage(fmt.Errorf("--identity %s: %w", identity, err))
				}
			}
			r, err := export.Verify(cmd.Context(), args[0], opts)
			if err != nil {
				return err
			}
			return a.tellVerified(r, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "key", "", "`fingerprint` of the ledger's key, or the key itself (ledger.pub)")
	f.StringVar(&identity, "identity", "", "age identity `file` that opens an encrypted export")
	f.BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// tellVerified prints the report and returns its exit code.
func (a *app) tellVerified(r export.Report, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(r); err != nil {
			return err
		}
	} else {
		a.printVerified(r)
	}
	switch {
	case len(r.Problems) > 0:
		return &exitError{code: exitFailed}
	case !r.SignerVerified:
		return &exitError{code: exitPartly}
	}
	return nil
}

func (a *app) printVerified(r export.Report) {
	st := a.styleFor(a.stdout)
	for _, p := range r.Problems {
		fmt.Fprintf(a.stdout, "%s %s: %s\n", st.red("CHANGED"), printable(p.File), printable(p.Text))
	}
	if len(r.Problems) > 0 {
		fmt.Fprintln(a.stdout, "This export is not as the archive gave it out.")
		return
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%s %s\n", st.dim(pad(name, 10)), printable(fmt.Sprintf(format, args...)))
	}
	line("messages", "%s, received in %s deposits", count(r.Messages), count(r.Deposits))
	if r.Omitted > 0 {
		line("omitted", "%s, named in manifest.json", count(r.Omitted))
	}
	line("files", "%s, %s, all unchanged", count(r.Files), size(r.Octets))
	if r.Withheld > 0 {
		line("withheld", "where %s deposits came from was erased in the archive", count(r.Withheld))
	}
	line("query", "%s", r.Query)
	line("exported", "%s by %s, event %s", r.Exported.UTC().Format(time.RFC3339), r.Actor, count(r.Event))
	line("ledger", "%s", r.Ledger)
	line("signed by", "%s", r.Fingerprint)
	if !r.MadeByArchive {
		fmt.Fprintln(a.stdout, st.yellow("sealed by an older version")+": the messages are proved, but what else is in the export is what the exporting program reported")
	}
	if r.SignerVerified {
		fmt.Fprintln(a.stdout, st.green("consistent, signer verified"))
		return
	}
	fmt.Fprintln(a.stdout, st.yellow("self-consistent, signer NOT verified")+": compare the fingerprint, or give it with --key")
}
