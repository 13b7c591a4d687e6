package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/internal/mailparse"
	"github.com/postkeep/postkeep/web/access"
)

const withAttachment = "From: a@example.org\r\nSubject: plan\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsee the plan\r\n" +
	"--b\r\nContent-Type: image/svg+xml\r\nContent-Transfer-Encoding: base64\r\n" +
	"Content-Disposition: attachment; filename=\"../../a\u202egnp.svg\"\r\n\r\nPHN2Zy8+\r\n--b--\r\n"

func TestPartsAreListedAndAlwaysDownloaded(t *testing.T) {
	s, _ := instance(t, withAttachment)
	c := InProcess(s)
	ctx := local(t.Context(), "anna")
	st, err := c.Structure(ctx, idOf(withAttachment))
	if err != nil || len(st.Parts) != 3 || st.Parts[2].Path != "1.2" || !st.Parts[2].Attachment || len(st.Headers) != 4 {
		t.Fatalf("structure: %+v, %v", st, err)
	}
	resp, err := c.Part(ctx, idOf(withAttachment), "1.2")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil || string(b) != "<svg/>" {
		t.Errorf("part: %q, %v", b, err)
	}
	if d := resp.Header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment;") || strings.Contains(d, "..") || strings.Contains(d, "%E2%80%AE") {
		t.Errorf("disposition %q", d)
	}
	if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("a browser may guess the type")
	}
	var problem *Problem
	if _, err := c.Part(ctx, idOf(withAttachment), "1.9"); !errors.As(err, &problem) || problem.Status != http.StatusNotFound {
		t.Errorf("no such part: %v", err)
	}
}

func TestMessageOutsideTheScopeIsNotThere(t *testing.T) {
	s, _ := instance(t, hello)
	c := InProcess(s)
	as := func(scope access.Scope) context.Context {
		return access.With(t.Context(), &access.Principal{Name: "eve", Roles: []access.Role{access.Auditor}, Scope: scope})
	}
	if d, err := c.Message(as(access.Scope{Mailboxes: []string{"sales"}}), idOf(hello)); err != nil || len(d.Deposits) != 1 {
		t.Errorf("inside: %+v, %v", d, err)
	}
	_, missing := c.Message(local(t.Context(), "anna"), strings.Repeat("0", 64))
	for name, scope := range map[string]access.Scope{
		"another mailbox": {Mailboxes: []string{"board"}},
		"later":           {Mailboxes: []string{"sales"}, From: time.Now().AddDate(1, 0, 0)},
		"nothing":         {},
	} {
		for _, get := range []func(context.Context, string) error{
			func(ctx context.Context, id string) error { _, err := c.Message(ctx, id); return err },
			func(ctx context.Context, id string) error { _, err := c.Structure(ctx, id); return err },
			func(ctx context.Context, id string) error { _, err := c.Part(ctx, id, "1"); return err },
			func(ctx context.Context, id string) error { return c.Raw(ctx, id, io.Discard) },
		} {
			err := get(as(scope), idOf(hello))
			if err == nil || strings.ReplaceAll(err.Error(), idOf(hello), "") != strings.ReplaceAll(missing.Error(), strings.Repeat("0", 64), "") {
				t.Errorf("%s: %v, want the same as %v", name, err, missing)
			}
		}
	}
}

func TestDownloadNamesLeadNowhere(t *testing.T) {
	id := idOf(hello)
	for in, want := range map[string]string{
		"":                   id[:8] + "-1.2.txt",
		"../../etc/passwd":   "passwd",
		`C:\temp\report.pdf`: "report.pdf",
		".bashrc":            "bashrc",
		"a\r\nX-Evil: 1":     "a__X-Evil_ 1",
		"..":                 id[:8] + "-1.2.txt",
	} {
		got := downloadName(&mailparse.Part{Path: "1.2", MediaType: "text/csv+none", FileName: in}, id)
		if strings.HasSuffix(want, ".txt") {
			want = strings.TrimSuffix(want, ".txt") + ".bin"
		}
		if got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestAnswerThatIsNotReadToTheEndEnds(t *testing.T) {
	ended := make(chan error, 1)
	c := InProcess(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write([]byte("more")); err != nil {
				ended <- err
				return
			}
		}
	}))
	resp, err := c.Part(t.Context(), "x", "1")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
