package pipeline

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// otherIdentity begins unlike testIdentity.
const otherIdentity = "ffeeddccbbaa99887766554433221100"

// TestTwoInstallationsOnOneNATSKeepToThemselves has two archives and two pollers on one server, and gives each its own work.
func TestTwoInstallationsOnOneNATSKeepToThemselves(t *testing.T) {
	url := startExternal(t).ClientURL()
	for name, prefixes := range map[string][2]string{"by identity": {}, "by prefix": {"north", "south"}} {
		t.Run(name, func(t *testing.T) {
			var buses [2]*Bus
			var stores [2]*fakeStore
			for i, id := range []string{testIdentity, otherIdentity} {
				opts := Options{URL: url, Identity: id, Prefix: prefixes[i], MaxStoreBytes: 64 << 20, Logger: testLog(t)}
				buses[i], stores[i] = (&bench{opts: opts, timing: quick()}).connect(t), newFakeStore()
			}
			sessions := [2]*Session{openSession(t, buses[0], "sales"), openSession(t, buses[1], "sales")}
			for n := range 20 {
				publish(t, sessions[0], n+1, []byte{byte(n)})
			}
			runArchiver(t, buses[1], stores[1])
			publish(t, sessions[1], 1, randomBody(2<<20))
			if r := next(t, sessions[1].Receipts()); r.Refused != "" || r.Err != "" {
				t.Fatalf("receipt %+v", r)
			}
			if n := stream(t, buses[0], "MAIL_s0").Messages; n != 20 || stores[1].stored() != 1 {
				t.Errorf("%d of 20 messages wait for their own archive; the other has %d, want its own 1", n, stores[1].stored())
			}
			for i, bus := range buses { // both may have a job for a mailbox of that name, and lease it
				if queued, err := bus.RequestPoll(t.Context(), PollRequest{Mailbox: "sales"}); err != nil || !queued {
					t.Errorf("installation %d: queued %v, %v", i, queued, err)
				}
				lease, err := bus.Lease(t.Context(), "sales", "holder")
				if err != nil {
					t.Fatalf("installation %d: %v", i, err)
				}
				t.Cleanup(func() { _ = lease.Release() })
			}
			if _, _, err := buses[0].Known(t.Context(), "sales", nil); err == nil || !strings.Contains(err.Error(), "no archive worker") {
				t.Errorf("the other installation's archive answered: %v", err)
			}
			runArchiver(t, buses[0], stores[0])
			for range 20 {
				next(t, sessions[0].Receipts())
			}
			if a, b := stores[0].stored(), stores[1].stored(); a != 20 || b != 1 {
				t.Errorf("stored %d and %d", a, b)
			}
		})
	}
}

func TestStreamsOfAnotherInstallationAreAnErrorThatSaysWhatToDo(t *testing.T) {
	url := startExternal(t).ClientURL()
	opts := Options{URL: url, Identity: testIdentity, Prefix: "shared", MaxStoreBytes: 64 << 20, Logger: testLog(t)}
	first := (&bench{opts: opts, timing: quick()}).connect(t)
	publish(t, openSession(t, first, "sales"), 1, []byte("mine"))

	opts.Identity = otherIdentity
	_, err := connect(t.Context(), opts, quick())
	var foreign *ForeignError
	if !errors.As(err, &foreign) || foreign.Owner != testIdentity || !strings.Contains(err.Error(), "nats.prefix") {
		t.Fatalf("error %v", err)
	}
	// What is only half there counts too, and what nobody owns is not taken over.
	if err := first.js.DeleteStream(t.Context(), "shared_POLL"); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t.Context(), opts, quick()); !errors.As(err, &foreign) || foreign.Stream != "shared_MAIL_s0" {
		t.Errorf("error %v", err)
	}
	if _, err := first.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "plain_POLL", Subjects: []string{"plain.poll.*"}}); err != nil {
		t.Fatal(err)
	}
	opts.Prefix = "plain"
	if _, err := connect(t.Context(), opts, quick()); !errors.As(err, &foreign) || foreign.Owner != "" {
		t.Errorf("error %v", err)
	}
}

func TestMessagesOfAnotherInstallationAreNotArchived(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.opts.Identity = testIdentity
		bus, store := b.connect(t), newFakeStore()
		s := openSession(t, bus, "a")
		e := envelope{Version: 1, Identity: otherIdentity, ID: strings.Repeat("0", 64), Size: 4, Number: 1, Reply: s.inbox}
		e.Deposit.Mailbox = "a"
		h, err := e.header("foreign")
		if err != nil {
			t.Fatal(err)
		}
		publishRaw(t, bus, h, "evil")
		publish(t, s, 2, []byte("good"))
		runArchiver(t, bus, store)
		if r := next(t, s.Receipts()); r.Number != 2 || r.Err != "" || r.Refused != "" {
			t.Errorf("receipt %+v", r)
		}
		eventually(t, "the foreign message is left alone", func() bool {
			st := stream(t, bus, "MAIL_s0")
			return st.Messages == 1 && st.Redelivered == 1 // it came again, and was left again
		})
		if n := store.stored(); n != 1 {
			t.Errorf("%d messages stored, want 1", n)
		}
	})
}

// What an earlier version has left in the embedded server is ours; on an external one nobody can tell.
func TestWhatAnEarlierVersionHasLeft(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		external := b.opts.URL != ""
		b.opts.Identity = testIdentity
		bus := b.connect(t)
		e := envelope{Version: 1, ID: sum([]byte("old")), Size: 3, Number: 1}
		e.Deposit.Mailbox, e.Deposit.Received = "a", time.Unix(1, 0)
		h, err := e.header("old")
		if err != nil {
			t.Fatal(err)
		}
		name := "MAIL_s0"
		if external {
			if _, err := bus.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{"mail.s0.*"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := bus.js.Publish(t.Context(), "mail.s0.a", []byte("old")); err != nil {
				t.Fatal(err)
			}
			if found := b.connect(t).strangers(t.Context()); found[name] != 1 || len(found) != 1 {
				t.Errorf("found %v", found)
			}
			return
		}
		publishRaw(t, bus, h, "old")
		store := newFakeStore()
		runArchiver(t, bus, store)
		eventually(t, "archived", func() bool { return store.stored() == 1 })
	})
}
