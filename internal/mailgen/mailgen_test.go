package mailgen

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func generator(t testing.TB, opts Options) *Generator {
	t.Helper()
	g, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A leaf is a part without parts, decoded by the standard library.
type leaf struct {
	mediaType string
	name      string
	data      []byte // text is UTF-8
}

// leaves takes a message apart. It fails on anything that is against the rules.
func leaves(t *testing.T, header map[string][]string, body io.Reader) []leaf {
	t.Helper()
	get := func(name string) string { return strings.Join(header[name], "") }
	contentType := get("Content-Type")
	if contentType == "" {
		contentType = "text/plain"
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatalf("Content-Type %q: %v", contentType, err)
	}
	if strings.HasPrefix(mediaType, "multipart/") {
		var all []leaf
		mr := multipart.NewReader(body, params["boundary"])
		for {
			p, err := mr.NextRawPart()
			if errors.Is(err, io.EOF) {
				return all
			}
			if err != nil {
				t.Fatalf("%s: %v", mediaType, err)
			}
			all = append(all, leaves(t, p.Header, p)...)
		}
	}
	switch transfer := get("Content-Transfer-Encoding"); transfer {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "", "7bit", "8bit":
	default:
		t.Fatalf("Content-Transfer-Encoding %q", transfer)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("%s: %v", mediaType, err)
	}
	if enc := charsetOf(params["charset"]); enc != nil {
		if data, err = enc.NewDecoder().Bytes(data); err != nil {
			t.Fatalf("%s: %v", contentType, err)
		}
	}
	_, disposition, err := mime.ParseMediaType(get("Content-Disposition"))
	if err != nil && get("Content-Disposition") != "" {
		t.Fatalf("Content-Disposition %q: %v", get("Content-Disposition"), err)
	}
	return []leaf{{mediaType, disposition["filename"], data}}
}

func parse(t *testing.T, raw []byte) (*mail.Message, []leaf) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	return m, leaves(t, m.Header, m.Body)
}

// example returns the first message of a kind.
func example(t *testing.T, g *Generator, kind Kind) []byte {
	t.Helper()
	for i := range g.cycle {
		if g.Kind(i) == kind {
			return g.Message(i)
		}
	}
	t.Fatalf("no message of kind %q in %d", kind, len(g.cycle))
	return nil
}

func TestSameOptionsGiveTheSameBytes(t *testing.T) {
	const n = 500
	a, b := generator(t, Options{Seed: 7, Count: n}), generator(t, Options{Seed: 7})
	var inOrder [][]byte
	for i, raw := range a.All() {
		if i != len(inOrder) {
			t.Fatalf("All yields number %d after %d messages", i, len(inOrder))
		}
		inOrder = append(inOrder, raw)
	}
	if len(inOrder) != n {
		t.Fatalf("All yields %d messages, want %d", len(inOrder), n)
	}
	for i := n - 1; i >= 0; i-- {
		if !bytes.Equal(b.Message(i), inOrder[i]) {
			t.Fatalf("message %d differs when made out of order", i)
		}
	}
	if bytes.Equal(generator(t, Options{Seed: 8}).Message(0), inOrder[0]) {
		t.Error("another seed gives the same message")
	}
}

// TestBytesNeverChange pins what benchmarks compare over the years, on every
// platform. After a deliberate change, put in the new value.
func TestBytesNeverChange(t *testing.T) {
	h := sha256.New()
	for _, raw := range generator(t, Options{Seed: 1, Count: 200}).All() {
		h.Write(raw)
	}
	mails, err := Demo()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mails {
		h.Write(m.Raw)
	}
	const want = "b8bd5e160c6f2a6a01316b4970c6ef98eb8ea50bbad76805fe7122ced6b1c5ca"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("SHA-256 of the mail is %s, want %s", got, want)
	}
}

func TestEveryCycleHasEveryKind(t *testing.T) {
	g := generator(t, Options{Seed: 3})
	if len(g.cycle) > 100 {
		t.Errorf("a cycle has %d messages: small tests do not see every kind", len(g.cycle))
	}
	for _, start := range []int{0, len(g.cycle)} {
		seen := map[Kind]int{}
		for i := range g.cycle {
			seen[g.Kind(start+i)]++
		}
		for _, s := range specs() {
			if seen[s.kind] != s.weight || s.weight == 0 {
				t.Errorf("kind %q is %d times in a cycle, want %d", s.kind, seen[s.kind], s.weight)
			}
		}
	}
}

