package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrLeased means that another session works on the mailbox.
var ErrLeased = errors.New("mailbox is in use by another session")

// A Lease is the right to work on a mailbox, alone. It is renewed in the
// background, each time against the revision that was written before: a lease
// that somebody else took over in the meantime is never renewed.
type Lease struct {
	bus      *Bus
	key      string
	holder   string
	revision uint64 // of the renewing goroutine, then of Release

	lost    chan struct{}
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	release sync.Once
}

// Lease takes the mailbox for holder, a name unique to the session. It returns
// ErrLeased (wrapped, with the name of the other) when the mailbox is taken.
// The caller must Release the lease.
func (b *Bus) Lease(ctx context.Context, mailbox, holder string) (*Lease, error) {
	key, start := Token(mailbox), time.Now()
	parent := ctx
	var revision uint64
	err := b.settled(parent, func() (err error) {
		start = time.Now()
		ctx, cancel := context.WithTimeout(parent, b.timing.publish)
		defer cancel()
		revision, err = b.leases.Create(ctx, key, []byte(holder))
		return err
	})
	ctx, cancel := context.WithTimeout(parent, b.timing.publish)
	defer cancel()
	if errors.Is(err, jetstream.ErrKeyExists) {
		other := "unknown"
		if e, getErr := b.leases.Get(ctx, key); getErr == nil {
			if other = string(e.Value()); other == holder { // the acknowledgement of an earlier try got lost
				revision, err = e.Revision(), nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("mailbox %q, session %s: %w", mailbox, other, ErrLeased)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lease mailbox %q: %w", mailbox, err)
	}
	l := &Lease{bus: b, key: key, holder: holder, revision: revision, lost: make(chan struct{})}
	ctx, l.cancel = b.join(context.WithoutCancel(parent))
	l.wg.Go(func() { l.keep(ctx, start) })
	return l, nil
}

// Lost is closed when the lease could not be renewed: another session may
// start. The holder must stop at once.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Release ends the lease. It may be called again, and after Lost.
func (l *Lease) Release() error {
	var err error
	l.release.Do(func() {
		l.cancel()
		l.wg.Wait()
		select {
		case <-l.lost:
			return
		default:
		}
		err = l.bus.settled(context.Background(), l.drop)
		if err != nil && l.bus.maySettle(err) { // nothing is wrong with what was done under it
			l.bus.log.Warn("lease not released, it expires by itself", "mailbox", l.key, "error", err)
			err = nil
		}
	})
	if err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}

func (l *Lease) drop() error {
	ctx, cancel := context.WithTimeout(context.Background(), l.bus.timing.publish)
	defer cancel()
	err := l.bus.leases.Delete(ctx, l.key, jetstream.LastRevision(l.revision))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return l.bus.dropLease(ctx, l.key, l.holder)
	}
	return err
}

// dropLease removes a lease whose stream was lost since it was written, or that was written
// without an acknowledgement. One of another holder stays.
func (b *Bus) dropLease(ctx context.Context, key, holder string) error {
	e, err := b.leases.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) || err == nil && string(e.Value()) != holder {
		return nil
	}
	if err != nil {
		return err
	}
	return b.leases.Delete(ctx, key, jetstream.LastRevision(e.Revision()))
}

// keep renews the lease until ctx ends. It gives up a quarter of the TTL
// before the server would give the mailbox to somebody else.
func (l *Lease) keep(ctx context.Context, renewed time.Time) {
	interval := l.bus.timing.leaseTTL / 4
	for l.bus.wait(ctx, interval) {
		start := time.Now()
		err := l.renew(ctx, interval, time.Since(renewed))
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			renewed = start
			continue
		}
		if time.Since(renewed) >= 3*interval || errors.Is(err, ErrLeased) {
			l.bus.log.Warn("lease lost", "mailbox", l.key, "holder", l.holder, "error", err)
			close(l.lost)
			return
		}
	}
	if l.bus.ctx.Err() != nil {
		close(l.lost) // nobody renews it any more
	}
}

// renew writes the lease again. When the revision is not the expected one, the
// acknowledgement of an earlier renewal may have got lost: the holder's name
// tells. A lease that is gone before it can have expired went with the stream, and
// is taken again unless somebody else was faster.
func (l *Lease) renew(ctx context.Context, timeout, age time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	revision, err := l.bus.leases.Update(ctx, l.key, []byte(l.holder), l.revision)
	if err == nil {
		l.revision = revision
		return nil
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		l.bus.suspect(err)
		return err
	}
	e, err := l.bus.leases.Get(ctx, l.key)
	switch {
	case err == nil && string(e.Value()) == l.holder:
		l.revision = e.Revision()
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound) && age < l.bus.timing.leaseTTL:
		revision, err := l.bus.leases.Create(ctx, l.key, []byte(l.holder))
		if errors.Is(err, jetstream.ErrKeyExists) {
			return ErrLeased
		}
		if err == nil {
			l.revision = revision
		}
		return err
	case err == nil, errors.Is(err, jetstream.ErrKeyNotFound):
		return ErrLeased // taken, or expired and free to be taken
	}
	return err
}
