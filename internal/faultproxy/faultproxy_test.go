package faultproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream is what goes through: lines that differ, so that a lost, doubled or
// moved byte shows.
var stream = func() []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 20_000)
	for i := range b {
		b[i] = byte('a' + rng.IntN(26))
	}
	return b
}()

// patience bounds each wait of a test.
const patience = 20 * time.Second

// through starts a server that sends stream and then collects what it gets,
// and a connection to it through a proxy with the plan.
func through(t *testing.T, plan Plan) (conn *net.TCPConn, received <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 1)
	connected := make(chan struct{}) // a reset before would fail the dialling
	go func() {
		server, err := l.Accept()
		if err != nil {
			close(got)
			return
		}
		go func() {
			<-connected
			_, _ = server.Write(stream)
		}()
		_ = server.SetDeadline(time.Now().Add(patience))
		b, _ := io.ReadAll(server)
		_ = server.Close()
		got <- b
	}()
	p, err := Start(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	})
	p.SetPlan(plan)
	c, err := net.Dial("tcp", p.Addr())
	close(connected)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn), got
}

func wait(t *testing.T, received <-chan []byte) []byte {
	t.Helper()
	select {
	case b := <-received:
		return b
	case <-time.After(patience):
		t.Fatal("the server's side did not end")
		return nil
	}
}

func TestWithoutFaultEveryByteArrivesInOrder(t *testing.T) {
	for _, plan := range []Plan{
		{},
		{Split: true, Seed: 3},
		{Slow: Stretch{ToClient, 100, 300}},
		{Slow: Stretch{ToServer, 0, 300}, Split: true, Latency: time.Millisecond},
		{Fault: Fault{Kind: Cut, Direction: ToServer, Text: "not in there"}, Split: true},
	} {
		t.Run(plan.String(), func(t *testing.T) {
			conn, received := through(t, plan)
			got := make([]byte, len(stream))
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, stream) {
				t.Errorf("the client got other bytes (%v)", err)
			}
			if _, err := conn.Write(stream); err != nil {
				t.Error(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(wait(t, received), stream) {
				t.Error("the server got other bytes")
			}
		})
	}
}

func TestCutComesAfterTheVeryByte(t *testing.T) {
	for _, n := range []int{0, 1, 150, len(stream)} {
		conn, received := through(t, Plan{Fault: Fault{Kind: Cut, Direction: ToClient, After: int64(n)}, Split: true})
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, stream[:n]) {
			t.Errorf("the client got %d bytes (%v), want %d", len(got), err, n)
		}
		wait(t, received)
	}
}

func TestCutAfterATextLetsTheServerReadIt(t *testing.T) {
	for _, split := range []bool{false, true} {
		conn, received := through(t, Plan{Fault: Fault{Kind: Cut, Direction: ToServer, Text: "QUIT\r\n"}, Split: split})
		for _, piece := range []string{strings.Repeat("NOOP\r\n", 100) + "QU", "IT\r", "\nNOOP\r\n"} {
			_, _ = conn.Write([]byte(piece)) // the last one may come too late
		}
		if got := string(wait(t, received)); got != strings.Repeat("NOOP\r\n", 100)+"QUIT\r\n" {
			t.Errorf("the server got %d bytes that end in %q", len(got), got[max(0, len(got)-20):])
		}
	}
}

func TestResetIsSeenAsOne(t *testing.T) {
	conn, received := through(t, Plan{Fault: Fault{Kind: Reset, Direction: ToClient, After: 10}})
	if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
	wait(t, received)
}

func TestStallForwardsNothingAndEndsWithTheClient(t *testing.T) {
	conn, received := through(t, Plan{Fault: Fault{Kind: Stall, Direction: ToServer, After: 4}})
	if _, err := conn.Write([]byte("NOOP\r\nQUIT\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client sees %v, want a silent connection", err)
	}
	_ = conn.Close()
	if got := string(wait(t, received)); got != "NOOP" {
		t.Errorf("the server got %q, want what came before the stall", got)
	}
}

func TestCloseEndsStalledConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p, err := Start(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.SetPlan(Plan{Fault: Fault{Kind: Stall, Direction: ToServer}})
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("Close did not return")
	}
}

func TestRandomPlansRepeatAndCoverEveryFault(t *testing.T) {
	volume := Volume{300, 50_000}
	seen := map[string]int{}
	for seed := range uint64(500) {
		plan := Random(rand.New(rand.NewPCG(seed, 0)), volume, "QUIT\r\n")
		if again := Random(rand.New(rand.NewPCG(seed, 0)), volume, "QUIT\r\n"); plan != again {
			t.Fatalf("seed %d gave %+v and %+v", seed, plan, again)
		}
		if f := plan.Fault; f.After > volume[f.Direction] {
			t.Errorf("seed %d: fault after %d bytes %s", seed, f.After, f.Direction)
		}
		what := plan.Fault.Kind.String()
		if plan.Fault.Kind != None {
			what += " " + plan.Fault.Direction.String() + " " + plan.Fault.Text
		}
		seen[what]++
	}
	if len(seen) != 1+3*3 {
		t.Errorf("faults seen: %v", seen)
	}
}
