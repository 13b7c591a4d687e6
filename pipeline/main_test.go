package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/archive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is defaultTiming for people who wait for tests.
func quick() timing {
	t := defaultTiming()
	t.pollAckWait = time.Second
	t.mailAckWait = time.Second
	t.leaseTTL = time.Second
	t.tenureTTL = time.Second
	t.retryMin = 2 * time.Millisecond
	t.retryMax = 50 * time.Millisecond
	t.redelivery = 20 * time.Millisecond
	t.redeliveryMax = 100 * time.Millisecond
	t.serviceStart = 5 * time.Second
	return t
}

const testIdentity = "00112233445566778899aabbccddeeff"

// A bench is a place to connect to, and to connect to again.
type bench struct {
	opts   Options
	timing timing
}

func (b *bench) connect(t *testing.T) *Bus {
	t.Helper()
	bus, err := connect(t.Context(), b.opts, b.timing)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bus.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return bus
}

// onBoth runs a test over the embedded server and over an external one.
func onBoth(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Run("embedded", func(t *testing.T) {
		test(t, &bench{opts: embedded(t), timing: quick()})
	})
	t.Run("external", func(t *testing.T) {
		test(t, &bench{opts: Options{URL: startExternal(t).ClientURL(), Identity: testIdentity, MaxStoreBytes: 1 << 30, Logger: testLog(t)}, timing: quick()})
	})
}

func embedded(t testing.TB) Options {
	return Options{Dir: filepath.Join(t.TempDir(), "nats"), MaxStoreBytes: 1 << 30, Logger: testLog(t)}
}

func startExternal(t testing.TB) *server.Server {
	t.Helper()
	return startServerAt(t, server.RANDOM_PORT)
}

func startServerAt(t testing.TB, port int) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS server is not ready")
	}
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	return srv
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

var _ Store = (*archive.Store)(nil)

// fakeStore keeps messages in memory, and does what a test tells it.
type fakeStore struct {
	mu       sync.Mutex
	bodies   map[string]int64 // by id
	deposits map[string]int64 // ledger index by deposit
	batches  []int
	reports  []archive.PollReport
	dead     []archive.DeadLetter
	before   func(batch int) error // called before a batch is stored
	after    func(batch int) error // called when it is stored
	refuse   func(id string) error // called for each message
}

func newFakeStore() *fakeStore {
	return &fakeStore{bodies: map[string]int64{}, deposits: map[string]int64{}}
}

func call(f func(int) error, n int) error {
	if f == nil {
		return nil
	}
	return f(n)
}

func (s *fakeStore) Put(_ context.Context, batch []archive.Delivery) ([]archive.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, len(batch))
	if err := call(s.before, len(s.batches)); err != nil {
		return nil, err
	}
	var receipts []archive.Receipt
	for _, d := range batch {
		r, err := s.put(d)
		if err != nil {
			return nil, err
		}
		receipts = append(receipts, r)
	}
	return receipts, call(s.after, len(s.batches))
}

func (s *fakeStore) put(d archive.Delivery) (archive.Receipt, error) {
	if s.refuse != nil {
		if err := s.refuse(d.ID); err != nil {
			return archive.Receipt{}, err
		}
	}
	h := sha256.New()
	size, err := io.Copy(h, d.Body)
	if err != nil {
		return archive.Receipt{}, err
	}
	if size != d.Size || hex.EncodeToString(h.Sum(nil)) != d.ID {
		return archive.Receipt{ID: d.ID, Refused: "hash mismatch"}, nil
	}
	key := fmt.Sprint(d.ID, d.Mailbox, d.UIDL, d.Source.Number)
	index, known := s.deposits[key]
	if !known {
		index = int64(len(s.deposits))
		s.deposits[key] = index
	}
	_, stored := s.bodies[d.ID]
	s.bodies[d.ID] = size
	return archive.Receipt{ID: d.ID, Index: index, Known: known, Stored: !stored}, nil
}

// Known holds every listed message whose UIDL is not "new".
func (s *fakeStore) Known(_ context.Context, mailbox string, listed []archive.Listing) ([]archive.Holding, error) {
	if mailbox == "broken" {
		return nil, errors.New("catalog is closed")
	}
	var list []archive.Holding
	for _, l := range listed {
		if l.UIDL != "new" {
			list = append(list, archive.Holding{Listing: l, ID: fmt.Sprintf("%064x", l.Size)})
		}
	}
	return list, nil
}

func (s *fakeStore) Damaged(_ context.Context, ids []string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var damaged []string
	for _, id := range ids {
		if _, ok := s.bodies[id]; !ok {
			damaged = append(damaged, id)
		}
	}
	return damaged, nil
}

func (s *fakeStore) PollMemory(_ context.Context, mailbox string) (json.RawMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.reports) {
		if r.Mailbox == mailbox && r.Memory != nil {
			return r.Memory, nil
		}
	}
	return nil, nil
}

func (s *fakeStore) RecordPoll(_ context.Context, r archive.PollReport) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, r)
	return nil
}

func (s *fakeStore) RecordDeadLetter(_ context.Context, d archive.DeadLetter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = append(s.dead, d)
	return nil
}

func (s *fakeStore) deadLetters() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.dead)
}

func (s *fakeStore) stored() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.deposits)
}

// size is that of a stored message, -1 if there is none.
func (s *fakeStore) size(id string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.bodies[id]; ok {
		return n
	}
	return -1
}

// runArchiver runs an archive worker until the test ends or stop is called.
func runArchiver(t testing.TB, bus *Bus, store Store) (stop func()) {
	t.Helper()
	return run(t, NewArchiver(bus, store, ArchiverOptions{Logger: bus.log}))
}

func run(t testing.TB, a *Archiver) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("archive worker: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func openSession(t testing.TB, bus *Bus, mailbox string) *Session {
	t.Helper()
	s, err := bus.OpenSession(t.Context(), SessionOptions{ID: "session", Mailbox: mailbox})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close session: %v", err)
		}
	})
	return s
}

func publish(t testing.TB, s *Session, number int, body []byte) Sent {
	t.Helper()
	sent, err := s.Publish(t.Context(), mail(number), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

func mail(number int) Mail {
	return Mail{Number: number, Deposit: Deposit{
		UIDL: fmt.Sprint("u", number), Received: time.Unix(1, 0).UTC(), Source: Source{Protocol: "pop3", Number: number},
	}}
}

// next waits for one value of a channel.
func next[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came in 20 s")
	}
	panic("not reached")
}

// eventually asks again until a condition holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 4000 {
		if ok() {
			return
		}
		<-tick.C
	}
	t.Fatalf("never happened: %s", what)
}

// stream returns the state of a stream.
func stream(t testing.TB, bus *Bus, name string) StreamStatus {
	t.Helper()
	st, err := bus.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(st.Streams, func(s StreamStatus) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("no stream %s", name)
	}
	return st.Streams[i]
}
