package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/indexer/extract"
	"github.com/postkeep/postkeep/internal/config"
)

// extractName is the command that reads attachments for an instance, in a
// process of its own.
const extractName = "extract-text"

func (a *app) extractCommand() *cobra.Command {
	return &cobra.Command{
		Use: extractName, Short: "Read attachments (for postkeep itself)", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// It ends when the instance closes its standard input. A signal to all
			// processes of a service must not end it before.
			return extract.Serve(context.WithoutCancel(cmd.Context()), a.stdin, a.stdout)
		},
	}
}

// newExtractor returns what reads attachments.
func newExtractor(cfg *config.Config, log *slog.Logger) (*extract.Pool, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	const self = "/proc/self/exe" // is there on Linux, also when the file has been replaced by a new version
	if _, err := os.Stat(self); err == nil {
		program = self
	}
	return extract.New(extract.Options{
		Command: []string{program, extractName}, MaxInputBytes: int64(cfg.Index.MaxAttachmentBytes), Logger: log,
	})
}
