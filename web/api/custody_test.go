package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/web/access"
)

// fullLedger is a file system on which, once it is full, the ledger takes nothing.
type fullLedger struct {
	disk.FS
	full *atomic.Bool
}

func (f fullLedger) OpenFile(name string, flag int, perm os.FileMode) (disk.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".jsonl") {
		return file, err
	}
	return fullFile{file, f.full}, nil
}

type fullFile struct {
	disk.File
	full *atomic.Bool
}

var errFull = errors.New("no space left on device")

func (f fullFile) Write(p []byte) (int, error) {
	if f.full.Load() {
		return 0, errFull
	}
	return f.File.Write(p)
}

func (f fullFile) WriteAt(p []byte, at int64) (int, error) {
	if f.full.Load() {
		return 0, errFull
	}
	return f.File.WriteAt(p, at)
}

// looks are all ways to see something of a message, or that there is one.
func looks(c *Client, id string) map[string]func(context.Context) (any, error) {
	exported := func(ctx context.Context) (any, error) {
		body, err := c.Export(ctx, export.Request{Format: export.EML})
		if err != nil {
			return nil, err
		}
		seen, err := io.ReadAll(body)
		return string(seen), errors.Join(err, body.Close())
	}
	return map[string]func(context.Context) (any, error){
		"search": func(ctx context.Context) (any, error) {
			return c.Search(ctx, SearchRequest{Query: "contract", Limit: 5})
		},
		"thread": func(ctx context.Context) (any, error) {
			return c.Search(ctx, SearchRequest{Query: "thread:" + id, Limit: 5})
		},
		"count":     func(ctx context.Context) (any, error) { return c.Search(ctx, SearchRequest{Query: "contract"}) },
		"message":   func(ctx context.Context) (any, error) { return c.Message(ctx, id) },
		"structure": func(ctx context.Context) (any, error) { return c.Structure(ctx, id) },
		"custody":   func(ctx context.Context) (any, error) { return c.Custody(ctx, id) },
		"raw": func(ctx context.Context) (any, error) {
			var b bytes.Buffer
			err := c.Raw(ctx, id, &b)
			return b.String(), err
		},
		"part": func(ctx context.Context) (any, error) {
			resp, err := c.Part(ctx, id, "1")
			if err != nil {
				return nil, err
			}
			b, err := io.ReadAll(resp.Body)
			return string(b), joinClose(err, resp.Body)
		},
		"export": exported,
	}
}

func size(t *testing.T, store *archive.Store) int64 {
	t.Helper()
	st, err := store.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.Events
}

