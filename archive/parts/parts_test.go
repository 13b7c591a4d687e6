package parts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 3))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

// lines encodes data in lines of base64, without an end of line behind the last one.
func lines(data []byte, line int, eol string) string {
	var b strings.Builder
	text := base64.StdEncoding.EncodeToString(data)
	for ; len(text) > line; text = text[line:] {
		b.WriteString(text[:line] + eol)
	}
	return b.String() + text
}

// take examines and splits a message.
func take(ctx context.Context, msg io.ReaderAt, size int64, id string, o Options, shared func(uint64) bool) (*Message, error) {
	p, err := Examine(ctx, msg, size, id, o)
	if err != nil {
		return nil, err
	}
	return p.Split(shared)
}

func nobodyElse(uint64) bool { return false }

// split takes a message apart of which only large pieces become parts.
func split(t testing.TB, msg string, o Options) *Message {
	t.Helper()
	return splitShared(t, msg, o, nobodyElse)
}

func splitShared(t testing.TB, msg string, o Options, shared func(uint64) bool) *Message {
	t.Helper()
	m, err := take(t.Context(), strings.NewReader(msg), int64(len(msg)), sum([]byte(msg)), o, shared)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// store reads recipe and parts as an archive would.
func store(t testing.TB, m *Message) (recipe []byte, parts map[string][]byte) {
	t.Helper()
	recipe, err := io.ReadAll(m.Recipe())
	if err != nil || sum(recipe) != m.RecipeSHA256 || int64(len(recipe)) != m.RecipeBytes {
		t.Fatalf("recipe of %d bytes is announced as %d with %s: %v", len(recipe), m.RecipeBytes, m.RecipeSHA256, err)
	}
	parts = map[string][]byte{}
	for _, p := range m.Parts {
		data, err := io.ReadAll(p.Open())
		if err != nil || sum(data) != p.SHA256 || int64(len(data)) != p.Bytes || parts[p.SHA256] != nil {
			t.Fatalf("part of %d bytes is announced as %+v: %v", len(data), p, err)
		}
		parts[p.SHA256] = data
	}
	return recipe, parts
}

func opener(parts map[string][]byte) Opener {
	return func(id string, _ int64) (io.ReadCloser, error) {
		data, ok := parts[id]
		if !ok {
			return nil, errors.New("no such part")
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	}
}

func join(recipe []byte, parts map[string][]byte) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(recipe), opener(parts))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// multipart makes a message of bodies that begin with their headers.
func multipart(boundary, eol string, bodies ...string) string {
	var b strings.Builder
	b.WriteString("From: a@example.com" + eol + "Content-Type: multipart/mixed;" + eol + "\tboundary=\"" + boundary + "\"" + eol + eol + "preamble" + eol)
	for _, body := range bodies {
		b.WriteString("--" + boundary + eol + body + eol)
	}
	return b.String() + "--" + boundary + "--" + eol + "epilogue" + eol
}

func attachment(eol, encoded string) string {
	return "Content-Type: application/pdf" + eol + "Content-Transfer-Encoding: BASE64" + eol + eol + encoded
}

var file = random(1, 40_000)

func TestMessagesComeBackByteForByte(t *testing.T) {
	text := strings.Repeat("Lorem ipsum dolor sit amet.\r\n", 2000)
	pdf := lines(file, 76, crlf)
	raw := []string{}          // parts that are stored as they are
	dec := []string{sum(file)} // decoded
	tests := map[string]struct {
		msg  string
		want []string // SHA-256 of the parts
	}{
		"CRLF":                  {multipart("b", crlf, "\r\nhello", attachment(crlf, pdf)), dec},
		"LF":                    {multipart("b", lf, "\nhello", attachment(lf, lines(file, 60, lf))), dec},
		"one line":              {multipart("b", crlf, attachment(crlf, lines(file, 1<<20, crlf))), dec},
		"two long lines":        {multipart("b", crlf, attachment(crlf, lines(file, 30_000, crlf))), dec},
		"very long lines":       {multipart("b", crlf, attachment(crlf, lines(random(1, 400_000), 200_000, crlf))), []string{sum(random(1, 400_000))}},
		"lines of no 4":         {multipart("b", crlf, attachment(crlf, lines(file, 77, crlf))), dec},
		"full last line":        {multipart("b", crlf, attachment(crlf, lines(random(1, 57*700), 76, crlf))), []string{sum(random(1, 57*700))}},
		"empty lines around":    {multipart("b", crlf, attachment(crlf, "\r\n\r\n"+pdf+"\r\n\r\n\r\n")), dec},
		"other end at the end":  {multipart("b", crlf, attachment(crlf, pdf+"\n")), dec},
		"no closing boundary":   {strings.TrimSuffix(multipart("b", crlf, attachment(crlf, pdf)), "\r\n--b--\r\nepilogue\r\n"), dec},
		"boundary with a space": {strings.Replace(multipart("b", crlf, attachment(crlf, pdf)), "--b\r\n", "--b \t\r\n", 1), dec},
		"twice the same":        {multipart("b", crlf, attachment(crlf, pdf), attachment(crlf, lines(file, 64, lf))), dec},
		"base64 as the body":    {attachment(crlf, pdf), dec},
		"forwarded":             {multipart("b", crlf, "Content-Type: message/rfc822\r\n\r\n"+multipart("c", crlf, attachment(crlf, pdf))), dec},
		"nested, inner unclosed": {multipart("b", crlf, strings.TrimSuffix(multipart("c", crlf, attachment(crlf, pdf)), "\r\n--c--\r\nepilogue\r\n"),
			"Content-Type: text/plain\r\n\r\n"+text), []string{sum(file), sum([]byte(text))}},
		"boundary that begins like the outer": {multipart("b", crlf, multipart("bb", crlf, attachment(crlf, pdf))), dec},
		"plain text":                          {"Subject: x\r\n\r\n" + text, []string{sum([]byte(text))}},
		"no header":                           {"\r\n" + text, []string{sum([]byte(text))}},
		"text in two parts":                   {multipart("b", crlf, "\r\n"+text, "Content-Type: text/html\r\n\r\n<p>"+text), []string{sum([]byte(text)), sum([]byte("<p>" + text))}},
		"a short line inside":                 {multipart("b", crlf, attachment(crlf, pdf+"\r\nAAAA\r\nAAAA")), append(raw, sum([]byte(pdf+"\r\nAAAA\r\nAAAA")))},
		"mixed ends of lines":                 {multipart("b", crlf, attachment(crlf, strings.Replace(pdf, crlf, lf, 1))), append(raw, sum([]byte(strings.Replace(pdf, crlf, lf, 1))))},
		"spaces in a line":                    {multipart("b", crlf, attachment(crlf, strings.Replace(pdf, crlf, "  \r\n", 1))), append(raw, sum([]byte(strings.Replace(pdf, crlf, "  \r\n", 1))))},
		"padding inside":                      {multipart("b", crlf, attachment(crlf, "AA=="+pdf[4:])), append(raw, sum([]byte("AA=="+pdf[4:])))},
		"bits behind the end":                 {multipart("b", crlf, attachment(crlf, lines(random(1, 57*700), 76, crlf)+"\r\nAB==")), append(raw, sum([]byte(lines(random(1, 57*700), 76, crlf)+"\r\nAB==")))},
		"carriage returns":                    {multipart("b", crlf, attachment(crlf, strings.ReplaceAll(pdf, lf, ""))), append(raw, sum([]byte(strings.ReplaceAll(pdf, lf, ""))))},
		"NUL bytes":                           {"\r\n" + strings.Repeat("\x00\xff", 20_000), []string{sum([]byte(strings.Repeat("\x00\xff", 20_000)))}},
		"small":                               {multipart("b", crlf, "\r\nhello"), nil},
		"small when decoded":                  {multipart("b", crlf, attachment(crlf, lines(file[:30_000], 76, crlf))), nil},
		"long header only":                    {strings.Repeat("Received: x\r\n", 10_000), nil},
		"unknown boundary":                    {"Content-Type: multipart/mixed\r\n\r\n" + text, []string{sum([]byte(text))}},
		"endless line":                        {"X: " + strings.Repeat("y", 200_000) + "\r\n\r\n" + text, []string{sum([]byte(text))}},
		"deeply nested":                       {strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 500) + text, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := split(t, test.msg, Options{})
			if m == nil {
				if test.want != nil {
					t.Fatal("message is kept as a whole")
				}
				return
			}
			recipe, parts := store(t, m)
			var got []string
			for _, p := range m.Parts {
				got = append(got, p.SHA256)
			}
			if test.want != nil && !slices.Equal(got, test.want) {
				t.Errorf("parts are %q, want %q", got, test.want)
			}
			back, err := join(recipe, parts)
			if err != nil || string(back) != test.msg {
				t.Errorf("%d of %d bytes come back, %v", len(back), len(test.msg), err)
			}
			_, refs, err := References(bytes.NewReader(recipe))
			if err != nil || len(refs) != len(m.Parts) {
				t.Fatalf("references are %+v, %v", refs, err)
			}
			for i, ref := range refs {
				if ref.SHA256 != m.Parts[i].SHA256 || ref.Bytes != m.Parts[i].Bytes {
					t.Errorf("reference %d is %+v", i, ref)
				}
			}
		})
	}
}

