package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) exportCommand() *cobra.Command {
	var query, format, out string
	cmd := &cobra.Command{
		Use:   "export --query QUERY --format FORMAT --out PATH",
		Short: "Write messages to files that other programs read",
		Long: `Writes all messages that a query finds, each once, with a manifest beside them.

  eml   a directory with one <id>.eml per message, the exact bytes
  mbox  one mboxrd file

An interrupted eml export goes on where it was when it is started again.`,
		Example: "  postkeep export --query 'from:maria date:2024' --format eml --out maria-2024",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage(errors.New("--out is missing: where is the export to go?"))
			}
			open, ok := map[string]func(string, export.Options) (export.Writer, error){"eml": export.NewEML, "mbox": export.NewMbox}[format]
			if !ok {
				return usage(fmt.Errorf("--format %q is not known: want eml or mbox", format))
			}
			return a.with(cmd.Context(), toRead, func(_ *config.Config, client *api.Client) error {
				w, err := open(out, export.Options{SyncDir: disk.OS().SyncDir})
				if err != nil {
					return err
				}
				n, octets, err := a.export(cmd.Context(), client, query, format, w)
				var damaged *api.DamagedError
				if err != nil && !errors.As(err, &damaged) {
					return errors.Join(err, w.Abort())
				}
				if err := w.Close(); err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "%s messages, %s, in %s\n", count(n), size(octets), out)
				if damaged != nil {
					return &exitError{exitPartly, damaged}
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&query, "query", "", "what to export; everything if it is empty")
	f.StringVar(&format, "format", "eml", "eml or mbox")
	f.StringVar(&out, "out", "", "directory or file to write")
	return cmd
}

// export moves messages from the archive into w.
func (a *app) export(ctx context.Context, client *api.Client, query, format string, w export.Writer) (n int, octets int64, err error) {
	b := a.newBars()
	var bar *mpb.Bar
	err = client.Export(ctx, query, format,
		func(total int64) {
			if b.progress != nil && total > 0 {
				bar = b.bar("export", total)
			}
		},
		func(id string, size int64, about api.Exported, body io.Reader) error {
			n++
			octets += size
			if bar != nil {
				bar.Increment()
			}
			return w.Add(ctx, export.Message{
				ID: id, Size: size, Received: about.Received, From: address(about.From), Mailboxes: about.Mailboxes, Body: body,
			})
		})
	if bar != nil {
		bar.Abort(true)
	}
	b.wait()
	return n, octets, err
}

// address is the first address of a header as the summary shows it.
func address(from string) string {
	if _, rest, ok := strings.Cut(from, "<"); ok {
		from, _, _ = strings.Cut(rest, ">")
	}
	return strings.TrimSpace(from)
}
