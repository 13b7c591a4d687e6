package pipeline

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postkeep/postkeep/archive"
)

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// randomBody has size octets that do not compress.
func randomBody(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return b
}

func TestEveryMessageIsReceiptedAfterItWasStored(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus, store := b.connect(t), newFakeStore()
		s := openSession(t, bus, "a.b")
		sent := map[int]Sent{}
		const n = 500
		for i := range n {
			sent[i+1] = publish(t, s, i+1, fmt.Appendf(nil, "Subject: %d\r\n\r\nNUL \x00 and \n bare LF", i))
		}
		stop := runArchiver(t, bus, store)
		for range n {
			r := next(t, s.Receipts())
			if r.Err != "" || r.Refused != "" || r.ID != sent[r.Number].ID || store.size(r.ID) != sent[r.Number].Size || !r.Stored {
				t.Fatalf("receipt %+v for %+v", r, sent[r.Number])
			}
			delete(sent, r.Number)
		}
		if len(sent) != 0 {
			t.Errorf("without receipt: %v", sent)
		}
		stop()
		if slices.Max(store.batches) < 50 {
			t.Errorf("batches of %v messages: no group commit", store.batches)
		}
		eventually(t, "MAIL is empty", func() bool { return stream(t, bus, "MAIL_s0").Messages == 0 })
		if d := stream(t, bus, "DEAD").Messages; d != 0 {
			t.Errorf("%d dead letters", d)
		}
	})
}

func TestSameBytesTwiceAreTwoDeposits(t *testing.T) {
	bus, store := (&bench{opts: embedded(t), timing: quick()}).connect(t), newFakeStore()
	runArchiver(t, bus, store)
	s := openSession(t, bus, "a")
	publish(t, s, 1, []byte("same"))
	publish(t, s, 2, []byte("same"))
	one, two := next(t, s.Receipts()), next(t, s.Receipts())
	if one.ID != two.ID || one.Index == two.Index || one.Known || two.Known || store.stored() != 2 {
		t.Errorf("receipts %+v and %+v", one, two)
	}
}

func TestFinishSetsWhatIsKnownAfterTheBody(t *testing.T) {
	bus, store := (&bench{opts: embedded(t), timing: quick()}).connect(t), newFakeStore()
	s := openSession(t, bus, "a")
	body := strings.NewReader("Subject: x\r\n\r\n")
	m := mail(1)
	m.Finish = func(d *Deposit) {
		if body.Len() != 0 {
			t.Error("the body is not read yet")
		}
		d.UIDL = "finished"
	}
	if _, err := s.Publish(t.Context(), m, body); err != nil {
		t.Fatal(err)
	}
	stop := runArchiver(t, bus, store)
	next(t, s.Receipts())
	stop()
	for key := range store.deposits {
		if !strings.Contains(key, "finished") {
			t.Errorf("deposit is %q", key)
		}
	}
}

func TestLargeBodyPassesThroughTheObjectStore(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus, store := b.connect(t), newFakeStore()
		s := openSession(t, bus, "a")
		limit := int(bus.nc.MaxPayload() - envelopeRoom)
		want := map[string]int64{}
		for i, size := range []int{limit, limit + 1, 8 * chunkSize, 5<<20 + 17} {
			body := randomBody(size)
			m := mail(i + 1)
			m.Deposit.ListedSize = int64(size)
			sent, err := s.Publish(t.Context(), m, iotest.HalfReader(bytes.NewReader(body)))
			if err != nil {
				t.Fatal(err)
			}
			if sent.ID != sum(body) || sent.Size != int64(size) {
				t.Fatalf("sent %+v for %d octets", sent, size)
			}
			want[sent.ID] = sent.Size
		}
		if got := stream(t, bus, "OBJ_BODIES").Bytes; got < 5<<20 {
			t.Errorf("the object store has %d octets", got)
		}
		runArchiver(t, bus, store)
		for range want {
			if r := next(t, s.Receipts()); r.Err != "" || r.Refused != "" {
				t.Fatalf("receipt %+v", r)
			}
		}
		for id, size := range want {
			if store.size(id) != size {
				t.Errorf("message of %d octets is not stored", size)
			}
		}
		eventually(t, "MAIL is empty", func() bool { return stream(t, bus, "MAIL_s0").Messages == 0 })
		noBodies(t, bus)
	})
}