func TestAllMailboxesAndLanguagesOccur(t *testing.T) {
	g := generator(t, Options{Seed: 1, Domain: "firm.example", Mailboxes: []string{"one", "two"}})
	mailboxes, languages := map[string]int{}, map[*lexicon]int{}
	for i := range 500 {
		e := g.envelope(i)
		mailboxes[g.Mailbox(i)]++
		languages[e.lex]++
		if !bytes.Contains(g.Message(i), []byte(g.Mailbox(i)+"@firm.example")) {
			t.Errorf("message %d does not name its recipient", i)
		}
	}
	if len(mailboxes) != 2 || mailboxes["one"] < 150 || mailboxes["two"] < 150 {
		t.Errorf("mailboxes are %v, want both about equally", mailboxes)
	}
	if len(languages) != len(g.lexicons) {
		t.Errorf("%d of %d languages occur", len(languages), len(g.lexicons))
	}
}

func TestMessageIDsAreUnique(t *testing.T) {
	g := generator(t, Options{Seed: 1, Count: 2000})
	ids, sums := map[string]int{}, map[[32]byte]int{}
	for i, raw := range g.All() {
		sum := sha256.Sum256(raw)
		if j, ok := sums[sum]; ok {
			t.Errorf("messages %d and %d are the same", i, j)
		}
		sums[sum] = i
		if g.Kind(i) == BrokenStructure {
			continue
		}
		m, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("message %d, %s: %v", i, g.Kind(i), err)
		}
		id := m.Header.Get("Message-Id")
		if j, ok := ids[id]; ok || id == "" {
			t.Errorf("messages %d and %d have Message-ID %q", i, j, id)
		}
		ids[id] = i
	}
}

func TestDatesAdvance(t *testing.T) {
	start := time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC)
	g := generator(t, Options{Start: start, Interval: time.Hour})
	last := start
	for i := range 100 {
		e := g.envelope(i)
		if e.date.Before(last) || e.date.Sub(start) > time.Duration(i+1)*time.Hour {
			t.Errorf("message %d is of %v, after one of %v", i, e.date, last)
		}
		last = e.date
	}
}

func TestUnbrokenMailKeepsTheRules(t *testing.T) {
	encodedWord := regexp.MustCompile(`=\?[^?]+\?[BQ]\?[^?]*\?=`)
	g := generator(t, Options{Seed: 5, Count: 300})
	for i, raw := range g.All() {
		if g.Kind(i).Broken() {
			continue
		}
		where := fmt.Sprintf("message %d, %s", i, g.Kind(i))
		if bytes.Count(raw, []byte("\n")) != bytes.Count(raw, []byte("\r\n")) || bytes.Count(raw, []byte("\r")) != bytes.Count(raw, []byte("\r\n")) {
			t.Errorf("%s has bare CR or LF", where)
		}
		if !bytes.HasSuffix(raw, []byte("\r\n")) || bytes.ContainsRune(raw, 0) {
			t.Errorf("%s has no final newline, or has NULs", where)
		}
		for line := range bytes.Lines(raw) {
			if len(line) > 1000 { // RFC 5322 section 2.1.1, with CRLF
				t.Errorf("%s has a line of %d octets", where, len(line))
			}
		}
		for _, w := range encodedWord.FindAll(raw, -1) {
			if len(w) > wordLimit {
				t.Errorf("%s has an encoded-word of %d octets", where, len(w))
			}
		}
		m, parts := parse(t, raw)
		if _, err := m.Header.AddressList("From"); err != nil && g.Kind(i) != GB18030 && charsetOf(g.spec(i).charset) == nil {
			t.Errorf("%s: From: %v", where, err)
		}
		if _, err := m.Header.Date(); err != nil {
			t.Errorf("%s: Date: %v", where, err)
		}
		for _, p := range parts {
			if strings.HasPrefix(p.mediaType, "text/") && (!utf8.Valid(p.data) || bytes.ContainsAny(p.data, "\ufffd\x1a")) {
				t.Errorf("%s has text that its charset cannot hold: %q", where, p.data)
			}
		}
	}
}

