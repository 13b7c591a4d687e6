package archive

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func indexes(events []AuditEvent) (out []int64) {
	for _, e := range events {
		out = append(out, e.Index)
	}
	return out
}

func (d *desk) audit(q AuditQuery) ([]AuditEvent, int64) {
	d.tb.Helper()
	events, next, err := d.s.Audit(d.tb.Context(), q)
	if err != nil {
		d.tb.Fatal(err)
	}
	return events, next
}

func (d *desk) record(kind ActionType, actor string, details any, ids ...string) int64 {
	d.tb.Helper()
	index, err := d.s.Record(d.tb.Context(), Action{Type: kind, Actor: actor, IDs: ids, Details: details})
	if err != nil {
		d.tb.Fatal(err)
	}
	return index
}

func TestAuditFilters(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	defer d.close()
	start := d.s.ledger.Size()
	d.record(ActionSearch, "anna", map[string]string{"query": "from:<maria@example.com> & co"})
	d.now = d.now.Add(time.Hour)
	d.record(ActionView, "anna", map[string]string{"as": "text"}, strings.Repeat("ab", 32))
	d.now = d.now.Add(time.Hour)
	d.record(ActionExport, "root (sudo by \"otto\")", map[string]string{"query": "zürich"})
	for name, c := range map[string]struct {
		q    AuditQuery
		want []int64
	}{
		"all":                      {AuditQuery{}, []int64{2, 1, 0}},
		"since":                    {AuditQuery{Since: received.Add(time.Hour)}, []int64{2, 1}},
		"until":                    {AuditQuery{Until: received.Add(time.Hour)}, []int64{0}},
		"actor":                    {AuditQuery{Actor: "anna"}, []int64{1, 0}},
		"beginning of an actor":    {AuditQuery{Actor: "root"}, []int64{2}},
		"types":                    {AuditQuery{Types: []string{"view", "export"}}, []int64{2, 1}},
		"beginning of an id":       {AuditQuery{Object: "abab"}, []int64{1}},
		"end of an id":             {AuditQuery{Object: "baba"}, nil},
		"word of the details":      {AuditQuery{Object: "zürich"}, []int64{2}},
		"what JSON writes another": {AuditQuery{Object: "<maria@example.com> &"}, []int64{0}},
		"everything at once":       {AuditQuery{Since: received, Actor: "anna", Types: []string{"view"}, Object: "abab"}, []int64{1}},
	} {
		events, next := d.audit(c.q)
		got := indexes(events)
		for i := range got {
			got[i] -= start
		}
		if !slices.Equal(got, c.want) || next != 0 {
			t.Errorf("%s: %v, next %d; want %v", name, got, next, c.want)
		}
	}
}

func TestAuditPagesThroughMoreThanOneWindow(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	defer d.close()
	const total = auditWindow*2 + 300
	for i := range total {
		actor := "anna"
		if i%700 == 0 { // in every window one or two
			actor = "eve"
		}
		d.record(ActionSearch, actor, nil)
	}
	for _, limit := range []int{100, auditWindow, total, 10 * total} {
		var all []int64
		for before := int64(0); ; {
			events, next := d.audit(AuditQuery{Types: []string{"search"}, Limit: limit, Before: before})
			all = append(all, indexes(events)...)
			if before = next; next == 0 {
				break
			}
			if len(events) != limit {
				t.Fatalf("%d events of %d, and more", len(events), limit)
			}
		}
		if len(all) != total || !slices.IsSortedFunc(all, func(a, b int64) int { return int(b - a) }) || slices.Max(all)-slices.Min(all) != total-1 {
			t.Errorf("limit %d: %d events, want all %d, each once, newest first", limit, len(all), total)
		}
	}
	if events, next := d.audit(AuditQuery{Actor: "eve", Limit: 2}); len(events) != 2 || next == 0 {
		t.Errorf("%d events, next %d", len(events), next)
	}
	if events, next := d.audit(AuditQuery{Actor: "eve", Limit: 4}); len(events) != 4 || next != 0 {
		t.Errorf("%d events, next %d, want all and no more", len(events), next)
	}
}

