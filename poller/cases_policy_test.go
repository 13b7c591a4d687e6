package poller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// policyCases are 33: two pollers, crashes, and limits of our own.
func policyCases() []pollCase {
	large := "Message-ID: <large@x>\r\n\r\n" + strings.Repeat("large\r\n", 200)
	huge := "Message-ID: <huge@x>\r\n\r\n" + strings.Repeat("huge\r\n", 10000)
	limit := func(m *Mailbox) { m.MaxMessageBytes = 1000 }
	return []pollCase{
		{
			number: "33", name: "two pollers on one mailbox",
			rigOptions: rigOptions{messages: mails(2)},
			polls: []casePoll{
				{before: takeLease, want: nothing, kind: kindLeased, error: "in use by another session"},
				{before: releaseLease, want: allOf("archived", 2)},
			},
			archived: mails(2), onServer: []string{},
		},
		{
			number: "33", name: "crash between publish and receipt",
			rigOptions: rigOptions{messages: mails(2), through: func(s *archive.Store) pipeline.Store { return &forgetful{Store: s} }},
			polls: []casePoll{
				{want: "listed 2 archived 0 known 0 left 2 deleted 0 kept 0", left: "power failure"},
				{want: allOf("known", 2)},
			},
			archived: mails(2), onServer: []string{},
		},
		receiptNeverComes(),
		fullStream(),
		{
			number: "33", name: "receipt for other bytes",
			rigOptions: rigOptions{messages: mails(1), through: func(s *archive.Store) pipeline.Store { return swapping{s} }},
			polls:      []casePoll{{want: "listed 1 archived 0 known 0 left 1 deleted 0 kept 0", left: "receipt is for another message"}},
			onServer:   mails(1), archived: mails(1),
		},
		{
			number: "33", name: "size limit by LIST",
			rigOptions: rigOptions{messages: []string{mail(0), large, mail(1)}, mailbox: limit},
			polls: []casePoll{
				{want: "listed 3 archived 2 known 0 left 1 deleted 2 kept 0", left: "larger than 1000 bytes"},
				{want: "listed 1 archived 0 known 0 left 1 deleted 0 kept 0", left: "larger than 1000 bytes"},
			},
			archived: mails(2), onServer: []string{large},
			check: func(t *testing.T, r *caseRig) {
				if got := fmt.Sprint(r.sent("RETR")); got != "[RETR 1 RETR 3]" {
					t.Errorf("asked for %s", got)
				}
			},
		},
		{
			number: "33", name: "size limit, LIST is too small",
			rigOptions: rigOptions{
				messages: []string{mail(0), large, mail(1)}, mailbox: limit,
				server: times(1, pop3test.Reply("LIST", "", "+OK\r\n1 59\r\n2 59\r\n3 59\r\n.")),
			},
			polls:    []casePoll{{want: "listed 3 archived 2 known 0 left 1 deleted 2 kept 0", left: "larger than 1000 bytes"}},
			archived: mails(2), onServer: []string{large},
		},
		{
			number: "33", name: "size limit, LIST is far too small",
			rigOptions: rigOptions{
				messages: []string{mail(0), huge, mail(1)}, mailbox: limit,
				server: hooked(pop3test.Reply("LIST", "", "+OK\r\n1 59\r\n2 59\r\n3 59\r\n.")),
			},
			polls: []casePoll{
				{want: "listed 3 archived 1 known 0 left 2 deleted 0 kept 1", left: "larger than 1000 bytes", kind: "limit"},
				{want: "listed 3 archived 1 known 1 left 1 deleted 2 kept 0", left: "larger than 1000 bytes"},
			},
			archived: mails(2), onServer: []string{huge},
		},
		{
			number: "33", name: "max_messages",
			rigOptions: rigOptions{messages: mails(5), mailbox: func(m *Mailbox) { m.MaxMessages = 3 }},
			polls: []casePoll{
				{want: "listed 5 archived 3 known 0 left 2 deleted 3 kept 0", left: whyMessages}, {want: allOf("archived", 2)},
			},
			archived: mails(5), onServer: []string{},
		},
		overdueCase(),
	}
}

