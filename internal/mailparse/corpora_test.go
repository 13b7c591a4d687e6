package mailparse

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-message"
	"github.com/klauspost/compress/zstd"
)

// forEachFile reads a corpus: a .tar.zst in the folder that POSTKEEP_CORPORA names.
func forEachFile(t *testing.T, corpus string, do func(name string, content []byte)) {
	t.Helper()
	dir := os.Getenv("POSTKEEP_CORPORA")
	if dir == "" {
		t.Skip("POSTKEEP_CORPORA IS NOT SET: NOTHING WAS TESTED ON REAL MAIL")
	}
	f, err := os.Open(filepath.Join(dir, corpus+".tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		do(h.Name, content)
	}
}

func TestCorporaAreRead(t *testing.T) {
	for _, corpus := range []string{"conformance", "natural-small", "bench-list"} {
		t.Run(corpus, func(t *testing.T) {
			files, compared := 0, 0
			forEachFile(t, corpus, func(name string, content []byte) {
				if files++; raceEnabled && corpus == "bench-list" && files%5 > 0 {
					return // the detector makes it too slow
				}
				m, err := Parse(t.Context(), bytes.NewReader(content), Options{})
				if err != nil || len(m.Parts) == 0 || m.Size != int64(len(content)) {
					t.Fatalf("%s: %d parts, error %v", name, len(m.Parts), err)
				}
				text := m.Text()
				if !utf8.ValidString(text) {
					t.Errorf("%s: text is not UTF-8", name)
				}
				if len(bytes.TrimSpace(content)) > 0 && text == "" && len(m.Header.Fields()) == 0 && len(m.Attachments) == 0 {
					t.Errorf("%s: nothing was found in %d bytes", name, len(content))
				}
				if rest, ok := bytes.CutPrefix(content, []byte("From ")); ok { // go-message would not read it
					_, content, _ = bytes.Cut(rest, []byte("\n"))
					if m, err = Parse(t.Context(), bytes.NewReader(content), Options{}); err != nil {
						t.Fatal(err)
					}
				}
				if m.HasFlag(FlagMalformed) {
					return
				}
				if want, ok := goMessageLeaves(content); ok {
					compared++
					if got := leaves(m); !slices.Equal(got, want) {
						t.Errorf("%s:\n got %q\nwant %q", name, got, want)
					}
				}
			})
			t.Logf("%d files, %d of them compared with go-message", files, compared)
			if files < 1000 || compared == 0 {
				t.Error("the corpus is not what it should be")
			}
		})
	}
}

// leaves lists the decoded leaves of the message itself as "type size".
func leaves(m *Message) []string {
	var list []string
	for _, p := range m.Parts {
		enclosed := false
		for up := p.parent; up >= 0; up = m.Parts[up].parent {
			enclosed = enclosed || !strings.HasPrefix(m.Parts[up].MediaType, "multipart/")
		}
		if !enclosed && !strings.HasPrefix(p.MediaType, "multipart/") {
			list = append(list, fmt.Sprint(p.MediaType, " ", p.Size))
		}
	}
	return list
}

// goMessageLeaves does the same with go-message. ok is false if that has anything to
// complain about, does not know the charset of a text, or is known to differ:
// it has no default type for the parts of a digest, and expects the first kind of
// line end at every boundary.
func goMessageLeaves(content []byte) (list []string, ok bool) {
	crlf := bytes.Count(content, []byte("\r\n"))
	if bytes.Contains(bytes.ToLower(content), []byte("multipart/digest")) || crlf > 0 && crlf < bytes.Count(content, []byte("\n")) {
		return nil, false
	}
	e, err := message.Read(bytes.NewReader(content))
	if err != nil {
		return nil, false
	}
	err = e.Walk(func(_ []int, e *message.Entity, err error) error {
		if err != nil {
			return err
		}
		mediaType, _, err := e.Header.ContentType()
		if err != nil || strings.HasPrefix(mediaType, "multipart/") {
			return err
		}
		n, err := io.Copy(io.Discard, e.Body)
		if !strings.Contains(mediaType, "/") {
			mediaType = "text/plain"
		}
		list = append(list, fmt.Sprint(strings.ToLower(mediaType), " ", n))
		return err
	})
	return list, err == nil
}

func TestWellFormedMailIsReadAsGoMessageReadsIt(t *testing.T) {
	const inner = "Content-Type: multipart/alternative; boundary=\"=_i\"\r\n\r\npreamble\r\n--=_i\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9 =\r\nau lait \r\n\r\n--=_i\r\nContent-Type: TEXT/HTML\r\n\r\n<p>x\r\n--=_i--\r\nepilogue"
	for _, msg := range []string{
		"Subject: s\r\n\r\nbody\r\n",
		"Subject: s\r\n" + inner,
		"Subject: s\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + inner + "\r\n--o\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQF\r\nBgc=\r\n--o\r\nContent-Type: message/rfc822\r\n\r\nSubject: e\r\n\r\nenclosed\r\n\r\n--o--\r\n",
	} {
		want, ok := goMessageLeaves([]byte(msg))
		m := parse(t, msg)
		if got := leaves(m); !ok || m.HasFlag(FlagMalformed) || !slices.Equal(got, want) {
			t.Errorf("%q, want %q (%v); problems %q", got, want, ok, m.Problems)
		}
	}
}
