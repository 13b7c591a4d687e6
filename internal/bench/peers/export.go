package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/internal/bench/fill"
)

// exporting is case i. What was written is removed at the end: for half a minute ext4 passes over the inodes of files that were deleted
// one by one, and making a file takes ten times as long.
func (b *bench) exporting(ctx context.Context) (err error) {
	dir, err := b.archived(ctx)
	if err != nil {
		return err
	}
	if n, err := fill.Size(filepath.Join(dir, "data", "volumes")); err != nil || n == 0 {
		return errors.Join(errors.New("the archive is empty"), err)
	}
	messages, octets, err := b.mail.count(ctx)
	if err != nil {
		return err
	}
	all := filepath.Join(b.dir, "exporting")
	if err := errors.Join(os.RemoveAll(all), os.Mkdir(all, 0o700)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(all)) }()
	written := func(name, file string, messages int64, command func(to string) *exec.Cmd) contender {
		return contender{name: name, messages: messages, octets: octets, run: func(ctx context.Context) (r result, err error) {
			out, err := os.MkdirTemp(all, "")
			if err != nil {
				return r, err
			}
			u, err := b.measured(ctx, command(filepath.Join(out, file)))
			return withSize(u, out, err)
		}}
	}
	exported := func(f export.Format, how, file string) contender {
		return written(fmt.Sprintf("postkeep export --format %s, %s", f, how), file, int64(messages), func(to string) *exec.Cmd {
			return b.postkeep(dir, "export", "--format", string(f), "--out", to)
		})
	}
	contenders := []contender{
		exported(export.EML, "zip", "export.zip"),
		written("dd of as many zeros, with fsync", "zeros", 0, func(to string) *exec.Cmd {
			return exec.Command("dd", "if=/dev/zero", "of="+to, "bs=1M", "count="+strconv.FormatInt(octets>>20, 10), "conv=fsync", "status=none") //nolint:noctx // measured ends it with its context
		}),
	}
	for _, f := range export.Formats() {
		contenders = append(contenders, exported(f, "files", "export"))
	}
	return b.turns(ctx, "Export of everything", contenders)
}
