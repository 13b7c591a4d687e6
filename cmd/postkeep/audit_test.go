package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
	"github.com/postkeep/postkeep/web/api"
)

// twoMailboxes is a site with the mailboxes sales and info, which both have the message "number 0".
func twoMailboxes(t *testing.T) (*site, *pop3test.Server) {
	t.Helper()
	server, err := pop3test.Start(pop3test.Config{
		Mailboxes: []pop3test.Mailbox{
			{User: "sales", Password: "geheim", Messages: small(3)}, {User: "info", Password: "geheim", Messages: small(1)},
		},
		Hook: pop3test.Hooks(saysGone("1"), saysGone("2"), saysGone("3")),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return newSite(t, mailboxesYAML(server, "sales", "info")), server
}

// saysGone answers a DELE in words that have the number in them.
func saysGone(number string) pop3test.Hook {
	return pop3test.On("DELE", number, func(_ *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
		return pop3test.Edit(normal, func([]byte) []byte { return []byte("+OK message " + number + " is gone\r\n") })
	})
}

func mailboxesYAML(s *pop3test.Server, names ...string) string {
	var b strings.Builder
	b.WriteString("mailboxes:\n")
	for _, n := range names {
		fmt.Fprintf(&b, "  - { name: %s, host: %s, port: %d, tls: none, username: %s, password_file: password, schedule: \"0 0 1 1 *\" }\n", n, s.Host(), s.Port(), n)
	}
	return b.String()
}

func events(t *testing.T, out string) (all []archive.AuditEvent) {
	t.Helper()
	for line := range strings.Lines(out) {
		var e archive.AuditEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q is not one event: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// wantWidth looks at what people see where no terminal says how wide it is.
func wantWidth(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(out) {
		if w := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); w > minWidth && strings.Count(strings.TrimSpace(line), " ") > 2 {
			t.Errorf("%d columns: %s", w, line)
		}
	}
}

// both runs a check on commands that open the archive themselves, and on those that ask a running instance.
func both(t *testing.T, s *site, check func(t *testing.T)) {
	t.Run("offline", check)
	t.Run("while run is running", func(t *testing.T) {
		_, stop := s.daemon()
		check(t)
		if code, log := stop(os.Interrupt); code != 0 {
			t.Errorf("exit code %d\n%s", code, log)
		}
	})
}

func TestChainOfCustodyFromTheServerToTheLastView(t *testing.T) {
	s, _ := twoMailboxes(t)
	s.ok("poll")
	hits := s.ok("search", "subject:\"number 0\"", "--json")
	var hit api.Message
	if err := json.Unmarshal([]byte(hits), &hit); err != nil {
		t.Fatal(err)
	}
	s.ok("show", hit.ID)
	s.ok("export", "--query", "subject:number", "--out", filepath.Join(s.dir, "out"))
	s.ok("hold", "place", "--name", "matter 7", "--reason", "a claim", "--query", "hello")
	both(t, s, func(t *testing.T) {
		out := s.ok("show", hit.ID[:10], "--custody")
		t.Log("\n" + out)
		wantWidth(t, out)
		for _, want := range []string{"is gone", "QUIT", "sequence", "frame", "matter 7", "the stored bytes are whole"} {
			if !strings.Contains(out, want) {
				t.Errorf("lacks %q", want)
			}
		}
		var c api.Custody
		if err := json.Unmarshal([]byte(s.ok("show", hit.ID, "--custody", "--json")), &c); err != nil {
			t.Fatal(err)
		}
		if len(c.Deposits) != 2 || !c.Intact || c.Place == nil || c.Place.File != "00000001.tar.zst" {
			t.Fatalf("%+v", c)
		}
		for _, d := range c.Deposits {
			if d.WireSHA256 != hit.ID || d.ArchiveSHA256 != hit.ID || d.HeaderHash == "" || d.Event == "" || d.Poll == nil ||
				d.Source.Stream == "" || d.Source.Sequence == 0 {
				t.Errorf("%s: %+v", d.Mailbox, d)
			}
			if len(d.Deletions) != 1 || d.Deletions[0].DELE != "+OK message 1 is gone" || !strings.HasPrefix(d.Deletions[0].QUIT, "+OK") {
				t.Errorf("%s: deletions %+v", d.Mailbox, d.Deletions)
			}
		}
		if len(c.Holds) != 1 || c.Holds[0].Name != "matter 7" {
			t.Errorf("holds %+v", c.Holds)
		}
		kinds := map[string]int{}
		for _, e := range c.Events {
			kinds[e.Type]++
		}
		if kinds["export"] != 2 || kinds["view"] < 2 {
			t.Errorf("events %v, want the view, the export's two, and the looks at this", kinds)
		}
	})
}

func TestDeletionInALaterSessionBelongsToTheDeposit(t *testing.T) {
	s, server := twoMailboxes(t)
	yaml := mailboxesYAML(server, "sales")
	s.write("postkeep.yaml", "data_dir: data\ndefaults: { delete: never }\n"+yaml)
	s.ok("poll")
	s.write("postkeep.yaml", "data_dir: data\n"+yaml)
	s.ok("poll")
	id := strings.Fields(s.ok("search", "subject:\"number 2\"", "--json"))[0]
	var hit api.Message
	if err := json.Unmarshal([]byte(s.ok("search", "subject:\"number 2\"", "--json")), &hit); err != nil {
		t.Fatal(id, err)
	}
	var c api.Custody
	if err := json.Unmarshal([]byte(s.ok("show", hit.ID, "--custody", "--json")), &c); err != nil {
		t.Fatal(err)
	}
	d := c.Deposits[0]
	if len(d.Deletions) != 1 || d.Deletions[0].DELE != "+OK message 3 is gone" || d.Deletions[0].Ledger == d.Poll.Ledger || d.Deletions[0].Session == d.Source.Session {
		t.Errorf("%+v", d.Deletions)
	}
}

func TestAuditOnTheCommandLine(t *testing.T) {
	s, _ := twoMailboxes(t)
	s.ok("poll")
	s.ok("search", "=1+1 hello")
	both(t, s, func(t *testing.T) {
		out := s.ok("audit")
		t.Log("\n" + out)
		wantWidth(t, out)
		found := events(t, s.ok("audit", "--json", "--type", "search,poll"))
		if len(found) < 3 || found[0].Type != "search" || found[0].Index < found[1].Index {
			t.Errorf("%+v", found)
		}
		for _, e := range found {
			if e.Type != "search" && e.Type != "poll" {
				t.Errorf("%+v", e)
			}
		}
		if all := events(t, s.ok("audit", "--json", "--object", "info", "--type", "deposit")); len(all) != 1 {
			t.Errorf("%d deposits in info", len(all))
		}
		first := s.ok("audit", "--limit", "2")
		if !strings.Contains(first, "older events: --before") {
			t.Error(first)
		}
		if out := s.ok("audit", "--until", "2001-01-01"); out != "No event fits.\n" {
			t.Errorf("%q", out)
		}
		rows, err := csv.NewReader(strings.NewReader(s.ok("audit", "--csv"))).ReadAll()
		if err != nil || len(rows) < 5 || len(rows[0]) != 10 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for _, args := range [][]string{{"--since", "yesterday"}, {"--limit", "-1"}, {"--json", "--csv"}, {"--type", "serach"}} {
			if r := s.run(append([]string{"audit"}, args...)...); r.code != exitUsage || theLine(r.stdout+r.stderr) == "" {
				t.Errorf("%v: exit code %d, %s", args, r.code, r.stderr)
			}
		}
		if r := s.run("audit", "verify"); r.code != 0 {
			t.Errorf("audit verify: %d %s", r.code, r.stderr)
		}
	})
}

func TestCellsThatASpreadsheetWouldCalculateAreText(t *testing.T) {
	var out strings.Builder
	a := &app{stdout: &out}
	if err := a.auditCSV(func(fn func(archive.AuditEvent) error) (int64, error) {
		return 0, errors.Join(fn(archive.AuditEvent{Actor: "=cmd|' /C calc'!A1", Type: "view", IDs: []string{"+1"}, Damaged: true}),
			fn(archive.AuditEvent{Actor: "\t=1", IDs: []string{"@x"}}), fn(archive.AuditEvent{Actor: "-1"}), fn(archive.AuditEvent{Actor: "\r=1"}))
	}); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("%q would be calculated", cell)
			}
		}
	}
}

