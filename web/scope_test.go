package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/web/users"
)

// What an auditor sees is compared with an archive that holds nothing else: whatever
// differs has leaked. Everything in a message that the auditor must not see contains the
// word forbidden.
const forbidden = "verboten"

// inbox is the mailbox granted to the auditor; the other's name must not be seen either.
const (
	inbox  = "inbox"
	closed = forbidden + "-box"
)

// first and last bound the days granted to the auditor.
func first() time.Time { return time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC) }
func last() time.Time  { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }

// corpus makes random mail of a few conversations that go through both mailboxes. all is
// everything, visible what the auditor may see, both the message that lies in both mailboxes: a year before and a
// month after the days of the auditor in the other one.
func corpus(rng *rand.Rand) (all, visible []mail, both mail) {
	words := []string{"budget", "invoice", "meeting", "träger", "summer", "pläne", "running", "contract"}
	const conversations = 4
	var threads [conversations][]string
	for i := range 60 {
		secret := rng.IntN(2) == 0
		m := mail{mailbox: inbox, received: first().Add(time.Duration(rng.IntN(59*24)) * time.Hour)}
		mark := ""
		if secret {
			mark = forbidden
			m.mailbox = closed
			if rng.IntN(3) == 0 { // the right mailbox, but outside the days
				m.mailbox, m.received = inbox, last().Add(time.Duration(rng.IntN(1000))*time.Hour)
			}
		}
		conversation := &threads[rng.IntN(conversations)]
		m.raw = letter(rng, i, mark, words, *conversation, m.received)
		*conversation = append(*conversation, fmt.Sprintf("<%d%s@example.com>", i, mark))
		all = append(all, m)
		if !secret {
			visible = append(visible, m)
		}
	}
	both = visible[len(visible)/2]
	earlier, later := both, both
	earlier.mailbox, earlier.received = closed, first().AddDate(-1, 0, 0)
	later.mailbox, later.received = closed, last().AddDate(0, 1, 0)
	return append(all, earlier, later), visible, both
}

func letter(rng *rand.Rand, i int, mark string, words, references []string, at time.Time) string {
	word := func() string { return words[rng.IntN(len(words))] }
	var b strings.Builder
	fmt.Fprintf(&b, "From: %s %d <person%d@%shost%d.example>\r\nTo: %s@example.org\r\n", mark, i%5, i%5, mark, i%3, mark+word())
	fmt.Fprintf(&b, "Date: %s\r\nSubject: %s %s %s\r\nMessage-ID: <%d%s@example.com>\r\n", at.Add(-time.Minute).Format(time.RFC1123Z), word(), mark, word(), i, mark)
	if len(references) > 0 {
		// Only what the writer saw is referred to: who answers a secret message is secret.
		var seen []string
		for _, r := range references {
			if mark != "" || !strings.Contains(r, forbidden) {
				seen = append(seen, r)
			}
		}
		if len(seen) > 0 {
			fmt.Fprintf(&b, "References: %s\r\n", strings.Join(seen, " "))
		}
	}
	fmt.Fprintf(&b, "X-Note: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n", mark)
	fmt.Fprintf(&b, "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s %s the %s of number%d %s\r\n", word(), mark, word(), i, word())
	if rng.IntN(2) == 0 {
		fmt.Fprintf(&b, "--b\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=\"%s%s.csv\"\r\n\r\n%s,%s\r\n", mark, word(), word(), mark)
	}
	b.WriteString("--b--\r\n")
	return b.String()
}

// pair is an auditor of a part of all mail, and an officer of an archive of that part.
type pair struct {
	auditor, officer *browser
	all, visible     []mail
	both             mail // lies in both mailboxes
}

func TestAuditorSeesTheGrantAlone(t *testing.T) {
	p := newPair(t)
	t.Run("finds what an archive of the grant has", p.finds)
	t.Run("pages through the grant", p.pagesThrough)
	t.Run("a message outside is like one that does not exist", p.outside)
	t.Run("pages show the grant", p.pages)
	t.Run("exports have the grant", p.exports)
}

