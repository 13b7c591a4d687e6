package faultproxy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Direction is a way through the proxy.
type Direction int

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

func (d Direction) String() string {
	if d == ToServer {
		return "to the server"
	}
	return "to the client"
}

// Kind is how a connection fails.
type Kind int

const (
	// None lets the connection end by itself.
	None Kind = iota
	// Cut closes the client's side, and the server's once it has read what was
	// forwarded.
	Cut
	// Reset aborts both sides with RST; what was forwarded last may be lost.
	Reset
	// Stall forwards nothing more, in either direction. The connection stays
	// open until one side closes it.
	Stall
)

func (k Kind) String() string {
	return [...]string{"no fault", "cut", "reset", "stall"}[k]
}

// A Fault ends a connection. It strikes when the bytes that were forwarded in
// one direction reach a number, or end in a text.
type Fault struct {
	Kind      Kind
	Direction Direction
	After     int64  // bytes; not used if Text is set
	Text      string // strikes when this was forwarded for the first time
}

// A Stretch is a run of bytes that crawls: a few at a time, with a pause after each.
type Stretch struct {
	Direction    Direction
	From, Length int64 // bytes
}

// A Plan says what happens to a connection. The zero value forwards everything
// at once.
type Plan struct {
	Fault   Fault
	Slow    Stretch
	Latency time.Duration // before each read's worth of bytes, both ways
	Split   bool          // cut what is written into pieces of random size
	Seed    uint64        // of the sizes of pieces
}

// String describes the plan in a line, for the message of a failed test.
func (p Plan) String() string {
	var b strings.Builder
	b.WriteString(p.Fault.Kind.String())
	switch {
	case p.Fault.Kind == None:
	case p.Fault.Text != "":
		fmt.Fprintf(&b, " after %q %s", p.Fault.Text, p.Fault.Direction)
	default:
		fmt.Fprintf(&b, " after %d bytes %s", p.Fault.After, p.Fault.Direction)
	}
	if p.Slow.Length > 0 {
		fmt.Fprintf(&b, ", %d slow bytes from %d %s", p.Slow.Length, p.Slow.From, p.Slow.Direction)
	}
	if p.Latency > 0 {
		fmt.Fprintf(&b, ", latency %s", p.Latency)
	}
	if p.Split {
		b.WriteString(", split")
	}
	return b.String()
}

// Volume is about how many bytes a session without faults would take, by
// direction. Faults are put at random points of it.
type Volume [2]int64

const (
	// maxSlow times slowPause over the mean piece is some 300 ms.
	maxSlow    = 1000
	maxLatency = 5 * time.Millisecond
)

// Random makes a plan. One in eight has no Fault; where texts are given, one
// in four has it right after one of them was forwarded to the server.
func Random(rng *rand.Rand, v Volume, texts ...string) Plan {
	p := Plan{Seed: rng.Uint64(), Split: rng.IntN(3) == 0}
	if rng.IntN(3) == 0 {
		p.Latency = time.Duration(rng.Int64N(int64(maxLatency)))
	}
	if rng.IntN(3) == 0 {
		d := Direction(rng.IntN(2))
		p.Slow = Stretch{Direction: d, From: rng.Int64N(v[d] + 1), Length: 1 + rng.Int64N(maxSlow)}
	}
	if rng.IntN(8) == 0 {
		return p
	}
	p.Fault = Fault{Kind: Cut + Kind(rng.IntN(3)), Direction: Direction(rng.IntN(2))}
	if len(texts) > 0 && rng.IntN(4) == 0 {
		p.Fault.Direction, p.Fault.Text = ToServer, texts[rng.IntN(len(texts))]
		return p
	}
	p.Fault.After = rng.Int64N(v[p.Fault.Direction] + 1)
	return p
}
