package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/bench/fill"
	"github.com/postkeep/postkeep/internal/corpus"
	"github.com/postkeep/postkeep/internal/mailgen"
)

const (
	listCorpus = "bench-list"
	// generated is how many messages stand in for the corpus.
	generated = 20_000
	// seed makes the generated mail the same at every run.
	seed = 8
	// mailbox is the name of the one mailbox, its user and its Maildir.
	mailbox = "list"
)

// mail is the messages that are measured with.
type mail struct {
	name string
	// each hands all of them over, in the same order every time.
	each func(ctx context.Context, yield func(msg []byte) error) error
}

var errEnough = errors.New("enough messages")

// findMail is the corpus where there is one. limit 0 is all of it.
func findMail(limit int) (mail, error) {
	name := listCorpus
	each := func(ctx context.Context, yield func([]byte) error) error {
		return corpus.Load(ctx, listCorpus, func(_ string, msg []byte) error { return yield(msg) })
	}
	if os.Getenv("POSTKEEP_CORPORA") == "" {
		g, err := mailgen.New(mailgen.Options{Seed: seed})
		if err != nil {
			return mail{}, err
		}
		name = "generated"
		each = func(ctx context.Context, yield func([]byte) error) error {
			for i := range max(generated, limit) {
				msg, err := io.ReadAll(message(g, i))
				if err := errors.Join(ctx.Err(), err); err != nil {
					return err
				}
				if err := yield(msg); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if limit == 0 {
		return mail{name, each}, nil
	}
	return mail{fmt.Sprintf("%s-%d", name, limit), func(ctx context.Context, yield func([]byte) error) error {
		n := 0
		err := each(ctx, func(msg []byte) error {
			if n++; n > limit {
				return errEnough
			}
			return yield(msg)
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	}}, nil
}

// message is a generated one. Every tenth has an attachment that cannot be compressed, so that the mean
// size is 20 kB, as on mailing lists, and what is large is a large part of it.
func message(g *mailgen.Generator, i int) io.Reader {
	const every, least, step, most = 10, 50_000, 7919, 250_000
	if i%every == 0 {
		return mailgen.Large(least + int64(i)*step%most)
	}
	return bytes.NewReader(g.Message(i))
}

// count is how many messages there are, and their octets.
func (m mail) count(ctx context.Context) (messages int, octets int64, err error) {
	err = m.each(ctx, func(msg []byte) error {
		messages++
		octets += int64(len(msg))
		return nil
	})
	return messages, octets, err
}

// prepared returns a folder that fillIn has filled, now or in an earlier run.
func (b *bench) prepared(name string, fillIn func(dir string) error) (string, error) {
	dir := filepath.Join(b.dir, name)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	unfinished := dir + ".unfinished"
	err := errors.Join(os.RemoveAll(unfinished), os.MkdirAll(unfinished, 0o755))
	if err == nil {
		err = fillIn(unfinished)
	}
	if err != nil {
		return "", fmt.Errorf("prepare %s: %w", name, err)
	}
	return dir, os.Rename(unfinished, dir)
}

// maildir has the mail as the peers index it: DIR/list/cur.
func (b *bench) maildir(ctx context.Context) (string, error) {
	return b.prepared(b.mail.name+"-maildir", func(dir string) error {
		if err := makeMaildir(filepath.Join(dir, mailbox)); err != nil {
			return err
		}
		n := 0
		return b.mail.each(ctx, func(msg []byte) error {
			n++
			return os.WriteFile(filepath.Join(dir, mailbox, "cur", fmt.Sprintf("%d.M0P1.bench:2,S", 1_700_000_000+n)), msg, 0o600)
		})
	})
}

func makeMaildir(dir string) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// archived has the mail in an archive with its index: DIR/postkeep.yaml, and DIR/files.yaml for an index
// with attachments.
func (b *bench) archived(ctx context.Context) (string, error) {
	return b.prepared(b.mail.name+"-archive", func(dir string) error {
		if err := b.makeArchive(ctx, dir, fill.DefaultBatch, b.mail.each); err != nil {
			return err
		}
		_, err := b.measured(ctx, b.postkeep(dir, "rebuild", "index"))
		return err
	})
}

// makeArchive makes an archive of messages without an index in dir/data, and its configurations.
func (b *bench) makeArchive(ctx context.Context, dir string, batch int, each func(context.Context, func([]byte) error) error) (err error) {
	for name, extract := range map[string]bool{"postkeep.yaml": false, "files.yaml": true} {
		text := fmt.Sprintf("data_dir: data\ntime_zone: UTC\nlog: { level: warn }\nindex: { extract: %t }\n", extract)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	data := filepath.Join(dir, "data")
	if err := archive.Create(ctx, data, archive.Options{}); err != nil {
		return err
	}
	store, err := archive.Open(ctx, data, archive.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return fill.Put(ctx, store, mailbox, batch, func(yield func([]byte) error) error { return each(ctx, yield) })
}
