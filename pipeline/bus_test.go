package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func TestTokenIsInjectiveAndSafe(t *testing.T) {
	names := []string{"", "=", "a", "A", "a.b", "a b", "a*", "a>", "a=2Eb", "ä", "\x00", "sales@example.com", "x_y-z", "=="}
	seen := map[string]string{}
	for _, n := range names {
		tok := Token(n)
		if other, dup := seen[tok]; dup {
			t.Errorf("Token(%q) = Token(%q) = %q", n, other, tok)
		}
		seen[tok] = n
		if tok == "" || strings.ContainsAny(tok, " .*>\t\r\n$") {
			t.Errorf("Token(%q) = %q is no subject token", n, tok)
		}
	}
}

func FuzzTokenCanBeDecoded(f *testing.F) {
	f.Add("")
	f.Add("sales@example.com")
	f.Add("=2E.\xff")
	f.Fuzz(func(t *testing.T, name string) {
		tok := Token(name)
		if name == "" && tok == "=" {
			return
		}
		var back []byte
		for rest := tok; rest != ""; {
			if rest[0] != '=' {
				back, rest = append(back, rest[0]), rest[1:]
				continue
			}
			var c byte
			if _, err := fmt.Sscanf(rest[:min(3, len(rest))], "=%02X", &c); err != nil {
				t.Fatalf("token %q: %v", tok, err)
			}
			back, rest = append(back, c), rest[3:]
		}
		if string(back) != name {
			t.Fatalf("token %q decodes to %q, not %q", tok, back, name)
		}
	})
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"nothing":   {},
		"shard":     {Dir: t.TempDir(), Shard: "s.0"},
		"too small": {Dir: t.TempDir(), MaxStoreBytes: 1},
	} {
		if bus, err := Connect(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
			_ = bus.Close()
		}
	}
}

func TestConnectNamesTheServerWithoutPassword(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil { // nobody listens there now
		t.Fatal(err)
	}
	for _, url := range []string{
		"nats://user:hunter2@" + addr,
		"nats://user:hunter2@" + addr + ", nats://user:hunter2@" + addr,
		"nats://user:hunter2@[" + addr,
	} {
		_, err = Connect(t.Context(), Options{URL: url, Identity: testIdentity})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error is %v", url, err)
		}
		if !strings.Contains(url, "[") && !strings.Contains(fmt.Sprint(err), addr) {
			t.Errorf("error does not name %s: %v", addr, err)
		}
	}
}

func TestConnectToServerWithoutJetStreamSaysSo(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer func() { srv.Shutdown(); srv.WaitForShutdown() }()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err = Connect(ctx, Options{URL: srv.ClientURL(), Identity: testIdentity}); err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Fatalf("error is %v", err)
	}
}

func TestEmbeddedServerNeedsAUsableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "nats")} {
		if _, err := Connect(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error is %v", dir, err)
		}
	}
}

func TestStoreSizeCanBeChangedBetweenRuns(t *testing.T) {
	o := embedded(t)
	for _, size := range []int64{1 << 30, 64 << 20, 2 << 30} {
		o.MaxStoreBytes = size
		bus, err := connect(t.Context(), o, quick())
		if err != nil {
			t.Fatalf("with %d: %v", size, err)
		}
		if got, want := stream(t, bus, "MAIL_s0").MaxBytes, divide(size).mail; got != want {
			t.Errorf("MAIL may hold %d octets, want %d", got, want)
		}
		if err := bus.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecondPollRequestIsRefusedUntilTheFirstEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus := b.connect(t)
		request := func(mailbox string, want bool) {
			t.Helper()
			queued, err := bus.RequestPoll(t.Context(), PollRequest{Mailbox: mailbox, ID: "r"})
			if err != nil || queued != want {
				t.Fatalf("mailbox %s: queued %v, %v; want %v", mailbox, queued, err, want)
			}
		}
		request("a", true)
		request("a", false)
		request("b.c", true)

		ctx, cancel := context.WithCancel(t.Context())
		started, finish, served := make(chan string), make(chan error), make(chan error)
		go func() {
			served <- bus.ServePolls(ctx, 2, func(_ context.Context, r PollRequest) error {
				started <- r.Mailbox
				return <-finish
			})
		}()
		if got := next(t, started) + next(t, started); got != "ab.c" && got != "b.ca" {
			t.Fatalf("started %s", got)
		}
		request("a", false) // it is running
		finish <- nil
		finish <- errors.New("an error ends the job too")
		eventually(t, "POLL is empty", func() bool { return stream(t, bus, "POLL").Messages == 0 })
		request("a", true)
		next(t, started)
		finish <- nil
		cancel()
		if err := <-served; err != nil {
			t.Fatal(err)
		}
	})
}