// overdueCase lets an hour pass at the third message.
func overdueCase() pollCase {
	var rig atomic.Pointer[caseRig]
	return pollCase{
		number: "33", name: "max_duration",
		rigOptions: rigOptions{
			messages: mails(5), mailbox: func(m *Mailbox) { m.MaxDuration = time.Hour },
			server: pop3test.Config{Without: []string{"PIPELINING"}, Hook: pop3test.Times(1, pop3test.On("RETR", "3", func(_ *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
				rig.Load().clock.advance(time.Hour)
				return normal
			}))},
		},
		polls: []casePoll{
			{before: rig.Store, want: "listed 5 archived 3 known 0 left 2 deleted 3 kept 0", left: whyDuration}, {want: allOf("archived", 2)},
		},
		archived: mails(5), onServer: []string{},
	}
}

func takeLease(r *caseRig) {
	lease, err := r.bus.Lease(r.t.Context(), user, "other")
	r.must(err)
	r.lease = lease
	r.t.Cleanup(func() { r.check(lease.Release()) })
}

func releaseLease(r *caseRig) { r.must(r.lease.Release()) }

// forgetful archives a first batch, and then its answer is lost.
type forgetful struct {
	*archive.Store
	told bool
}

func (f *forgetful) Put(ctx context.Context, batch []archive.Delivery) ([]archive.Receipt, error) {
	receipts, err := f.Store.Put(ctx, batch)
	if err == nil && !f.told {
		f.told = true
		return nil, errors.New("power failure")
	}
	return receipts, err
}

func receiptNeverComes() pollCase {
	release := make(chan struct{})
	return pollCase{
		number: "33", name: "receipt never comes",
		rigOptions: rigOptions{
			messages: mails(2), mailbox: func(m *Mailbox) { m.ReceiptWait = 500 * time.Millisecond },
			through: func(s *archive.Store) pipeline.Store { return &slow{Store: s, release: release} },
		},
		polls: []casePoll{{
			before: func(r *caseRig) { r.t.Cleanup(func() { close(release) }) },
			want:   "listed 2 archived 0 known 0 left 2 deleted 0 kept 0", left: whyNoReceipt, kind: "other", error: "no receipt for 2 messages",
		}},
		onServer: mails(2),
	}
}

// fullStream is an archive that stands still until no more messages fit between
// it and the poller.
func fullStream() pollCase {
	release := make(chan struct{})
	var messages []string
	for i := range 60 {
		messages = append(messages, mail(i)+strings.Repeat("0123456789abcdef\r\n", 24<<10))
	}
	return pollCase{
		number: "33", name: "archive stands still, stream is full",
		rigOptions: rigOptions{
			messages: messages, streams: pipeline.MinMaxStoreBytes, mailbox: func(m *Mailbox) { m.ReceiptWait = time.Second },
			through: func(s *archive.Store) pipeline.Store { return &slow{Store: s, release: release} },
		},
		polls: []casePoll{{
			before: func(r *caseRig) { r.t.Cleanup(func() { close(release) }) },
			want:   "listed 60 archived 0 known 0 left 60 deleted 0 kept 0", left: whyEnded, kind: "other", error: errStuck.Error(),
		}},
		onServer: messages,
	}
}

// slow archives nothing before it is released.
type slow struct {
	*archive.Store
	release chan struct{}
}

func (s *slow) Put(ctx context.Context, batch []archive.Delivery) ([]archive.Receipt, error) {
	<-s.release
	return s.Store.Put(ctx, batch)
}

// swapping gives receipts for other messages.
type swapping struct{ *archive.Store }

func (s swapping) Put(ctx context.Context, batch []archive.Delivery) ([]archive.Receipt, error) {
	receipts, err := s.Store.Put(ctx, batch)
	for i := range receipts {
		receipts[i].ID = strings.Repeat("0", len(receipts[i].ID))
	}
	return receipts, err
}
