package api

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/postkeep/postkeep/internal/mailparse"
)

// Structure is how a message is made, as GET /api/v1/messages/{id}/structure
// gives it.
type Structure struct {
	Message
	MessageID string       `json:"message_id,omitempty"`
	Headers   []HeaderLine `json:"headers"`
	Parts     []Part       `json:"parts"`
}

// HeaderLine is one header field, decoded.
type HeaderLine struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Part is one MIME entity of a message.
type Part struct {
	// Path is the place in the tree: "1" is the message, "1.2" its second child.
	Path        string   `json:"path"`
	Depth       int      `json:"depth"`
	MediaType   string   `json:"media_type"`
	Charset     string   `json:"charset,omitempty"`
	Encoding    string   `json:"encoding,omitempty"`
	Disposition string   `json:"disposition,omitempty"`
	FileName    string   `json:"file_name,omitempty"`
	ContentID   string   `json:"content_id,omitempty"`
	Size        int64    `json:"size"` // decoded octets
	Attachment  bool     `json:"attachment,omitempty"`
	Issues      []string `json:"issues,omitempty"`
}

// maxShownHeaders bounds the fields of one answer: nobody reads more, and
// hostile mail has a million.
const maxShownHeaders = 2_000

// structure tells how a message is made, without its text.
func (s *Server) structure(w http.ResponseWriter, r *http.Request) error {
	m, body, err := s.opened(r, "structure", WithStructure, WithHTML)
	if err != nil {
		return err
	}
	parsed, err := mailparse.Parse(r.Context(), body, mailparse.Options{MaxTextBytes: -1})
	if err := joinClose(err, body); err != nil {
		return err
	}
	out := Structure{Message: messageOf(&m), MessageID: parsed.MessageID, Headers: []HeaderLine{}}
	out.addProblems(parsed)
	for name, value := range parsed.Header.All() {
		if len(out.Headers) == maxShownHeaders {
			out.Problems = append(out.Problems, fmt.Sprintf("only the first %d header fields are shown", maxShownHeaders))
			break
		}
		out.Headers = append(out.Headers, HeaderLine{strings.ToValidUTF8(name, "\uFFFD"), value})
	}
	for i := range parsed.Parts {
		p := &parsed.Parts[i]
		out.Parts = append(out.Parts, Part{
			Path: p.Path, Depth: p.Depth, MediaType: p.MediaType, Charset: p.Params["charset"], Encoding: p.Encoding,
			Disposition: p.Disposition, FileName: p.FileName, ContentID: p.ContentID, Size: p.Size,
			Attachment: p.IsAttachment, Issues: p.Issues,
		})
	}
	return writeJSON(w, out)
}

// part sends the decoded octets of one part. What it says of itself is not
// believed by a browser: it is always a download.
func (s *Server) part(w http.ResponseWriter, r *http.Request) error {
	wanted := r.PathValue("path")
	m, body, err := s.opened(r, "part "+wanted, WithHTML, WithPictures)
	if err != nil {
		return err
	}
	var out *partWriter
	_, err = mailparse.Parse(r.Context(), body, mailparse.Options{MaxTextBytes: -1, Part: func(p *mailparse.Part) io.Writer {
		if p.Path != wanted || out != nil {
			return nil
		}
		out = &partWriter{w: w}
		h := w.Header()
		h.Set("Content-Type", p.MediaType)
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": downloadName(p, m.ID)}))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
		return out
	}})
	err = joinClose(err, body)
	switch {
	case err != nil:
		return err
	case out == nil:
		return &Problem{Status: http.StatusNotFound, Title: "Not found",
			Detail: fmt.Sprintf("message %s has no part %q with content", m.ID, wanted)}
	case !out.begun:
		w.WriteHeader(http.StatusOK) // an empty part
	}
	return nil
}

// partWriter notes whether anything was written.
type partWriter struct {
	w     io.Writer
	begun bool
}

func (p *partWriter) Write(b []byte) (int, error) {
	p.begun = true
	return p.w.Write(b)
}

// maxFileName is what file systems take.
const maxFileName = 200

// downloadName is the file name of a part without whatever could lead out of
// the directory of downloads.
func downloadName(p *mailparse.Part, id string) string {
	name := path.Base(strings.ReplaceAll(p.FileName, `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`/:*?"<>|`, r) || bidiControl(r) {
			return '_'
		}
		return r
	}, name)
	name, _ = cutText(strings.TrimLeft(name, ". "), maxFileName)
	if name == "" || name == "_" {
		ext := ".bin"
		if known, err := mime.ExtensionsByType(p.MediaType); err == nil && len(known) > 0 {
			ext = known[0]
		}
		name = id[:minName] + "-" + p.Path + ext
	}
	return name
}

// minName is enough of an id to tell a person's downloads apart.
const minName = 8

// bidiControl reports whether r turns the direction of writing, which makes
// "exe.gpj" read as "jpg.exe" the other way round.
func bidiControl(r rune) bool {
	return r == 0x200e || r == 0x200f || r == 0x061c || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
