package indexer

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/hold"
)

// fewer checks what an index is built for each time not a hundred times. -rapid.checks overrides it.
func fewer(t *testing.T) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if given {
		return
	}
	was := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", "5"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", was) })
}

func TestAHoldCoversThoseToWhomAMessageWasSentOn(t *testing.T) {
	a := newMemory()
	a.put("resent", "box", "Resent-From: Ann <ann@example.com>\nResent-To: bob@example.com\nResent-Cc: carl@example.com\nResent-Bcc: dan@example.com\nDelivered-To: dan@example.com\n"+
		"Resent-From: eve@example.com\nResent-To: fay@example.com\nFrom: a@x\nTo: b@x\nSubject: s\n\ntext\n")
	a.put("other", "box", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "s", "text"))
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	for _, custodian := range []string{"ann", "bob", "carl", "dan", "eve", "fay"} {
		h := hold.Hold{Custodians: []string{custodian + "@example.com"}}
		for _, q := range []string{h.Terms(), "participant:" + custodian} {
			if got := r.find(q); got != "resent" {
				t.Errorf("%s finds %q", q, got)
			}
		}
	}
	r.want(map[string]string{
		"rcpt:bob@example.com": "resent", "rcpt:carl": "resent", "rcpt:dan@example.com": "resent", "rcpt:fay": "resent", "rcpt:ann": "", "rcpt:eve@example.com": "",
		"to:bob": "", "from:ann": "", // the header's own
	})
}

// TestAHoldCoversEveryDepositWhereverAndWhenever has messages that came to several mailboxes, months apart and into
// generations that are closed long since, and asks holds whose days are those of any deposit.
func TestAHoldCoversEveryDepositWhereverAndWhenever(t *testing.T) {
	const messages, months = 60, 30
	fewer(t)
	mailboxes := []string{"sales", "legal", "board@example.com"}
	begin := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(rt *rapid.T) {
		a := newMemory()
		at := make([][]archive.Arrival, messages)
		dates := make([]time.Time, messages)
		deposit := func(i int, when time.Time) {
			mailbox := rapid.SampledFrom(mailboxes).Draw(rt, "mailbox")
			a.put(fmt.Sprint("m", i), mailbox, mail("a@example.com", "b@example.com", dates[i].Format(time.RFC1123Z), "s", "text"))
			a.deposits[len(a.deposits)-1].Received = when
			at[i] = append(at[i], archive.Arrival{Mailbox: mailbox, Received: when})
		}
		for i := range messages {
			now := begin.AddDate(0, 0, i*months*30/messages)
			dates[i] = begin.AddDate(0, 0, rapid.IntRange(-200, months*30).Draw(rt, "date"))
			deposit(i, now)
			if rapid.Bool().Draw(rt, "another") { // of this one or an older one
				deposit(rapid.IntRange(0, i).Draw(rt, "again"), now.Add(time.Hour))
			}
		}
		r := start(t, t.TempDir(), a, WorkerOptions{RollDocuments: 15, BatchMessages: 20}).catchUp().complete()
		defer r.stop()
		found := 0
		for range 40 {
			custodian := rapid.SampledFrom(mailboxes).Draw(rt, "custodian")
			from := begin.AddDate(0, 0, rapid.IntRange(-30, months*30).Draw(rt, "from"))
			to := from.AddDate(0, 0, rapid.IntRange(0, 60).Draw(rt, "days"))
			h := hold.Hold{Custodians: []string{custodian}, From: from.Format(hold.DayLayout), To: to.Format(hold.DayLayout)}
			in := func(at time.Time) bool { return !at.Before(from) && at.Before(to.AddDate(0, 0, 1)) }
			covers := func(query string, byDate bool) {
				var want, got []string
				for i := range messages {
					theirs := slices.ContainsFunc(at[i], func(d archive.Arrival) bool { return d.Mailbox == custodian })
					then := byDate && in(dates[i]) || slices.ContainsFunc(at[i], func(d archive.Arrival) bool { return in(d.Received) })
					if theirs && then {
						want = append(want, fmt.Sprint("m", i))
					}
				}
				if err := r.Each(t.Context(), query, nil, func(id string) error { got = append(got, name(id)); return nil }); err != nil {
					rt.Fatal(err)
				}
				slices.Sort(want)
				slices.Sort(got)
				if found += len(got); !slices.Equal(got, want) {
					rt.Fatalf("%s covers %v, want %v", query, got, want)
				}
			}
			covers(h.Terms(), true)
			h.From, h.To, h.Query = "", "", fmt.Sprintf("received:%s..%s", from.Format(hold.DayLayout), to.Format(hold.DayLayout))
			covers(h.Terms(), false)
			covers(fmt.Sprintf("mailbox:%q %s", custodian, h.Query), false) // where generations are left out by their time
		}
		if found == 0 {
			rt.Fatal("no hold covers anything: the test proves nothing")
		}
	})
}
