package export

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
)

// listMessages is how many messages a list page shows.
const listMessages = 500

// htmlFormat writes pages to read in a browser: index.html, list pages, a page for
// every message, and the original messages beside them. Mail is shown as text;
// html/template escapes all of it, and the policy in every page forbids
// scripts, pictures, forms and every connection.
type htmlFormat struct {
	v     *volume
	pages *template.Template
	list  *sharedFile // nil before the first message of a list
	lists int         // begun
	shown int         // on the last list
}

//go:embed html.tmpl
var htmlPages string

func openHTML(v *volume) (format, error) {
	pages, err := template.New("pages").Funcs(template.FuncMap{
		"list": list,
		"octets": func(n int64) string {
			const kib = 1024
			if n < kib {
				return fmt.Sprintf("%d B", n)
			}
			return fmt.Sprintf("%.1f KiB", float64(n)/kib)
		},
		"date": func(t time.Time) string { return t.In(v.x.opts.Location).Format("2006-01-02 15:04:05 -0700") },
	}).Parse(htmlPages)
	return &htmlFormat{v: v, pages: pages}, err
}

// A htmlMessage is what the pages show of a message.
type htmlMessage struct {
	*Content
	ID, Page, Original string
	Shown, Received    time.Time
	Size               int64
	Mailboxes          []string
}

func (h *htmlFormat) add(ctx context.Context, it *item) error {
	original, err := h.v.native(ctx, it, shard("originals", h.v.messages)+"/"+it.ID+".eml", "")
	if err != nil {
		return err
	}
	c := *it.content
	c.Text = visible(c.Text)
	c.Attachments = slices.Clone(c.Attachments)
	for i := range c.Attachments {
		c.Attachments[i].Name = visible(c.Attachments[i].Name)
	}
	m := htmlMessage{
		Content: &c, ID: it.ID, Shown: it.date(), Received: it.Received, Size: it.Size, Mailboxes: it.mailboxes(),
		Original: strings.TrimPrefix(original.Path, h.v.prefix),
		Page:     shard("messages", h.v.messages) + "/" + it.ID + ".html",
	}
	var page bytes.Buffer
	if err := h.pages.ExecuteTemplate(&page, "message", m); err != nil {
		return err
	}
	if _, err := h.v.write(ctx, it, m.Page, "", &page); err != nil {
		return err
	}
	if h.shown == listMessages {
		if err := h.endList(true); err != nil {
			return err
		}
	}
	if h.list == nil {
		if err := h.beginList(); err != nil {
			return err
		}
	}
	h.shown++
	return h.pages.ExecuteTemplate(h.list, "row", m)
}

func listName(n int) string { return fmt.Sprintf("list-%04d.html", n) }

// beginList begins a list page.
func (h *htmlFormat) beginList() (err error) {
	h.lists++
	h.shown = 0
	if h.list, err = h.v.grow(listName(h.lists)); err != nil {
		return err
	}
	previous := ""
	if h.lists > 1 {
		previous = listName(h.lists - 1)
	}
	return h.pages.ExecuteTemplate(h.list, "list", map[string]any{"Number": h.lists, "Previous": previous})
}

func (h *htmlFormat) endList(more bool) error {
	next := ""
	if more {
		next = listName(h.lists + 1)
	}
	if err := h.pages.ExecuteTemplate(h.list, "end", next); err != nil {
		return err
	}
	s := h.list
	h.list = nil
	return h.v.end(s)
}

func (h *htmlFormat) finish() error {
	if h.shown > 0 {
		if err := h.endList(false); err != nil {
			return err
		}
	}
	var lists []string
	for n := range h.lists {
		lists = append(lists, listName(n+1))
	}
	var page bytes.Buffer
	err := h.pages.ExecuteTemplate(&page, "index", map[string]any{
		"Query": visible(h.v.x.opts.Query), "Messages": h.v.messages, "Zone": h.v.x.opts.Location.String(), "Lists": lists,
	})
	if err != nil {
		return err
	}
	return h.v.page("index.html", &page)
}

// visible takes out what a page cannot hold: control characters other than line
// ends and tabs.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
