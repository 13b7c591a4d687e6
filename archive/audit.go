package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
)

// An AuditEvent is one entry of the ledger as people read it.
type AuditEvent struct {
	Index int64     `json:"index"`
	Time  time.Time `json:"time"`
	Type  string    `json:"type"`
	Actor string    `json:"actor"`
	IDs   []string  `json:"ids,omitempty"` // messages or other objects
	// Volume and End are where the bytes are, of events about bytes.
	Volume uint32 `json:"volume,omitempty"`
	End    int64  `json:"end,omitempty"`
	// Details say more; nil when they were erased or are damaged.
	Details json.RawMessage `json:"details,omitempty"`
	Erased  bool            `json:"erased,omitempty"`
	Damaged bool            `json:"damaged,omitempty"`
}

// AuditQuery says which events are wanted. The zero value wants all.
type AuditQuery struct {
	Since, Until time.Time // the first moment, and the first one after
	Actor        string    // who did it, or the beginning of it
	Types        []string
	// Object is a message id or its beginning, or a word of the details: a
	// mailbox, a matter, a user.
	Object string
	// Before is a ledger index: events before it. 0 begins with the newest.
	Before int64
	Limit  int // of events; 0 is DefaultAuditLimit
}

// DefaultAuditLimit is some screens.
const DefaultAuditLimit = 100

// auditWindow is how many events are read at a time, backwards: a few hundred KiB.
const auditWindow = 1024

var errWindowEnd = errors.New("end of the window")

// Audit returns events that fit, newest first. next is the Before of the
// following ones, 0 when there are none.
func (s *Store) Audit(ctx context.Context, q AuditQuery) (events []AuditEvent, next int64, err error) {
	if q.Limit <= 0 {
		q.Limit = DefaultAuditLimit
	}
	end := s.ledger.Size()
	if q.Before > 0 {
		end = min(end, q.Before)
	}
	for end > 0 {
		begin := max(0, end-auditWindow)
		window, older, err := s.auditWindow(ctx, &q, begin, end)
		if err != nil {
			return nil, 0, err
		}
		slices.Reverse(window)
		for _, e := range window {
			if len(events) == q.Limit {
				return events, events[len(events)-1].Index, nil
			}
			events = append(events, e)
		}
		if older {
			break
		}
		end = begin
	}
	return events, 0, nil
}

// auditWindow returns the events of a window that fit, and whether it begins
// before what is wanted, so that no earlier one can fit.
func (s *Store) auditWindow(ctx context.Context, q *AuditQuery, begin, end int64) (window []AuditEvent, older bool, err error) {
	err = s.ledger.Read(ctx, begin, func(e ledger.Entry) error {
		if e.Index >= end {
			return errWindowEnd
		}
		older = older || e.Time.Before(q.Since)
		if q.fits(&e) {
			window = append(window, AuditEvent{
				Index: e.Index, Time: e.Time, Type: string(e.Type), Actor: e.Actor, IDs: e.IDs, Volume: e.Volume, End: e.End,
				Details: bytes.Clone(e.Details), Erased: e.Erased, Damaged: e.Damaged,
			})
		}
		return nil
	})
	if err != nil && !errors.Is(err, errWindowEnd) {
		return nil, false, fmt.Errorf("ledger: %w", err)
	}
	return window, older, nil
}

func (q *AuditQuery) fits(e *ledger.Entry) bool {
	switch {
	case e.Time.Before(q.Since), !q.Until.IsZero() && !e.Time.Before(q.Until):
		return false
	case !strings.HasPrefix(e.Actor, q.Actor):
		return false
	case len(q.Types) > 0 && !slices.Contains(q.Types, string(e.Type)):
		return false
	}
	return q.Object == "" || bytes.Contains(e.Details, []byte(q.Object)) ||
		slices.ContainsFunc(e.IDs, func(id string) bool { return strings.HasPrefix(id, q.Object) })
}

// Completeness is what happened to a mailbox on one day.
type Completeness struct {
	Mailbox string `json:"mailbox"`
	Day     string `json:"day"` // 2026-01-31
	Polls   int    `json:"polls"`
	Failed  int    `json:"failed"` // polls that ended in an error
	// Listed, Known and Left are of the day's last poll that did not fail.
	Listed int `json:"listed"`
	Known  int `json:"known"`
	Left   int `json:"left"`
	// Archived, Deleted and Bytes add up all polls of the day.
	Archived int   `json:"archived"`
	Deleted  int   `json:"deleted"`
	Bytes    int64 `json:"bytes"`
	// Gap means that no poll succeeded that day: nobody knows what was there.
	Gap bool `json:"gap"`
	// Inconsistent counts polls whose numbers do not add up.
	Inconsistent int `json:"inconsistent,omitempty"`
}

// pollPage is how many polls are read at a time.
const pollPage = 1000