func TestCompletenessShowsGapsAndExitsWithThem(t *testing.T) {
	s, _ := twoMailboxes(t)
	s.ok("poll")
	both(t, s, func(t *testing.T) {
		out := s.ok("audit", "completeness")
		t.Log("\n" + out)
		wantWidth(t, out)
		if strings.Count(out, "complete") != 2 {
			t.Error(out)
		}
		var day archive.Completeness
		if err := json.Unmarshal([]byte(s.ok("audit", "completeness", "--mailbox", "sales", "--json")), &day); err != nil || day.Archived != 3 || day.Gap {
			t.Errorf("%+v, %v", day, err)
		}
		if r := s.run("audit", "completeness", "--mailbox", "slaes"); r.code != exitFailed || !strings.Contains(r.stderr, "slaes") {
			t.Errorf("exit code %d, %s", r.code, r.stderr)
		}
	})
	store, err := archive.Open(t.Context(), filepath.Join(s.dir, "data"), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = store.RecordPoll(t.Context(), archive.PollReport{Mailbox: "old", Started: time.Now().AddDate(0, 0, -3), Error: "login refused"})
	if err != nil || store.Close() != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {"--json"}} {
		if r := s.run(append([]string{"audit", "completeness"}, args...)...); r.code != exitPartly || !strings.Contains(r.stdout, "old") {
			t.Errorf("%v: exit code %d, want 3\n%s", args, r.code, r.stdout)
		}
	}
}