func TestNothingIsShownThatTheLedgerCannotTake(t *testing.T) {
	full := &atomic.Bool{}
	s, store := instanceOn(t, archive.Options{FS: fullLedger{disk.OS(), full}}, hello)
	c := client(t, s)
	for name, look := range looks(c, idOf(hello)) {
		before := size(t, store)
		if _, err := look(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		most := before + 1
		if name == "export" {
			most++ // its seal, which may come when the answer was read
		}
		if after := size(t, store); after <= before || after > most {
			t.Errorf("%s: %d events, before %d", name, after, before)
		}
	}
	full.Store(true)
	for name, look := range looks(c, idOf(hello)) {
		shown, err := look(t.Context())
		if err == nil {
			t.Errorf("%s was answered", name)
		}
		if text, _ := json.Marshal(shown); strings.Contains(string(text), "contract") || strings.Contains(string(text), "Maria") {
			t.Errorf("%s shows %s", name, text)
		}
	}
}

// views are the events about looking, as the ledger has them.
func views(t *testing.T, store *archive.Store) (all []string) {
	t.Helper()
	events, _, err := store.Audit(t.Context(), archive.AuditQuery{Types: []string{"view", "search"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		var d struct{ As, Query string }
		if err := json.Unmarshal(e.Details, &d); err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Actor+" "+d.As+d.Query)
	}
	return all
}

func TestOneViewIsOneEventThatNamesWhatWasShown(t *testing.T) {
	const html = "From: a@example.com\r\nContent-Type: text/html\r\n\r\n<p>the contract</p>\r\n"
	s, store := instance(t, hello, html)
	c := InProcess(s)
	anna, otto := local(t.Context(), "anna"), local(t.Context(), "otto")
	d, err := c.Message(anna, idOf(html), WithStructure, WithConversation, WithHTML, WithSource, WithCustody)
	if err != nil {
		t.Fatal(err)
	}
	for name, look := range looks(c.Within(d.View), idOf(html)) {
		if name == "message" || name == "search" || name == "count" || name == "export" {
			continue
		}
		if _, err := look(anna); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := "anna text, structure, conversation, html, source, custody"
	if got := views(t, store); len(got) != 1 || got[0] != want {
		t.Fatalf("%q, want %q", got, want)
	}
	// Whatever is not of this view, by the same person and of the same message, has an event of its own.
	text, err := c.Message(anna, idOf(hello), WithHTML)
	if err != nil {
		t.Fatal(err)
	}
	if got := views(t, store)[0]; got != "anna text" {
		t.Errorf("%q: a message without HTML does not show any", got)
	}
	for name, look := range map[string]func() error{
		"not named":       func() error { return c.Within(text.View).Raw(anna, idOf(hello), io.Discard) },
		"another message": func() error { return c.Within(d.View).Raw(anna, idOf(hello), io.Discard) },
		"another person":  func() error { return c.Within(d.View).Raw(otto, idOf(html), io.Discard) },
		"no event":        func() error { return c.Within(1<<40).Raw(anna, idOf(html), io.Discard) },
		"another event":   func() error { return c.Within(1).Raw(anna, idOf(html), io.Discard) },
		"another search": func() error {
			_, err := c.Within(d.View).Search(anna, SearchRequest{Query: "thread:" + idOf(html) + " OR contract", Limit: 1})
			return err
		},
	} {
		before := len(views(t, store))
		if err := look(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if after := len(views(t, store)); after != before+1 {
			t.Errorf("%s: %d events, before %d", name, after, before)
		}
	}
	if _, err := c.Message(anna, idOf(html), "everything"); status(err) != 400 {
		t.Errorf("unknown part of a view: %v", err)
	}
}

func TestCustodyWithinTheScope(t *testing.T) {
	s, store := instance(t, hello)
	s.opts.Compliance = archive.NewCompliance(t.Context(), store, archive.ComplianceOptions{Search: allMail{s.opts.Index}, Negates: Negates})
	t.Cleanup(s.opts.Compliance.Close)
	c := InProcess(s)
	if _, err := store.Put(t.Context(), []archive.Delivery{{
		ID: idOf(hello), Size: int64(len(hello)), Body: strings.NewReader(hello),
		Deposit: archive.Deposit{Mailbox: "board", UIDL: "1", Received: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)},
	}}); err != nil {
		t.Fatal(err)
	}
	boss := local(t.Context(), "boss")
	if _, err := c.Message(boss, idOf(hello)); err != nil {
		t.Fatal(err)
	}
	for name, role := range map[string]access.Role{"auditor": access.Auditor, "user": access.User} {
		ctx := access.With(t.Context(), &access.Principal{Name: "eve", Roles: []access.Role{role}, Scope: access.Scope{Mailboxes: []string{"sales"}}})
		got, err := c.Custody(ctx, idOf(hello))
		if err != nil || len(got.Deposits) != 1 || got.Deposits[0].Mailbox != "sales" || len(got.Events) != 0 || got.Holds != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		none := access.With(t.Context(), &access.Principal{Name: "eve", Roles: []access.Role{role}, Scope: access.Scope{Mailboxes: []string{"info"}}})
		if _, err := c.Custody(none, idOf(hello)); status(err) != 404 {
			t.Errorf("%s outside the scope: %v", name, err)
		}
		for what, err := range map[string]error{
			"audit":        func() error { _, err := c.Audit(ctx, AuditRequest{}); return err }(),
			"completeness": func() error { _, err := c.Completeness(ctx, nil, "", ""); return err }(),
		} {
			if status(err) != 403 {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
	officer := access.With(t.Context(), &access.Principal{Name: "olga", Roles: []access.Role{access.Officer}, Scope: access.Scope{All: true}})
	got, err := c.Custody(officer, idOf(hello))
	if err != nil || len(got.Deposits) != 2 || len(got.Events) < 2 || got.Events[0].Actor != "boss" {
		t.Errorf("officer: %+v, %v", got, err)
	}
}
