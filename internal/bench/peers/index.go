package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/postkeep/postkeep/internal/bench/fill"
)

// indexing is case b.
func (b *bench) indexing(ctx context.Context) error {
	dir, err := b.archived(ctx)
	if err != nil {
		return err
	}
	maildir, err := b.maildir(ctx)
	if err != nil {
		return err
	}
	rebuild := func(config string) func(context.Context) (result, error) {
		return func(ctx context.Context) (result, error) {
			u, err := b.measured(ctx, b.configured(filepath.Join(dir, config), "rebuild", "index"))
			return withSize(u, filepath.Join(dir, "data", "index"), err)
		}
	}
	return b.turns(ctx, "Index of mail that is there", []contender{
		{name: "postkeep rebuild index", run: rebuild("postkeep.yaml")},
		{name: "notmuch new", run: func(ctx context.Context) (result, error) { return b.notmuchNew(ctx, maildir) }},
		{name: "mu index", run: func(ctx context.Context) (result, error) { return b.muIndex(ctx, maildir) }},
		{name: "postkeep rebuild index, attachments read", run: rebuild("files.yaml")},
	})
}

func withSize(u usage, path string, err error) (result, error) {
	if err != nil {
		return result{}, err
	}
	n, err := fill.Size(path)
	return result{u, n}, err
}

// notmuch prepares the program for the mail in a Maildir.
func (b *bench) notmuch(maildir string, args ...string) (*exec.Cmd, error) {
	config := maildir + ".notmuch"
	text := fmt.Sprintf("[database]\npath=%s\n[user]\nname=Bench\nprimary_email=bench@example.com\n[new]\ntags=new\n[maildir]\nsynchronize_flags=false\n", maildir)
	cmd := exec.Command("notmuch", args...) //nolint:noctx // measured ends it with its context
	cmd.Env = append(os.Environ(), "NOTMUCH_CONFIG="+config, "TZ=UTC")
	return cmd, os.WriteFile(config, []byte(text), 0o600)
}

func (b *bench) notmuchNew(ctx context.Context, maildir string) (result, error) {
	index := filepath.Join(maildir, ".notmuch")
	if err := os.RemoveAll(index); err != nil {
		return result{}, err
	}
	cmd, err := b.notmuch(maildir, "new", "--quiet")
	if err != nil {
		return result{}, err
	}
	u, err := b.measured(ctx, cmd)
	return withSize(u, index, err)
}

// mu prepares the program; its index is beside the Maildir.
func (b *bench) mu(maildir string, args ...string) *exec.Cmd {
	cmd := exec.Command("mu", append(args, "--muhome="+maildir+".mu")...) //nolint:noctx // measured ends it with its context
	cmd.Env = append(os.Environ(), "TZ=UTC")
	return cmd
}

func (b *bench) muIndex(ctx context.Context, maildir string) (result, error) {
	index := maildir + ".mu"
	if err := os.RemoveAll(index); err != nil {
		return result{}, err
	}
	if _, err := b.measured(ctx, b.mu(maildir, "init", "--quiet", "--maildir="+maildir)); err != nil {
		return result{}, err
	}
	u, err := b.measured(ctx, b.mu(maildir, "index", "--quiet"))
	return withSize(u, index, err)
}