func TestWhoChangedTheConfigurationIsInTheLedger(t *testing.T) {
	s, server := twoMailboxes(t)
	s.ok("poll")
	client, stop := s.daemon() // the same configuration
	s.write("postkeep.yaml", "data_dir: data\npoller: { sessions: 3 }\n"+mailboxesYAML(server, "sales", "neu")+
		"anchors:\n  - { url: \"https://anchor.example.com/{size}?key=hunter3\" }\n")
	if err := s.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	var found api.AuditResult
	for len(found.Events) < 2 && time.Now().Before(deadline) {
		var err error
		if found, err = client.Audit(t.Context(), api.AuditRequest{Type: "config"}); err != nil {
			t.Fatal(err)
		}
	}
	_, log := stop(os.Interrupt)
	if len(found.Events) != 2 {
		t.Fatalf("%d events, want the first configuration and its change\n%s", len(found.Events), log)
	}
	var was, is configEvent
	if json.Unmarshal(found.Events[1].Details, &was) != nil || json.Unmarshal(found.Events[0].Details, &is) != nil {
		t.Fatalf("%+v", found)
	}
	if !was.First || is.First || is.At != "reload" || len(is.Added) != 1 || is.Added[0] != "neu" || len(is.Removed) != 1 || is.Removed[0] != "info" {
		t.Errorf("%+v then %+v", was, is)
	}
	changed := map[string]settingChange{}
	for _, c := range is.Changed {
		changed[c.Key] = c
	}
	if c := changed["poller.sessions"]; c.Was != "16" || c.Is != "3" {
		t.Errorf("%+v", is.Changed)
	}
	if c := changed["anchors.1.url"]; c.Is == "" {
		t.Errorf("%+v", is.Changed)
	}
	out := s.ok("audit", "--type", "config")
	t.Log("\n" + out)
	wantWidth(t, out)
	if !strings.Contains(out, "poller.sessions: 16 → 3") || strings.Contains(s.ok("audit", "--json"), "hunter") {
		t.Error(out)
	}
	s.ok("poll", "--mailbox", "sales")
	if n := len(events(t, s.ok("audit", "--type", "config", "--json"))); n != 2 {
		t.Errorf("%d events, want none for what was not changed", n)
	}
}

func TestAuditOfAMessageHasAllThatHappenedToIt(t *testing.T) {
	s, _ := twoMailboxes(t)
	s.ok("poll")
	s.ok("poll")
	var hit, other struct{ ID string }
	err := errors.Join(json.Unmarshal([]byte(s.ok("search", "--json", "number 0")), &hit), json.Unmarshal([]byte(s.ok("search", "--json", "number 1")), &other))
	if err != nil {
		t.Fatal(err)
	}
	s.ok("show", hit.ID)
	s.ok("show", other.ID)
	s.ok("export", "--query", "id:"+hit.ID, "--out", "one")
	s.ok("export", "--query", "id:"+other.ID, "--out", "another")
	s.ok("export", "--out", "all")
	var c api.Custody
	if err := json.Unmarshal([]byte(s.ok("show", hit.ID, "--custody", "--json")), &c); err != nil {
		t.Fatal(err)
	}
	want := map[int64]string{}
	for _, d := range c.Deposits {
		want[d.Ledger], want[d.Poll.Ledger] = "deposit", "poll"
		for _, one := range d.Deletions {
			want[one.Ledger] = "poll"
		}
	}
	exports := 0
	for _, e := range c.Events {
		if want[e.Index] = e.Type; e.Type == "export" {
			exports++
		}
	}
	if exports != 4 || len(c.Deposits) != 2 {
		t.Fatalf("%d events of exports, %d deposits", exports, len(c.Deposits))
	}
	for _, object := range []string{hit.ID, hit.ID[:10]} {
		got := map[int64]string{}
		for _, e := range events(t, s.ok("audit", "--json", "--object", object)) {
			// The queries that were typed have the id, too.
			if e.Type != "search" && !strings.Contains(string(e.Details), `"query":"id:`+hit.ID) || want[e.Index] != "" {
				got[e.Index] = e.Type
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("audit of %s has %v, the chain of custody %v", object, got, want)
		}
	}
}

func TestAuditLeavesNothingOutUnlessItSaysSo(t *testing.T) {
	const deposits = 620 // more than a page of the command, many more than it shows
	s := newSite(t, scriptedYAML(startScripted(t, pop3test.Config{}, small(deposits)...), ""))
	s.ok("poll")
	lines := func(out string) int { return strings.Count(out, "\n") }
	for args, want := range map[string]int{
		"--json": deposits, "--csv": deposits + 1, "--json --limit 0": deposits, "--json --limit 510": 510, "--csv --limit 120": 121, "--json --limit 500": 500,
		"--json --object sales": deposits,
	} {
		if got := lines(s.ok(append([]string{"audit", "--type", "deposit"}, strings.Fields(args)...)...)); got != want {
			t.Errorf("audit %s: %d lines, want %d", args, got, want)
		}
	}
	seen := map[int64]bool{}
	for _, e := range events(t, s.ok("audit", "--json", "--type", "deposit")) {
		seen[e.Index] = true
	}
	if len(seen) != deposits {
		t.Errorf("%d different events, want %d", len(seen), deposits)
	}
	if out := s.ok("audit", "--type", "deposit"); !strings.Contains(out, "older events: --before") {
		t.Errorf("the list ends without a word: %s", out[max(0, len(out)-200):])
	}
}
