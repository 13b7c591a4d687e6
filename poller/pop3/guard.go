package pop3

import (
	"context"
	"net"
	"sync"
	"time"
)

// guardedConn bounds every read and write of the connection beneath TLS, so
// that no layer above has to think of deadlines, and lets a context interrupt
// them.
type guardedConn struct {
	net.Conn
	idle time.Duration

	mu    sync.Mutex
	cause error // why the deadline is in the past; guarded by mu

	// What the present answer has cost so far; used by the reader only.
	waited time.Duration
	got    int64
}

func (g *guardedConn) Read(p []byte) (int, error) {
	if err := g.arm(g.SetReadDeadline); err != nil {
		return 0, err
	}
	start := time.Now()
	n, err := g.Conn.Read(p)
	g.waited += time.Since(start)
	g.got += int64(n)
	// Two timeouts, for a single wait of almost one is allowed.
	if err == nil && g.waited > 2*g.idle {
		if float64(g.got) < g.waited.Seconds()*minBytesPerSecond {
			return n, errTooSlow
		}
		g.newAnswer()
	}
	return n, err
}

func (g *guardedConn) Write(p []byte) (int, error) {
	if err := g.arm(g.SetWriteDeadline); err != nil {
		return 0, err
	}
	return g.Conn.Write(p)
}

// newAnswer starts to measure afresh: a short answer is allowed a long wait.
func (g *guardedConn) newAnswer() { g.waited, g.got = 0, 0 }

func (g *guardedConn) arm(set func(time.Time) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause != nil {
		return g.cause
	}
	return set(time.Now().Add(g.idle))
}

// watch makes the end of ctx interrupt reads and writes until release is
// called.
func (g *guardedConn) watch(ctx context.Context) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.cause = context.Cause(ctx)
		// A connection that cannot take a deadline cannot be interrupted more
		// gently than this.
		if g.SetDeadline(time.Unix(1, 0)) != nil {
			_ = g.Close()
		}
	})
	return func() {
		if !stop() {
			<-done
			g.mu.Lock()
			defer g.mu.Unlock()
			g.cause = nil
		}
	}
}

func (g *guardedConn) interruptedBy() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause
}