// noBodies checks that the object store has no objects and no chunks.
func noBodies(t *testing.T, bus *Bus) {
	t.Helper()
	info, err := bus.chunks.Info(t.Context(), jetstream.WithSubjectFilter(bus.chunkSubject("*")))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(info.State.Subjects); n != 0 {
		t.Errorf("%d bodies are left in the object store", n)
	}
	if list, err := bus.bodies.List(t.Context()); !errors.Is(err, jetstream.ErrNoObjectsFound) {
		t.Errorf("objects left: %d, %v", len(list), err)
	}
}

func TestBodyThatCannotBeReadIsNotPublished(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus := b.connect(t)
		s := openSession(t, bus, "a")
		for _, cause := range []error{errors.New("connection reset"), io.ErrUnexpectedEOF, fmt.Errorf("cut off: %w", io.EOF)} {
			for _, size := range []int{0, 100, 3<<20 + 5} {
				body := io.MultiReader(bytes.NewReader(randomBody(size)), iotest.ErrReader(cause))
				m := mail(1)
				m.Finish = func(*Deposit) { t.Error("Finish was called") }
				if _, err := s.Publish(t.Context(), m, body); !errors.Is(err, cause) {
					t.Errorf("%d octets, then %v: error is %v", size, cause, err)
				}
			}
		}
		noBodies(t, bus)
		if n := stream(t, bus, "MAIL_s0").Messages; n != 0 {
			t.Errorf("%d messages published", n)
		}
	})
}

func TestMessageLargerThanTheObjectStoreIsAnErrorOfItsOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.opts.MaxStoreBytes = MinMaxStoreBytes
		bus := b.connect(t)
		s := openSession(t, bus, "a")
		for _, listed := range []int64{9 << 20, 1, -1, math.MaxInt64} { // servers lie
			m := mail(1)
			m.Deposit.ListedSize = listed
			body := bytes.NewReader(make([]byte, 9<<20))
			_, err := s.Publish(t.Context(), m, body)
			large, ok := errors.AsType[*TooLargeError](err)
			if !ok || large.Size != 9<<20 || large.Limit >= large.Size || !strings.Contains(err.Error(), "nats.max_store_bytes") {
				t.Errorf("listed with %d octets: %v", listed, err)
			}
			if body.Len() != 0 {
				t.Errorf("listed with %d octets: %d were not read", listed, body.Len())
			}
			cut := io.MultiReader(bytes.NewReader(make([]byte, 9<<20)), iotest.ErrReader(io.ErrUnexpectedEOF))
			if _, err := s.Publish(t.Context(), m, cut); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("listed with %d octets, and cut off: %v", listed, err)
			}
		}
		noBodies(t, bus)
	})
}

func TestMessageListedWithAnAbsurdSizePasses(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.opts.MaxStoreBytes = MinMaxStoreBytes
		bus, store := b.connect(t), newFakeStore()
		s := openSession(t, bus, "a")
		runArchiver(t, bus, store)
		// Each waits until the one before has left the store, without a trace.
		for i, listed := range []int64{5e9, math.MaxInt64, bus.largestBody(), 1} {
			body := randomBody(2_700_000 + i)
			m := mail(i + 1)
			m.Deposit.ListedSize = listed
			sent, err := s.Publish(t.Context(), m, bytes.NewReader(body))
			if err != nil {
				t.Fatalf("listed with %d octets: %v", listed, err)
			}
			if r := next(t, s.Receipts()); r.Err != "" || r.Refused != "" || store.size(sent.ID) != int64(len(body)) {
				t.Errorf("listed with %d octets: receipt %+v", listed, r)
			}
		}
		largest := randomBody(int(bus.largestBody()))
		if sent := publish(t, s, 9, largest); sent.Size != bus.largestBody() {
			t.Errorf("sent %+v", sent)
		}
		if r := next(t, s.Receipts()); r.Err != "" || r.Refused != "" {
			t.Errorf("the largest: receipt %+v", r)
		}
		eventually(t, "the object store is empty", func() bool { return stream(t, bus, "OBJ_BODIES").Bytes == 0 })
	})
}

