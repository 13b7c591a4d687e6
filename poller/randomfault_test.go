package poller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/dovecot"
	"github.com/postkeep/postkeep/internal/faultproxy"
	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

const (
	// faultSessions is the number of sessions of all mailboxes in a usual test
	// run, tortureSessions with POSTKEEP_TORTURE in the environment.
	faultSessions    = 51
	tortureSessions  = 600
	deliveredAtOnce  = 12      // messages at most, before each session
	largeEvery       = 40      // messages: one that does not fit into a NATS message
	largeBytes       = 1500000 // octets
	faultTimeout     = time.Second
	sessionMustEnd   = time.Minute
	bytesPerResponse = 12 // of a status line or a line of a listing
	bytesPerCommand  = 10
)

// realRig is the whole way of a message as in rig, from Dovecot.
type realRig struct {
	t      *testing.T
	server *dovecot.Server
	store  *archive.Store
	bus    *pipeline.Bus
	poller *Poller
}

// newRealRig starts a Dovecot with users of the mailboxes' names, and everything
// behind it. boxes gets the server before the poller starts.
func newRealRig(t *testing.T, storage dovecot.Storage, users []string, boxes func(*dovecot.Server) []Mailbox) *realRig {
	t.Helper()
	dovecot.Require(t)
	r := &realRig{t: t}
	passwords := map[string]string{}
	for _, u := range users {
		passwords[u] = secret
	}
	var err error
	if r.server, err = dovecot.Start(t.Context(), dovecot.Options{Users: passwords, Storage: storage}); err != nil {
		t.Fatal(err)
	}
	r.cleanup(r.server.Stop)
	r.behind(boxes(r.server))
	return r
}

// behind starts everything behind a server.
func (r *realRig) behind(boxes []Mailbox) {
	t := r.t
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	err := archive.Create(t.Context(), dir, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.store, err = archive.Open(t.Context(), dir, archive.Options{}); err != nil {
		t.Fatal(err)
	}
	r.cleanup(r.store.Close)
	if r.bus, err = pipeline.Connect(t.Context(), pipeline.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	r.cleanup(r.bus.Close)
	if r.poller, err = New(r.bus, boxes, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, run := range []func(context.Context) error{
		pipeline.NewArchiver(r.bus, r.store, pipeline.ArchiverOptions{}).Run, r.poller.Work,
	} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx) }()
		r.cleanup(func() error { cancel(); return <-done })
	}
}

func (r *realRig) cleanup(f func() error) {
	r.t.Cleanup(func() {
		if err := f(); err != nil {
			r.t.Error(err)
		}
	})
}

// poll polls mailboxes and returns their reports, which must add up.
func (r *realRig) poll(t *testing.T, within time.Duration, names ...string) map[string]pipeline.PollReport {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	reports, err := r.poller.PollNow(ctx, names, Events{})
	if err != nil {
		t.Fatalf("no report within %s: %v", within, err)
	}
	out := map[string]pipeline.PollReport{}
	for _, p := range reports {
		if out[p.Mailbox] = p; !p.Consistent() || p.Inconsistent {
			t.Errorf("report does not add up: %+v", p)
		}
	}
	return out
}

// onServer is what a user's maildrop holds: SHA-256 by UIDL.
func (r *realRig) onServer(t *testing.T, user string) map[string]string {
	t.Helper()
	raw, err := dovecot.RawRetrieve(t.Context(), r.server.Addr, user, secret)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string, len(raw))
	for _, m := range raw {
		out[m.UIDL] = m.SHA256
	}
	if len(out) != len(raw) {
		t.Fatalf("Dovecot gave %d messages %d unique-ids", len(raw), len(out))
	}
	return out
}