func TestRunningPollIsNotDeliveredAgain(t *testing.T) {
	bus := (&bench{opts: embedded(t), timing: quick()}).connect(t)
	if _, err := bus.RequestPoll(t.Context(), PollRequest{Mailbox: "a"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	starts, served := 0, make(chan error)
	go func() {
		served <- bus.ServePolls(ctx, 2, func(ctx context.Context, _ PollRequest) error {
			starts++
			// Twice the time after which an abandoned job is taken over.
			bus.wait(ctx, 2*bus.timing.pollAckWait)
			cancel()
			return nil
		})
	}()
	if err := <-served; err != nil || starts != 1 {
		t.Fatalf("started %d times, %v", starts, err)
	}
}

func TestPollThatPanicsIsDoneAgain(t *testing.T) {
	bus := (&bench{opts: embedded(t), timing: quick()}).connect(t)
	if _, err := bus.RequestPoll(t.Context(), PollRequest{Mailbox: "a"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	starts := 0
	err := bus.ServePolls(ctx, 1, func(context.Context, PollRequest) error {
		if starts++; starts == 1 {
			panic("hostile server")
		}
		cancel()
		return nil
	})
	if err != nil || starts != 2 {
		t.Fatalf("started %d times, %v", starts, err)
	}
}

func TestServePollsWaitsForHandlers(t *testing.T) {
	bus := (&bench{opts: embedded(t), timing: quick()}).connect(t)
	if _, err := bus.RequestPoll(t.Context(), PollRequest{Mailbox: "a"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := false
	if err := bus.ServePolls(ctx, 3, func(ctx context.Context, _ PollRequest) error {
		cancel()
		<-ctx.Done()
		ended = true
		return ctx.Err()
	}); err != nil || !ended {
		t.Fatalf("handler ended: %v, %v", ended, err)
	}
}

func TestLeaseIsExclusive(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus := b.connect(t)
		first, err := bus.Lease(t.Context(), "a", "one")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bus.Lease(t.Context(), "a", "two"); !errors.Is(err, ErrLeased) || !strings.Contains(err.Error(), "one") {
			t.Fatalf("second lease: %v", err)
		}
		other, err := bus.Lease(t.Context(), "b", "two")
		if err != nil {
			t.Fatal(err)
		}
		// It is renewed: longer than its TTL it is still ours.
		bus.wait(t.Context(), bus.timing.leaseTTL*3/2)
		if _, err := bus.Lease(t.Context(), "a", "two"); !errors.Is(err, ErrLeased) {
			t.Fatalf("after the TTL: %v", err)
		}
		if err := errors.Join(first.Release(), first.Release(), other.Release()); err != nil {
			t.Fatal(err)
		}
		again, err := bus.Lease(t.Context(), "a", "two")
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Release(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAbandonedLeaseExpires(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus := b.connect(t)
		l, err := bus.Lease(t.Context(), "a", "crashed")
		if err != nil {
			t.Fatal(err)
		}
		l.cancel() // its holder renews no more
		eventually(t, "the mailbox is free", func() bool {
			l, err := bus.Lease(t.Context(), "a", "next")
			if err == nil {
				err = l.Release()
			} else if errors.Is(err, ErrLeased) {
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			return true
		})
	})
}

func TestLeaseThatSomebodyElseTookIsLost(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus := b.connect(t)
		l, err := bus.Lease(t.Context(), "a", "one")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bus.leases.Put(t.Context(), Token("a"), []byte("two")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-l.Lost():
		case <-time.After(10 * time.Second):
			t.Fatal("the lease is not lost")
		}
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
		if e, err := bus.leases.Get(t.Context(), Token("a")); err != nil || string(e.Value()) != "two" {
			t.Fatalf("the other's lease is gone: %v", err)
		}
	})
}

func TestLeaseSurvivesALostAcknowledgement(t *testing.T) {
	bus := (&bench{opts: embedded(t), timing: quick()}).connect(t)
	l, err := bus.Lease(t.Context(), "a", "one")
	if err != nil {
		t.Fatal(err)
	}
	// The holder wrote this, and never heard of it.
	if _, err := bus.leases.Put(t.Context(), Token("a"), []byte("one")); err != nil {
		t.Fatal(err)
	}
	bus.wait(t.Context(), 2*bus.timing.leaseTTL)
	select {
	case <-l.Lost():
		t.Fatal("the lease is lost")
	default:
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestLeaseIsLostWhenTheServerIsGone(t *testing.T) {
	srv := startExternal(t)
	b := &bench{opts: Options{URL: srv.ClientURL(), Identity: testIdentity, MaxStoreBytes: 1 << 30}, timing: quick()}
	bus := b.connect(t)
	l, err := bus.Lease(t.Context(), "a", "one")
	if err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	srv.WaitForShutdown()
	start := time.Now()
	select {
	case <-l.Lost():
	case <-time.After(10 * time.Second):
		t.Fatal("the lease is not lost")
	}
	if d := time.Since(start); d > bus.timing.leaseTTL {
		t.Errorf("lost after %s, when another holder may have it since %s", d, bus.timing.leaseTTL)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestReportsAndProgressReachSubscribers(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus := b.connect(t)
		ctx, cancel := context.WithCancel(t.Context())
		all, err := bus.Reports(ctx)
		if err != nil {
			t.Fatal(err)
		}
		one, err := bus.Reports(ctx, "a.b", "c")
		if err != nil {
			t.Fatal(err)
		}
		progress, err := bus.Progress(ctx, "a.b")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []string{"x", "a.b"} {
			if err := bus.PublishReport(t.Context(), PollReport{Mailbox: m, Listed: 7}); err != nil {
				t.Fatal(err)
			}
			bus.PublishProgress(Progress{Mailbox: m, Phase: "fetching", Done: 1, Total: 2})
		}
		if r := next(t, all); r.Mailbox != "x" || r.Listed != 7 {
			t.Errorf("report is %+v", r)
		}
		if r := next(t, one); r.Mailbox != "a.b" {
			t.Errorf("report is %+v", r)
		}
		if p := next(t, progress); p.Mailbox != "a.b" || p.Total != 2 {
			t.Errorf("progress is %+v", p)
		}
		cancel()
		for range one { // closed, or the test hangs
		}
	})
}
