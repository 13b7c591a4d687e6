package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// aliveTimeout bounds the first answer of an instance. A connection alone says nothing: the kernel accepts it for a process
	// that was stopped, too.
	aliveTimeout = 5 * time.Second
	// aliveEvery is how often an instance is asked whether it is still there while it works on a request, which may take hours.
	aliveEvery = 10 * time.Second
	// alivePatience is how long it may owe that answer. A machine that swaps takes seconds.
	alivePatience = 20 * time.Second
)

// ErrNoAnswer means that the process that owns the data directory does not answer.
var ErrNoAnswer = errors.New("the running instance does not answer")

// liveness is how a client finds out that the instance at the other end of a socket is still working.
type liveness struct {
	dial            func(context.Context) (net.Conn, error)
	every, patience time.Duration
}

// check asks the instance for any answer at all, for at most the given time.
func (l *liveness) check(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := l.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // most often the transport has done so
	process := peerProcess(conn)
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://postkeep/", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err == nil { // it has answered, whether or not the connection is closed already
		_ = resp.Body.Close()
		return nil
	}
	if ctx.Err() == nil {
		return err
	}
	who := ""
	if process > 0 {
		who = fmt.Sprintf(" (process %d)", process)
	}
	return fmt.Errorf("%w%s: nothing for %s; it was stopped or the machine is overloaded: let it go on, or end it", ErrNoAnswer, who, patience)
}

// watch returns a context that ends with ErrNoAnswer when the instance answers no more. The caller calls end, which waits for
// the watching to end.
func (l *liveness) watch(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(l.every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// Other errors are for the request itself to find.
			if err := l.check(ctx, l.patience); errors.Is(err, ErrNoAnswer) && ctx.Err() == nil {
				cancel(err)
				return
			}
		}
	})
	return ctx, func() {
		cancel(nil)
		watching.Wait()
	}
}

// watchedBody is the body of an answer while the instance is watched.
type watchedBody struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // of the request, which lasts as long as its body
	once sync.Once
	end  func()
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	return n, noAnswer(b.ctx, err)
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.end)
	return err
}

// noAnswer is why a request ended: an instance that answers no more, or err.
func noAnswer(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrNoAnswer) {
		return cause
	}
	return err
}
