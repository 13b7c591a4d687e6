package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/exports"
)

// exportFlags are the flags of export as they were written.
type exportFlags struct {
	query, format, out  string
	split, zone, prefix string
	start               int64
	encryptTo           []string
	dedup, thread, text bool
}

func (a *app) exportCommand() *cobra.Command {
	var e exportFlags
	cmd := &cobra.Command{
		Use:   "export --query QUERY --format FORMAT --out PATH",
		Short: "Write messages to files that other programs read",
		Long: `Writes all messages that a query finds, each once, with a manifest and a proof
that verify-export checks anywhere, and HOW-TO-CHECK.txt, which explains them.

  eml          one <id>.eml per message, the exact bytes
  mbox         one mboxrd file
  maildir      a maildir
  concordance  DAT load file, natives, text files, attachments as families
  edrm         EDRM XML 1.2, natives, text files, attachments as families
  csv          a table of metadata
  html         pages to read in a browser

PATH is a directory, or a zip file if it ends in .zip; for mbox it is the file
itself, if it is no directory. With --encrypt-to it is one encrypted zip, to which
.zip.age is added. An export that was interrupted goes on where it was when it is
started again, if it is not in a zip.`,
		Example: `  postkeep export --query 'from:maria date:2024' --format eml --out maria-2024
  postkeep export --query 'mailbox:sales' --format concordance --bates-prefix ACME --out production
  postkeep export --query 'participant:maria' --format html --encrypt-to age1… --out maria`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := e.options()
			if err != nil {
				return usage(err)
			}
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, client *api.Client) error {
				if opts.Location == nil && cfg.TimeZone.Location != time.Local {
					opts.Location = cfg.TimeZone.Location
				}
				return a.export(cmd.Context(), client, opts)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&e.query, "query", "", "what to export; everything if it is empty")
	f.StringVar(&e.format, "format", "eml", formatNames())
	f.StringVar(&e.out, "out", "", "directory or file to write")
	f.BoolVar(&e.dedup, "deduplicate", false, "leave out messages that say the same as an earlier one and came another way")
	f.BoolVar(&e.thread, "one-per-thread", false, "only the newest message of every thread")
	f.StringVar(&e.split, "split", "", "begin a new volume directory before it exceeds this `size`, such as 4GiB")
	f.BoolVar(&e.text, "include-attachments-text", false, "text of attachments beside them (concordance, edrm)")
	f.StringVar(&e.zone, "time-zone", "", "of dates that people read, such as Europe/Berlin (default: time_zone of the configuration, else UTC)")
	f.StringVar(&e.prefix, "bates-prefix", "PK", "what Bates numbers begin with (concordance, edrm)")
	f.Int64Var(&e.start, "bates-start", 1, "number of the first document (concordance, edrm)")
	f.StringArrayVar(&e.encryptTo, "encrypt-to", nil, "age `recipient` (age1…) who can open the export (repeatable)")
	return cmd
}

func formatNames() string {
	names := make([]string, 0, len(export.Formats()))
	for _, f := range export.Formats() {
		names = append(names, string(f))
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// options turns flags into what the engine takes.
func (e *exportFlags) options() (export.Options, error) {
	opts := export.Options{
		Query: strings.TrimSpace(e.query), Format: export.Format(e.format), Out: e.out,
		Deduplicate: e.dedup, OnePerThread: e.thread, AttachmentText: e.text,
		Bates:   export.Bates{Prefix: e.prefix, Start: e.start},
		SyncDir: disk.OS().SyncDir, Free: disk.Free,
	}
	if e.out == "" {
		return opts, errors.New("--out is missing: where is the export to go?")
	}
	known := false
	for _, f := range export.Formats() {
		known = known || f == opts.Format
	}
	if !known {
		return opts, fmt.Errorf("--format %q is not known: want %s", e.format, formatNames())
	}
	if e.split != "" {
		var limit config.Bytes
		if err := limit.UnmarshalText([]byte(e.split)); err != nil || limit <= 0 {
			return opts, errors.Join(fmt.Errorf("--split %q is no size, such as 4GiB", e.split), err)
		}
		opts.SplitBytes = int64(limit)
	}
	if e.zone != "" {
		zone, err := time.LoadLocation(e.zone)
		if err != nil || e.zone == "Local" {
			return opts, fmt.Errorf("--time-zone %q is not known: want a name such as Europe/Berlin", e.zone)
		}
		opts.Location = zone
	}
	for _, to := range e.encryptTo {
		recipients, err := age.ParseRecipients(strings.NewReader(to))
		if err != nil {
			return opts, fmt.Errorf("--encrypt-to wants the public key of somebody, age1…: %w", err)
		}
		opts.EncryptTo = append(opts.EncryptTo, recipients...)
	}
	return opts, nil
}

// export runs the engine and says what came out.
func (a *app) export(ctx context.Context, client *api.Client, opts export.Options) error {
	b := a.newBars()
	var bar *mpb.Bar
	opts.Begin = func(messages, octets, done int64) {
		if b.progress != nil && messages > done {
			bar = b.exportBar(messages-done, octets)
		}
	}
	opts.Progress = func(int64) {
		if bar != nil {
			bar.Increment()
		}
	}
	r, err := exports.Run(ctx, client, opts)
	if bar != nil {
		bar.Abort(true)
	}
	b.wait()
	switch {
	case errors.Is(err, export.ErrOptions):
		return usage(err)
	case err != nil:
		return err
	}
	fmt.Fprintf(a.stdout, "%s messages, %s, in %s\n", count(r.Messages), size(r.Octets), r.Path)
	if r.Omitted > 0 {
		fmt.Fprintf(a.stdout, "%s left out as duplicates or others of a thread; manifest.json names them\n", count(r.Omitted))
	}
	if r.Event < 0 {
		fmt.Fprintln(a.stdout, "not recorded and not signed: the data directory cannot be written to")
	} else {
		fmt.Fprintf(a.stdout, "recorded as event %s of the ledger, signed by %s\n", count(r.Event), export.Fingerprint(r.Key))
	}
	if len(r.Damaged) > 0 {
		return &exitError{exitPartly, damagedError(r.Damaged)}
	}
	return nil
}

func damagedError(ids []string) error {
	const shown = 3
	more := ""
	if len(ids) > shown {
		more = " and others"
	}
	return fmt.Errorf("%d of the messages are damaged in the archive and not in the export: %s%s",
		len(ids), strings.Join(ids[:min(shown, len(ids))], " "), more)
}

// exportBar shows how far an export is, how fast, and how long it will take.
func (b *bars) exportBar(messages, octets int64) *mpb.Bar {
	return b.progress.AddBar(messages, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name("export "+size(octets)), decor.CountersNoUnit(" %d of %d", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.AverageSpeed(0, "%.0f/s", decor.WCSyncSpace), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO), decor.Name(" left")))
}
