package pages

import (
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/safehtml"
)

// The ways to look at a message.
const (
	asHTML    = "html"
	asText    = "text"
	asHeaders = "headers"
	asParts   = "parts"
	asSource  = "source"
	asCustody = "custody"
	asPreview = "preview"
)

// messagePage is one message in one of its views.
type messagePage struct {
	api.Detail
	Structure api.Structure
	As        string
	Views     []view
	Custody   api.Custody
	Pictures  []attached    // of the preview
	Thread    []api.Message // the conversation, if there is more than this message
	Source    string        // the beginning of the raw bytes
	SourceCut bool
	Query     string // of the search that led here
}

type view struct{ As, Name string }

// attached is an attachment that is shown: a picture as a data URI.
type attached struct {
	Name string
	URI  template.URL
}

// maxPictures bounds what a preview shows.
const maxPictures = 20

// preview loads the attached pictures that a browser may show.
func preview(r *http.Request, within *api.Client, p *messagePage) error {
	for _, part := range p.Files() {
		if !previewed(&part) || len(p.Pictures) == maxPictures {
			continue
		}
		resp, err := within.Part(r.Context(), p.ID, part.Path)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(io.LimitReader(resp.Body, maxPicture))
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		// What it is, not what it says it is.
		if kind := http.DetectContentType(content); safehtml.Harmless(kind) {
			p.Pictures = append(p.Pictures, attached{part.FileName, template.URL(safehtml.DataURI(kind, content))}) //nolint:gosec // a raster image
		}
	}
	return nil
}

func previewed(part *api.Part) bool {
	return part.Attachment && safehtml.Harmless(part.MediaType) && part.Size <= maxPicture
}

// maxSource is how much of the raw bytes is shown; the rest is a download.
const maxSource = 256 << 10

func (s *Server) message(w http.ResponseWriter, r *http.Request, v *View) error {
	ctx, id := r.Context(), r.PathValue("id")
	as := r.FormValue("as")
	d, err := s.opts.API.Message(ctx, id, shownWith(as)...)
	if err != nil {
		return err
	}
	within := s.opts.API.Within(d.View)
	p := &messagePage{Detail: d, As: as, Query: r.FormValue("q")}
	if p.Structure, err = within.Structure(ctx, d.ID); err != nil {
		return err
	}
	if p.hasHTML() {
		p.Views = append(p.Views, view{asHTML, "Message"}, view{asText, "Text"})
	} else {
		p.Views = append(p.Views, view{asText, "Message"})
	}
	p.Views = append(p.Views, view{asHeaders, "Headers"}, view{asParts, "Parts"}, view{asSource, "Source"}, view{asCustody, "Chain of custody"})
	if slices.ContainsFunc(p.Structure.Parts, func(part api.Part) bool { return previewed(&part) }) {
		p.Views = slices.Insert(p.Views, 1, view{asPreview, "Pictures"})
	}
	if !slices.ContainsFunc(p.Views, func(o view) bool { return o.As == p.As }) {
		p.As = p.Views[0].As
	}
	if p.As == asSource {
		if p.Source, p.SourceCut, err = source(r, within, d.ID); err != nil {
			return err
		}
	}
	if p.As == asPreview {
		if err := preview(r, within, p); err != nil {
			return err
		}
	}
	if p.As == asCustody {
		if p.Custody, err = within.Custody(ctx, d.ID); err != nil {
			return err
		}
	}
	if p.Thread, err = thread(r, within, d.ID); err != nil {
		return err
	}
	v.Title = d.Subject
	if v.Title == "" {
		v.Title = v.T("(no subject)")
	}
	return s.render(w, http.StatusOK, "message", v, p)
}

// shownWith is what a page shows of a message in one of its views: the ledger has it
// in one event.
func shownWith(as string) []string {
	with := []string{api.WithStructure, api.WithConversation}
	switch as {
	case asSource:
		return append(with, api.WithSource)
	case asCustody:
		return append(with, api.WithCustody)
	case asPreview:
		return append(with, api.WithPictures)
	case asText, asHeaders, asParts:
		return with
	}
	return append(with, api.WithHTML)
}

// maxThread is how many messages of a conversation are listed.
const maxThread = 50

// thread lists the conversation of a message, oldest first; none if it is alone.
func thread(r *http.Request, view *api.Client, id string) ([]api.Message, error) {
	found, err := view.Search(r.Context(), api.SearchRequest{Query: "thread:" + id, Sort: "date", Limit: maxThread})
	if badRequest(err) != nil || err == nil && len(found.Hits) < 2 {
		return nil, nil
	}
	return found.Hits, err
}

// htmlPart is the part that a mail program would show, "" if there is none.
func (p *messagePage) htmlPart() string {
	for _, part := range p.Structure.Parts {
		if part.MediaType == "text/html" && !part.Attachment {
			return part.Path
		}
	}
	return ""
}

func (p *messagePage) hasHTML() bool { return p.htmlPart() != "" }

