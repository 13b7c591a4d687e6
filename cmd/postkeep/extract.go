package main

import (
	"context"
	"errors"
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
		Command: []string{program, extractName}, MaxInputBytes: int64(cfg.Index.MaxAttachmentBytes),
		Unconfined: cfg.Index.Unconfined, Logger: log,
	})
}

// attachments says how attached files are read, and what is wrong with that. It is only asked of an
// instance that reads some.
func (i *instance) attachments(ctx context.Context) (how, problem string) {
	if i.files == nil {
		return "not read (index.extract)", ""
	}
	c, err := i.files.Confinement(ctx)
	switch {
	case errors.Is(err, extract.ErrUnconfined):
		return "not read", err.Error() + "; attachments are indexed without their text: run postkeep where the system has what is missing " +
			"(a container may have to permit it), or set index.unconfined, and then rebuild the index"
	case err != nil:
		return "not known", err.Error()
	case c.Unconfined != "": // somebody has configured it
		return c.String() + " (index.unconfined)", ""
	}
	return c.String(), ""
}
