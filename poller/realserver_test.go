package poller

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/internal/dovecot"
	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/poller/pop3"
)

func trust(s *dovecot.Server) *tls.Config {
	return &tls.Config{RootCAs: s.CAPool, MinVersion: tls.VersionTLS12}
}

// way is one way to talk to a server.
type way struct {
	tls       pop3.TLSMode
	mechanism pop3.Mechanism
	window    int // of pipelining
}

func (w way) String() string {
	name := w.tls.String() + "-" + strings.ToLower(string(w.mechanism)) // as Dovecot has user names
	if w.window == 1 {
		return name + "-one-by-one"
	}
	return name + "-pipelined"
}

// ways are all combinations.
func ways() map[string]way {
	out := map[string]way{}
	for _, mode := range []pop3.TLSMode{pop3.TLSNone, pop3.TLSStart, pop3.TLSImplicit} {
		for _, mechanism := range []pop3.Mechanism{pop3.MechanismPlain, pop3.MechanismUser} {
			for _, window := range []int{1, pop3.DefaultPipelineWindow} {
				w := way{mode, mechanism, window}
				out[w.String()] = w
			}
		}
	}
	return out
}

func (w way) mailbox(t *testing.T, s *dovecot.Server) Mailbox {
	t.Helper()
	addr := s.Addr
	if w.tls == pop3.TLSImplicit {
		addr = s.TLSAddr
	}
	host, port := split(t, addr)
	return Mailbox{
		Name: w.String(), Schedule: "0 0 1 1 *", Username: w.String(),
		Server:   pop3.Options{Host: host, Port: port, TLS: w.tls, TLSConfig: trust(s), Mechanism: w.mechanism, PipelineWindow: w.window},
		Password: func(context.Context) (string, error) { return secret, nil },
	}
}

// oddBytes are bytes that mail should not contain and does. Both storages hold
// them; Dovecot turns NUL into 0x80 and a bare LF into CRLF when it serves them, so what is
// compared is what comes over the wire.
var oddBytes = []string{
	"",
	"\r\n",
	"no header and no end of line",
	"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.\n.\r\nFrom the middle\r\n",
	"Subject: no body\r\n",
	"Subject: bare CR\r\n\r\none\rtwo\r\rthree\r\n",
	"Subject: bare LF\n\n.\n..\nend",
	"Subject: NUL\r\n\r\na\x00b\x00\r\n",
	"Subject: 8-bit \xff\xfe\r\n\r\n\x80\x81\x82\xff\r\n",
	"Subject: ends in a dot\r\n\r\n.",
	"Subject: CRs at the end\r\n\r\nend\r\r\n\r",
}

// TestEveryWayToADovecotKeepsEveryByte polls maildrops of generated and odd
// messages over each combination of encryption, login, pipelining and storage.
func TestEveryWayToADovecotKeepsEveryByte(t *testing.T) {
	const generated = 50 // of the 61 messages of each mailbox
	for _, storage := range []dovecot.Storage{dovecot.Maildir, dovecot.Mbox} {
		t.Run(string(storage), func(t *testing.T) {
			t.Parallel()
			all := ways()
			names := make([]string, 0, len(all))
			for name := range all {
				names = append(names, name)
			}
			r := newRealRig(t, storage, names, func(s *dovecot.Server) []Mailbox {
				var boxes []Mailbox
				for _, name := range names {
					boxes = append(boxes, all[name].mailbox(t, s))
				}
				return boxes
			})
			onWire := map[string]map[string]string{}
			for i, name := range names {
				mail, err := mailgen.New(mailgen.Options{Seed: uint64(i)})
				if err != nil {
					t.Fatal(err)
				}
				for n := range generated {
					r.deliver(t, name, mail.Message(n))
				}
				for _, msg := range oddBytes {
					r.deliver(t, name, []byte(msg))
				}
				if onWire[name] = r.onServer(t, name); len(onWire[name]) != generated+len(oddBytes) {
					t.Fatalf("Dovecot has %d messages, want %d", len(onWire[name]), generated+len(oddBytes))
				}
			}
			reports := r.poll(t, 2*time.Minute)
			archived := r.deposits(t)
			for _, name := range names {
				n := len(onWire[name])
				if p := reports[name]; p.Error != "" || p.Listed != n || p.Archived != n || p.Deleted != n {
					t.Errorf("%s: %s (%v %v %s), want all %d archived and deleted", name, numbers(p), p.Reasons, p.KeptWhy, p.Error, n)
				}
				if got := archived[name]; !maps.Equal(got, onWire[name]) {
					t.Errorf("%s: the archive has %d messages that are not the %d on the wire", name, len(got), n)
				}
				if left := r.onServer(t, name); len(left) != 0 {
					t.Errorf("%s: %d messages are left", name, len(left))
				}
			}
		})
	}
}