func newPair(t *testing.T) *pair {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("POSTKEEP_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("POSTKEEP_SEED=%d", seed)
	all, visible, both := corpus(rand.New(rand.NewPCG(seed, 0)))
	whole, part := newSite(t, all...), newSite(t, visible...)
	whole.check(whole.users.Update("auditor", func(u *users.User) error {
		u.Mailboxes, u.From, u.To = []string{inbox}, first(), last()
		return nil
	}))
	return &pair{whole.browser("auditor"), part.browser("officer"), all, visible, both}
}

// secrets are the ids of what the auditor must not see.
func (p *pair) secrets() []string {
	ids := map[string]bool{}
	for _, m := range p.all {
		ids[m.id()] = true
	}
	for _, m := range p.visible {
		delete(ids, m.id())
	}
	return slices.Sorted(maps.Keys(ids))
}

func (p *pair) finds(t *testing.T) {
	hidden := p.secrets()
	terms := []string{"*", "budget", "invoice", "trager", "run", `"the contract"`, "bud*", "/inv.*/", "in?oice", `"budget meeting"~9`, forbidden, forbidden + "*", "number7",
		"from:person1", "from:host2.example", "to:example.org", "subject:summer", "filename:csv", "filetype:csv", "has:attachment", "mailbox:" + inbox, "mailbox:" + closed,
		"mailbox:*", "after:2026-02-15", "before:2026-03-01", "date:2026", "received:2026-04", "received:2026-05", "received:2025", "received:..2026-03", "size:>600", "is:malformed", "lang:en", "header:x-note",
		"thread:" + p.visible[3].id(), "thread:" + hidden[0], "id:" + hidden[1], "id:" + hidden[2][:10], "id:" + p.visible[1].id()[:8], "msgid:" + forbidden}
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		q := rapid.SampledFrom(terms).Draw(t, "query")
		switch rapid.IntRange(0, 4).Draw(t, "more") {
		case 1:
			q += " " + rapid.SampledFrom(terms).Draw(t, "and")
		case 2:
			q += " OR " + rapid.SampledFrom(terms).Draw(t, "or")
		case 3:
			q += " -" + rapid.SampledFrom(terms).Draw(t, "not")
		}
		params := url.Values{"q": {q}, "facets": {"mailbox,domain,year,month,filetype,flag"}}
		sort := rapid.SampledFrom([]string{"", "date", "received", "-size", "sender", "relevance"}).Draw(t, "sort")
		params.Set("sort", sort)
		params.Set("limit", strconv.Itoa(rapid.IntRange(0, 80).Draw(t, "limit")))
		params.Set("offset", strconv.Itoa(rapid.SampledFrom([]int{0, 0, 3}).Draw(t, "offset")))
		if sort != "relevance" && rapid.Bool().Draw(t, "threads") {
			params.Set("threads", "true")
		}
		if sort == "relevance" { // what is rare weighs more, and that differs: the same hits in some order
			params.Set("limit", "100")
			params.Set("offset", "0")
		}
		path := "/api/v1/search?" + params.Encode()
		got, want := p.auditor.get(path), p.officer.get(path)
		if got.code != want.code {
			t.Fatalf("%s: %d %s, want %d", path, got.code, got.body, want.code)
		}
		if got.code != http.StatusOK {
			return
		}
		if strings.Contains(got.body, forbidden) {
			t.Fatalf("%s shows what is forbidden: %s", path, got.body)
		}
		a, b := result(t, got.body, sort == "relevance"), result(t, want.body, sort == "relevance")
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%s:\n%v\nwant\n%v", path, a, b)
		}
		if a["total"] != float64(0) {
			found++
		}
	})
	if found == 0 {
		t.Error("nothing was ever found: the test proves nothing")
	}
}

