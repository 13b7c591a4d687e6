package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/postkeep/postkeep/internal/bench/fill"
)

// exporting is case i.
func (b *bench) exporting(ctx context.Context) error {
	dir, err := b.archived(ctx)
	if err != nil {
		return err
	}
	out := filepath.Join(b.dir, "export.zip")
	written := func(command func(ctx context.Context) *exec.Cmd) func(context.Context) (result, error) {
		return func(ctx context.Context) (r result, err error) {
			if err := os.RemoveAll(out); err != nil {
				return r, err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(out)) }()
			u, err := b.measured(ctx, command(ctx))
			return withSize(u, out, err)
		}
	}
	_, octets, err := b.mail.count(ctx)
	if err != nil {
		return err
	}
	mib := strconv.FormatInt(octets>>20, 10)
	if n, err := fill.Size(filepath.Join(dir, "data", "volumes")); err != nil || n == 0 {
		return errors.Join(errors.New("the archive is empty"), err)
	}
	return b.turns(ctx, "Export of everything", []contender{
		{name: "postkeep export --format eml, zip", run: written(func(context.Context) *exec.Cmd {
			return b.postkeep(dir, "export", "--format", "eml", "--out", out)
		})},
		{name: "dd of as many zeros, with fsync", run: written(func(ctx context.Context) *exec.Cmd {
			return exec.CommandContext(ctx, "dd", "if=/dev/zero", "of="+out, "bs=1M", "count="+mib, "conv=fsync", "status=none")
		})},
	})
}
