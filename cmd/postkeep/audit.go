package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) auditCommand() *cobra.Command {
	var (
		req           api.AuditRequest
		asJSON, asCSV bool
		limit         int
	)
	cmd := &cobra.Command{
		Use: "audit", Short: "Read the ledger: who did what, and when", Args: cobra.NoArgs,
		Long: `Shows the events of the ledger, newest first: deposits, polls, searches, views,
exports, holds, disposals, changes of users and configuration, verifications.`,
		Example: "  postkeep audit --type search,view --since 2026-01-01\n  postkeep audit --object 3ee28581 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("limit") && !asJSON && !asCSV {
				limit = archive.DefaultAuditLimit
			}
			if limit < 0 {
				return usage(fmt.Errorf("--limit %d is less than 0", limit))
			}
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, c *api.Client) error {
				each := func(fn func(archive.AuditEvent) error) (int64, error) {
					return c.EachAudit(cmd.Context(), req, limit, fn)
				}
				var err error
				switch {
				case asJSON:
					_, err = each(func(e archive.AuditEvent) error { return jsonLines(a.stdout, []archive.AuditEvent{e}) })
				case asCSV:
					err = a.auditCSV(each)
				default:
					err = a.printAudit(cfg, each)
				}
				if err != nil {
					return err
				}
				return a.tellPartial(cmd.Context(), c)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Since, "since", "", "first `day` or time")
	f.StringVar(&req.Until, "until", "", "last `day`, or the first time after")
	f.StringVar(&req.Actor, "actor", "", "who did it, or the beginning of the name")
	f.StringVar(&req.Type, "type", "", "`types` of events, separated by commas: "+strings.Join(archive.AuditTypes(), ","))
	f.StringVar(&req.Object, "object", "", "a message id or its beginning, a mailbox, a matter, a user")
	f.IntVar(&limit, "limit", 0, "how many events; 0 is all, without it 100 are shown, or all with --json and --csv")
	f.Int64Var(&req.Before, "before", 0, "only events before this `index`")
	f.BoolVar(&asJSON, "json", false, "one JSON object per line")
	f.BoolVar(&asCSV, "csv", false, "comma-separated values")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	verify := a.verifyCommand() // the ledger is verified together with what it speaks of
	cmd.AddCommand(verify, a.completenessCommand())
	return cmd
}

// tellPartial says when the trail in the ledger does not have everything.
func (a *app) tellPartial(ctx context.Context, c *api.Client) error {
	st, err := c.Status(ctx)
	if err != nil || st.Archive.Outside == "" {
		return err
	}
	_, err = fmt.Fprintf(a.stderr, "postkeep: this trail is partial: %s, and what is done here is recorded in postkeep-trail-*.jsonl in the temporary directory\n",
		printable(st.Archive.Outside))
	return err
}

// eachEvent hands events to fn, and returns where older ones begin, 0 if there are none.
type eachEvent func(fn func(archive.AuditEvent) error) (next int64, err error)

