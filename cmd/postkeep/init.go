package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/users"
)

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a configuration and an empty archive",
		Long: `Writes postkeep.yaml into DIR (default: here) unless it is there, and makes the
archive in its data directory: volumes, ledger and the key that signs it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := a.configPath
			if len(args) == 1 {
				path = filepath.Join(args[0], "postkeep.yaml")
			}
			return a.init(cmd, path)
		},
	}
}

func (a *app) init(cmd *cobra.Command, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	written, err := writeNew(path, config.Example())
	if err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return usage(err)
	}
	if ok, err := archive.Exists(cfg.DataDir); err != nil || ok {
		return errors.Join(fmt.Errorf("there is an archive in %s already", cfg.DataDir), err)
	}
	if err := archive.Create(cmd.Context(), cfg.DataDir, archive.Options{}); err != nil {
		return err
	}
	if err := a.warnOfOthers(path, filepath.Join(cfg.DataDir, "keys")); err != nil {
		return err
	}
	st := a.styleFor(a.stdout)
	if written {
		fmt.Fprintf(a.stdout, "%s %s\n", st.green("wrote"), path)
	}
	fmt.Fprintf(a.stdout, "%s %s\n\n", st.green("made the archive"), cfg.DataDir)
	fmt.Fprintf(a.stdout, "Keep a copy of %s in a safe place: its key signs the ledger.\n\n", filepath.Join(cfg.DataDir, "keys"))
	fmt.Fprintf(a.stdout, "Next: add a mailbox to %s, then\n\n", path)
	fmt.Fprintf(a.stdout, "  postkeep mailbox test NAME   # connects and changes nothing\n")
	fmt.Fprintf(a.stdout, "  postkeep poll                # empties the mailboxes once\n")
	_, err = fmt.Fprintf(a.stdout, "  postkeep run                 # goes on doing it\n")
	return err
}

// warnOfOthers names the directories above configuration and data in which others could put something else in their place.
func (a *app) warnOfOthers(paths ...string) error {
	seen := map[string]bool{}
	for _, path := range paths {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		for dir := filepath.Dir(path); !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			who, err := whoElseWrites(dir, dir == filepath.Dir(path))
			if err != nil {
				return err
			}
			if who != "" {
				fmt.Fprintf(a.stderr, "postkeep: warning: %s can write to %s, and could put other files there in place of %s; take that away (chmod go-w, chown), or use another directory\n",
					who, printable(dir), printable(path))
			}
		}
	}
	return nil
}

// writeNew writes a file that must not exist yet, and reports whether it did.
func writeNew(path string, data []byte) (bool, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = f.Write(data)
	return true, errors.Join(err, f.Close())
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at the configuration", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(a.configCheckCommand())
	return cmd
}

func (a *app) configCheckCommand() *cobra.Command {
	var noFiles bool
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration, with everything that it names", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if !noFiles {
				if err := a.checkFiles(cmd.Context(), cfg); err != nil {
					return usage(err)
				}
			}
			_, err = fmt.Fprintf(a.stdout, "%s is fine: %d mailboxes, data in %s\n", a.configPath, len(cfg.Mailboxes), cfg.DataDir)
			return err
		},
	}
	cmd.Flags().BoolVar(&noFiles, "no-files", false, "leave out the files and variables that it names, as on another machine")
	return cmd
}

// checkFiles reads the secrets and certificates that the configuration names.
func (a *app) checkFiles(ctx context.Context, cfg *config.Config) error {
	log := a.logger(cfg, false)
	var errs []error
	if cfg.DualControl {
		people, err := users.Open(cfg.DataDir, users.Options{})
		if err == nil {
			err = checkDualControl(cfg, people)
		}
		errs = append(errs, err)
	}
	for _, m := range cfg.Mailboxes {
		_, secret := m.Password(ctx, log)
		_, server := serverOf(m, log)
		if server != nil {
			server = fmt.Errorf("mailbox %s: %w", m.Name, server)
		}
		errs = append(errs, secret, server)
	}
	_, err := newAnchors(cfg, log)
	errs = append(errs, err)
	for _, c := range cfg.Anchors {
		if c.TokenFile != "" {
			_, err := config.ReadSecret(ctx, "anchors: token_file", c.TokenFile, log)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
