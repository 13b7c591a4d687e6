package pipeline

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// breakStore makes writing to the embedded server's files fail: its directories are gone, and files are in their places.
func breakStore(t *testing.T, dir string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no streams in %s: %v", dir, err)
	}
	for _, msgs := range found {
		if err := errors.Join(os.RemoveAll(msgs), os.WriteFile(msgs, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmbeddedServerThatCannotWriteIsReplaced(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, bus *Bus){
		"files gone": func(t *testing.T, bus *Bus) { breakStore(t, bus.opts.Dir) },
		"JetStream turned off": func(t *testing.T, bus *Bus) {
			if err := bus.server.current().ShutdownJetStream(); err != nil {
				t.Fatal(err)
			}
		},
		"server ended": func(_ *testing.T, bus *Bus) { bus.server.current().Shutdown() },
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{opts: embedded(t), timing: quick()}
			b.timing.watch, b.timing.publish, b.timing.leaseTTL = 200*time.Millisecond, time.Second, 20*time.Second
			bus, store := b.connect(t), newFakeStore()
			runArchiver(t, bus, store)
			wake, err := bus.Archived(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			lease, err := bus.Lease(t.Context(), "a", "one")
			if err != nil {
				t.Fatal(err)
			}
			s := openSession(t, bus, "a")
			publish(t, s, 1, []byte("before"))
			next(t, s.Receipts())
			next(t, wake)
			fail(t, bus)
			// Enough for a new file of the store.
			const last = 25
			for i := 2; i <= last; i++ {
				publish(t, s, i, randomBody(512<<10))
			}
			publish(t, s, last+1, []byte("after"))
			good := map[int]bool{}
			for len(good) < last {
				if r := next(t, s.Receipts()); r.Err == "" && r.Refused == "" {
					good[r.Number] = true
				} else if r.Refused != "" {
					t.Fatalf("receipt %+v", r)
				}
			}
			next(t, wake)
			select {
			case <-lease.Lost():
				t.Error("the lease is lost")
			default:
			}
			if err := lease.Release(); err != nil {
				t.Error(err)
			}
			// Jobs pass, and large bodies.
			ctx, cancel := context.WithCancel(t.Context())
			if queued, err := bus.RequestPoll(t.Context(), PollRequest{Mailbox: "b"}); err != nil || !queued {
				t.Errorf("queued %v, %v", queued, err)
			}
			if err := bus.ServePolls(ctx, 1, func(context.Context, PollRequest) error { cancel(); return nil }); err != nil {
				t.Error(err)
			}
			publish(t, s, last+2, randomBody(2<<20))
			for r := next(t, s.Receipts()); r.Number != last+2 || r.Err != ""; r = next(t, s.Receipts()) {
				if r.Refused != "" {
					t.Fatalf("receipt %+v", r)
				}
			}
			eventually(t, "the status to say so", func() bool {
				st, err := bus.Status(t.Context())
				return err == nil && strings.Contains(strings.Join(st.Problems, "\n"), "was started again")
			})
		})
	}
}

func TestDiagnoseNamesWhatDoesNotAnswer(t *testing.T) {
	srv := startExternal(t)
	b := &bench{opts: Options{URL: srv.ClientURL(), Identity: testIdentity, MaxStoreBytes: 1 << 30, Logger: testLog(t)}, timing: quick()}
	b.timing.publish, b.timing.diagnose = time.Second, time.Second
	bus := b.connect(t)
	want := func(text string) {
		t.Helper()
		if err := bus.Diagnose(t.Context()); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("diagnosis %v, want %q in it", err, text)
		}
	}
	want("no archive worker")
	stop := runArchiver(t, bus, newFakeStore())
	eventually(t, "nothing is wrong", func() bool { return bus.Diagnose(t.Context()) == nil })
	stop()
	if err := bus.js.DeleteStream(t.Context(), bus.mailStream("s0")); err != nil {
		t.Fatal(err)
	}
	want("has lost stream")
	srv.Shutdown()
	srv.WaitForShutdown()
	eventually(t, "the connection to be lost", func() bool { return !bus.nc.IsConnected() })
	want("not connected")
	if st, err := bus.Status(t.Context()); err == nil || !strings.Contains(strings.Join(st.Problems, "\n"), "not connected") {
		t.Errorf("status %+v, %v", st, err)
	}
}
