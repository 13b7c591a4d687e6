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

// exporting is case i.
func (b *bench) exporting(ctx context.Context) error {
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
	out := filepath.Join(b.dir, "exporting")
	written := func(name, file string, messages int64, command func(to string) *exec.Cmd) contender {
		return contender{name: name, messages: messages, octets: octets, run: func(ctx context.Context) (r result, err error) {
			if err := errors.Join(os.RemoveAll(out), os.Mkdir(out, 0o700)); err != nil {
				return r, err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(out)) }()
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