// Sender is the name in an address, for lists.
func (*messagePage) Sender(from string) string { return senderName(from) }

// Files are the parts that are attached.
func (p *messagePage) Files() []api.Part {
	return slices.DeleteFunc(slices.Clone(p.Structure.Parts), func(part api.Part) bool { return !part.Attachment })
}

// Link is the address of another view of the message.
func (p *messagePage) Link(as string) string {
	q := url.Values{"as": {as}}
	if p.Query != "" {
		q.Set("q", p.Query)
	}
	return "/m/" + p.ID + "?" + q.Encode()
}

// Back is the address of the search that led here.
func (p *messagePage) Back() string { return "/search?" + url.Values{"q": {p.Query}}.Encode() }

// source returns the beginning of the raw bytes as text.
func source(r *http.Request, view *api.Client, id string) (string, bool, error) {
	var b strings.Builder
	err := view.Raw(r.Context(), id, &limited{&b, maxSource})
	cut := errors.Is(err, errEnough)
	if cut {
		err = nil
	}
	return strings.ToValidUTF8(strings.ReplaceAll(b.String(), "\r\n", "\n"), "\uFFFD"), cut, err
}

var errEnough = errors.New("enough")

// limited takes no more than n bytes.
type limited struct {
	w io.Writer
	n int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.n {
		n, err := l.w.Write(p[:l.n])
		l.n -= n
		return n, errors.Join(err, errEnough)
	}
	n, err := l.w.Write(p)
	l.n -= n
	return n, err
}

// maxFrameHTML is how much markup is shown: more is no letter.
const maxFrameHTML = 4 << 20

// frame shows the HTML of a message on its own, for a sandboxed frame: no
// script, no form, no load from anywhere.
func (s *Server) frame(w http.ResponseWriter, r *http.Request, v *View) error {
	index, err := strconv.ParseInt(r.FormValue("view"), 10, 64)
	if err != nil {
		index = 0 // a view of its own
	}
	view := s.opts.API.Within(index)
	st, err := view.Structure(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	p := &messagePage{Structure: st}
	p.ID = st.ID
	path := p.htmlPart()
	if path == "" {
		return &api.Problem{Status: http.StatusNotFound, Title: v.T("This message has no HTML")}
	}
	resp, err := view.Part(r.Context(), st.ID, path)
	if err != nil {
		return err
	}
	charset := ""
	for _, part := range st.Parts {
		if part.Path == path {
			charset = part.Charset
		}
	}
	clean, err := safehtml.Clean(io.LimitReader(resp.Body, maxFrameHTML), safehtml.Options{
		Charset: charset, Picture: func(contentID string) string { return picture(r, view, &st, contentID) },
		Blocked: v.T("picture not loaded"),
	})
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", safehtml.Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, err = w.Write(clean)
	return ignoreGone(err)
}

// maxPicture is the size of a picture inside a message that is shown in it.
// It is carried in the page, because a sandboxed frame has no cookies.
const maxPicture = 2 << 20

// picture returns an enclosed picture as a data URI, "" if there is none that
// is harmless.
func picture(r *http.Request, view *api.Client, st *api.Structure, contentID string) string {
	for _, part := range st.Parts {
		if part.ContentID != contentID || contentID == "" || part.Size > maxPicture || !safehtml.Harmless(part.MediaType) {
			continue
		}
		resp, err := view.Part(r.Context(), st.ID, part.Path)
		if err != nil {
			return ""
		}
		content, err := io.ReadAll(io.LimitReader(resp.Body, maxPicture))
		if errors.Join(err, resp.Body.Close()) != nil {
			return ""
		}
		return safehtml.DataURI(part.MediaType, content)
	}
	return ""
}

// part passes one part on as the API sends it: always as a download.
func (s *Server) part(w http.ResponseWriter, r *http.Request, _ *View) error {
	resp, err := s.opts.API.Part(r.Context(), r.PathValue("id"), r.PathValue("path"))
	if err != nil {
		return err
	}
	for _, name := range []string{"Content-Type", "Content-Disposition", "X-Content-Type-Options", "Content-Security-Policy"} {
		w.Header().Set(name, resp.Header.Get(name))
	}
	_, err = io.Copy(w, resp.Body)
	return errors.Join(ignoreGone(err), resp.Body.Close())
}

// raw passes the exact bytes of a message on.
func (s *Server) raw(w http.ResponseWriter, r *http.Request, _ *View) error {
	id := r.PathValue("id")
	h := w.Header()
	h.Set("Content-Type", "message/rfc822")
	h.Set("Content-Disposition", `attachment; filename="`+safeID(id)+`.eml"`)
	h.Set("X-Content-Type-Options", "nosniff")
	return s.opts.API.Raw(r.Context(), id, w)
}

// safeID takes from a path element whatever an id does not have.
func safeID(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'f' {
			return r
		}
		return -1
	}, id)
}
