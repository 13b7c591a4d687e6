package mailgen

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math/rand/v2"
	"mime"
	"net/mail"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

func testRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func TestLexiconsAreComplete(t *testing.T) {
	lexicons, err := readLexicons()
	if err != nil {
		t.Fatal(err)
	}
	if len(lexicons) < 10 {
		t.Errorf("only %d languages", len(lexicons))
	}
	for name, l := range lexicons {
		if l.domain == "" || l.zone == nil || l.date == "" || l.amount == "" || len(l.people) < 3 || len(l.greetings) < 2 ||
			len(l.closings) < 2 || len(l.subjects) < 5 || len(l.products) < 4 || len(l.sentences) < 8 || len(l.words) < 40 {
			t.Errorf("%s lacks something: %+v", name, l)
		}
		for _, s := range append(append(l.greetings, l.subjects...), l.sentences...) {
			if out := l.expand(testRand(), s); strings.ContainsAny(out, "{}") {
				t.Errorf("%s: %q has a slot that is not filled", name, out)
			}
		}
		for _, p := range l.people {
			if _, err := mail.ParseAddress(p.local + "@" + l.domain); err != nil {
				t.Errorf("%s: %+v: %v", name, p, err)
			}
		}
	}
}

func TestLexiconErrorsAreReported(t *testing.T) {
	for _, text := range []string{"colour: red", "zone: noon"} {
		if _, err := parseLexicon(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestFrequentWordsComeFirst(t *testing.T) {
	l := &lexicon{words: strings.Fields("a b c d e f g h i j")}
	count := map[string]int{}
	rng := testRand()
	for range 10_000 {
		count[l.word(rng)]++
	}
	if count["a"] < 3*count["c"] || count["c"] < count["j"] || count["j"] == 0 {
		t.Errorf("words were drawn %v times, want a steep decline", count)
	}
}

func TestWrapKeepsTextAndWidth(t *testing.T) {
	for _, text := range []string{
		"", "short", strings.Repeat("word ", 40) + "end", strings.Repeat("x", 100), strings.Repeat("契約書を拝見", 30), "a " + strings.Repeat("契約 contract ", 30),
	} {
		lines := wrap(text, 40)
		squeeze := strings.NewReplacer(" ", "", "\n", "")
		if squeeze.Replace(strings.Join(lines, "")) != squeeze.Replace(text) {
			t.Errorf("%q became %q", text, lines)
		}
		for _, line := range lines {
			if len([]rune(line)) > 40 && strings.ContainsAny(line, " 契") {
				t.Errorf("line %q is too long", line)
			}
		}
	}
}

func TestHeaderEncodingIsReadByTheStandardLibrary(t *testing.T) {
	for _, text := range []string{"plain", "Größe", strings.Repeat("Änderung der Lieferadresse ", 8), "=?utf-8?Q?x?= ü", "ü_=?", strings.Repeat("契", 100)} {
		for _, kind := range []byte("BQ") {
			encoded := encodeHeader("utf-8", kind, text)
			got, err := (&mime.WordDecoder{}).DecodeHeader(strings.ReplaceAll(encoded, "\r\n", ""))
			if err != nil || got != text {
				t.Errorf("%q as %c is %q and comes back as %q, %v", text, kind, encoded, got, err)
			}
			if !isASCII(encoded) {
				t.Errorf("%q is not ASCII", encoded)
			}
		}
	}
}

// wellFormed reports an error of an XML document.
func wellFormed(data []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(data))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestPDFCrossReferencesAreRight(t *testing.T) {
	pdf := makePDF([]string{"Total (net): 5 \\ 6", "Röstwerk"})
	if !bytes.Contains(pdf, []byte(`(Total \(net\): 5 \\ 6) Tj`)) || !bytes.Contains(pdf, []byte("(R\xf6stwerk) Tj")) {
		t.Errorf("text is missing: %s", pdf)
	}
	start := regexp.MustCompile(`startxref\n(\d+)\n%%EOF\n$`).FindSubmatch(pdf)
	if start == nil {
		t.Fatalf("no startxref: %s", pdf)
	}
	at, err := strconv.Atoi(string(start[1]))
	if err != nil || !bytes.HasPrefix(pdf[at:], []byte("xref\n0 6\n")) {
		t.Fatalf("startxref %s does not point to xref", start[1])
	}
	for i, entry := range regexp.MustCompile(`(?m)^(\d{10}) 00000 n $`).FindAllSubmatch(pdf[at:], -1) {
		offset, err := strconv.Atoi(string(entry[1]))
		if err != nil || !bytes.HasPrefix(pdf[offset:], fmt.Appendf(nil, "%d 0 obj\n", i+1)) {
			t.Errorf("entry %d does not point to its object", i+1)
		}
	}
	stream := regexp.MustCompile(`(?s)/Length (\d+) >>\nstream\n(.*)\nendstream`).FindSubmatch(pdf)
	if stream == nil || string(stream[1]) != strconv.Itoa(len(stream[2])) {
		t.Error("the stream has another length than it says")
	}
}

func TestFilesAreReadByTheStandardLibrary(t *testing.T) {
	lexicons, err := readLexicons()
	if err != nil {
		t.Fatal(err)
	}
	if img, err := png.Decode(bytes.NewReader(makePNG(testRand()))); err != nil || img.Bounds().Dx() != 16 {
		t.Errorf("PNG: %v", err)
	}
	r := csv.NewReader(bytes.NewReader(makeCSV(testRand(), lexicons["ja"])))
	r.Comma = ';'
	if rows, err := r.ReadAll(); err != nil || len(rows) < 4 || len(rows[0]) != 4 {
		t.Errorf("CSV: %q, %v", rows, err)
	}
	docx := makeDOCX([]string{"Größe < 5 & mehr"})
	z, err := zip.NewReader(bytes.NewReader(docx), int64(len(docx)))
	if err != nil {
		t.Fatal(err)
	}
	if len(z.File) != 3 {
		t.Errorf("DOCX has %d files", len(z.File))
	}
	for _, f := range z.File {
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(rc)
		if err := errors.Join(err, rc.Close(), wellFormed(data)); err != nil {
			t.Errorf("DOCX %s: %v", f.Name, err)
		}
		if f.Name == "word/document.xml" && !bytes.Contains(data, []byte("Größe &lt; 5 &amp; mehr")) {
			t.Errorf("DOCX text is missing: %s", data)
		}
	}
}

func TestLargeMessageHasExactlyTheSizeAndIsValid(t *testing.T) {
	for _, size := range []int64{0, MinLarge, MinLarge + 1, MinLarge + 77, MinLarge + 78, 100_000} {
		raw, err := io.ReadAll(Large(size))
		if err != nil {
			t.Fatal(err)
		}
		if want := max(size, MinLarge); int64(len(raw)) != want {
			t.Errorf("Large(%d) has %d octets", size, len(raw))
		}
		again, err := io.ReadAll(iotest.OneByteReader(Large(size)))
		if err != nil || !bytes.Equal(raw, again) {
			t.Errorf("Large(%d) read byte by byte differs, %v", size, err)
		}
		_, parts := parse(t, raw)
		if len(parts) != 2 || parts[1].name != "disk.img" || int64(len(parts[1].data)) < size*2/3-1000 {
			t.Errorf("Large(%d) has %d parts", size, len(parts))
		}
		if bytes.Count(raw, []byte("\n")) != bytes.Count(raw, []byte("\r\n")) {
			t.Errorf("Large(%d) has bare LF", size)
		}
	}
}

func TestLargeMessageIsStreamed(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := io.Copy(sha256.New(), Large(16<<20))
	runtime.ReadMemStats(&after)
	if err != nil || n != 16<<20 {
		t.Fatalf("read %d octets, %v", n, err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("16 MiB of message allocated %d octets", got)
	}
}

func TestDemoIsASmallCompany(t *testing.T) {
	mails, err := Demo()
	if err != nil {
		t.Fatal(err)
	}
	if len(mails) != demoCount {
		t.Errorf("%d messages, want %d", len(mails), demoCount)
	}
	mailboxes, copies, broken := map[string]int{}, map[string]string{}, 0
	shared := 0
	for i, m := range mails {
		mailboxes[m.Mailbox]++
		if other, ok := copies[string(m.Raw)]; ok {
			shared++
			if other == m.Mailbox {
				t.Errorf("message %d is twice in %s", i, other)
			}
		}
		copies[string(m.Raw)] = m.Mailbox
		if _, err := mail.ReadMessage(bytes.NewReader(m.Raw)); err != nil || bytes.ContainsRune(m.Raw, 0) {
			broken++
			continue
		}
		parse(t, m.Raw)
	}
	if len(mailboxes) != 3 || mailboxes["sales"] < 50 || mailboxes["support"] < 50 || mailboxes["archive"] < 50 {
		t.Errorf("mailboxes are %v", mailboxes)
	}
	if broken != 2 {
		t.Errorf("%d messages are broken, want 2", broken)
	}
	if shared < 5 {
		t.Errorf("%d messages are in two mailboxes", shared)
	}
}

func TestDemoHasWhatItsSearchesLookFor(t *testing.T) {
	mails, err := writtenMail()
	if err != nil {
		t.Fatal(err)
	}
	decoder := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		return charsetOf(charset).NewDecoder().Reader(r), nil
	}}
	for _, want := range []struct{ from, subject, text string }{
		{"maria@costa-verde.example", "Contract for the 2026 harvest", "240 bags"},
		{"maria@costa-verde.example", "Re: Contract for the 2026 harvest", "six months it is"},
		{"rechnung@roestwerk-nord.example", "Rechnung 4711 für Röstmaschine und Zubehör", "12.480,00 €"},
		{"tanaka@sakura-cha.example", "新年のご挨拶と抹茶の見本について", "明けましておめでとうございます"},
		{"olga@severny-chai.example", "Иван-чай: прайс-лист на весну", "Здравствуйте"},
		{"lin@formosa-tea.example", "烏龍茶樣品已寄出", "樣品"},
		{"haddad@haddad-partners.example", "Legal hold: dispute with Delta Packaging", "Delta Packaging"},
	} {
		found := false
		for _, m := range mails {
			msg, parts := parse(t, m.Raw)
			subject, err := decoder.DecodeHeader(msg.Header.Get("Subject"))
			if err != nil {
				t.Fatal(err)
			}
			found = found || subject == want.subject && strings.Contains(msg.Header.Get("From"), want.from) && bytes.Contains(parts[0].data, []byte(want.text))
		}
		if !found {
			t.Errorf("no message from %s with subject %q and text %q", want.from, want.subject, want.text)
		}
	}
}

func TestDemoRepliesReferToTheirThread(t *testing.T) {
	mails, err := writtenMail()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	replies := 0
	for _, m := range mails {
		msg, _ := parse(t, m.Raw)
		for _, ref := range strings.Fields(msg.Header.Get("References")) {
			replies++
			if !seen[ref] {
				t.Errorf("%s refers to %s, which is not an earlier message", msg.Header.Get("Message-Id"), ref)
			}
		}
		seen[msg.Header.Get("Message-Id")] = true
	}
	if replies < 10 {
		t.Errorf("only %d references", replies)
	}
}

func TestDemoTextErrorsAreReported(t *testing.T) {
	for _, block := range []string{
		"Id: x\n",
		"Id: x\nDate: yesterday\n\ntext\n",
		"Id: x\nDate: 2026-01-12 09:14 +0000\n\ntext\nAttach: exe virus.exe\n",
	} {
		m, err := parseDemo(block)
		if err == nil {
			_, err = m.bytes(map[string][]string{}, testRand())
		}
		if err == nil {
			t.Errorf("%q was accepted", block)
		}
	}
}