func TestSessionNeedsAPlainIDAndAMailbox(t *testing.T) {
	bus := (&bench{opts: embedded(t), timing: quick()}).connect(t)
	for _, o := range []SessionOptions{{}, {ID: "a"}, {ID: "a.b", Mailbox: "m"}, {ID: "a>", Mailbox: "m"}} {
		if s, err := bus.OpenSession(t.Context(), o); err == nil {
			t.Errorf("%+v: accepted", o)
			_ = s.Close()
		}
	}
}

func TestFullStreamSlowsPublishersDownAndLosesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.opts.MaxStoreBytes = MinMaxStoreBytes // 6 MiB for MAIL
		bus, store := b.connect(t), newFakeStore()
		s := openSession(t, bus, "a")
		const n, size = 64, 512 << 10 // 32 MiB: more than fits into MAIL and in flight
		published, failed := make(chan int, n), make(chan error, 1)
		go func() {
			for i := range n {
				if _, err := s.Publish(t.Context(), mail(i+1), bytes.NewReader(randomBody(size))); err != nil {
					failed <- err
					return
				}
				published <- i
			}
			close(published)
		}()
		eventually(t, "MAIL is full", func() bool { return stream(t, bus, "MAIL_s0").Messages >= 11 })
		// Whatever is left of the budget is taken, then Publish waits.
		eventually(t, "the budget is used", func() bool {
			if bus.inFlight.TryAcquire(size + messageOverhead) {
				bus.inFlight.Release(size + messageOverhead)
				return false
			}
			return true
		})
		if len(published) == n {
			t.Fatal("nothing held the publisher back")
		}
		runArchiver(t, bus, store)
		for range n {
			if r := next(t, s.Receipts()); r.Err != "" || r.Refused != "" {
				t.Fatalf("receipt %+v", r)
			}
		}
		if store.stored() != n {
			t.Errorf("%d of %d messages stored", store.stored(), n)
		}
		for range published {
		}
		select {
		case err := <-failed:
			t.Fatal(err)
		default:
		}
	})
}

func TestClosedSessionGivesUpWhatWaitsForRoom(t *testing.T) {
	o := embedded(t)
	o.MaxStoreBytes = MinMaxStoreBytes
	bus := (&bench{opts: o, timing: quick()}).connect(t)
	s := openSession(t, bus, "a")
	for i := range 14 {
		publish(t, s, i+1, randomBody(512<<10))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-s.Receipts(); open {
		t.Error("receipts are not closed")
	}
	if n := stream(t, bus, "MAIL_s0").Messages; n == 0 || n >= 14 {
		t.Errorf("%d messages published", n)
	}
}

func TestWorkerThatDiesBeforeItAcknowledgesArchivesOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		store := newFakeStore()
		first, err := connect(t.Context(), b.opts, b.timing)
		if err != nil {
			t.Fatal(err)
		}
		s := openSession(t, first, "a")
		publish(t, s, 1, []byte("small"))
		publish(t, s, 2, randomBody(2<<20))
		died := make(chan struct{})
		store.after = func(batch int) error {
			if batch == 1 {
				first.nc.Close() // stored, but nobody will hear of it
				close(died)
			}
			return nil
		}
		stop := runArchiver(t, first, store)
		<-died
		stop()
		if err := errors.Join(s.Close(), first.Close()); err != nil {
			t.Fatal(err)
		}
		n := store.stored()
		if n == 0 {
			t.Fatal("nothing was stored before the crash")
		}

		second := b.connect(t)
		stop = runArchiver(t, second, store)
		eventually(t, "nothing waits", func() bool {
			return stream(t, second, "MAIL_s0").Messages == 0 && len(leftovers(b.opts.Dir, suffixWaiting)) == 0
		})
		stop()
		if store.stored() != 2 || len(store.bodies) != 2 {
			t.Errorf("%d deposits of %d messages, want 2 of 2", store.stored(), len(store.bodies))
		}
		if len(store.batches) < 2 {
			t.Error("the messages were not delivered again")
		}
		noBodies(t, second)
	})
}

func TestFailingStoreIsReportedAndTriedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus, store := b.connect(t), newFakeStore()
		store.before = func(batch int) error {
			if batch <= 3 {
				return errors.New("no space left on device")
			}
			return nil
		}
		s := openSession(t, bus, "a")
		publish(t, s, 1, []byte("small"))
		publish(t, s, 2, randomBody(2<<20))
		runArchiver(t, bus, store)
		good, temporary := map[int]bool{}, 0
		for len(good) < 2 {
			r := next(t, s.Receipts())
			if r.Err != "" {
				if !strings.Contains(r.Err, "no space left") || r.Refused != "" {
					t.Fatalf("receipt %+v", r)
				}
				temporary++
				continue
			}
			good[r.Number] = true
		}
		if temporary == 0 {
			t.Error("nobody was told of the error")
		}
		eventually(t, "MAIL is empty", func() bool { return stream(t, bus, "MAIL_s0").Messages == 0 })
		noBodies(t, bus)
	})
}

func TestPoisonGoesToTheDeadLettersAndOthersProceed(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus, store := b.connect(t), newFakeStore()
		s := openSession(t, bus, "a")
		good := publish(t, s, 1, []byte("good"))
		poison := func(n int, e *envelope, data string) {
			t.Helper()
			e.Number, e.Reply, e.Deposit.Mailbox, e.Identity = n, s.inbox, "a", bus.opts.Identity
			h, err := e.header(fmt.Sprint("poison", n))
			if err != nil {
				t.Fatal(err)
			}
			publishRaw(t, bus, h, data)
		}
		poison(2, &envelope{Version: 1, ID: good.ID, Size: 5}, "other") // hash
		poison(3, &envelope{Version: 1, ID: good.ID, Size: 4}, "other") // size
		poison(4, &envelope{Version: 9, ID: good.ID, Size: 4}, "good")
		poison(5, &envelope{Version: 1, ID: "../../etc", Size: 4}, "good")
		poison(6, &envelope{Version: 1, ID: good.ID, Size: 4, Object: "missing"}, "")
		publishRaw(t, bus, nats.Header{}, "no envelope")
		publishRaw(t, bus, nats.Header{headerEnvelope: {`{"v":`}}, "half an envelope")
		last := publish(t, s, 7, randomBody(2<<20))

		runArchiver(t, bus, store)
		refused := map[int]string{}
		for range 7 {
			r := next(t, s.Receipts())
			if r.Err != "" {
				t.Fatalf("receipt %+v", r)
			}
			refused[r.Number] = r.Refused
		}
		for n, reason := range refused {
			if (reason == "") != (n == 1 || n == 7) {
				t.Errorf("message %d: refused %q", n, reason)
			}
		}
		if store.stored() != 2 || store.size(good.ID) != good.Size || store.size(last.ID) != last.Size {
			t.Errorf("%d messages stored", store.stored())
		}
		eventually(t, "MAIL is empty", func() bool { return stream(t, bus, "MAIL_s0").Messages == 0 })
		var dead []DeadLetter
		if err := bus.DeadLetters(t.Context(), func(d DeadLetter) error { dead = append(dead, d); return nil }); err != nil {
			t.Fatal(err)
		}
		// The message without its body is none: NATS has lost it, and nothing is wrong with it.
		if len(dead) != 6 || len(store.dead) != 6 {
			t.Errorf("%d dead letters in the stream and %d in the ledger, want 6", len(dead), len(store.dead))
		}
		for _, d := range dead {
			if d.Reason == "" || d.Time.IsZero() || d.Deposit.Mailbox == "" && d.Envelope == "" && !strings.Contains(d.Reason, "no envelope") {
				t.Errorf("dead letter %+v", d)
			}
		}
		noBodies(t, bus)
	})
}

func publishRaw(t *testing.T, bus *Bus, h nats.Header, data string) {
	t.Helper()
	if _, err := bus.js.PublishMsg(t.Context(), &nats.Msg{Subject: bus.mailSubject("s0", "a"), Header: h, Data: []byte(data)}); err != nil {
		t.Fatal(err)
	}
}

func TestBodyThatLosesAChunkIsRefused(t *testing.T) {
	bus, store := (&bench{opts: embedded(t), timing: quick()}).connect(t), newFakeStore()
	s := openSession(t, bus, "a")
	publish(t, s, 1, randomBody(2<<20))
	publish(t, s, 2, []byte("good"))
	if err := bus.chunks.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	runArchiver(t, bus, store)
	got := map[int]Receipt{}
	for got[1].Refused == "" || got[2].ID == "" || got[2].Err != "" {
		r := next(t, s.Receipts())
		got[r.Number] = r
	}
	if got[2].Refused != "" || store.stored() != 1 {
		t.Errorf("receipts %+v", got)
	}
	noBodies(t, bus)
}