func TestHeadersAndTextSurviveTheirCharset(t *testing.T) {
	g := generator(t, Options{Seed: 2})
	decoder := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		enc := charsetOf(charset)
		if enc == nil {
			return nil, fmt.Errorf("unknown charset %q", charset)
		}
		return enc.NewDecoder().Reader(r), nil
	}}
	for i := range 4 * len(g.cycle) {
		if g.Kind(i).Broken() || g.Kind(i) == List || g.Kind(i) == Bounce {
			continue
		}
		e := g.envelope(i)
		m, parts := parse(t, g.Message(i))
		if got, err := decoder.DecodeHeader(m.Header.Get("Subject")); err != nil || got != e.subject {
			t.Errorf("message %d, %s: subject %q, %v; want %q", i, g.Kind(i), got, err, e.subject)
		}
		if got, err := decoder.DecodeHeader(m.Header.Get("From")); err != nil || got != e.from.name+" <"+e.from.addr+">" {
			t.Errorf("message %d, %s: from %q, %v; want %q", i, g.Kind(i), got, err, e.from)
		}
		if g.Kind(i) != Journal && !bytes.Contains(parts[0].data, []byte(e.from.name)) {
			t.Errorf("message %d, %s: the text is not signed by %s:\n%s", i, g.Kind(i), e.from.name, parts[0].data)
		}
	}
}

func TestCharsetKindsAreOfTheirCharset(t *testing.T) {
	g := generator(t, Options{Seed: 2})
	for _, s := range specs() {
		if charsetOf(s.charset) == nil {
			continue
		}
		raw := example(t, g, s.kind)
		if want := "Content-Type: text/plain; charset=" + s.charset + "\r\n"; !bytes.Contains(raw, []byte(want)) {
			t.Errorf("%s: no %q", s.kind, want)
		}
		if !bytes.Contains(raw, []byte("=?"+s.charset+"?")) && !bytes.Contains(raw, []byte("\nSubject: ")) {
			t.Errorf("%s: no encoded header", s.kind)
		}
		if want := "Content-Transfer-Encoding: " + s.transfer + "\r\n"; !bytes.Contains(raw, []byte(want)) {
			t.Errorf("%s: no %q", s.kind, want)
		}
	}
}

func TestThreadRefersToItsEarlierMessages(t *testing.T) {
	g := generator(t, Options{Seed: 9})
	var ids []string
	var subject string
	for i := range g.cycle {
		if g.Kind(i) != Thread {
			continue
		}
		m, _ := parse(t, g.Message(i))
		references := strings.Fields(m.Header.Get("References"))
		if !slices.Equal(references, ids) {
			t.Errorf("message %d has References %q, want %q", i, references, ids)
		}
		if len(ids) == 0 {
			subject = m.Header.Get("Subject")
		} else if m.Header.Get("In-Reply-To") != ids[len(ids)-1] {
			t.Errorf("message %d has In-Reply-To %q, want %q", i, m.Header.Get("In-Reply-To"), ids[len(ids)-1])
		}
		ids = append(ids, m.Header.Get("Message-Id"))
	}
	if len(ids) < 3 || subject == "" {
		t.Errorf("the thread has %d messages", len(ids))
	}
	next := len(g.cycle) + g.thread[0]
	if m, _ := parse(t, g.Message(next)); m.Header.Get("References") != "" {
		t.Error("the first message of the next thread has References")
	}
}