func TestErasedAndDamagedDetailsAreShownAsSuch(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	defer d.close()
	erased := d.record(ActionSearch, "anna", map[string]string{"query": "secret one"})
	damaged := d.record(ActionSearch, "anna", map[string]string{"query": "secret two"})
	if err := d.s.ledger.Erase(t.Context(), []int64{erased}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(d.dir, "ledger", "details.jsonl")
	content, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, bytes.Replace(content, []byte("secret two"), []byte("forged two"), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	events, _ := d.audit(AuditQuery{Types: []string{"search"}})
	if len(events) != 2 || !events[1].Erased || events[1].Details != nil || events[1].Index != erased ||
		!events[0].Damaged || events[0].Details != nil || events[0].Index != damaged {
		t.Errorf("%+v", events)
	}
	if events, _ := d.audit(AuditQuery{Object: "secret"}); len(events) != 0 {
		t.Errorf("found what is erased: %+v", events)
	}
}

// days of a mailbox, as text: day polls/failed listed+archived+left, and what is wrong.
func (d *desk) days(q CompletenessQuery) string {
	d.tb.Helper()
	q.Mailbox = "sales"
	if q.Location == nil {
		q.Location = time.UTC
	}
	if q.To.IsZero() {
		q.To = d.now.AddDate(1, 0, 0)
	}
	days, err := d.s.Completeness(d.tb.Context(), q)
	if err != nil {
		d.tb.Fatal(err)
	}
	var out []string
	for _, c := range days {
		text := c.Day[8:]
		if c.Gap {
			text += " gap"
		}
		if c.Inconsistent > 0 {
			text += " inconsistent"
		}
		for _, n := range []int{c.Polls, c.Failed, c.Listed, c.Archived, c.Left} {
			text += " " + string(rune('0'+n))
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func TestCompletenessDayByDay(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	defer d.close()
	at := func(day, hour int) time.Time { return time.Date(2026, 3, day, hour, 30, 0, 0, time.UTC) }
	poll := func(r PollReport) {
		r.Mailbox = "sales"
		if err := d.s.RecordPoll(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	poll(PollReport{Started: at(10, 8), Listed: 3, Archived: 2, Left: 1, Kept: 2})
	poll(PollReport{Started: at(10, 23), Listed: 2, Archived: 1, Known: 1, Deleted: 2})
	poll(PollReport{Started: at(10, 23), Error: "refused"}) // the last, and it says nothing of what was there
	poll(PollReport{Started: at(11, 8), Error: "refused"})
	poll(PollReport{Started: at(13, 8), Listed: 5, Archived: 1})
	if err := d.s.RecordPoll(t.Context(), PollReport{Mailbox: "info", Started: at(12, 8)}); err != nil {
		t.Fatal(err)
	}
	berlin := time.FixedZone("", 3600)
	// polls, failed, listed, archived, left
	for name, c := range map[string]struct {
		q    CompletenessQuery
		want string
	}{
		"from the first to the last": {CompletenessQuery{}, "10 3 1 2 3 0, 11 gap 1 1 0 0 0, 12 gap 0 0 0 0 0, 13 inconsistent 1 0 5 1 0"},
		"days of another zone":       {CompletenessQuery{Location: berlin}, "10 1 0 3 2 1, 11 3 2 2 1 0, 12 gap 0 0 0 0 0, 13 inconsistent 1 0 5 1 0"},
		"from a gap":                 {CompletenessQuery{From: at(12, 0)}, "12 gap 0 0 0 0 0, 13 inconsistent 1 0 5 1 0"},
		"until a gap":                {CompletenessQuery{To: at(13, 0).Truncate(24 * time.Hour)}, "10 3 1 2 3 0, 11 gap 1 1 0 0 0, 12 gap 0 0 0 0 0"},
		"polls were due":             {CompletenessQuery{From: at(13, 0), Due: at(16, 9)}, "13 inconsistent 1 0 5 1 0, 14 gap 0 0 0 0 0, 15 gap 0 0 0 0 0"},
		"due, but not asked for":     {CompletenessQuery{From: at(13, 0), To: at(15, 0).Truncate(24 * time.Hour), Due: at(16, 9)}, "13 inconsistent 1 0 5 1 0, 14 gap 0 0 0 0 0"},
		"after the last":             {CompletenessQuery{From: at(14, 0)}, ""},
		"before the first":           {CompletenessQuery{To: at(9, 0)}, ""},
		"before the first, due":      {CompletenessQuery{To: at(9, 0), Due: at(20, 0)}, ""},
	} {
		if got := d.days(c.q); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
	if days, err := d.s.Completeness(t.Context(), CompletenessQuery{Mailbox: "nobody", To: d.now, Location: time.UTC}); err != nil || len(days) != 0 {
		t.Errorf("%v, %v", days, err)
	}
}

func TestCompletenessOfMorePollsThanArePagedAtATime(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	defer d.close()
	for i := range 2*pollPage + 7 {
		r := PollReport{Mailbox: "sales", Started: received.Add(time.Duration(i) * time.Minute), Listed: 1, Archived: 1, Kept: 1}
		if err := d.s.RecordPoll(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	days, err := d.s.Completeness(t.Context(), CompletenessQuery{Mailbox: "sales", To: received.AddDate(1, 0, 0), Location: time.UTC})
	if err != nil || len(days) != 1 || days[0].Polls != 2*pollPage+7 || days[0].Archived != 2*pollPage+7 {
		t.Errorf("%+v, %v", days, err)
	}
}

func TestCustodyOfAMessageInTwoMailboxes(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	defer d.close()
	body := "Subject: one\r\n\r\nbody\r\n"
	a, b, other := delivery("sales", "7", body), delivery("info", "9", body), delivery("sales", "8", "Subject: two\r\n\r\nother\r\n")
	a.Source.Session, b.Source.Session, other.Source.Session = "5e5510-2", "1f0", "5e5510"
	a.Source.Stream, a.Source.Sequence = "MAIL_s0", 12
	receipts := d.put(a, other)
	receipts = append(receipts, d.put(b)...)
	report := func(mailbox, session string, replies ...SessionReplies) {
		if err := d.s.RecordPoll(t.Context(), PollReport{Mailbox: mailbox, Session: session, Started: d.now, Replies: replies}); err != nil {
			t.Fatal(err)
		}
	}
	both := NewRuns([]int64{receipts[1].Index, receipts[0].Index})
	report("sales", "5e5510", SessionReplies{Session: "5e5510-2", DELE: []DELEReplies{{Reply: "-ERR {n} is locked", Numbers: NewRuns([]int64{3, 2}), Deposits: both}}, QUIT: "+OK bye"})
	report("info", "1f0")
	report("sales", "later", SessionReplies{Session: "later", DELE: []DELEReplies{{Reply: "+OK", Numbers: "4", Deposits: NewRuns([]int64{receipts[0].Index})}}})
	d.record(ActionView, "anna", nil, a.ID, other.ID)
	d.record(ActionView, "anna", nil, other.ID)
	begun, err := d.s.BeginExport(t.Context(), "olga", ExportBegun{Query: "*"}, []int64{receipts[2].Index, receipts[1].Index})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.s.SealExport(t.Context(), "olga", begun, ExportSealed{Manifest: strings.Repeat("ab", 32), Messages: 2, IDs: strings.Repeat("cd", 32)}); err != nil {
		t.Fatal(err)
	}
	given, err := d.s.BeginExport(t.Context(), "olga", ExportBegun{Query: "two"}, []int64{receipts[1].Index})
	if err != nil {
		t.Fatal(err)
	}
	d.s.GiveUpExport(given)
	for what, n := range map[string]int64{"sealed": begun, "given up": given, "never begun": 0} {
		again := ExportSealed{Manifest: strings.Repeat("ef", 32), Messages: 1, IDs: strings.Repeat("cd", 32)}
		if _, err := d.s.SealExport(t.Context(), "olga", n, again); !errors.Is(err, ErrNoExport) {
			t.Errorf("an export that was %s is sealed: %v", what, err)
		}
	}

	c, err := d.s.Custody(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if c.Size != a.Size || !c.Intact || c.Place == nil || len(c.Deposits) != 2 {
		t.Fatalf("%+v", c)
	}
	first, second := c.Deposits[0], c.Deposits[1]
	if first.Mailbox != "sales" || first.Source.Sequence != 12 || first.Poll == nil || first.Poll.Session != "5e5510" || first.Poll.Replies != nil ||
		len(first.Event) != 64 || first.WireSHA256 != a.ID || first.ArchiveSHA256 != a.ID {
		t.Errorf("%+v", first)
	}
	if len(first.Deletions) != 2 || first.Deletions[0].DELE != "-ERR 2 is locked" || first.Deletions[0].QUIT != "+OK bye" ||
		first.Deletions[1].DELE != "+OK" || first.Deletions[1].Number != 4 || first.Deletions[1].QUIT != "" {
		t.Errorf("%+v", first.Deletions)
	}
	if second.Mailbox != "info" || second.Poll == nil || second.Poll.Mailbox != "info" || len(second.Deletions) != 0 {
		t.Errorf("%+v", second)
	}
	var kinds []string
	for _, e := range c.Events {
		kinds = append(kinds, e.Type)
		if len(e.IDs) != 1 || strings.Contains(string(e.Details), `"deposits":"`) {
			t.Errorf("tells of other messages: %+v %s", e, e.Details)
		}
	}
	if strings.Join(kinds, " ") != "view export export" {
		t.Errorf("events %v", kinds)
	}
	if _, err := d.s.Custody(t.Context(), strings.Repeat("00", 32)); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}

	if _, _, err := d.c.Erase(t.Context(), a.ID, "a request", "olga", true); err != nil {
		t.Fatal(err)
	}
	gone, err := d.s.Custody(t.Context(), a.ID)
	if err != nil || gone.Place != nil || gone.Intact || len(gone.Deposits) != 0 || len(gone.Disposed) != 2 || gone.Size != a.Size {
		t.Errorf("after its erasure: %+v, %v", gone, err)
	}
	if n := len(gone.Events); n < 4 || gone.Events[n-1].Type != "disposal-intent" && gone.Events[n-1].Type != "disposal-done" {
		t.Errorf("%+v", gone.Events)
	}
}

func TestCustodySaysThatTheStoredBytesAreDamaged(t *testing.T) {
	s, dir := create(t)
	receipt := mustPut(t, s, delivery("sales", "1", "Subject: x\r\n\r\nbody\r\n"))[0]
	damage(t, dir)
	if c, err := s.Custody(t.Context(), receipt.ID); err != nil || c.Intact || len(c.Deposits) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestLargeExportsNameEveryDeposit(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	defer d.close()
	m := delivery("sales", "1", "Subject: x\r\n\r\nbody\r\n")
	index := d.put(m)[0].Index
	deposits := []int64{index}
	for i := range int64(3 * depositsPerEvent) { // as far apart as the details of an event allow
		deposits = append(deposits, 1<<50+i*1_000_003)
	}
	begun, err := d.s.BeginExport(t.Context(), "olga", ExportBegun{Query: "*"}, deposits)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.s.Custody(t.Context(), m.ID)
	if err != nil || len(c.Events) == 0 || c.Events[0].Index != begun {
		t.Errorf("%+v, %v", c.Events, err)
	}
}
