package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/bench/fill"
)

// block is what a file system gives out at a time, in bytes: a small file takes a whole one.
const block = 4 << 10

// space is case e.
func (b *bench) space(ctx context.Context) error {
	dir, err := b.archived(ctx)
	if err != nil {
		return err
	}
	maildir, err := b.maildir(ctx)
	if err != nil {
		return err
	}
	messages, octets, err := b.mail.count(ctx)
	if err != nil {
		return err
	}
	b.report.print(fmt.Sprintf("\n### Bytes on disk\n\n%d messages, %d octets.\n\n| | bytes | of the messages |\n|---|--:|--:|\n", messages, octets))
	line := func(what string, n int64) {
		b.report.print(fmt.Sprintf("| %s | %d | %.3f |\n", what, n, float64(n)/float64(octets)))
	}
	if err := b.archiveSpace(ctx, dir, line); err != nil {
		return err
	}
	plain, zipped, err := b.fileSpace(ctx)
	if err != nil {
		return err
	}
	line("Maildir, in blocks of 4 KiB", plain)
	line("Maildir of gzip -6, in blocks of 4 KiB", zipped)
	mbox, err := b.mboxSpace(ctx)
	if err != nil {
		return err
	}
	line("mbox, zstd -19 --long=27 (no random access)", mbox)
	for _, peer := range []struct {
		name string
		run  func(context.Context, string) (result, error)
	}{{"index of notmuch", b.notmuchNew}, {"index of mu", b.muIndex}} {
		r, err := peer.run(ctx, maildir)
		if err != nil {
			return err
		}
		line(peer.name, r.disk)
	}
	return b.report.err
}

// archiveSpace measures the parts of an archive, and of a copy that is sealed and repacked.
func (b *bench) archiveSpace(ctx context.Context, dir string, line func(string, int64)) (err error) {
	data, repacked := filepath.Join(dir, "data"), filepath.Join(b.dir, "repacked")
	if err := os.RemoveAll(repacked); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(repacked)) }()
	if err := os.CopyFS(repacked, os.DirFS(data)); err != nil {
		return err
	}
	if err := repack(ctx, repacked); err != nil {
		return err
	}
	size := func(dir, name string) (n int64) {
		if err == nil {
			n, err = fill.Size(filepath.Join(dir, name))
		}
		return n
	}
	line("archive: volumes after sealing, ledger, sidecar", size(repacked, "volumes")+size(repacked, "ledger"))
	line("of these, volumes", size(repacked, "volumes"))
	line("volumes before sealing", size(data, "volumes"))
	line("catalog (derived)", size(data, "catalog.db"))
	line("index with texts for snippets (derived)", size(data, "index"))
	return err
}

func repack(ctx context.Context, dir string) error {
	store, err := archive.Open(ctx, dir, archive.Options{})
	if err != nil {
		return err
	}
	err = store.Seal(ctx)
	if err == nil {
		err = store.Repack(ctx, archive.RepackOptions{})
	}
	return errors.Join(err, store.Close())
}

// fileSpace is what files of their own take, as they are and compressed.
func (b *bench) fileSpace(ctx context.Context) (plain, zipped int64, err error) {
	blocks := func(n int64) int64 { return (n + block - 1) / block * block }
	err = b.mail.each(ctx, func(msg []byte) error {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, err := w.Write(msg)
		plain += blocks(int64(len(msg)))
		err = errors.Join(err, w.Close())
		zipped += blocks(int64(out.Len()))
		return err
	})
	return plain, zipped, err
}

// mboxSpace is the size of all messages in one file, compressed as well as zstd can.
func (b *bench) mboxSpace(ctx context.Context) (int64, error) {
	r, w := io.Pipe()
	fed := make(chan error, 1)
	go func() {
		err := b.mail.each(ctx, func(msg []byte) error {
			_, err := fmt.Fprintf(w, "From bench@example.com Mon Jan  5 08:00:00 2026\n%s\n", msg)
			return err
		})
		fed <- errors.Join(err, w.CloseWithError(err))
	}()
	var n counter
	cmd := exec.CommandContext(ctx, "zstd", "-19", "--long=27", "-q", "-c", "-T0")
	cmd.Stdin, cmd.Stdout = r, &n
	err := cmd.Run()
	return int64(n), errors.Join(err, r.Close(), <-fed)
}

// A counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
