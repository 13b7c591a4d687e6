package indexer

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/indexer/extract"
	"github.com/postkeep/postkeep/internal/mailparse"
)

// scripted answers for files by their name, and notes what it was given.
type scripted struct {
	mu    sync.Mutex
	given map[string]string
}

func (s *scripted) Extract(ctx context.Context, name, mediaType string, _ int64, r io.Reader) (extract.Result, error) {
	if name == "picture.bin" {
		return extract.Result{}, nil // not read at all
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return extract.Result{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given[name] = mediaType + " " + string(content)
	switch name {
	case "locked.pdf":
		return extract.Result{Reason: "encrypted", Encrypted: true}, nil
	case "broken.pdf":
		return extract.Result{}, errors.New("cannot be started")
	case "huge.pdf":
		return extract.Result{Text: strings.Repeat("word ", maxAttachedText/5) + "beyond"}, nil
	}
	return extract.Result{Text: "found" + strings.ReplaceAll(string(content), " ", "")}, ctx.Err()
}

// noText finds nothing in any file.
type noText struct{}

func (noText) Extract(context.Context, string, string, int64, io.Reader) (extract.Result, error) {
	return extract.Result{}, nil
}

func withParts(parts ...string) string {
	var b strings.Builder
	b.WriteString("Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nbody\r\n")
	for i := 0; i < len(parts); i += 3 {
		b.WriteString("--b\r\nContent-Type: " + parts[i] + "\r\nContent-Disposition: attachment; filename=\"" + parts[i+1] + "\"\r\n\r\n" + parts[i+2] + "\r\n")
	}
	return b.String() + "--b--\r\n"
}

func TestTextOfAttachmentsIsFoundAndWhatIsMissingIsSaid(t *testing.T) {
	a := newMemory()
	a.put("pdf", "box", withParts("application/pdf", "dir/a.pdf", "one", "application/octet-stream", "picture.bin", strings.Repeat("x", 1<<20), "application/x", "b.doc", "two"))
	a.put("locked", "box", withParts("application/pdf", "locked.pdf", "x"))
	a.put("broken", "box", withParts("application/pdf", "broken.pdf", "x", "application/pdf", "c.pdf", "three"))
	a.put("huge", "box", withParts("application/pdf", "huge.pdf", "x", "application/pdf", "d.pdf", "four"))
	a.put("text", "box", withParts("text/plain; charset=iso-8859-1", "e.txt", "plain", "text/plain; charset=x", "f.rtf", "five"))
	e := &scripted{given: map[string]string{}}
	start(t, t.TempDir(), a, WorkerOptions{Extractor: e}).catchUp().want(map[string]string{
		"foundone": "pdf", "foundtwo": "pdf", "attachment:foundone": "pdf", "body:foundone": "",
		"is:encrypted": "locked", "is:partial": "broken huge locked", "foundthree": "broken",
		"attachment:word": "huge", "beyond": "", "foundfour": "",
		"attachment:plain": "text", "foundfive": "text", "attachment:five": "",
	})
	if got := e.given["f.rtf"]; strings.TrimSpace(got) != `text/plain; charset="x" five` {
		t.Errorf("given %q", got)
	}
	if _, ok := e.given["e.txt"]; ok {
		t.Error("text was given to the extractor")
	}
	for name, want := range map[string]string{
		"locked": "locked.pdf: encrypted",
		"broken": "broken.pdf: could not be read: cannot be started",
		"huge":   "huge.pdf: too much text in the attachments, cut",
	} {
		if got := a.described[id(name)].Problems; len(got) == 0 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if s := a.described[id("pdf")]; len(s.Problems) > 0 || len(s.Flags) > 0 {
		t.Errorf("%+v", s)
	}
}

// waiting never answers before its context is done.
type waiting struct{ started chan struct{} }

func (w waiting) Extract(ctx context.Context, _, _ string, _ int64, _ io.Reader) (extract.Result, error) {
	w.started <- struct{}{}
	<-ctx.Done()
	return extract.Result{}, ctx.Err()
}

func TestStoppingDoesNotWaitForAttachments(t *testing.T) {
	a := newMemory()
	a.put("pdf", "box", withParts("application/pdf", "a.pdf", "one"))
	e := waiting{make(chan struct{}, 1)}
	r := start(t, t.TempDir(), a, WorkerOptions{Extractor: e})
	<-e.started
	r.stop()
	if _, ok := a.described[id("pdf")]; ok {
		t.Error("a message whose attachment was not read is indexed")
	}
}

func TestWithoutExtractorOnlyNamesAreFound(t *testing.T) {
	a := newMemory()
	a.put("pdf", "box", withParts("application/pdf", "quarterly.pdf", "one"))
	start(t, t.TempDir(), a, WorkerOptions{}).catchUp().want(map[string]string{"attachment:quarterly": "pdf", "is:" + mailparse.FlagPartial: ""})
}

// TestAttachmentsThatAreNotReadAreInDoubt: while index.extract is off, a hold on the text of attachments covers what may have it;
// what came in meanwhile is read when it is switched on.
func TestAttachmentsThatAreNotReadAreInDoubt(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	a.put("pdf", "box", withParts("application/pdf", "a.pdf", "%PDF-1.4 one"))
	a.put("picture", "box", withParts("image/jpeg", "b.jpg", "\xff\xd8\xff\xe0\x00\x10"))
	a.put("unknown", "box", withParts("application/octet-stream", "c.dwg", "\x00\x01\x02\x03\x04"))
	a.put("text", "box", withParts("text/plain", "d.txt", "plain"))
	a.put("none", "box", "From: a@b.example\r\nSubject: s\r\n\r\ntext\r\n")
	h := hold.Hold{Query: "attachment:secret"}
	r := start(t, dir, a, WorkerOptions{Extractor: extract.Off{}}).catchUp()
	r.want(map[string]string{"is:partial": "pdf unknown", h.Terms(): "pdf unknown", "plain": "text"})
	if s := a.described[id("pdf")]; len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "a.pdf: not read") {
		t.Errorf("summary %+v", s)
	}
	r.stop()
	e := &scripted{given: map[string]string{}}
	r = start(t, dir, a, WorkerOptions{Extractor: e}).complete()
	r.rebuilt()
	r.want(map[string]string{"is:partial": "", h.Terms(): "", "attachment:4one": "pdf"})
	if s := a.described[id("pdf")]; len(s.Problems) != 0 {
		t.Errorf("summary %+v", s)
	}
}
