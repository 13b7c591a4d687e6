package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the state of archive, index, streams and mailboxes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toWatch, func(cfg *config.Config, client *api.Client) error {
				st, err := client.Status(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(a.stdout).Encode(st)
				}
				boxes, err := client.Mailboxes(cmd.Context())
				if err != nil {
					return err
				}
				a.printStatus(st)
				fmt.Fprintln(a.stdout)
				return a.printMailboxes(cfg, boxes)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func (a *app) printStatus(s api.Status) {
	st := a.styleFor(a.stdout)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%s %s\n", st.dim(pad(name, 10)), fmt.Sprintf(format, args...))
	}
	state := "not running (answered by this command)"
	if s.Running {
		state = st.green("running")
	}
	line("postkeep", "%s, %s", s.Version, state)
	line("data", "%s", s.DataDir)
	var stored int64
	for _, v := range s.Archive.Volumes {
		stored += v.Bytes
	}
	line("archive", "%s messages, %s deposits, %s in %s of %d volume(s)", count(s.Archive.Messages),
		count(s.Archive.Deposits), size(s.Archive.Bytes), size(stored), len(s.Archive.Volumes))
	line("ledger", "%s events", count(s.Archive.Events))
	line("key", "%s", s.Fingerprint)
	if v := s.Archive.Verified; v == nil {
		line("verified", "never (postkeep verify does it)")
	} else {
		kind, result := "structure", st.green("all is well")
		if v.Deep {
			kind = "every byte"
		}
		if v.Damages > 0 {
			result = st.red(fmt.Sprintf("damage in %s place(s)", count(v.Damages)))
		}
		line("verified", "%s, %s, %s", v.Finished.Local().Format("2006-01-02 15:04"), kind, result)
	}
	for _, anchor := range s.Anchors {
		last := "nothing yet"
		if !anchor.Last.IsZero() {
			last = fmt.Sprintf("%s, %s events", anchor.Last.Local().Format("2006-01-02 15:04"), count(anchor.Events))
		}
		line("anchor", "%s, %s", last, printable(anchor.Anchor))
	}
	behind := "up to date"
	if s.Index.Behind {
		behind = st.yellow("catching up")
	}
	line("index", "%s documents, %s", count(s.Index.Documents), behind)
	if s.Attachments != "" {
		line("attached", "%s", printable(s.Attachments))
	}
	a.printStreams(s, line)
	for _, p := range s.Problem {
		line("PROBLEM", "%s", st.red(printable(p)))
	}
}

func (a *app) printStreams(s api.Status, line func(name, format string, args ...any)) {
	var queued uint64
	replicas := 0
	for _, stream := range s.Streams.Streams {
		queued += stream.Waiting + uint64(stream.InHand)
		if replicas == 0 || stream.Replicas < replicas {
			replicas = stream.Replicas
		}
	}
	server := s.Streams.Server
	if replicas > 1 {
		server += fmt.Sprintf(", %d replicas", replicas)
	}
	var dead int64
	if d := s.Archive.DeadLetter; d != nil {
		dead = d.Number
	}
	line("streams", "%s, %s waiting, %s dead letters", server, count(queued), count(dead))
	if d := s.Archive.DeadLetter; d != nil {
		line("", "the last dead letter: %s, %s: %s (postkeep audit --type dead-letter)",
			d.Time.Local().Format("2006-01-02 15:04"), printable(d.Deposit.Mailbox), printable(d.Reason))
	}
}

func (a *app) printMailboxes(cfg *config.Config, boxes []api.Mailbox) error {
	if len(boxes) == 0 {
		_, err := fmt.Fprintf(a.stdout, "no mailboxes: add one to %s\n", a.configPath)
		return err
	}
	st := a.styleFor(a.stdout)
	rows := make([][]string, len(boxes))
	var notes []string
	for i, m := range boxes {
		last, result, next := "never", "", ""
		if r := m.LastPoll; r != nil {
			last, result = r.Started.In(cfg.TimeZone.Location).Format("01-02 15:04"), resultOf(r, m.Failures)
			if r.Error != "" {
				notes = append(notes, fmt.Sprintf("%s: %s", m.Name, st.red(printable(r.Error))))
			}
			for _, why := range sortedKeys(r.Reasons) {
				notes = append(notes, fmt.Sprintf("%s: %s left: %s", m.Name, count(r.Reasons[why]), st.yellow(printable(why))))
			}
		}
		switch {
		case !m.Configured:
			next = "not configured"
		case !m.NextPoll.IsZero():
			next = nextText(m.NextPoll.In(cfg.TimeZone.Location), time.Now().In(cfg.TimeZone.Location))
		}
		rows[i] = []string{fit(m.Name, 20), last, result, next, count(m.Deposits), size(m.Bytes)}
	}
	if err := table(a.stdout, st, []string{"MAILBOX", "LAST POLL", "RESULT", "NEXT", "MESSAGES", "SIZE"}, 4, rows); err != nil {
		return err
	}
	for _, note := range notes {
		if _, err := fmt.Fprintln(a.stdout, note); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) mailboxCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "mailbox", Short: "List, test and authorize mailboxes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var asJSON bool
	list := &cobra.Command{
		Use: "list", Short: "List the mailboxes with their last poll", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, client *api.Client) error {
				boxes, err := client.Mailboxes(cmd.Context())
				if err != nil {
					return err
				}
				if !asJSON {
					return a.printMailboxes(cfg, boxes)
				}
				enc := json.NewEncoder(a.stdout)
				for _, m := range boxes {
					if err := enc.Encode(m); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.AddCommand(list, a.testCommand(), a.authorizeCommand())
	return cmd
}

// resultOf is the outcome of a poll in a few words.
func resultOf(r *archive.PollReport, failures int) string {
	switch {
	case r.Inconsistent:
		return "inconsistent"
	case r.Kind == "auth":
		return "login refused"
	case r.Error != "" && failures > 1:
		return fmt.Sprintf("failed %d times", failures)
	case r.Error != "":
		return "failed"
	case r.Left > 0:
		return fmt.Sprintf("%s new, %s left", count(r.Archived), count(r.Left))
	}
	return fmt.Sprintf("%s new", count(r.Archived))
}

// nextText is a time of day, or a day when it is not today.
func nextText(next, now time.Time) string {
	if next.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return next.Format("15:04:05")
	}
	return next.Format("2006-01-02 15:04")
}