// printAudit shows one event a line, with the details under it where there is room for them.
func (a *app) printAudit(cfg *config.Config, each eachEvent) error {
	st, width, shown := a.styleFor(a.stdout), a.width(), 0
	next, err := each(func(e archive.AuditEvent) error {
		shown++
		head := fmt.Sprintf("%8d  %s  %s", e.Index, e.Time.In(cfg.TimeZone.Location).Format("2006-01-02 15:04:05"), pad(e.Type, 15))
		line := head + "  " + fit(printable(e.Actor), max(width-len(head)-2, 10))
		if _, err := fmt.Fprintln(a.stdout, line); err != nil {
			return err
		}
		for _, about := range wrap(eventAbout(&e), width-10) {
			if _, err := fmt.Fprintln(a.stdout, "          "+st.dim(fit(about, width-10))); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil:
	case shown == 0:
		_, err = fmt.Fprintln(a.stdout, "No event fits.")
	case next > 0:
		_, err = fmt.Fprintf(a.stdout, "\nolder events: --before %d\n", next)
	}
	return err
}

// aboutBytes bounds what is shown of the details; --json has all.
const aboutBytes = 400

// eventAbout says in one paragraph what an event is about.
func eventAbout(e *archive.AuditEvent) string {
	var parts []string
	switch {
	case e.Erased:
		parts = append(parts, "details erased")
	case e.Damaged:
		parts = append(parts, "details damaged")
	}
	if len(e.IDs) > 0 {
		const shown = 12
		ids := fmt.Sprintf("%.*s", shown, e.IDs[0])
		if len(e.IDs) > 1 {
			ids += fmt.Sprintf(" and %d more", len(e.IDs)-1)
		}
		parts = append(parts, ids)
	}
	if words := eventWords(e); words != "" {
		parts = append(parts, words)
	}
	return oneLine(fit(strings.Join(parts, ", "), aboutBytes))
}

// eventWords are the details of an event in words: of those that there are most of, in those of people.
func eventWords(e *archive.AuditEvent) string {
	if e.Type == "poll" {
		var p archive.PollReport
		if json.Unmarshal(e.Details, &p) == nil {
			words := fmt.Sprintf("%s: listed %d = archived %d + known %d + left %d; deleted %d, kept %d",
				p.Mailbox, p.Listed, p.Archived, p.Known, p.Left, p.Deleted, p.Kept)
			if p.Error != "" {
				words += "; " + p.Error
			}
			return words
		}
	}
	return strings.Join(detailWords(e.Details), ", ")
}

// spoken reports whether a field of details is one for people. The others are for programs, or stand in the event's
// first line.
func spoken(name string) bool {
	switch name {
	case "id", "deposits", "request", "session", "started", "finished", "checkpoint", "header_hash", "volume", "offset", "n", "index",
		"sha256", "manifest_sha256", "size", "received", "seconds":
		return false
	}
	return true
}

// detailWords writes the simple fields of details as words.
func detailWords(details json.RawMessage) []string {
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(details))
	dec.UseNumber()
	if dec.Decode(&fields) != nil {
		return nil
	}
	var words []string
	for name, v := range fields {
		if !spoken(name) {
			continue
		}
		switch v := v.(type) {
		case string:
			if v != "" {
				words = append(words, name+" "+v)
			}
		case json.Number:
			words = append(words, name+" "+v.String())
		case bool:
			if v {
				words = append(words, name)
			}
		}
	}
	slices.Sort(words)
	return words
}

func (a *app) auditCSV(each eachEvent) error {
	w := csv.NewWriter(a.stdout)
	err := w.Write([]string{"index", "time", "type", "actor", "ids", "volume", "end", "erased", "damaged", "details"})
	if err != nil {
		return err
	}
	if _, err := each(func(e archive.AuditEvent) error {
		row := []string{
			strconv.FormatInt(e.Index, 10), e.Time.Format(time.RFC3339Nano), e.Type, e.Actor, strings.Join(e.IDs, " "),
			strconv.FormatUint(uint64(e.Volume), 10), strconv.FormatInt(e.End, 10), strconv.FormatBool(e.Erased), strconv.FormatBool(e.Damaged), string(e.Details),
		}
		for i := range row {
			row[i] = export.Cell(row[i])
		}
		return w.Write(row)
	}); err != nil {
		return err
	}
	w.Flush()
	return w.Error()
}

func (a *app) completenessCommand() *cobra.Command {
	var (
		mailboxes []string
		from, to  string
		asJSON    bool
	)
	cmd := &cobra.Command{
		Use: "completeness", Short: "Show day by day what polls listed, archived, left and failed", Args: cobra.NoArgs,
		Long: `Shows, for each mailbox and day, what the polls listed, archived, left on the
server and failed to do. A day on which no poll succeeded is a gap; with gaps the
exit code is 3. Of mailboxes that are still configured every day until yesterday is
shown, of others those until their last poll. Days are those of time_zone.

LISTED and LEFT are of the day's last poll that did not fail, ARCHIVED adds up.`,
		Example: "  postkeep audit completeness --from 2026-01-01 --to 2026-03-31\n  postkeep audit completeness --mailbox sales --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				days, err := c.Completeness(cmd.Context(), mailboxes, from, to)
				if err != nil {
					return err
				}
				if asJSON {
					err = jsonLines(a.stdout, days)
				} else {
					err = a.printCompleteness(days)
				}
				if err == nil && slices.ContainsFunc(days, func(d archive.Completeness) bool { return d.Gap }) {
					return &exitError{code: exitPartly}
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&mailboxes, "mailbox", nil, "`name`; may be repeated; all without")
	f.StringVar(&from, "from", "", "first `day`, like 2026-01-31")
	f.StringVar(&to, "to", "", "last `day`")
	f.BoolVar(&asJSON, "json", false, "one JSON object per line")
	return cmd
}

func (a *app) printCompleteness(days []archive.Completeness) error {
	if len(days) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No poll in this time.")
		return err
	}
	var rows [][]string
	gaps := 0
	for _, d := range days {
		result := "complete"
		switch {
		case d.Gap && d.Polls == 0:
			result = "GAP: no poll"
		case d.Gap:
			result = "GAP: all failed"
		case d.Inconsistent > 0:
			result = "numbers do not add up"
		case d.Left > 0:
			result = "some left"
		}
		if d.Gap {
			gaps++
		}
		rows = append(rows, []string{d.Day, d.Mailbox, count(d.Polls), count(d.Failed), count(d.Listed), count(d.Archived), count(d.Left), result})
	}
	if err := table(a.stdout, a.styleFor(a.stdout), []string{"DAY", "MAILBOX", "POLLS", "FAILED", "LISTED", "ARCHIVED", "LEFT", "RESULT"}, 2, rows); err != nil {
		return err
	}
	if gaps == 0 {
		return nil
	}
	_, err := fmt.Fprintf(a.stdout, "\n%s without a successful poll.\n", plural(gaps, "day", "days"))
	return err
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}
