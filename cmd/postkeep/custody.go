package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) showCustody(ctx context.Context, cfg *config.Config, client *api.Client, id string, asJSON bool) error {
	c, err := client.Custody(ctx, id)
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(c)
	}
	p := custodyPrinter{app: a, st: a.styleFor(a.stdout), zone: cfg.TimeZone.Location}
	p.bytes(&c)
	for i := range c.Deposits {
		p.heading(fmt.Sprintf("Deposit %d", i+1))
		p.deposit(&c.Deposits[i])
	}
	for i := range c.Disposed {
		p.heading("Disposed of")
		p.grave(&c.Disposed[i])
	}
	p.after(&c)
	return p.err
}

// custodyPrinter shows where a message came from and what happened to it.
type custodyPrinter struct {
	app  *app
	st   style
	zone *time.Location
	err  error // the first
}

func (p *custodyPrinter) line(text string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.app.stdout, text)
	}
}

func (p *custodyPrinter) heading(text string) { p.line("\n" + p.st.bold(text)) }

func (p *custodyPrinter) at(t time.Time) string {
	return t.In(p.zone).Format("2006-01-02 15:04:05 -07:00")
}

const custodyLabel = 11 // columns

// say writes a fact, on as many lines as it takes.
func (p *custodyPrinter) say(name, format string, args ...any) {
	for _, text := range wrap(printable(fmt.Sprintf(format, args...)), max(p.app.width()-custodyLabel-3, minWidth/2)) {
		p.line(fmt.Sprintf("  %s %s", p.st.dim(pad(name, custodyLabel)), text))
		name = ""
	}
}

func (p *custodyPrinter) bytes(c *api.Custody) {
	p.line(p.st.bold("Bytes"))
	p.say("SHA-256", "%s", c.ID)
	p.say("size", "%s bytes", count(c.Size))
	at := c.Place
	if at == nil {
		p.say("place", "nothing of the bytes is kept any more")
		return
	}
	p.say("place", "volume %d, at byte %s of the tar stream", at.Volume, count(at.Offset))
	p.say("frame", "number %d of %s, at byte %s of the file; byte %s of the frame", at.Frame, at.File, count(at.FrameOffset), count(at.Within))
	if at.Parts > 0 {
		p.say("parts", "put together from %s other entries", count(at.Parts))
	}
	if c.Intact {
		p.say("checked now", "the stored bytes are whole")
	} else {
		p.say("checked now", "THE STORED BYTES ARE DAMAGED (postkeep verify --deep)")
	}
}

func (p *custodyPrinter) deposit(d *archive.DepositRecord) {
	p.say("received", "%s", p.at(d.Received))
	p.say("mailbox", "%s", d.Mailbox)
	if d.Source.Host != "" {
		tls := d.Source.TLS
		if tls == "" {
			tls = "no TLS"
		}
		p.say("server", "%s as %s, %s", d.Source.Host, d.Source.User, tls)
	}
	if d.UIDL != "" {
		p.say("UIDL", "%s, listed with %s bytes", d.UIDL, count(d.ListedSize))
	}
	if d.Source.Session != "" {
		p.say("session", "%s, message %d", d.Source.Session, d.Source.Number)
	}
	if d.WireSHA256 != "" {
		p.say("hash, wire", "%s", d.WireSHA256)
	}
	p.say("hash, store", "%s", d.ArchiveSHA256)
	if d.HeaderHash != "" {
		p.say("header hash", "%s", d.HeaderHash)
	}
	if d.Source.Stream != "" {
		p.say("stream", "%s, sequence %s", d.Source.Stream, count(int64(d.Source.Sequence)))
	}
	p.say("ledger", "event %d, details %s", d.Ledger, d.Event)
	p.poll(d)
	for _, del := range d.Deletions {
		p.say("deletion", "event %d, poll of %s, message %d", del.Ledger, p.at(del.Started), del.Number)
		p.say("DELE", "%s", del.DELE)
		quit := del.QUIT
		if quit == "" {
			quit = "no answer: nobody knows whether the server deleted it"
		}
		p.say("QUIT", "%s", quit)
	}
}

func (p *custodyPrinter) poll(d *archive.DepositRecord) {
	if d.Poll == nil {
		return
	}
	p.say("poll", "event %d: listed %d = archived %d + known %d + left %d; deleted %d, kept %d",
		d.Poll.Ledger, d.Poll.Listed, d.Poll.Archived, d.Poll.Known, d.Poll.Left, d.Poll.Deleted, d.Poll.Kept)
	if d.Poll.Error != "" {
		p.say("", "%s", d.Poll.Error)
	}
}

func (p *custodyPrinter) grave(t *archive.Tombstone) {
	p.say("received", "%s", p.at(t.Received))
	p.say("mailbox", "%s", t.Mailbox)
	p.say("ledger", "event %d", t.Index)
	p.say("disposed of", "%s, by %s", p.at(t.Disposed), t.By)
	if t.Approver != "" {
		p.say("approved by", "%s", t.Approver)
	}
	if t.Rule != "" {
		p.say("rule", "%s", t.Rule)
	}
	if t.Reason != "" {
		p.say("reason", "%s", t.Reason)
	}
	p.say("plan", "%s", t.Plan)
}

// after shows what happened to the message once it was archived.
func (p *custodyPrinter) after(c *api.Custody) {
	if len(c.Holds) > 0 || c.Partial != "" {
		p.heading("Legal holds")
	}
	for _, h := range c.Holds {
		state := "in force"
		if !h.Released.IsZero() {
			state = "released " + p.at(h.Released) + " by " + h.ReleasedBy
		}
		p.say(h.ID, "%s, placed %s by %s, %s", h.Name, p.at(h.Placed), h.PlacedBy, state)
	}
	if c.Partial != "" {
		p.say("", "%s", c.Partial)
	}
	if len(c.Events) > 0 {
		p.heading("Afterwards")
	}
	for _, e := range c.Events {
		about := printable(oneLine(eventWords(&e)))
		line := fmt.Sprintf("%8d  %s  %s  %s", e.Index, p.at(e.Time), pad(e.Type, 15), printable(e.Actor))
		p.line(fit(line, p.app.width()))
		if about != "" {
			p.line("          " + p.st.dim(fit(about, p.app.width()-10)))
		}
	}
}