// Completeness tells, day by day in loc, what the polls of a mailbox found, from
// the day of its first poll on, so that a gap is seen. from is the first moment
// wanted and to the first one after.
func (s *Store) Completeness(ctx context.Context, mailbox string, from, to time.Time, loc *time.Location) ([]Completeness, error) {
	days := map[string]*Completeness{}
	var first, last time.Time
	for before := int64(0); ; {
		polls, err := s.Polls(ctx, mailbox, before, pollPage)
		if err != nil {
			return nil, err
		}
		for i := range polls {
			p := &polls[i]
			if before = p.Ledger; p.Started.Before(from) || !p.Started.Before(to) {
				continue
			}
			if first = p.Started; last.IsZero() {
				last = p.Started
			}
			day := p.Started.In(loc).Format(time.DateOnly)
			if days[day] == nil {
				days[day] = &Completeness{Mailbox: mailbox, Day: day, Gap: true}
			}
			days[day].add(&p.PollReport)
		}
		if len(polls) < pollPage || polls[len(polls)-1].Started.Before(from) {
			break
		}
	}
	return everyDay(days, mailbox, first.In(loc), last.In(loc)), nil
}

// add takes a poll in; later ones come first.
func (c *Completeness) add(p *PollReport) {
	c.Polls++
	c.Archived += p.Archived
	c.Deleted += p.Deleted
	c.Bytes += p.Bytes
	if p.Inconsistent {
		c.Inconsistent++
	}
	if p.Error != "" {
		c.Failed++
		return
	}
	if c.Gap {
		c.Gap, c.Listed, c.Known, c.Left = false, p.Listed, p.Known, p.Left
	}
}

// everyDay lists the days from first to last, also those without a poll.
func everyDay(days map[string]*Completeness, mailbox string, first, last time.Time) []Completeness {
	out := []Completeness{}
	if len(days) == 0 {
		return out
	}
	end := last.Format(time.DateOnly)
	for at := time.Date(first.Year(), first.Month(), first.Day(), 12, 0, 0, 0, first.Location()); ; at = at.AddDate(0, 0, 1) {
		day := at.Format(time.DateOnly)
		if c := days[day]; c != nil {
			out = append(out, *c)
		} else {
			out = append(out, Completeness{Mailbox: mailbox, Day: day, Gap: true})
		}
		if day >= end {
			return out
		}
	}
}

// Custody is what the archive knows of where a message came from and what
// happened to it.
type Custody struct {
	ID     string `json:"id"` // SHA-256 of the bytes
	Size   int64  `json:"size"`
	Volume uint32 `json:"volume"`
	Offset int64  `json:"offset"` // of the message in the uncompressed tar stream
	// Deposits are the receipts, in order.
	Deposits []DepositRecord `json:"deposits"`
	// Events are those of the ledger that name the message, in order, but for
	// the deposits.
	Events []AuditEvent `json:"events"`
}

// A DepositRecord is a deposit with its place in the ledger and its poll.
type DepositRecord struct {
	Ledger int64 `json:"ledger"`
	Deposit
	// Poll is the report of the session that brought it, nil if there is none.
	Poll *RecordedPoll `json:"poll,omitempty"`
}

// Custody returns the chain of custody of a message: every deposit with the poll
// that brought it, and every later event about the message. It reads the ledger
// from the first deposit on.
func (s *Store) Custody(ctx context.Context, id string) (Custody, error) {
	row, ok, err := s.catalog.Message(ctx, id)
	if err != nil {
		return Custody{}, err
	}
	if !ok {
		return Custody{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	c := Custody{ID: id, Size: row.Size, Volume: row.Volume, Offset: row.Offset, Events: []AuditEvent{}}
	held, err := s.catalog.ByMessage(ctx, id)
	if err != nil {
		return Custody{}, err
	}
	from := s.ledger.Size()
	for _, h := range held {
		d, err := detailsOf(h)
		if err != nil {
			return Custody{}, err
		}
		c.Deposits = append(c.Deposits, DepositRecord{Ledger: h.Index, Deposit: d.Deposit})
		from = min(from, h.Index)
	}
	return c, s.custodyEvents(ctx, &c, from)
}

func (s *Store) custodyEvents(ctx context.Context, c *Custody, from int64) error {
	bySession := map[string][]int{}
	for i, d := range c.Deposits {
		bySession[d.Source.Session] = append(bySession[d.Source.Session], i)
	}
	return s.ledger.Read(ctx, from, func(e ledger.Entry) error {
		switch {
		case e.Type == ledger.TypePoll:
			var p PollReport
			if json.Unmarshal(e.Details, &p) != nil {
				return nil // erased or damaged: the poll is not known any more
			}
			for _, i := range bySession[p.Session] {
				c.Deposits[i].Poll = &RecordedPoll{Ledger: e.Index, PollReport: p}
			}
		case e.Type == ledger.TypeDeposit || !slices.Contains(e.IDs, c.ID):
		default:
			c.Events = append(c.Events, AuditEvent{
				Index: e.Index, Time: e.Time, Type: string(e.Type), Actor: e.Actor, IDs: []string{c.ID},
				Details: bytes.Clone(e.Details), Erased: e.Erased, Damaged: e.Damaged,
			})
		}
		return nil
	})
}
