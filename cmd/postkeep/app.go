package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

// Exit codes, a contract with scripts.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // usage or configuration
	exitPartly = 3
)

// exitError is an error with an exit code of its own. Its error may be nil
// when everything has been said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitUsage, err}
}

// app is the command line with its surroundings.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	configPath     string
	// archive changes how the archive is opened, if it is not nil: tests have a clock and a disk of their own.
	archive func(*archive.Options)
}

// run runs one command and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.command()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var exit *exitError
	if !errors.As(err, &exit) || exit.err != nil {
		fmt.Fprintf(a.stderr, "postkeep: %s\n", printableLines(err.Error()))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var (
		exit    *exitError
		conf    *config.Error
		problem *api.Problem
	)
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &conf):
		return exitUsage
	case errors.As(err, &problem) && problem.Status == http.StatusBadRequest:
		return exitUsage
	}
	return exitFailed
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "postkeep",
		Short: "The mail archive that empties POP3 mailboxes and keeps every byte",
		Long: `Postkeep downloads and removes messages from POP3 mailboxes, keeps them byte for
byte in an archive that can be searched, proved and exported, and deletes a
message on the server only when the archive has it on disk.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 partly done.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("postkeep {{.Version}}\n")
	path := a.getenv("POSTKEEP_CONFIG")
	if path == "" {
		path = "postkeep.yaml"
	}
	root.PersistentFlags().StringVarP(&a.configPath, "config", "c", path, "configuration `file` (or $POSTKEEP_CONFIG)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	for _, sub := range []func() *cobra.Command{
		a.initCommand,
		a.runCommand,
		a.pollCommand,
		a.searchCommand,
		a.showCommand,
		a.exportCommand,
		a.verifyExportCommand,
		a.verifyCommand,
		a.volumeCommand,
		a.holdCommand,
		a.retentionCommand,
		a.eraseCommand,
		a.rebuildCommand,
		a.statusCommand,
		a.mailboxCommand,
		a.userCommand,
		a.auditCommand,
		a.configCommand,
		a.demoCommand,
		a.extractCommand,
		a.versionCommand,
	} {
		root.AddCommand(sub())
	}
	usageArgs(root)
	return root
}

// usageArgs makes wrong arguments, and flags that are missing or do not go together, a usage error, everywhere.
func usageArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.ArbitraryArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil {
			err = cmd.ValidateRequiredFlags()
		}
		if err == nil {
			err = cmd.ValidateFlagGroups()
		}
		if err != nil {
			return usage(fmt.Errorf("%w (%s --help says how)", err, cmd.CommandPath()))
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		usageArgs(sub)
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, "postkeep "+version)
			return err
		},
	}
}

func (a *app) load() (*config.Config, error) {
	cfg, err := config.Load(a.configPath)
	return cfg, usage(err)
}

// logger writes to standard error. A command that is not a daemon keeps to
// what needs attention.
func (a *app) logger(cfg *config.Config, daemon bool) *slog.Logger {
	level := cfg.Log.Level
	if !daemon {
		level = max(level, slog.LevelWarn)
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(a.stderr, opts))
}

// terminal returns the width of w if it is a terminal.
func terminal(w io.Writer) (width int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < minWidth {
		width = minWidth
	}
	return width, true
}

// printableLines takes from a text whatever could command a terminal.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}
