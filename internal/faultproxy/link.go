package faultproxy

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

const (
	// slowPause follows each piece of a slow stretch, of at most slowPiece bytes.
	slowPause = time.Millisecond
	slowPiece = 7
	// maxPiece bounds the pieces of a split write: below it the client's reads
	// end within commands, lines and dots.
	maxPiece = 200
	// bufferBytes is read at once.
	bufferBytes = 32 << 10
)

// link is one connection through the proxy.
type link struct {
	plan           Plan
	client, server *net.TCPConn
	ctx            context.Context // ends with the connection
	cancel         context.CancelFunc
	stalled        atomic.Bool
}

// close ends both sides. Errors say that a side has ended before.
func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// strike lets the fault happen.
func (l *link) strike() {
	switch l.plan.Fault.Kind {
	case Cut:
		_ = l.client.Close()
		_ = l.server.CloseWrite()
	case Reset:
		_ = l.client.SetLinger(0)
		_ = l.server.SetLinger(0)
		l.close()
	case Stall:
		l.stalled.Store(true)
	case None:
	}
}

// pump forwards one direction until its source ends. What cannot be written is
// read all the same, so that the source ends in its own time.
func (l *link) pump(d Direction, src, dst *net.TCPConn) {
	f := &flow{link: l, direction: d, dst: dst, rng: rand.New(rand.NewPCG(l.plan.Seed, uint64(d)))}
	buf := make([]byte, bufferBytes)
	for {
		n, err := src.Read(buf)
		l.wait(l.plan.Latency)
		f.forward(buf[:n])
		if err != nil {
			_ = dst.CloseWrite()
			return
		}
	}
}

// wait pauses, unless the connection ends.
func (l *link) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.ctx.Done():
	}
}

// flow is one direction of a link.
type flow struct {
	link      *link
	direction Direction
	dst       *net.TCPConn
	rng       *rand.Rand
	passed    int64  // bytes
	tail      []byte // what was forwarded last, as long as the fault's text
	broken    bool   // dst takes nothing more
	struck    bool   // the fault of this direction has happened
}

func (f *flow) forward(data []byte) {
	// A fault after no byte at all strikes when the first would pass.
	for f.strike(); len(data) > 0 && !f.broken && !f.link.stalled.Load(); f.strike() {
		n := f.piece(data)
		if _, err := f.dst.Write(data[:n]); err != nil {
			f.broken = true
			return
		}
		f.passed += int64(n)
		f.remember(data[:n])
		data = data[n:]
		if f.slow() > 0 {
			f.link.wait(slowPause)
		}
	}
}

// piece returns how much of data is written at once: no further than the next
// point where something changes.
func (f *flow) piece(data []byte) int {
	n := int64(len(data))
	if f.link.plan.Split {
		n = min(n, 1+f.rng.Int64N(maxPiece))
	}
	slow := f.link.plan.Slow
	switch {
	case f.slow() > 0:
		n = min(n, 1+f.rng.Int64N(slowPiece), f.slow())
	case slow.Direction == f.direction && f.passed < slow.From:
		n = min(n, slow.From-f.passed)
	}
	if fault := f.fault(); fault == nil {
		return int(n)
	} else if fault.Text == "" {
		return int(min(n, fault.After-f.passed))
	}
	if end := f.textEnd(data[:n]); end > 0 {
		return end
	}
	return int(n)
}

// slow returns how many bytes of the slow stretch follow now.
func (f *flow) slow() int64 {
	s := f.link.plan.Slow
	if s.Direction != f.direction || f.passed < s.From {
		return 0
	}
	return max(0, s.From+s.Length-f.passed)
}

// fault returns the fault that this direction waits for, if there is one.
func (f *flow) fault() *Fault {
	fault := &f.link.plan.Fault
	if f.struck || fault.Kind == None || fault.Direction != f.direction {
		return nil
	}
	return fault
}

func (f *flow) strike() {
	fault := f.fault()
	switch {
	case fault == nil:
		return
	case fault.Text == "" && f.passed < fault.After, fault.Text != "" && string(f.tail) != fault.Text:
		return
	}
	f.struck = true
	f.link.strike()
}

// textEnd returns where in data the fault's text ends that began there or
// before, 0 if it does not.
func (f *flow) textEnd(data []byte) int {
	text := f.link.plan.Fault.Text
	all := append(bytes.Clone(f.tail), data...)
	if i := bytes.Index(all, []byte(text)); i >= 0 {
		return i + len(text) - len(f.tail)
	}
	return 0
}

// remember keeps the end of what was forwarded, as long as the fault's text.
func (f *flow) remember(data []byte) {
	f.tail = append(f.tail, data[max(0, len(data)-len(f.link.plan.Fault.Text)):]...)
	f.tail = f.tail[max(0, len(f.tail)-len(f.link.plan.Fault.Text)):]
}