func (r *realRig) deliver(t *testing.T, user string, msg []byte) {
	t.Helper()
	if err := r.server.Deliver(user, msg); err != nil {
		t.Fatal(err)
	}
}

// TestTwentyThousandMessagesInOneMaildrop empties a large maildrop that the
// server has never listed before, in one session.
func TestTwentyThousandMessagesInOneMaildrop(t *testing.T) {
	dovecot.Require(t)
	if raceDetector() {
		// SQLite in Go is some thirty times slower with it, which would be minutes.
		cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "^"+t.Name()+"$", ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if t.Logf("without the race detector:\n%s", out); err != nil {
			t.Error(err)
		}
		return
	}
	const (
		messages = 20_000
		// maxHeap is far below what holding the listing with all bodies, or all
		// receipts with their deposits, would take along with the streams.
		maxHeap = 192 << 20
	)
	r := newRealRig(t, dovecot.Maildir, []string{user}, func(s *dovecot.Server) []Mailbox {
		host, port := split(t, s.Addr)
		return []Mailbox{{
			Name: user, Schedule: "0 0 1 1 *", Username: user,
			Server:   pop3.Options{Host: host, Port: port, TLS: pop3.TLSNone},
			Password: func(context.Context) (string, error) { return secret, nil },
		}}
	})
	want := map[string]bool{}
	start := time.Now()
	for n := range messages {
		msg := mail(n)
		sum := sha256.Sum256([]byte(msg))
		want[hex.EncodeToString(sum[:])] = true
		r.deliver(t, user, []byte(msg))
	}
	delivered := time.Since(start)
	peak := heapPeak(t)
	report := r.poll(t, 5*time.Minute)[user]
	heap := peak()
	t.Logf("delivered in %.1f s; polled in %.1f s, %.0f messages/s; heap at most %d MiB",
		delivered.Seconds(), report.Seconds, messages/report.Seconds, heap>>20)
	if got, all := numbers(report), fmt.Sprintf("listed %d archived %[1]d known 0 left 0 deleted %[1]d kept 0", messages); got != all || report.Error != "" {
		t.Errorf("report: %s %s; want %s", got, report.Error, all)
	}
	if heap > maxHeap {
		t.Errorf("heap was %d MiB, want at most %d", heap>>20, maxHeap>>20)
	}
	got := map[string]bool{}
	for _, id := range r.deposits(t)[user] {
		got[id] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("the archive has %d messages that are not the %d delivered", len(got), messages)
	}
	if n, err := r.server.Count(t.Context(), user); err != nil || n != 0 {
		t.Errorf("%d messages are left on the server (%v)", n, err)
	}
}

// raceDetector reports whether this program was built with it.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// heapPeak watches the memory of live and not yet collected objects until the
// returned function is called, which gives the maximum in bytes.
func heapPeak(t *testing.T) func() uint64 {
	t.Helper()
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		const every = 50 * time.Millisecond
		tick := time.NewTicker(every)
		defer tick.Stop()
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		var most uint64
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-tick.C:
			case <-done:
				peak <- most
				return
			}
		}
	}()
	return func() uint64 { close(done); return <-peak }
}
