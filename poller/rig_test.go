package poller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is the whole way of a message: a scripted server, a poller, the embedded
// streams, an archive worker and a store.
type rig struct {
	t      *testing.T
	server *pop3test.Server
	store  *archive.Store
	bus    *pipeline.Bus
	poller *Poller
	clock  *clock

	ready chan struct{} // closed when the rig is built: hooks wait for it
}

// clock is the poller's, which tests can set forward.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

type rigOptions struct {
	hook     func(*rig) pop3test.Hook // makes the server's hook, which sees the rig when it is built
	server   pop3test.Config
	archive  archive.Options
	dir      string // of the archive; a new one if empty
	mailbox  func(*Mailbox)
	through  func(*archive.Store) pipeline.Store // what the archive worker sees; the store itself if nil
	grace    time.Duration
	poller   context.Context // of the poller's work; the test's if nil
	streams  int64           // octets that the streams may hold; the default if 0
	holder   pipeline.Holder // of the archive; nobody else can have it if there is none
	messages []string
	maildrop []pop3test.Message // after messages
}

const (
	user   = "sales"
	secret = "geheim"
	// As long as those of Microsoft 365, which do not fit into a command line.
	token = secret + "-0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" +
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
)

func newRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	var messages []pop3test.Message
	for _, m := range o.messages {
		messages = append(messages, pop3test.Bytes([]byte(m)))
	}
	o.server.Mailboxes = []pop3test.Mailbox{{User: user, Password: secret, Token: token, Messages: append(messages, o.maildrop...)}}
	r := &rig{t: t, clock: &clock{}, ready: make(chan struct{})}
	defer close(r.ready)
	if o.hook != nil {
		hook := o.hook(r)
		o.server.Hook = func(s *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
			<-r.ready
			return hook(s, cmd, normal)
		}
	}
	var err error
	if r.server, err = pop3test.Start(o.server); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.check(r.server.Close()) })
	if o.dir == "" {
		o.dir = filepath.Join(t.TempDir(), "data")
		r.must(archive.Create(t.Context(), o.dir, archive.Options{}))
	}
	if r.store, err = archive.Open(t.Context(), o.dir, o.archive); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() }) // a broken store may say so again
	if r.bus, err = pipeline.Connect(t.Context(), pipeline.Options{Dir: t.TempDir(), MaxStoreBytes: o.streams}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.check(r.bus.Close()) })
	var through pipeline.Store = r.store
	if o.through != nil {
		through = o.through(r.store)
	}
	var archiver pipeline.ArchiverOptions
	if o.holder.Epoch > 0 {
		if archiver.Tenure, err = r.bus.Serve(t.Context(), o.holder); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.check(archiver.Tenure.Release(context.Background())) })
	}
	r.background(context.Background(), pipeline.NewArchiver(r.bus, through, archiver).Run)
	m := Mailbox{
		Name: user, Schedule: "@every 5m", Username: user,
		Server:   pop3.Options{Host: r.server.Host(), Port: r.server.Port(), TLS: pop3.TLSNone},
		Password: func(context.Context) (string, error) { return secret, nil },
	}
	if o.mailbox != nil {
		o.mailbox(&m)
	}
	if r.poller, err = New(r.bus, []Mailbox{m}, Options{Now: r.clock.now, Grace: o.grace}); err != nil {
		t.Fatal(err)
	}
	if o.poller == nil {
		o.poller = context.Background()
	}
	r.background(o.poller, r.poller.Work)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Error(err)
	}
}

// background runs a worker until the test ends.
func (r *rig) background(ctx context.Context, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		r.check(<-done)
	})
}

// poll polls once and returns the report.
func (r *rig) poll() pipeline.PollReport {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	reports, err := r.poller.PollNow(ctx, nil, Events{})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(reports) != 1 || !reports[0].Consistent() {
		r.t.Fatalf("reports %+v, want one that adds up", reports)
	}
	return reports[0]
}

// memory is what the archive keeps for the next poll.
func (r *rig) memory() memory {
	r.t.Helper()
	data, err := r.store.PollMemory(r.t.Context(), user)
	r.must(err)
	var m memory
	if data != nil {
		r.must(json.Unmarshal(data, &m))
	}
	return m
}

// onServer is what the server still has.
func (r *rig) onServer() []string {
	r.t.Helper()
	messages, err := r.server.Messages(user)
	r.must(err)
	var out []string
	for _, m := range messages {
		b, err := m.ReadAll()
		r.must(err)
		out = append(out, string(b))
	}
	return out
}

// archived is what the archive holds for the mailbox, in the order of deposit.
func (r *rig) archived() []string {
	r.t.Helper()
	items, err := r.store.Since(r.t.Context(), -1, 10000)
	r.must(err)
	var out []string
	for _, it := range items {
		body, err := r.store.OpenMessage(r.t.Context(), it.ID)
		r.must(err)
		b, err := io.ReadAll(body)
		r.must(errors.Join(err, body.Close()))
		out = append(out, string(b))
	}
	return out
}

// numbers are the counts of a report in the order of the reconciliation.
func numbers(r pipeline.PollReport) string {
	return fmt.Sprintf("listed %d archived %d known %d left %d deleted %d kept %d", r.Listed, r.Archived, r.Known, r.Left, r.Deleted, r.Kept)
}

func (r *rig) want(report pipeline.PollReport, numbersWant string) {
	r.t.Helper()
	if got := numbers(report); got != numbersWant {
		r.t.Errorf("report: %s; want %s (%v %v %s)", got, numbersWant, report.Reasons, report.KeptWhy, report.Error)
	}
}

func mail(n int) string {
	return fmt.Sprintf("Message-ID: <%d@example.com>\r\nSubject: number %d\r\n\r\nbody %d\r\n", n, n, n)
}

func mails(n int) []string {
	var out []string
	for i := range n {
		out = append(out, mail(i))
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\x00|") != strings.Join(want, "\x00|") {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}