// deposits is what the archive holds: SHA-256 by UIDL by mailbox. It reads
// every message back.
func (r *realRig) deposits(t *testing.T) map[string]map[string]string {
	t.Helper()
	out, seen := map[string]map[string]string{}, map[string]bool{}
	for after := int64(-1); ; {
		items, err := r.store.Since(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) == 0 {
			return out
		}
		for _, it := range items {
			after = it.Index
			if seen[it.ID] { // it has several deposits
				continue
			}
			seen[it.ID] = true
			if got := r.archivedHash(t, it.ID); got != it.ID {
				t.Errorf("message %s came back with SHA-256 %s", it.ID, got)
			}
			for _, d := range r.depositsOf(t, it.ID) {
				box := out[d.Mailbox]
				if box == nil {
					box = map[string]string{}
					out[d.Mailbox] = box
				}
				if other, twice := box[d.UIDL]; twice {
					t.Errorf("%s: UIDL %s is deposited as %s and %s", d.Mailbox, d.UIDL, other, it.ID)
				}
				box[d.UIDL] = it.ID
			}
		}
	}
}

func (r *realRig) archivedHash(t *testing.T, id string) string {
	t.Helper()
	body, err := r.store.OpenMessage(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, body); errors.Join(err, body.Close()) != nil {
		t.Error(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func (r *realRig) depositsOf(t *testing.T, id string) []archive.Deposit {
	t.Helper()
	m, err := r.store.Message(t.Context(), id)
	if err != nil {
		t.Error(err)
	}
	return m.Deposits
}

// troubled is a mailbox that is reached through a proxy.
type troubled struct {
	*realRig
	t       *testing.T // of the mailbox
	name    string
	proxy   *faultproxy.Proxy
	rng     *rand.Rand
	given   map[string]string // all that was ever on the server: SHA-256 by UIDL
	present map[string]string // what is there now
	next    int               // message to deliver
	octets  int64             // on the server, about
	mail    *mailgen.Generator
	faults  map[string]int
}

// TestRandomFaultsLoseNothing polls a real server through a proxy that cuts,
// resets, stalls and slows connections down at random points, while mail goes on
// arriving. After every session, what has gone from the server must be in the
// archive. POSTKEEP_SEED repeats a run.
func TestRandomFaultsLoseNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("POSTKEEP_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	sessions := faultSessions
	if os.Getenv("POSTKEEP_TORTURE") != "" {
		sessions = tortureSessions
	}
	t.Logf("%d sessions, POSTKEEP_SEED=%d", sessions, seed)

	// TLS hides from the proxy when QUIT passes; its records are hit anywhere.
	names := []string{"pipelined", "one-by-one", "starttls"}
	proxies := map[string]*faultproxy.Proxy{}
	r := newRealRig(t, dovecot.Maildir, names, func(s *dovecot.Server) []Mailbox {
		var boxes []Mailbox
		for _, name := range names {
			p, err := faultproxy.Start(s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Close() })
			proxies[name] = p
			boxes = append(boxes, throughProxy(t, s, p, name))
		}
		return boxes
	})
	boxes := make([]*troubled, len(names))
	for i, name := range names {
		boxes[i] = newTroubled(t, r, name, proxies[name], seed, uint64(i))
	}
	t.Run("mailboxes", func(t *testing.T) {
		for _, x := range boxes {
			t.Run(x.name, func(t *testing.T) {
				t.Parallel()
				x.t = t
				x.visit(sessions / len(names))
			})
		}
	})
	faults, archived := map[string]int{}, r.deposits(t)
	for _, x := range boxes {
		if got := archived[x.name]; !maps.Equal(got, x.given) {
			t.Errorf("%s: the archive has %d deposits, which are not the %d messages that were delivered", x.name, len(got), len(x.given))
		}
		for what, n := range x.faults {
			faults[what] += n
		}
	}
	t.Logf("sessions by fault: %v", faults)
}

func throughProxy(t *testing.T, s *dovecot.Server, p *faultproxy.Proxy, name string) Mailbox {
	t.Helper()
	host, port := split(t, p.Addr())
	m := Mailbox{
		Name: name, Schedule: "0 0 1 1 *", Username: name, ReceiptWait: sessionMustEnd / 4,
		Server: pop3.Options{
			Host: host, Port: port, TLS: pop3.TLSNone,
			ConnectTimeout: 2 * faultTimeout, CommandTimeout: faultTimeout,
		},
		Password: func(context.Context) (string, error) { return secret, nil },
	}
	switch name {
	case "one-by-one":
		m.Server.PipelineWindow = 1
	case "starttls":
		m.Server.TLS, m.Server.TLSConfig = pop3.TLSStart, trust(s)
	}
	return m
}

func split(t *testing.T, addr string) (host string, port int) {
	t.Helper()
	host, p, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

func newTroubled(t *testing.T, r *realRig, name string, p *faultproxy.Proxy, seed, stream uint64) *troubled {
	t.Helper()
	mail, err := mailgen.New(mailgen.Options{Seed: seed + stream})
	if err != nil {
		t.Fatal(err)
	}
	return &troubled{
		realRig: r, name: name, proxy: p, rng: rand.New(rand.NewPCG(seed, stream)), mail: mail,
		given: map[string]string{}, present: map[string]string{}, faults: map[string]int{},
	}
}

// visit polls through faults and finally without.
func (x *troubled) visit(sessions int) {
	for n := range sessions {
		x.deliver(1 + x.rng.IntN(deliveredAtOnce))
		plan := x.plan()
		x.proxy.SetPlan(plan)
		report := x.poll(x.t, sessionMustEnd, x.name)[x.name]
		x.inspect(n, plan, report)
		if x.t.Failed() {
			x.t.Fatalf("session %d (%s): %+v", n, plan, report)
		}
	}
	x.proxy.SetPlan(faultproxy.Plan{})
	report := x.poll(x.t, sessionMustEnd, x.name)[x.name]
	if n := len(x.present); report.Error != "" || report.Listed != n || report.Deleted != n || report.Left+report.Kept != 0 {
		x.t.Errorf("poll without faults: %+v, want all %d messages deleted", report, n)
	}
	if left := x.onServer(x.t, x.name); len(left) != 0 {
		x.t.Errorf("%d messages are left on the server", len(left))
	}
}

func (x *troubled) deliver(n int) {
	x.t.Helper()
	for range n {
		msg := x.mail.Message(x.next)
		if x.next++; x.next%largeEvery == 0 {
			large, err := io.ReadAll(mailgen.Large(largeBytes))
			if err != nil {
				x.t.Fatal(err)
			}
			msg = append(fmt.Appendf(nil, "X-Number: %d\r\n", x.next), large...)
		}
		if err := x.server.Deliver(x.name, msg); err != nil {
			x.t.Fatal(err)
		}
		x.octets += int64(len(msg))
	}
	x.present = x.onServer(x.t, x.name)
	maps.Copy(x.given, x.present)
}

// plan makes the faults of the next session.
func (x *troubled) plan() faultproxy.Plan {
	n := int64(len(x.present))
	const before, listings, perMessage = 20, 2, 2 // login and the like; UIDL and LIST; RETR and DELE
	plan := faultproxy.Random(x.rng, faultproxy.Volume{
		faultproxy.ToServer: bytesPerCommand * (before + perMessage*n),
		faultproxy.ToClient: x.octets + bytesPerResponse*(before+(listings+perMessage)*n),
	}, "QUIT\r\n")
	what := plan.Fault.Kind.String()
	if plan.Fault.Text != "" {
		what += " after QUIT"
	}
	x.faults[what]++
	return plan
}

// inspect compares the server with the archive.
func (x *troubled) inspect(session int, plan faultproxy.Plan, report pipeline.PollReport) {
	x.t.Helper()
	now := x.onServer(x.t, x.name)
	gone := 0
	for uidl, id := range x.present {
		if sum, ok := now[uidl]; ok {
			if sum != id {
				x.t.Errorf("UIDL %s was %s and is %s now", uidl, id, sum)
			}
			continue
		}
		gone++
		if !slices.ContainsFunc(x.depositsOf(x.t, id), func(d archive.Deposit) bool {
			return d.Mailbox == x.name && d.UIDL == uidl
		}) {
			x.t.Errorf("message %s (UIDL %s) is gone from the server and has no deposit", id, uidl)
		}
	}
	if report.Deleted > gone || report.Error == "" && report.Deleted != gone {
		x.t.Errorf("%d messages are gone, the report says %d", gone, report.Deleted)
	}
	if len(now)+gone != len(x.present) {
		x.t.Errorf("the server has %d messages that nobody delivered", len(now)+gone-len(x.present))
	}
	x.t.Logf("session %d (%s): %s, gone %d, %.1f s %s", session, plan, numbers(report), gone, report.Seconds, report.Error)
	if len(now) == 0 {
		x.octets = 0
	}
	x.present = now
}