// result reads the answer of a search without its cursor, which is a place in one index.
func result(t *rapid.T, body string, unordered bool) map[string]any {
	t.Helper()
	var r map[string]any
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	delete(r, "next")
	if hits, ok := r["hits"].([]any); ok && unordered {
		slices.SortFunc(hits, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return r
}

func (p *pair) pagesThrough(t *testing.T) {
	page := func(b *browser) (ids []string) {
		after := ""
		for range len(p.visible) {
			var r struct {
				Hits []struct{ ID string }
				Next string
			}
			got := b.get("/api/v1/search?q=*&limit=7&after=" + url.QueryEscape(after))
			if err := json.Unmarshal([]byte(got.body), &r); err != nil {
				t.Fatal(err)
			}
			for _, h := range r.Hits {
				ids = append(ids, h.ID)
			}
			if after = r.Next; after == "" {
				return ids
			}
		}
		t.Fatal("there are more pages than messages")
		return nil
	}
	if got, want := page(p.auditor), page(p.officer); len(got) != len(p.visible) || !slices.Equal(got, want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
}

func (p *pair) outside(t *testing.T) {
	routes := []string{"/api/v1/messages/%s", "/api/v1/messages/%s/raw", "/api/v1/messages/%s/structure", "/api/v1/messages/%s/parts/1.1", "/api/v1/messages/%s/custody",
		"/m/%s", "/m/%s?as=source", "/m/%s?as=custody", "/m/%s/html", "/m/%s/raw", "/m/%s/part/1.1"}
	none := strings.Repeat("0", 64)
	for _, route := range routes {
		for _, length := range []int{64, 20, 8} {
			missing := p.auditor.get(fmt.Sprintf(route, none[:length]))
			for _, id := range p.secrets()[:5] {
				got := p.auditor.get(fmt.Sprintf(route, id[:length]))
				if got.code != http.StatusNotFound || strings.ReplaceAll(got.body, id[:length], "") != strings.ReplaceAll(missing.body, none[:length], "") {
					t.Errorf(route+": %d %.300s, want what a missing one gives: %d %.300s", id[:length], got.code, got.body, missing.code, missing.body)
				}
				if !reflect.DeepEqual(got.header, missing.header) {
					t.Errorf(route+": headers %v, want %v", id[:length], got.header, missing.header)
				}
			}
		}
		got := p.auditor.get(fmt.Sprintf(route, p.both.id()))
		if got.code != http.StatusOK && !strings.HasSuffix(route, "/html") || strings.Contains(got.body, forbidden) {
			t.Errorf("the message in both mailboxes: "+route+": %d, shows the other mailbox: %v\n%s", p.both.id(), got.code, strings.Contains(got.body, forbidden), got.body)
		}
	}
}

func (p *pair) pages(t *testing.T) {
	hidden := p.secrets()
	paths := []string{"/search", "/search?q=*", "/search?q=budget&sort=relevance", "/search?q=*&threads=1", "/search?q=has:attachment", "/exports", "/exports/new?q=*", "/profile"}
	for _, m := range p.visible {
		paths = append(paths, "/m/"+m.id(), "/m/"+m.id()+"?as=custody")
	}
	for _, path := range paths {
		got := p.auditor.get(path)
		if got.code != http.StatusOK || strings.Contains(got.body, forbidden) {
			t.Errorf("%s: %d, %s", path, got.code, around(got.body, forbidden))
		}
		for _, id := range hidden {
			if strings.Contains(got.body, id) {
				t.Errorf("%s names %s", path, id)
			}
		}
	}
	count := regexp.MustCompile(`role="status">(\d+) messages`)
	if m := count.FindStringSubmatch(p.auditor.get("/search?q=*").body); m == nil || m[1] != strconv.Itoa(len(p.visible)) {
		t.Errorf("the page counts %v, want %d", m, len(p.visible))
	}
	for _, path := range []string{"/audit", "/audit/completeness", "/mailboxes", "/mailboxes/" + inbox, "/system", "/users"} {
		if got := p.auditor.get(path); got.code != http.StatusForbidden || strings.Contains(got.body, forbidden) {
			t.Errorf("%s: %d", path, got.code)
		}
	}
}

// around is the place of a word in a text.
func around(text, word string) string {
	at := strings.Index(text, word)
	if at < 0 {
		return ""
	}
	return text[max(0, at-200):min(len(text), at+200)]
}

func (p *pair) exports(t *testing.T) {
	for _, q := range []string{"*", "", forbidden + " OR *", "mailbox:" + closed + " OR mailbox:" + inbox} {
		body, err := json.Marshal(map[string]string{"query": q, "format": "eml"})
		if err != nil {
			t.Fatal(err)
		}
		got := p.auditor.do(http.MethodPost, "/api/v1/exports", string(body))
		if got.code != http.StatusOK {
			t.Fatalf("%q: %d, %s", q, got.code, got.body)
		}
		told := got.body // with manifest, and proof with the details of deposits; both say what was asked
		if strings.Contains(q, forbidden) {
			told = strings.ReplaceAll(told, q, "")
		}
		if strings.Contains(told, forbidden) {
			t.Errorf("%q: %q", q, around(told, forbidden))
		}
		dir := filepath.Join(t.TempDir(), "out")
		none := func(string) error { return nil }
		r, err := export.Fetch(t.Context(), func(context.Context, export.Request) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(got.body)), nil
		}, export.Options{Query: q, Format: export.EML, Out: dir, SyncDir: none, SyncFile: none})
		if err != nil || r.Messages != int64(len(p.visible)) {
			t.Fatalf("%q: %d messages, want %d: %v", q, r.Messages, len(p.visible), err)
		}
		v, err := export.Verify(t.Context(), dir, export.VerifyOptions{})
		if err != nil || len(v.Problems) > 0 || v.Deposits != int64(len(p.visible)) {
			t.Errorf("%q: %d deposits are proved, want %d: %+v, %v", q, v.Deposits, len(p.visible), v.Problems, err)
		}
		manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`"received":"([^"]+)"`).FindAllStringSubmatch(string(manifest), -1) {
			if at, err := time.Parse(time.RFC3339, found[1]); err != nil || at.Before(first()) || !at.Before(last()) {
				t.Errorf("%q: the manifest tells of another deposit: %s, %v", q, found[1], err)
			}
		}
	}
}
