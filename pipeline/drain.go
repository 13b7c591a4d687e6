package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// attemptsName is a file with an octet for each time that draining a
	// directory ended the process.
	attemptsName = "attempts"
	// maxAttempts is when a directory that ends the process is set aside.
	maxAttempts = 3
	// drainQuiet is how long a drained stream is silent before what is left in
	// it counts as unreadable.
	drainQuiet = time.Second
	drainPause = 20 * time.Millisecond
)

// errUnreadable means that a directory, or a part of it, is to be set aside.
var errUnreadable = errors.New("not readable")

// Drain archives what waits in the directories that earlier runs of the
// embedded server left, within a bound. It is called before anything is
// polled: some servers do not list a message again once it was fetched. What
// cannot be read is set aside; what the archive does not take now waits for the
// next start, and Bus.Status says so.
func (a *Archiver) Drain(ctx context.Context) {
	if a.bus.server == nil {
		return
	}
	a.draining.Lock()
	defer a.draining.Unlock()
	ctx, cancel := context.WithTimeout(ctx, a.bus.timing.drain)
	defer cancel()
	for _, dir := range leftovers(a.bus.opts.Dir, suffixWaiting) {
		n, err := a.drainDir(ctx, dir)
		switch {
		case errors.Is(err, errUnreadable):
			err = a.bus.setAside(dir, err.Error())
		case err == nil:
			err = os.RemoveAll(dir)
		}
		if err != nil {
			a.log.Error("messages of an earlier run are not archived yet", "dir", dir, "archived", n, "error", err)
			continue
		}
		a.log.Info("messages of an earlier run are archived", "messages", n)
	}
}

// drainDir serves a copy of a directory's messages and archives them. A
// directory that ended the process maxAttempts times is not tried again.
func (a *Archiver) drainDir(ctx context.Context, dir string) (n int, err error) {
	marker := filepath.Join(dir, attemptsName)
	tried, err := os.ReadFile(marker)
	if err == nil && len(tried) >= maxAttempts {
		return 0, fmt.Errorf("%w: reading it ended the program %d times", errUnreadable, len(tried))
	}
	if err := os.WriteFile(marker, append(tried, '.'), 0o600); err != nil {
		return 0, err
	}
	work := a.bus.opts.Dir + "-draining"
	if err := os.RemoveAll(work); err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(work))
		if !errors.Is(err, errUnreadable) && err != nil { // this one does not count
			err = errors.Join(err, os.WriteFile(marker, tried, 0o600))
		}
	}()
	old, whole, err := a.bus.recover(ctx, dir, work)
	if err != nil || old == nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	worker := &Archiver{bus: old, out: a.out, store: a.store, log: a.log, held: a.held}
	if n, err = worker.drain(ctx); err != nil {
		return n, err
	}
	if !whole || worker.lost.Load() > 0 {
		return n, fmt.Errorf("%w: a part of its messages is missing", errUnreadable)
	}
	return n, nil
}

// recover starts a server on copies of the messages in dir. Streams and
// consumers are declared, and not taken from dir: whatever is damaged there, the
// server reads each block of messages as far as it is good. The bus is nil when dir
// holds no messages; whole reports whether all blocks are good.
func (b *Bus) recover(ctx context.Context, dir, work string) (old *Bus, whole bool, err error) {
	found := map[string][]string{}
	whole = true
	for _, name := range []string{b.mailStream(b.opts.Shard), b.bodyStream()} {
		files, err := blocks(dir, name)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		for _, file := range files {
			good, err := sound(file, name)
			if err != nil {
				return nil, false, fmt.Errorf("%w: %w", errUnreadable, err)
			}
			whole = whole && good
			found[name] = append(found[name], file)
		}
	}
	if len(found) == 0 {
		other, err := blocks(dir, "*"+streamMail+"_*")
		if err != nil {
			return nil, false, err
		}
		if len(other) > 0 {
			return nil, false, fmt.Errorf("%w: its streams have names of another nats.prefix", errUnreadable)
		}
		return nil, true, nil
	}
	opts := b.opts
	opts.Dir, opts.MaxStoreBytes = work, unlimitedStore // nothing that is there is too much
	first, err := b.side(ctx, opts)
	if err != nil {
		return nil, false, err
	}
	first.keepStore = true
	if err := first.Close(); err != nil {
		return nil, false, err
	}
	for name, files := range found {
		to, err := filepath.Glob(filepath.Join(work, "jetstream", "*", "streams", name, "msgs"))
		if err != nil || len(to) != 1 {
			return nil, false, fmt.Errorf("the embedded NATS server keeps stream %s in %d places: %w", name, len(to), err)
		}
		if err := replaceBlocks(ctx, to[0], files); err != nil {
			return nil, false, fmt.Errorf("copy the messages of %s: %w", dir, err)
		}
	}
	if old, err = b.side(ctx, opts); err != nil {
		return nil, false, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return old, whole, nil
}

// side connects to an embedded server of its own.
func (b *Bus) side(ctx context.Context, opts Options) (*Bus, error) {
	s := newBus(ctx, opts, b.timing)
	s.transient, s.server = b.transient, &embeddedServer{}
	srv, err := startServer(opts.Dir, &serverLog{log: b.log})
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.server.use(srv)
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// replaceBlocks puts copies of the files in the place of what is in dir.
func replaceBlocks(ctx context.Context, dir string, files []string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, file := range files {
		if err := errors.Join(ctx.Err(), copyFile(filepath.Join(dir, filepath.Base(file)), file)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// drain archives until nothing comes any more.
func (a *Archiver) drain(ctx context.Context) (n int, err error) {
	stream, err := a.bus.js.Stream(ctx, a.bus.mailStream(a.bus.opts.Shard))
	if err != nil {
		return 0, err
	}
	for silent := 0; ; {
		info, err := stream.Info(ctx)
		if err != nil || info.State.Msgs == 0 {
			return n, err
		}
		first, err := a.bus.mails.Next(jetstream.FetchMaxWait(drainPause))
		if errors.Is(err, nats.ErrTimeout) { // acknowledgements are under way, or a message cannot be read
			if silent++; silent*int(drainPause) >= int(drainQuiet) {
				return n, fmt.Errorf("%w: %d messages", errUnreadable, info.State.Msgs)
			}
			continue
		}
		if err != nil {
			return n, err
		}
		silent = 0
		batch := a.gather(first, batchWait)
		stop := a.bus.keepInProgress(a.bus.timing.mailAckWait, batch...)
		err = a.putApart(ctx, a.open(ctx, batch))
		stop()
		if err = errors.Join(err, ctx.Err()); err != nil {
			return n, err
		}
		n += len(batch)
	}
}

// putApart archives items, and those that fail together once more one by one.
// It fails when none can be archived: the archive is to blame then.
func (a *Archiver) putApart(ctx context.Context, items []item) (err error) {
	ctx = context.WithoutCancel(ctx)
	failed := 0
	for left := items; len(left) > 0; {
		n := a.atOnce(left)
		if err = a.put(ctx, left[:n]); err != nil {
			for _, it := range left[:n] {
				if err = a.put(ctx, []item{it}); err != nil {
					a.log.Error("message of an earlier run not archived", "mailbox", it.envelope.Deposit.Mailbox, "id", it.envelope.ID, "error", err)
					failed++
				}
			}
		}
		left = left[n:]
	}
	if failed > 0 && failed == len(items) {
		return err
	}
	return nil
}
