package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/postkeep/postkeep/internal/bench/fill"
	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// memory is case g. The server is of this process and makes the messages while they are read.
func (b *bench) memory(ctx context.Context) error {
	g, err := mailgen.New(mailgen.Options{Seed: seed})
	if err != nil {
		return err
	}
	var many []pop3test.Message
	for octets := int64(0); octets < b.large; {
		i := len(many)
		n, err := io.Copy(io.Discard, message(g, i))
		if err != nil {
			return err
		}
		octets += n
		many = append(many, pop3test.Message{Size: n, Open: func() (io.ReadCloser, error) { return io.NopCloser(message(g, i)), nil }})
	}
	huge := []pop3test.Message{{Size: b.large, Open: func() (io.ReadCloser, error) { return io.NopCloser(mailgen.Large(b.large)), nil }}}
	poll := func(messages []pop3test.Message) func(context.Context) (result, error) {
		return func(ctx context.Context) (result, error) { return b.ingest(ctx, messages) }
	}
	return b.turns(ctx, "Memory", []contender{
		{name: fmt.Sprintf("postkeep poll of %d messages, %d MiB", len(many), b.large>>20), run: poll(many)},
		{name: fmt.Sprintf("postkeep poll of one message of %d MiB", b.large>>20), run: poll(huge)},
	})
}

func (b *bench) ingest(ctx context.Context, messages []pop3test.Message) (r result, err error) {
	dir := filepath.Join(b.dir, "ingest")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := pop3test.Start(pop3test.Config{Mailboxes: []pop3test.Mailbox{{User: mailbox, Password: password, Messages: messages}}})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := b.initialise(dir, s.Host(), strconv.Itoa(s.Port()), ""); err != nil {
		return r, err
	}
	u, err := b.measured(ctx, b.postkeep(dir, "poll"))
	if err != nil {
		return r, err
	}
	n, err := fill.Size(filepath.Join(dir, "data"))
	return result{u, n}, err
}
