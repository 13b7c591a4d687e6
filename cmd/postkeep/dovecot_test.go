package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postkeep/postkeep/internal/dovecot"
	"github.com/postkeep/postkeep/web/api"
)

// TestPollArchivesADovecotByteForByte is the main job: three mailboxes of real
// mail, one poll, everything gone from the server and in the archive as it was
// on the wire.
func TestPollArchivesADovecotByteForByte(t *testing.T) {
	users := []string{"sales", "support", "archive"}
	server := startDovecot(t, append(users, "kept")...)
	mail := realMail(t, users)
	yaml := "mailboxes:\n" + mailboxYAML(server, "kept", ", delete: never")
	for _, u := range users {
		deliver(t, server, u, mail[u])
		yaml += mailboxYAML(server, u, "")
	}
	deliver(t, server, "kept", generated(t, 50))
	s := newSite(t, yaml)
	onWire := map[string]map[string]int{} // mailbox, SHA-256, number of such messages
	for _, u := range users {
		onWire[u] = rawHashes(t, server, u)
	}

	polled := reports(t, s.ok("poll", "--json"))
	for _, u := range users {
		n := len(mail[u])
		if r := polled[u]; r.Listed != n || r.Archived != n || r.Known+r.Left+r.Kept != 0 || r.Deleted != n || r.Error != "" {
			t.Errorf("%s: %+v, want all %d archived and deleted", u, r, n)
		}
	}
	if r := polled["kept"]; r.Archived != 50 || r.Kept != 50 || r.Deleted != 0 {
		t.Errorf("kept: %+v", r)
	}
	wantEmpty(t, server, users...)
	if n, err := server.Count(t.Context(), "kept"); err != nil || n != 50 {
		t.Errorf("kept has %d messages (%v), want 50", n, err)
	}
	for name, r := range reports(t, s.ok("poll", "--json")) {
		if r.Bytes != 0 || r.Archived != 0 || r.Left != 0 {
			t.Errorf("second poll of %s downloaded something: %+v", name, r)
		}
	}
	checkRaw(t, s, onWire)
}

func rawHashes(t *testing.T, server *dovecot.Server, user string) map[string]int {
	t.Helper()
	raw, err := dovecot.RawRetrieve(t.Context(), server.Addr, user, "geheim")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, m := range raw {
		out[m.SHA256]++
	}
	return out
}

// checkRaw compares what show --raw gives with what was on the wire: all of it
// through the running instance's API, a part of it through the command itself.
func checkRaw(t *testing.T, s *site, onWire map[string]map[string]int) {
	t.Helper()
	client, _ := s.daemon()
	n := 0
	for user, hashes := range onWire {
		for id := range hashes {
			sum := sha256.New()
			if err := client.Raw(t.Context(), id, sum); err != nil {
				t.Errorf("%s: message %s: %v", user, id, err)
				continue
			}
			checkSum(t, id, sum)
			if n++; n%100 == 0 {
				sum = sha256.New()
				sum.Write([]byte(s.ok("show", "--raw", id[:16])))
				checkSum(t, id, sum)
			}
			if n%10 != 0 { // each look is an event in the ledger
				continue
			}
			d, err := client.Message(t.Context(), id)
			if err != nil || !inMailbox(d, user, hashes[id]) {
				t.Errorf("%s: message %s was deposited as %+v (%v), want %d times", user, id, d.Deposits, err, hashes[id])
			}
		}
	}
	if n == 0 {
		t.Error("nothing was compared")
	}
}

func checkSum(t *testing.T, id string, sum hash.Hash) {
	t.Helper()
	if got := hex.EncodeToString(sum.Sum(nil)); got != id {
		t.Errorf("message %s came back with SHA-256 %s", id, got)
	}
}

func inMailbox(d api.Detail, user string, want int) bool {
	n := 0
	for _, p := range d.Deposits {
		if p.Mailbox == user {
			n++
		}
	}
	return n == want
}

// TestKilledPollsLoseNothing kills the program at 25 random moments of a poll,
// while mail goes on arriving, and then lets it finish.
func TestKilledPollsLoseNothing(t *testing.T) {
	const kills = 25
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	users := []string{"sales", "support", "archive"}
	server := startDovecot(t, users...)
	yaml := "mailboxes:\n"
	mail := map[string][][]byte{}
	for i, msg := range generated(t, 3000) {
		u := users[i%len(users)]
		mail[u] = append(mail[u], msg)
	}
	for _, u := range users {
		yaml += mailboxYAML(server, u, "")
	}
	s := newSite(t, yaml)
	put := map[string]map[string]int{}
	for _, u := range users {
		put[u] = map[string]int{}
	}
	share := len(mail[users[0]]) / (kills + 1)
	give := func(round int) {
		for _, u := range users {
			for _, m := range mail[u][round*share : (round+1)*share] {
				put[u][wireHash(m)]++
			}
			deliver(t, server, u, mail[u][round*share:(round+1)*share])
		}
	}
	for round := range kills {
		give(round)
		cmd := s.command(t.Context(), "poll")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(rng.Int64N(int64(900*time.Millisecond))), func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		_ = cmd.Wait() // killed, or quicker
		timer.Stop()
	}
	give(kills)
	polled := reports(t, s.ok("poll", "--json"))
	for name, r := range polled {
		if r.Left != 0 || r.Error != "" {
			t.Errorf("last poll of %s: %+v", name, r)
		}
	}
	wantEmpty(t, server, users...)
	checkRaw(t, s, put)
	checkUnique(t, s, put)
}

