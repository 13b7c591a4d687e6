package poller

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/internal/dovecot"
	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/internal/popservers"
	"github.com/postkeep/postkeep/poller/pop3"
)

// otherWays are the ways to servers that offer no PLAIN everywhere; the mechanism
// is the poller's choice.
func otherWays() map[string]way {
	out := map[string]way{}
	for _, mode := range []pop3.TLSMode{pop3.TLSNone, pop3.TLSStart, pop3.TLSImplicit} {
		for _, window := range []int{1, pop3.DefaultPipelineWindow} {
			w := way{tls: mode, window: window}
			out[w.String()] = w
		}
	}
	return out
}

// TestOtherServersAreEmptied polls GNU mailutils and Courier over each
// combination of encryption and pipelining. GNU mailutils puts a timestamp into its
// greeting and refuses APOP to everybody.
func TestOtherServersAreEmptied(t *testing.T) {
	popservers.Require(t)
	for name, tc := range map[string]struct {
		start func(context.Context, popservers.Users) (*popservers.Server, error)
		// changes says that the server adds header fields of its own. Else what
		// comes is what was delivered, with its lines ended by CRLF.
		changes bool
	}{
		"GNU mailutils": {popservers.StartMailutils, true}, "Courier": {popservers.StartCourier, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, users := otherWays(), popservers.Users{}
			for name := range all {
				users[name] = secret
			}
			server, err := tc.start(t.Context(), users)
			if err != nil {
				t.Fatal(err)
			}
			r := &realRig{t: t}
			r.cleanup(server.Stop)
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(server.Log())
				}
			})
			var boxes []Mailbox
			for name, w := range all {
				boxes = append(boxes, w.otherMailbox(t, name, server))
			}
			r.behind(boxes)
			onWire := map[string][]string{}
			for name := range all {
				onWire[name] = deliverMix(t, server, name)
				if tc.changes {
					onWire[name] = stableMaildrop(t, server, name)
				}
			}
			reports, archived := r.poll(t, 2*time.Minute), r.deposits(t)
			for name, want := range onWire {
				if p := reports[name]; p.Error != "" || numbers(p) != allOf("archived", len(want)) {
					t.Errorf("%s: %s (%v %v %s), want all %d archived and deleted", name, numbers(p), p.Reasons, p.KeptWhy, p.Error, len(want))
				}
				if !slices.Equal(slices.Sorted(maps.Values(archived[name])), want) {
					t.Errorf("%s: the archive has %d messages that are not the %d on the wire", name, len(archived[name]), len(want))
				}
				if left := rawMaildrop(t, server, name); len(left) != 0 {
					t.Errorf("%s: %d messages are left", name, len(left))
				}
			}
		})
	}
}

func (w way) otherMailbox(t *testing.T, name string, s *popservers.Server) Mailbox {
	t.Helper()
	addr := s.Addr
	if w.tls == pop3.TLSImplicit {
		addr = s.TLSAddr
	}
	host, port := split(t, addr)
	return Mailbox{
		Name: name, Schedule: "0 0 1 1 *", Username: s.Login(name),
		Server: pop3.Options{
			Host: host, Port: port, TLS: w.tls, PipelineWindow: w.window,
			TLSConfig: &tls.Config{RootCAs: s.CAPool, MinVersion: tls.VersionTLS12},
		},
		Password: func(context.Context) (string, error) { return secret, nil },
	}
}

// deliverMix delivers generated and odd messages, and returns the sorted SHA-256
// of what a server that changes nothing sends.
func deliverMix(t *testing.T, s *popservers.Server, user string) []string {
	t.Helper()
	const generated = 30
	gen, err := mailgen.New(mailgen.Options{Seed: uint64(len(user))})
	if err != nil {
		t.Fatal(err)
	}
	messages := make([][]byte, 0, generated+3)
	for n := range generated {
		messages = append(messages, gen.Message(n))
	}
	for _, msg := range []string{
		"Subject: dots\r\n\r\n.\r\n..\r\n...\r\nFrom the middle\r\n",
		"Subject: 8-bit \xff\xfe\r\n\r\n\x80\x81\x82\xff\r\n",
		"Subject: no end of line\r\n\r\nend",
	} {
		messages = append(messages, []byte(msg))
	}
	hashes := make([]string, 0, len(messages))
	for i, msg := range messages {
		if err := s.Deliver(user, msg); err != nil {
			t.Fatal(fmt.Errorf("message %d: %w", i, err))
		}
		sent := strings.ReplaceAll(strings.ReplaceAll(string(msg), "\r\n", "\n"), "\n", "\r\n")
		if !strings.HasSuffix(sent, "\r\n") {
			sent += "\r\n"
		}
		hashes = append(hashes, fmt.Sprintf("%x", sha256.Sum256([]byte(sent))))
	}
	slices.Sort(hashes)
	return hashes
}

// stableMaildrop is rawMaildrop when it no longer changes: GNU mailutils adds
// header fields to messages at the ends of the first sessions.
func stableMaildrop(t *testing.T, s *popservers.Server, user string) []string {
	t.Helper()
	const sessions = 5
	before := rawMaildrop(t, s, user)
	for range sessions {
		now := rawMaildrop(t, s, user)
		if slices.Equal(before, now) {
			return now
		}
		before = now
	}
	t.Fatalf("%s: the server changes messages from session to session", user)
	return nil
}

// rawMaildrop is what a user's maildrop holds, as another client reads it:
// sorted SHA-256.
func rawMaildrop(t *testing.T, s *popservers.Server, user string) []string {
	t.Helper()
	raw, err := dovecot.RawRetrieve(t.Context(), s.Addr, s.Login(user), secret)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, 0, len(raw))
	for _, m := range raw {
		out = append(out, m.SHA256)
	}
	slices.Sort(out)
	return out
}