// A store that fails for all is not the fault of a message, however often it is delivered; one that fails
// while others pass is.
func TestMessageThatFailsWhileOthersPassBecomesADeadLetter(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus, store := b.connect(t), newFakeStore()
		bad := randomBody(2 << 20)
		sum := sha256.Sum256(bad)
		var down atomic.Bool
		down.Store(true)
		failed := 0
		store.refuse = func(id string) error {
			switch {
			case down.Load():
				if failed++; failed == 4*maxFailures {
					down.Store(false)
				}
				return errors.New("no space left on device")
			case id == hex.EncodeToString(sum[:]):
				return errors.New("always")
			}
			return nil
		}
		s := openSession(t, bus, "a")
		publish(t, s, 1, bad)
		runArchiver(t, bus, store)
		eventually(t, "the archive works again", func() bool { return !down.Load() })
		if n := store.deadLetters(); n != 0 {
			t.Errorf("%d dead letters while the archive took nothing", n)
		}
		for number := 2; store.deadLetters() == 0; number++ {
			publish(t, s, number, []byte(fmt.Sprint("good ", number)))
			for r := next(t, s.Receipts()); r.Number != number && r.Refused == ""; r = next(t, s.Receipts()) {
				if r.Number == 1 && r.Err == "" {
					t.Fatalf("receipt %+v", r)
				}
			}
		}
		eventually(t, "MAIL is empty", func() bool { return stream(t, bus, "MAIL_s0").Messages == 0 })
		if store.dead[0].ID != hex.EncodeToString(sum[:]) || !strings.Contains(store.dead[0].Reason, "while others were archived") || store.deadLetters() != 1 {
			t.Errorf("dead letters %+v", store.dead)
		}
		noBodies(t, bus)
	})
}

func TestSweepRemovesOnlyWhatNobodyRefersTo(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.timing.orphanAge = 300 * time.Millisecond
		bus := b.connect(t)
		if err := bus.putBody(t.Context(), "orphan", bytes.NewReader(randomBody(300<<10))); err != nil {
			t.Fatal(err)
		}
		if _, err := bus.js.Publish(t.Context(), bus.chunkSubject("unfinished"), []byte("half")); err != nil {
			t.Fatal(err)
		}
		objects := func() int {
			list, _ := bus.bodies.List(t.Context())
			return len(list)
		}
		if err := bus.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if objects() != 1 {
			t.Fatal("a body that was just written is gone")
		}
		bus.wait(t.Context(), 2*b.timing.orphanAge)
		s := openSession(t, bus, "a")
		publish(t, s, 1, randomBody(2<<20))
		eventually(t, "published", func() bool { return stream(t, bus, "MAIL_s0").Messages == 1 })
		if err := bus.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if objects() != 1 {
			t.Errorf("%d objects after the sweep, want the one that is pending", objects())
		}
		// The pending one survives however long it waits.
		bus.wait(t.Context(), 2*b.timing.orphanAge)
		if err := bus.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		store := newFakeStore()
		runArchiver(t, bus, store)
		if r := next(t, s.Receipts()); r.Refused != "" || r.Err != "" {
			t.Errorf("receipt %+v", r)
		}
		eventually(t, "MAIL is empty", func() bool { return stream(t, bus, "MAIL_s0").Messages == 0 })
		noBodies(t, bus)
	})
}

func TestEmbeddedServerRemovesUnfinishedBodiesAtStart(t *testing.T) {
	b := &bench{opts: embedded(t), timing: quick()}
	bus, err := connect(t.Context(), b.opts, b.timing)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bus.js.Publish(t.Context(), bus.chunkSubject("unfinished"), []byte("half")); err != nil {
		t.Fatal(err)
	}
	if err := bus.Close(); err != nil {
		t.Fatal(err)
	}
	noBodies(t, b.connect(t))
}