func TestMessageThatIsNotWhatItsHashSaysIsKeptAsAWhole(t *testing.T) {
	msg := multipart("b", crlf, attachment(crlf, lines(file, 76, crlf)))
	m, err := take(t.Context(), strings.NewReader(msg), int64(len(msg)), sum(nil), Options{}, nobodyElse)
	if m != nil || err != nil {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestReadErrorsAreReported(t *testing.T) {
	msg := multipart("b", crlf, attachment(crlf, lines(file, 76, crlf)))
	for k := 1; ; k++ {
		r := &failingReader{ReaderAt: strings.NewReader(msg), left: k}
		m, err := take(t.Context(), r, int64(len(msg)), sum([]byte(msg)), Options{}, nobodyElse)
		if r.left > 0 {
			if k < 4 || m == nil || err != nil {
				t.Errorf("without a fault, %d reads: %v", k, err)
			}
			break
		}
		if m != nil || !errors.Is(err, errInjected) {
			t.Errorf("read %d failed: %+v, %v", k, m, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := take(ctx, strings.NewReader(msg), int64(len(msg)), sum([]byte(msg)), Options{}, nobodyElse); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

var errInjected = errors.New("injected fault")

type failingReader struct {
	io.ReaderAt
	left int
}

func (f *failingReader) ReadAt(p []byte, off int64) (int, error) {
	if f.left--; f.left == 0 {
		return 0, errInjected
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestBadRecipesAndPartsAreFound(t *testing.T) {
	msg := multipart("b", crlf, "\r\nhello", attachment(crlf, lines(file, 76, crlf)))
	recipe, parts := store(t, split(t, msg, Options{}))
	id := sum(file)
	line := fmt.Sprintf("base64 %s %d 76 crlf\n", id, len(file))
	if !bytes.Contains(recipe, []byte(line)) {
		t.Fatalf("recipe is %q", recipe)
	}
	with := func(old, by string) []byte { return bytes.Replace(recipe, []byte(old), []byte(by), 1) }
	other := bytes.Clone(file)
	other[1000] ^= 1
	part := func(data []byte) map[string][]byte { return map[string][]byte{id: data} }
	for name, test := range map[string]struct {
		recipe []byte
		parts  map[string][]byte
	}{
		"other part":        {recipe, part(other)},
		"short part":        {recipe, part(file[:len(file)-1])},
		"long part":         {recipe, part(append(slices.Clone(file), 0))},
		"other text":        {with("hello", "hullo"), parts},
		"other line":        {with("76 crlf", "75 crlf"), parts},
		"other end of line": {with("76 crlf", "76 lf"), parts},
		"no line":           {with("76 crlf", "0 crlf"), parts},
		"negative line":     {with("76 crlf", "-76 crlf"), parts},
		"unknown end":       {with("76 crlf", "76 cr"), parts},
		"unknown step":      {with("base64", "base85"), parts},
		"two spaces":        {with("base64 ", "base64  "), parts},
		"upper case":        {with(id, strings.ToUpper(id)), parts},
		"short hash":        {with(id, id[1:]), parts},
		"leading zero":      {with(" 76 ", " 076 "), parts},
		"long line":         {with(line, line[:len(line)-1]+strings.Repeat(" ", 300)+"\n"), parts},
		"text too long":     {with("text ", "text 9"), parts},
		"text too short":    {with("text 1", "text "), parts},
		"no end":            {bytes.TrimSuffix(recipe, []byte("end\n")), parts},
		"cut in a text":     {recipe[:len(recipe)-20], parts},
		"cut in a line":     {recipe[:len(recipe)-2], parts},
		"empty":             {nil, parts},
		"other version":     {with("recipe 1", "recipe 2"), parts},
		"other size":        {with(fmt.Sprintf(" %d\n", len(msg)), fmt.Sprintf(" %d\n", len(msg)-1)), parts},
		"larger size":       {with(fmt.Sprintf(" %d\n", len(msg)), fmt.Sprintf(" %d\n", len(msg)+1)), parts},
		"other id":          {with(sum([]byte(msg)), sum(nil)), parts},
	} {
		if _, err := join(test.recipe, test.parts); !errors.Is(err, ErrRecipe) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := join(recipe, nil); err == nil || errors.Is(err, ErrRecipe) || !strings.Contains(err.Error(), id) {
		t.Errorf("missing part: %v", err)
	}
}

func TestPartsAreClosed(t *testing.T) {
	msg := multipart("b", crlf, attachment(crlf, lines(file, 76, crlf)), "\r\n"+strings.Repeat("x", 40_000))
	recipe, parts := store(t, split(t, msg, Options{}))
	for _, n := range []int64{0, 1, 10_000, int64(len(msg)) - 20_000, int64(len(msg))} {
		open := 0
		r, err := NewReader(bytes.NewReader(recipe), func(id string, _ int64) (io.ReadCloser, error) {
			open++
			return closer{bytes.NewReader(parts[id]), &open}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, n); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil || open != 0 {
			t.Errorf("after %d bytes %d parts are open, %v", n, open, err)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("a closed reader is read")
		}
	}
}

type closer struct {
	io.Reader
	open *int
}

func (c closer) Close() error { *c.open--; return nil }

// The script in docs/formats puts a message together from what tar has unpacked.
func TestScriptReassemblesMessages(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("POSTKEEP_REAL") == "required" {
			t.Fatalf("POSTKEEP_REAL=required, but %v", err)
		}
		t.Skipf("SKIPPED, the script is not tried: %v", err)
	}
	for _, msg := range []string{
		multipart("b", crlf, "\r\nhello", attachment(crlf, lines(file, 76, crlf)), "\r\n"+strings.Repeat("x", 40_000)),
		multipart("b", lf, attachment(lf, lines(file[:39_001], 61, lf))),
		attachment(crlf, lines(file, 1<<20, crlf)),
	} {
		recipe, parts := store(t, split(t, msg, Options{}))
		dir, id := t.TempDir(), sum([]byte(msg))
		if err := os.Mkdir(filepath.Join(dir, "parts"), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, data := range parts {
			if err := os.WriteFile(filepath.Join(dir, "parts", name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, id+".recipe"), recipe, 0o600); err != nil {
			t.Fatal(err)
		}
		run := func() ([]byte, error) {
			return exec.CommandContext(t.Context(), python, "../../docs/formats/reassemble.py", filepath.Join(dir, id+".recipe")).Output()
		}
		if out, err := run(); err != nil || string(out) != msg {
			t.Errorf("%d of %d bytes come back, %v", len(out), len(msg), err)
		}
		for name, data := range parts {
			data[7] ^= 1
			if err := os.WriteFile(filepath.Join(dir, "parts", name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := run(); err == nil {
			t.Error("a damaged part is not noticed")
		}
	}
}

// A wide message is made while it is read.
type wide struct {
	head string
	line string // repeated
	size int64
}

func (w wide) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < w.size {
		from, at := w.line, off-int64(len(w.head))
		if at < 0 {
			from, at = w.head, off
		}
		k := copy(p[n:min(int64(len(p)), int64(n)+w.size-off)], from[at%int64(len(from)):])
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestLargeMessageTakesLittleMemory(t *testing.T) {
	const limit = 4 << 20
	w := wide{head: attachment(crlf, ""), line: lines(random(2, 57), 76, crlf) + crlf}
	w.size = int64(len(w.head)) + 48<<20/78*78
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(w, 0, w.size)); err != nil {
		t.Fatal(err)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m, err := take(t.Context(), w, w.size, hex.EncodeToString(h.Sum(nil)), Options{}, nobodyElse)
	if err != nil || m == nil || len(m.Parts) != 1 || m.RecipeBytes > 1000 {
		t.Fatalf("%+v, %v", m, err)
	}
	runtime.ReadMemStats(&now)
	if used := now.TotalAlloc - before.TotalAlloc; used > limit {
		t.Errorf("splitting %d MiB has allocated %d KiB", w.size>>20, used>>10)
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(multipart("b", crlf, "\r\nhello", attachment(crlf, lines(file[:300], 76, crlf))))
	f.Add(multipart("b", lf, multipart("c", lf, attachment(lf, lines(file[:300], 60, lf)))))
	f.Add(attachment(crlf, "QUJD\r\nQUI="))
	f.Add("Received: a\n\tb\nReceived: c\nSubject: d\n\nbody\n")
	f.Fuzz(func(t *testing.T, msg string) {
		n := 0
		everySecond := func(uint64) bool { n++; return n%2 == 0 }
		for o, shared := range map[Options]func(uint64) bool{{MinBytes: 4}: nobodyElse, {MinBytes: 8, SharedBytes: 2}: everySecond} {
			m := splitShared(t, msg, o, shared)
			if m == nil {
				continue
			}
			recipe, parts := store(t, m)
			if back, err := join(recipe, parts); err != nil || string(back) != msg {
				t.Errorf("%q comes back as %q, %v", msg, back, err)
			}
			if _, _, err := References(bytes.NewReader(recipe)); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("postkeep-recipe 1\nmessage "+sum([]byte("hi"))+" 2\ntext 2\nhi\nend\n"), []byte{})
	f.Add(fmt.Appendf(nil, "%sbase64 %s 3 4 lf\nend\n", head(sum([]byte("QUJD")), 4), sum([]byte("ABC"))), []byte("ABC"))
	f.Fuzz(func(t *testing.T, recipe, part []byte) {
		r, err := NewReader(bytes.NewReader(recipe), func(string, int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(part)), nil })
		if err != nil {
			return
		}
		h := sha256.New()
		if n, err := io.Copy(h, r); err == nil && (n != r.Bytes || hex.EncodeToString(h.Sum(nil)) != r.ID) {
			t.Errorf("%d bytes are given without an error", n)
		}
		_ = r.Close()
	})
}

func BenchmarkSplit(b *testing.B) {
	msg := multipart("b", crlf, "\r\nhello", attachment(crlf, lines(random(1, 6<<20), 76, crlf)))
	id := sum([]byte(msg))
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if m, err := take(b.Context(), strings.NewReader(msg), int64(len(msg)), id, Options{}, nobodyElse); m == nil || err != nil {
			b.Fatal(err)
		}
	}
}
