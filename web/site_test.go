package web_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller"
	"github.com/postkeep/postkeep/web"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/users"
)

// site is the web over a real archive.
type site struct {
	t     *testing.T
	api   *api.Server
	web   *web.Server
	users *users.Store
	store *archive.Store
}

// mail is a message and where it was received.
type mail struct {
	raw      string
	mailbox  string
	received time.Time
}

func (m *mail) id() string {
	sum := sha256.Sum256([]byte(m.raw))
	return hex.EncodeToString(sum[:])
}

// newSite archives and indexes the mail. The people are those of house.
func newSite(t *testing.T, messages ...mail) *site {
	t.Helper()
	return newSiteOf(t, false, messages...)
}

// newSiteOf is newSite with or without dual control.
func newSiteOf(t *testing.T, dual bool, messages ...mail) *site {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s := &site{t: t, users: people(t, t.TempDir())}
	s.check(archive.Create(t.Context(), dir, archive.Options{}))
	var err error
	s.store, err = archive.Open(t.Context(), dir, archive.Options{})
	s.check(err)
	t.Cleanup(func() { _ = s.store.Close() })
	index, err := indexer.Open(t.Context(), indexer.Options{Dir: filepath.Join(dir, "index"), Location: time.UTC})
	s.check(err)
	t.Cleanup(func() { _ = index.Close() })
	bus, err := pipeline.Connect(t.Context(), pipeline.Options{Dir: filepath.Join(dir, "nats")})
	s.check(err)
	t.Cleanup(func() { _ = bus.Close() })
	p, err := poller.New(bus, nil, poller.Options{})
	s.check(err)
	if len(messages) > 0 {
		var batch []archive.Delivery
		for _, m := range messages {
			batch = append(batch, archive.Delivery{
				ID: m.id(), Size: int64(len(m.raw)), Body: strings.NewReader(m.raw),
				Deposit: archive.Deposit{Mailbox: m.mailbox, UIDL: m.id()[:32], Received: m.received},
			})
		}
		_, err = s.store.Put(t.Context(), batch)
		s.check(err)
	}
	s.index(index)
	compliance := archive.NewCompliance(t.Context(), s.store, archive.ComplianceOptions{Search: allMail{index}, Negates: api.Negates, DualControl: dual})
	t.Cleanup(compliance.Close)
	s.api = api.NewServer(api.Options{
		Compliance: compliance, Store: s.store, Index: index, Bus: bus, Poller: p, Users: s.users, Location: time.UTC, DataDir: dir,
		Mailboxes: func() []api.Mailbox { return nil },
		RebuildCatalog: func(ctx context.Context) error {
			return s.store.RebuildCatalog(ctx, func(context.Context, *archive.Store) error { return nil })
		},
	})
	s.web, err = web.New(web.Options{
		API: s.api, Users: s.users, Location: time.UTC, ExportDir: filepath.Join(dir, "exports"),
		Record: func(ctx context.Context, actor, what string, _ map[string]any) error {
			_, err := s.store.Record(ctx, archive.Action{Type: archive.ActionUser, Actor: actor, Details: map[string]string{"what": what}})
			return err
		},
	})
	s.check(err)
	t.Cleanup(s.web.Close)
	return s
}

// allMail searches without a scope, as holds do.
type allMail struct{ *indexer.Index }

func (x allMail) Each(ctx context.Context, query string, fn func(id string) error) error {
	return x.Index.Each(ctx, query, nil, fn)
}

// index runs the index worker, and waits until everything is in the index.
func (s *site) index(index *indexer.Index) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- indexer.NewWorker(index, s.store, nil, indexer.WorkerOptions{Interval: 50 * time.Millisecond}).Run(ctx)
	}()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	last, err := s.store.LastDeposit(s.t.Context())
	s.check(err)
	s.check(index.Wait(s.t.Context(), last))
}

func (s *site) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// browser is one in which the person is logged in, or nobody if name is "".
func (s *site) browser(name string) *browser {
	s.t.Helper()
	b := newBrowser(s.t, s.web, "http://archive.example.com", "192.0.2.1")
	if name != "" {
		if got := b.get(s.web.LogInLink(name, time.Hour)); got.to() != "/" {
			s.t.Fatalf("%s cannot log in: %d", name, got.code)
		}
	}
	return b
}

// hello is a message with an attachment.
func hello() mail {
	return mail{mailbox: "sales", received: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), raw: "From: Maria <maria@example.com>\r\nTo: sales@example.org\r\n" +
		"Date: Sun, 1 Mar 2026 11:59:00 +0000\r\nSubject: the contract\r\nMessage-ID: <hello@example.com>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>see the <b>contract</b></p>\r\n" +
		"--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=plan.txt\r\n\r\nthe plan\r\n--b--\r\n"}
}
