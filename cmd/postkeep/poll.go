package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) pollCommand() *cobra.Command {
	var (
		req              api.PollRequest
		asJSON, takeOver bool
	)
	cmd := &cobra.Command{
		Use:   "poll",
		Short: "Poll mailboxes now, once",
		Long: `Polls all mailboxes, or those named, in sessions that start now; waits until
their messages are archived, deleted on the server as configured, and
searchable; prints what became of every listed message:

  listed = archived (now) + known (from before) + left (with the reason)
  archived + known = deleted (on the server) + kept (there)

Exit codes: 0 all done, 1 every mailbox failed, 3 some mailboxes failed or
messages were left.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if err := a.checkNames(cfg, req.Mailboxes); err != nil {
				return usage(err)
			}
			to := toPoll
			if req.Unindexed {
				to = toArchive
			}
			return a.withClaim(cmd.Context(), to, claimOf(takeOver), func(_ *config.Config, client *api.Client) error {
				bars := a.newBars()
				var reports []archive.PollReport
				err := client.Poll(cmd.Context(), req, func(e api.PollEvent) {
					switch {
					case e.Progress != nil:
						bars.show(*e.Progress)
					case e.Report != nil:
						bars.done(e.Report.Mailbox)
						reports = append(reports, *e.Report)
					}
				})
				bars.wait()
				return errors.Join(err, a.printReports(reports, asJSON), pollResult(reports))
			})
		},
	}
	cmd.Flags().StringArrayVar(&req.Mailboxes, "mailbox", nil, "poll only this mailbox (repeatable)")
	cmd.Flags().BoolVar(&req.Unindexed, "no-index", false, "end when the messages are archived; the running instance indexes them,\nor the next poll")
	takeOverFlag(cmd, &takeOver)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

// checkNames makes sure that there are mailboxes, and those named among them.
func (a *app) checkNames(cfg *config.Config, names []string) error {
	known := make([]string, len(cfg.Mailboxes))
	for i, m := range cfg.Mailboxes {
		known[i] = m.Name
	}
	if len(known) == 0 {
		return fmt.Errorf("%s has no mailboxes: add one to poll it", a.configPath)
	}
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		const most = 20 // there may be thousands
		more := ""
		if n := len(known) - most; n > 0 {
			more = fmt.Sprintf(" and %s more", count(n))
		}
		return fmt.Errorf("no mailbox %q in %s, which has %s%s", name, a.configPath, strings.Join(known[:min(len(known), most)], ", "), more)
	}
	return nil
}

// pollResult is the exit code of a poll. The reports have said why.
func pollResult(reports []archive.PollReport) error {
	failed, incomplete := 0, 0
	for _, r := range reports {
		if r.Error != "" {
			failed++
		}
		if r.Left > 0 || r.Inconsistent {
			incomplete++
		}
	}
	switch {
	case len(reports) > 0 && failed == len(reports):
		return &exitError{code: exitFailed}
	case failed > 0 || incomplete > 0:
		return &exitError{code: exitPartly}
	}
	return nil
}

// pollLine is the stable form of a report for scripts.
type pollLine struct {
	Mailbox  string         `json:"mailbox"`
	Listed   int            `json:"listed"`
	Archived int            `json:"archived"`
	Known    int            `json:"known"`
	Left     int            `json:"left"`
	Reasons  map[string]int `json:"reasons,omitempty"`
	Deleted  int            `json:"deleted"`
	Kept     int            `json:"kept"`
	KeptWhy  map[string]int `json:"kept_why,omitempty"`
	Bytes    int64          `json:"bytes"`
	Seconds  float64        `json:"seconds"`
	Error    string         `json:"error"`
	// Unconfirmed is how many messages have an archived copy that is not confirmed to be whole.
	Unconfirmed int `json:"unconfirmed,omitempty"`
	// Inconsistent means that the numbers do not add up.
	Inconsistent bool `json:"inconsistent,omitempty"`
}

func (a *app) printReports(reports []archive.PollReport, asJSON bool) error {
	slices.SortFunc(reports, func(x, y archive.PollReport) int {
		if x.Mailbox < y.Mailbox {
			return -1
		}
		return 1
	})
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		for _, r := range reports {
			if err := enc.Encode(pollLine{
				r.Mailbox, r.Listed, r.Archived, r.Known, r.Left, r.Reasons, r.Deleted, r.Kept, r.KeptWhy, r.Bytes, r.Seconds, r.Error, r.Unconfirmed, r.Inconsistent,
			}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(reports) == 0 {
		return nil
	}
	st := a.styleFor(a.stdout)
	rows := make([][]string, len(reports))
	for i, r := range reports {
		rows[i] = []string{
			fit(r.Mailbox, 24), count(r.Listed), count(r.Archived), count(r.Known), count(r.Left),
			count(r.Deleted), count(r.Kept), size(r.Bytes), strconv.FormatFloat(r.Seconds, 'f', 1, 64) + " s",
		}
	}
	header := []string{"MAILBOX", "LISTED", "ARCHIVED", "KNOWN", "LEFT", "DELETED", "KEPT", "SIZE", "TIME"}
	if err := table(a.stdout, st, header, 1, rows); err != nil {
		return err
	}
	for _, r := range reports {
		a.explain(st, r)
	}
	return nil
}

// explain says in words what was not as it should be.
func (a *app) explain(st style, r archive.PollReport) {
	if r.Error != "" {
		fmt.Fprintf(a.stdout, "%s: %s\n", r.Mailbox, st.red(printable(r.Error)))
	}
	for _, why := range sortedKeys(r.Reasons) {
		fmt.Fprintf(a.stdout, "%s: %s left on the server: %s\n", r.Mailbox, count(r.Reasons[why]), st.yellow(printable(why)))
	}
	for _, why := range sortedKeys(r.KeptWhy) {
		fmt.Fprintf(a.stdout, "%s: %s archived and kept on the server: %s\n", r.Mailbox, count(r.KeptWhy[why]), printable(why))
	}
	if r.Unconfirmed > 0 {
		fmt.Fprintf(a.stdout, "%s: %s\n", r.Mailbox, st.yellow(fmt.Sprintf(
			"the archived copies of %s on the server are not confirmed to be whole, and are fetched again at the next poll", count(r.Unconfirmed))))
	}
	if r.Inconsistent {
		fmt.Fprintf(a.stdout, "%s: %s\n", r.Mailbox, st.red("the numbers do not add up: please report this"))
	}
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// maxBars is how many mailboxes are shown at a time.
const maxBars = 12

// bars shows the progress of mailboxes on a terminal, and nothing elsewhere.
type bars struct {
	progress *mpb.Progress // nil without a terminal
	byName   map[string]*mpb.Bar
}

func (a *app) newBars() *bars {
	width, ok := terminal(a.stderr)
	if !ok {
		return &bars{}
	}
	return &bars{progress: mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(min(width, minWidth))), byName: map[string]*mpb.Bar{}}
}

func (b *bars) show(p pipeline.Progress) {
	if b.progress == nil || p.Total == 0 {
		return
	}
	bar := b.byName[p.Mailbox]
	if bar == nil {
		if len(b.byName) >= maxBars {
			return
		}
		bar = b.bar(p.Mailbox, int64(p.Total))
		b.byName[p.Mailbox] = bar
	}
	if p.Phase == "fetch" {
		bar.SetTotal(int64(p.Total), false)
		bar.SetCurrent(int64(p.Done))
	}
}

func (b *bars) bar(name string, total int64) *mpb.Bar {
	return b.progress.AddBar(total, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(pad(name, 20)), decor.CountersNoUnit(" %6d of %-6d", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.AverageSpeed(0, "%.0f/s", decor.WCSyncSpace)))
}

// done takes the mailbox's bar away, which makes room for another.
func (b *bars) done(name string) {
	if bar := b.byName[name]; bar != nil {
		bar.Abort(true)
		delete(b.byName, name)
	}
}

func (b *bars) wait() {
	if b.progress == nil {
		return
	}
	for name := range b.byName {
		b.done(name)
	}
	b.progress.Wait()
}