func TestArchivingWakesIndexers(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus := b.connect(t)
		early, err := bus.Archived(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		runArchiver(t, bus, newFakeStore())
		s := openSession(t, bus, "a")
		for i := range 3 {
			publish(t, s, i+1, []byte("x"))
			next(t, s.Receipts())
			next(t, early)
		}
		late, err := bus.Archived(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		next(t, late)
	})
}

func TestArchiveServicesAnswer(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		bus, store := b.connect(t), newFakeStore()
		b.timing.serviceStart = time.Minute
		answers := make(chan error, 1)
		go func() { // asked before there is a worker
			_, _, err := bus.Known(t.Context(), "a", []Listing{{UIDL: "u", Size: 1}})
			answers <- err
		}()
		runArchiver(t, bus, store)
		if err := next(t, answers); err != nil {
			t.Fatal(err)
		}

		listed := make([]Listing, 20_000)
		for i := range listed {
			listed[i] = Listing{UIDL: strings.Repeat("u", 60) + fmt.Sprint(i), Size: int64(i)}
		}
		listed[7].UIDL = "new"
		got, _, err := bus.Known(t.Context(), "a", listed)
		if err != nil || len(got) != len(listed)-1 || got[7].Listing != listed[8] {
			t.Fatalf("%d holdings, %v", len(got), err)
		}

		s := openSession(t, bus, "a")
		sent := publish(t, s, 1, []byte("x"))
		next(t, s.Receipts())
		ids := make([]string, 40)
		for i := range ids {
			ids[i] = sent.ID
		}
		ids[33] = sum(nil)
		if damaged, err := bus.Damaged(t.Context(), ids); err != nil || len(damaged) != 1 || damaged[0] != ids[33] {
			t.Fatalf("damaged %v, %v", damaged, err)
		}

		if err := bus.RecordPoll(t.Context(), PollReport{Mailbox: "a", Listed: 3}); err != nil || len(store.reports) != 1 {
			t.Fatalf("%d reports, %v", len(store.reports), err)
		}
		if _, _, err := bus.Known(t.Context(), "broken", listed[:1]); err == nil || !strings.Contains(err.Error(), "catalog is closed") {
			t.Fatalf("error is %v", err)
		}
	})
}

func TestLongUIDLsAreAskedInSmallerParts(t *testing.T) {
	bus := (&bench{opts: embedded(t), timing: quick()}).connect(t)
	runArchiver(t, bus, newFakeStore())
	listed := make([]Listing, 250)
	for i := range listed {
		listed[i] = Listing{UIDL: strings.Repeat("\x01", 1000) + fmt.Sprint(i), Size: int64(i)}
	}
	got, _, err := bus.Known(t.Context(), "a", listed)
	if err != nil || len(got) != len(listed) {
		t.Fatalf("%d holdings, %v", len(got), err)
	}
}

func TestQuestionWithoutArchiveWorkerIsAnError(t *testing.T) {
	b := &bench{opts: embedded(t), timing: quick()}
	b.timing.serviceStart = 10 * time.Millisecond
	bus := b.connect(t)
	if _, _, err := bus.Known(t.Context(), "a", []Listing{{}}); err == nil || !strings.Contains(err.Error(), "no archive worker") {
		t.Fatalf("error is %v", err)
	}
}

func TestManyLargeBodiesAreNotOneCommit(t *testing.T) {
	bus, store := (&bench{opts: embedded(t), timing: quick()}).connect(t), newFakeStore()
	s := openSession(t, bus, "a")
	for i := range 4 {
		publish(t, s, i+1, randomBody(batchBytes/2+1))
	}
	stop := runArchiver(t, bus, store)
	for range 4 {
		next(t, s.Receipts())
	}
	stop()
	for _, n := range store.batches {
		if n != 1 {
			t.Errorf("batches of %v messages", store.batches)
		}
	}
}

// gated lets nothing be stored before it is opened, and refuses the first batch then.
type gated struct {
	*fakeStore
	entered chan struct{}
	open    chan struct{}
	refused atomic.Bool
}

func (g *gated) Put(ctx context.Context, batch []archive.Delivery) ([]archive.Receipt, error) {
	g.entered <- struct{}{}
	<-g.open
	if g.refused.CompareAndSwap(false, true) {
		return nil, errors.New("no space left on device")
	}
	return g.fakeStore.Put(ctx, batch)
}