// wireHash is the hash of a message as Dovecot sends it: line ends are CRLF,
// and there is one at the end.
func wireHash(m []byte) string {
	text := strings.ReplaceAll(strings.ReplaceAll(string(m), "\r\n", "\n"), "\n", "\r\n")
	if !strings.HasSuffix(text, "\r\n") {
		text += "\r\n"
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// checkUnique looks at all search results: every message once.
func checkUnique(t *testing.T, s *site, put map[string]map[string]int) {
	t.Helper()
	want := map[string]bool{}
	for _, hashes := range put {
		for id := range hashes {
			want[id] = true
		}
	}
	seen := map[string]int{}
	for offset := 0; ; offset += 1000 {
		page := s.ok("search", "--json", "--limit", "1000", "--offset", strconv.Itoa(offset))
		if page == "" {
			break
		}
		dec := json.NewDecoder(strings.NewReader(page))
		for dec.More() {
			var m api.Message
			if err := dec.Decode(&m); err != nil {
				t.Fatal(err)
			}
			seen[m.ID]++
			if seen[m.ID] > 1 || !want[m.ID] {
				t.Errorf("message %s is in the results %d times", m.ID, seen[m.ID])
			}
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d messages found, want %d", len(seen), len(want))
	}
}

func TestMailboxTestSaysWhatWorks(t *testing.T) {
	server := startDovecot(t, "sales")
	deliver(t, server, "sales", generated(t, 3))
	s := newSite(t, "mailboxes:\n"+mailboxYAML(server, "sales", ""))
	out := s.ok("mailbox", "test", "sales")
	for _, want := range []string{"TLS 1.3", "certificate", "login", "PIPELINING", "messages", "3, ", "UIDL"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if n, err := server.Count(t.Context(), "sales"); err != nil || n != 3 {
		t.Errorf("after the test there are %d messages (%v)", n, err)
	}
}

func TestCommandsWorkWhileRunIsRunning(t *testing.T) {
	server := startDovecot(t, "sales")
	deliver(t, server, "sales", generated(t, 40))
	s := newSite(t, "mailboxes:\n"+mailboxYAML(server, "sales", ""))
	_, stop := s.daemon()
	if r := reports(t, s.ok("poll", "--json"))["sales"]; r.Archived != 40 {
		t.Errorf("poll: %+v", r)
	}
	if got := strings.TrimSpace(s.ok("search", "--count", "")); got != "40" {
		t.Errorf("search --count: %s", got)
	}
	var hit api.Message
	if err := json.Unmarshal([]byte(s.ok("search", "--json", "--limit", "1", "")), &hit); err != nil {
		t.Fatal(err)
	}
	if out := s.ok("show", hit.ID[:8]); !strings.Contains(out, hit.ID) {
		t.Errorf("show: %s", out)
	}
	for _, format := range []string{"eml", "mbox"} {
		out := filepath.Join(s.dir, "out-"+format)
		if got := s.ok("export", "--query", "mailbox:sales", "--format", format, "--out", out); !strings.HasPrefix(got, "40 messages") {
			t.Errorf("export: %s", got)
		}
	}
	if data, err := os.ReadFile(filepath.Join(s.dir, "out-eml", hit.ID+".eml")); err != nil || sha(data) != hit.ID {
		t.Errorf("exported file: %v", err)
	}
	for _, want := range []string{"running", "40 messages", "up to date", "sales"} {
		if out := s.ok("status"); !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
	if out := s.ok("mailbox", "list"); !strings.Contains(out, "sales") {
		t.Errorf("mailbox list: %s", out)
	}
	if code, log := stop(syscall.SIGTERM); code != 0 || !strings.Contains(log, "stopped") {
		t.Errorf("exit code %d after SIGTERM:\n%s", code, log)
	}
	if got := strings.TrimSpace(s.ok("search", "--count", "")); got != "40" {
		t.Errorf("search --count after the end: %s", got)
	}
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%x", sum)
}

func TestHangupTakesOverChangedMailboxes(t *testing.T) {
	server := startDovecot(t, "sales", "support")
	deliver(t, server, "support", generated(t, 5))
	s := newSite(t, "mailboxes:\n"+mailboxYAML(server, "sales", ""))
	client, _ := s.daemon()
	old, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	configured := func(name string) bool {
		boxes, err := client.Mailboxes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(boxes, func(m api.Mailbox) bool { return m.Configured && m.Name == name })
	}
	hangup := func(yaml string, done func() bool) {
		t.Helper()
		s.write("postkeep.yaml", yaml)
		if err := s.process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(time.Minute); !done(); <-tick.C {
			if time.Now().After(deadline) {
				t.Fatal("the configuration was not taken over")
			}
		}
	}
	hangup(string(old)+mailboxYAML(server, "support", ""), func() bool { return configured("support") })
	if r := reports(t, s.ok("poll", "--json", "--mailbox", "support"))["support"]; r.Archived != 5 {
		t.Errorf("new mailbox: %+v", r)
	}
	hangup("data_dir: data\nmailboxes:\n"+mailboxYAML(server, "support", ""), func() bool { return !configured("sales") })
}
