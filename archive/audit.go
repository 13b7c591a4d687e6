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
	// Object is a message id or its beginning, which finds the polls and exports that had the message, too, or
	// a word of the details: a mailbox, a matter, a user.
	Object string
	// Before is a ledger index: events before it. 0 begins with the newest.
	Before int64
	Limit  int // of events; 0 is DefaultAuditLimit
}

// AuditTypes lists the types of events, those first that are about what people did.
func AuditTypes() []string {
	return []string{
		string(ledger.TypeSearch), string(ledger.TypeView), string(ledger.TypeExport), string(ledger.TypeHold), string(ledger.TypePolicy),
		string(ledger.TypeDisposalIntent), string(ledger.TypeDisposalDone), string(ledger.TypeUser), string(ledger.TypeConfig),
		string(ledger.TypeDeposit), string(ledger.TypePoll), string(ledger.TypeVerify), string(ledger.TypeSeal), string(ledger.TypeRepack),
		string(ledger.TypeRebuild), string(ledger.TypeRecovered), string(ledger.TypeAnchor), string(ledger.TypeDeadLetter),
	}
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
	about, err := s.object(ctx, q.Object)
	if err != nil {
		return nil, 0, err
	}
	end := s.ledger.Size()
	if q.Before > 0 {
		end = min(end, q.Before)
	}
	for end > 0 {
		begin := max(0, end-auditWindow)
		window, older, err := s.auditWindow(ctx, &q, about, begin, end)
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

// Event returns one entry of the ledger. The error is ledger.ErrNoEvent where there is none.
func (s *Store) Event(ctx context.Context, index int64) (AuditEvent, error) {
	e, err := s.ledger.Entry(ctx, index)
	if err != nil {
		return AuditEvent{}, err
	}
	return auditEvent(&e), nil
}

func auditEvent(e *ledger.Entry) AuditEvent {
	return AuditEvent{
		Index: e.Index, Time: e.Time, Type: string(e.Type), Actor: e.Actor, IDs: e.IDs, Volume: e.Volume, End: e.End,
		Details: bytes.Clone(e.Details), Erased: e.Erased, Damaged: e.Damaged,
	}
}

// auditWindow returns the events of a window that fit, and whether it begins
// before what is wanted, so that no earlier one can fit.
func (s *Store) auditWindow(ctx context.Context, q *AuditQuery, about *object, begin, end int64) (window []AuditEvent, older bool, err error) {
	err = s.ledger.Read(ctx, begin, func(e ledger.Entry) error {
		if e.Index >= end {
			return errWindowEnd
		}
		older = older || e.Time.Before(q.Since)
		if !q.fits(&e) {
			return nil
		}
		fits, err := about.concerns(ctx, s, &e)
		if fits {
			window = append(window, auditEvent(&e))
		}
		return err
	})
	if err != nil && !errors.Is(err, errWindowEnd) {
		return nil, false, fmt.Errorf("ledger: %w", err)
	}
	return window, older, nil
}

// fits reports whether an event fits but for the object.
func (q *AuditQuery) fits(e *ledger.Entry) bool {
	switch {
	case e.Time.Before(q.Since), !q.Until.IsZero() && !e.Time.Before(q.Until):
		return false
	case !strings.HasPrefix(e.Actor, q.Actor):
		return false
	case len(q.Types) > 0 && !slices.Contains(q.Types, string(e.Type)):
		return false
	}
	return true
}

// escaped is a text as it stands inside a JSON string, where "<" is \u003c.
func escaped(text string) []byte {
	b, err := json.Marshal(text)
	if err != nil { // a string always can
		return []byte(text)
	}
	return b[1 : len(b)-1]
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

// pollPage is how many polls are read at a time: some MiB at most, with what servers answered.
const pollPage = 100

// CompletenessQuery says what is to be told.
type CompletenessQuery struct {
	Mailbox  string
	From, To time.Time // the first moment wanted, and the first one after
	// Due is until when there should have been polls, such as now for a mailbox that is
	// still polled. Zero ends with the last poll.
	Due      time.Time
	Location *time.Location // whose days are meant
}

// Completeness tells, day by day, what the polls of a mailbox found, so that a gap
// is seen: from From, or the mailbox's first poll, until its last one, or the day before Due.
func (s *Store) Completeness(ctx context.Context, q CompletenessQuery) ([]Completeness, error) {
	days := map[string]*Completeness{}
	var oldest, newest time.Time
	for before, more := int64(0), true; more; {
		polls, err := s.Polls(ctx, q.Mailbox, before, pollPage)
		if err != nil {
			return nil, err
		}
		for i := range polls {
			p := &polls[i]
			before, oldest = p.Ledger, p.Started
			if newest.IsZero() {
				newest = p.Started
			}
			if p.Started.Before(q.From) || !p.Started.Before(q.To) {
				continue
			}
			day := p.Started.In(q.Location).Format(time.DateOnly)
			if days[day] == nil {
				days[day] = &Completeness{Mailbox: q.Mailbox, Day: day, Gap: true}
			}
			days[day].add(&p.PollReport)
		}
		more = len(polls) == pollPage && !oldest.Before(q.From)
	}
	if newest.IsZero() {
		return []Completeness{}, nil
	}
	first, last := later(oldest, q.From), newest
	if !q.Due.IsZero() {
		y, m, d := q.Due.In(q.Location).Date()
		last = later(last, time.Date(y, m, d, 0, 0, 0, 0, q.Location).Add(-1)) // today may see its poll yet
	}
	if !last.Before(q.To) {
		last = q.To.Add(-1)
	}
	return everyDay(days, q.Mailbox, first.In(q.Location), last.In(q.Location)), nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
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
	// Days begin at noon here: a clock may be set forward at midnight.
	at := time.Date(first.Year(), first.Month(), first.Day(), 12, 0, 0, 0, first.Location())
	for end := last.Format(time.DateOnly); at.Format(time.DateOnly) <= end; at = at.AddDate(0, 0, 1) {
		day := at.Format(time.DateOnly)
		c := days[day]
		if c == nil {
			c = &Completeness{Mailbox: mailbox, Day: day, Gap: true}
		}
		out = append(out, *c)
	}
	return out
}