func TestBatchesAreWithTheStoreSideBySideAndFinishedAtTheEnd(t *testing.T) {
	bus := (&bench{opts: embedded(t), timing: quick()}).connect(t)
	store := &gated{fakeStore: newFakeStore(), entered: make(chan struct{}), open: make(chan struct{})}
	s := openSession(t, bus, "a")
	stop := runArchiver(t, bus, store)
	for i := range batchesAtOnce {
		publish(t, s, i+1, []byte(fmt.Sprint("message ", i)))
		<-store.entered // while those before are still there
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	close(store.open)
	var failed, archived int
	for range batchesAtOnce {
		if r := next(t, s.Receipts()); r.Err == "" {
			archived++
		} else {
			failed++
		}
	}
	<-stopped
	if failed != 1 || archived != batchesAtOnce-1 || store.stored() != archived {
		t.Errorf("%d failed, %d archived, %d are stored", failed, archived, store.stored())
	}
}

func TestServerThatLosesItsStreamsIsSetUpAgain(t *testing.T) {
	first := startExternal(t)
	b := &bench{opts: Options{URL: first.ClientURL(), Identity: testIdentity, MaxStoreBytes: 1 << 30, Logger: testLog(t)}, timing: quick()}
	bus, store := b.connect(t), newFakeStore()
	runArchiver(t, bus, store)
	s := openSession(t, bus, "a")
	publish(t, s, 1, []byte("before"))
	next(t, s.Receipts())

	port := first.Addr().(*net.TCPAddr).Port
	first.Shutdown()
	first.WaitForShutdown()
	publish(t, s, 2, []byte("while it is away"))
	startServerAt(t, port)
	publish(t, s, 3, []byte("after"))
	got := map[int]bool{}
	for !got[2] || !got[3] {
		r := next(t, s.Receipts())
		if r.Refused != "" || r.Err != "" {
			t.Fatalf("receipt %+v", r)
		}
		got[r.Number] = true
	}
}

func TestCloseEndsEverythingThatIsOpen(t *testing.T) {
	for _, name := range []string{"server is there", "server is gone", "connection is gone"} {
		t.Run(name, func(t *testing.T) {
			srv := startExternal(t)
			bus, err := connect(t.Context(), Options{URL: srv.ClientURL(), Identity: testIdentity, MaxStoreBytes: 1 << 30, Logger: testLog(t)}, quick())
			if err != nil {
				t.Fatal(err)
			}
			archived, err := bus.Archived(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			reports, err := bus.Reports(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			lease, err := bus.Lease(t.Context(), "a", "one")
			if err != nil {
				t.Fatal(err)
			}
			s, err := bus.OpenSession(t.Context(), SessionOptions{ID: "x", Mailbox: "a"})
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() { _ = bus.ServePolls(t.Context(), 2, func(context.Context, PollRequest) error { return nil }) })
			wg.Go(func() { _ = NewArchiver(bus, newFakeStore(), ArchiverOptions{}).Run(t.Context()) })
			publish(t, s, 1, []byte("x"))
			next(t, s.Receipts())
			switch name {
			case "server is gone":
				srv.Shutdown()
				srv.WaitForShutdown()
			case "connection is gone":
				bus.nc.Close()
			}
			if err := bus.Close(); err != nil {
				t.Error(err)
			}
			wg.Wait()
			for range reports {
			}
			for range archived {
			}
			for range s.Receipts() {
			}
			<-lease.Lost()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := lease.Release(); err != nil {
				t.Error(err)
			}
		})
	}
}

func BenchmarkPublishToReceipt(b *testing.B) {
	bus, err := Connect(b.Context(), Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = bus.Close() }()
	store := newFakeStore()
	stop := runArchiver(b, bus, store)
	defer stop()
	s, err := bus.OpenSession(b.Context(), SessionOptions{ID: "bench", Mailbox: "a"})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	body := randomBody(8 << 10)
	b.SetBytes(int64(len(body)))
	done := make(chan struct{})
	b.ResetTimer()
	go func() {
		defer close(done)
		for range b.N {
			<-s.Receipts()
		}
	}()
	for i := range b.N {
		if _, err := s.Publish(b.Context(), mail(i+1), bytes.NewReader(body)); err != nil {
			b.Fatal(err)
		}
	}
	<-done
}