func TestReportsWrapTheirOriginal(t *testing.T) {
	g := generator(t, Options{Seed: 4})
	raw := example(t, g, Journal)
	m, parts := parse(t, raw)
	if _, ok := m.Header["X-Ms-Journal-Report"]; !ok {
		t.Error("the journal report has no X-MS-Journal-Report")
	}
	if len(parts) != 2 || parts[1].mediaType != "message/rfc822" {
		t.Fatalf("the journal report has parts %v", parts)
	}
	bcc := regexp.MustCompile(`(?m)^Bcc: (\S+)\r$`).FindSubmatch(parts[0].data)
	if bcc == nil || bytes.Contains(parts[1].data, bcc[1]) {
		t.Errorf("report %q and original do not differ by the Bcc", parts[0].data)
	}
	inner, _ := parse(t, parts[1].data)
	if !bytes.Contains(parts[0].data, []byte("Message-Id: "+inner.Header.Get("Message-Id"))) {
		t.Error("the report is not about the message in it")
	}

	raw = example(t, g, Bounce)
	m, parts = parse(t, raw)
	if m.Header.Get("Return-Path") != "<>" || !strings.Contains(m.Header.Get("Content-Type"), "report-type=delivery-status") {
		t.Errorf("the bounce has header %v", m.Header)
	}
	if len(parts) != 3 || !bytes.Contains(parts[1].data, []byte("Action: failed")) {
		t.Fatalf("the bounce has parts %v", parts)
	}
	inner, _ = parse(t, parts[2].data)
	if to := inner.Header.Get("To"); !bytes.Contains(parts[1].data, []byte("Final-Recipient: rfc822; "+to)) {
		t.Errorf("the bounce is not about its original to %s: %s", to, parts[1].data)
	}
}

func TestStructuresAreWhatTheirKindSays(t *testing.T) {
	g := generator(t, Options{Seed: 4})
	for kind, want := range map[Kind][]string{
		HTML:   {"text/plain", "text/html"},
		PNG:    {"text/plain", "text/html", typePNG},
		CSV:    {"text/plain", "text/csv"},
		PDF:    {"text/plain", typePDF},
		DOCX:   {"text/plain", typeDOCX},
		Signed: {"text/plain", "application/pgp-signature"},
		List:   {"text/plain"},
	} {
		raw := example(t, g, kind)
		_, parts := parse(t, raw)
		var got []string
		for _, p := range parts {
			got = append(got, p.mediaType)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has parts %q, want %q", kind, got, want)
		}
	}
	list := example(t, g, List)
	if m, _ := parse(t, list); m.Header.Get("List-Id") == "" || m.Header.Get("List-Unsubscribe") == "" {
		t.Error("the mailing list has no List- fields")
	}
	flowed := example(t, g, Flowed)
	if !bytes.Contains(flowed, []byte("format=flowed")) || !bytes.Contains(flowed, []byte(" \r\n> ")) {
		t.Error("the flowed message has no flowed quotation")
	}
}

func TestBrokenMailIsBrokenAsPromised(t *testing.T) {
	g := generator(t, Options{Seed: 6})
	raw := example(t, g, BrokenStructure)
	if _, err := mail.ReadMessage(bytes.NewReader(raw)); err == nil {
		t.Error("net/mail reads a header line without colon")
	}
	boundary := regexp.MustCompile(`boundary="([^"]+)"`).FindSubmatch(raw)
	if boundary == nil || bytes.Contains(raw, append(boundary[1], "--"...)) {
		t.Error("the multipart is closed")
	}
	if !bytes.Contains(raw, []byte("!*~")) {
		t.Error("the base64 is good")
	}

	raw = example(t, g, BrokenBytes)
	if !bytes.ContainsRune(raw, 0) || !regexp.MustCompile(`[^\r]\n`).Match(raw) || !regexp.MustCompile(`\r[^\n]`).Match(raw) || bytes.HasSuffix(raw, []byte("\n")) || utf8.Valid(raw) {
		t.Errorf("NUL, bare LF, bare CR, missing end or 8-bit header is not there: %q", raw)
	}

	raw = example(t, g, WrongCharset)
	if utf8.Valid(raw) || !bytes.Contains(raw, []byte("charset=utf-8")) {
		t.Error("the text is utf-8, or does not say so")
	}
}

func TestNegativeOptionsAreRefused(t *testing.T) {
	for _, opts := range []Options{{Count: -1}, {Interval: -time.Second}} {
		if _, err := New(opts); err == nil {
			t.Errorf("New(%+v) succeeded", opts)
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	g := generator(b, Options{Seed: 1})
	var octets int64
	for i := 0; b.Loop(); i++ {
		octets += int64(len(g.Message(i)))
	}
	b.ReportMetric(float64(octets)/float64(b.N), "octets/msg")
}
