package poller

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

const (
	// Servers that lost a session with several commands under way are spared
	// pipelining for a while: a day if they mixed up their answers, an hour if
	// the network may have been at fault.
	spareMixedUp = 24 * time.Hour
	spareBroken  = time.Hour
	// distrustTOP is how long the answers to TOP of a mailbox are not sampled
	// after one was not the header of the message.
	distrustTOP = 24 * time.Hour
	// spareAPOP is how long APOP is not tried at a server that refuses it.
	spareAPOP = 30 * 24 * time.Hour
	// telling is the least number of answers after which two losses at the same one are
	// more than chance.
	telling = 3
	// maxTroubles bounds the messages remembered for each mailbox: about 100 bytes
	// each, in every report of a poll that changes one of them.
	maxTroubles = 300
	// patientTries is how often a message that broke a session is tried again at
	// the next poll. After that the pause is firstPause, doubled each time up to
	// lastPause.
	patientTries = 2
	firstPause   = time.Hour
	lastPause    = 7 * 24 * time.Hour
	// oversizeFor is how long a message larger than the streams is left alone
	// before it is tried again: their limit may have been raised.
	oversizeFor = 24 * time.Hour
)

// memory is what a poll has to know of the server from earlier ones. It is kept
// in the archive, with the reports of polls, because the next poll may be another
// process. No decision to delete rests on it.
type memory struct {
	SingleUntil time.Time `json:"single_until,omitzero"` // no pipelining
	NoTOPUntil  time.Time `json:"no_top_until,omitzero"`
	// NoAPOPUntil is for a server that refused it, while another mechanism logged in.
	NoAPOPUntil time.Time `json:"no_apop_until,omitzero"`
	// Unconfirmed is PollReport.Unconfirmed of the last poll that got a listing.
	Unconfirmed int `json:"unconfirmed,omitempty"`
	// Lost is the number of sessions lost since QUIT was last answered.
	Lost int `json:"lost,omitempty"`
	// BrokeAt is after how many downloads and headers the last lost session broke.
	BrokeAt int    `json:"broke_at,omitempty"`
	Window  window `json:"window,omitzero"`
	// Troubles are by troubleKey.
	Troubles map[string]trouble `json:"troubles,omitempty"`
}

// window is what is known of a server that ends sessions after some number of
// commands.
type window struct {
	Good  int       `json:"good,omitempty"` // downloads and headers of the largest session with an answered QUIT
	Bad   int       `json:"bad,omitempty"`  // and of the smallest that was lost
	Count int       `json:"count,omitempty"`
	Until time.Time `json:"until,omitzero"` // tried without a limit after that
}

// trouble is what a message did to earlier sessions.
type trouble struct {
	// Count is how many sessions in a row were lost at the same place of this message, and
	// At how many octets of it had come.
	Count int       `json:"count,omitempty"`
	At    int64     `json:"at,omitempty"`
	Until time.Time `json:"until,omitzero"` // left alone until then
	Last  time.Time `json:"last"`
	// Oversize is why the message is too large to be taken, "" if it is not. It holds as
	// long as the limit is Limit (Policy.MaxMessageBytes; 0 is that of the streams).
	Oversize string `json:"oversize,omitempty"`
	Limit    int64  `json:"limit,omitempty"`
}

// troubleKey names a listed message. A UIDL may be made of what is in the message, and
// the report of a poll outlives that; so it is hashed.
func troubleKey(mailbox string, l pipeline.Listing) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "postkeep trouble\x00%s\x00%s\x00%d", mailbox, l.UIDL, l.Size))
	return hex.EncodeToString(sum[:12])
}

// recall reads the memory of the mailbox. Without it a poll is slower, not
// wrong.
func (v *visit) recall(ctx context.Context) {
	data, err := v.poller.bus.PollMemory(ctx, v.mailbox.Name)
	if err == nil && len(data) > 0 {
		err = json.Unmarshal(data, &v.memory)
	}
	if err != nil {
		v.log.Warn("what earlier polls learned of the server is not known", "error", err)
		v.memory, v.forgetful = memory{}, true
	}
	v.recalled, _ = v.memory.encode()
	v.memory.doubt(v.poller.opts.Now())
}

// doubt shortens what is to last longer than it ever does: it was noted by a clock that was ahead.
func (m *memory) doubt(now time.Time) {
	shorten := func(t *time.Time, most time.Duration) {
		if limit := now.Add(most).UTC().Round(0); t.After(limit) {
			*t = limit
		}
	}
	shorten(&m.SingleUntil, spareMixedUp)
	shorten(&m.NoTOPUntil, distrustTOP)
	shorten(&m.NoAPOPUntil, spareAPOP)
	shorten(&m.Window.Until, pause(m.Window.Count))
	for key, t := range m.Troubles {
		if t.Oversize != "" {
			shorten(&t.Until, oversizeFor)
		} else {
			shorten(&t.Until, pause(t.Count-patientTries))
		}
		m.Troubles[key] = t
	}
}

// remember puts the memory into the report if it has changed.
func (v *visit) remember() {
	v.memory.expire(v.poller.opts.Now())
	data, err := v.memory.encode()
	if err != nil {
		v.log.Warn("what was learned of the server is not kept", "error", err)
		return
	}
	if !v.forgetful && !bytes.Equal(data, v.recalled) {
		v.report.Memory = data
	}
}

// encode gives the same bytes for the same memory.
func (m *memory) encode() ([]byte, error) {
	for _, t := range []*time.Time{&m.SingleUntil, &m.NoTOPUntil, &m.NoAPOPUntil} {
		*t = t.UTC().Round(0)
	}
	return json.Marshal(m)
}

// expire drops what holds no more.
func (m *memory) expire(now time.Time) {
	for _, t := range []*time.Time{&m.SingleUntil, &m.NoTOPUntil, &m.NoAPOPUntil} {
		if t.Before(now) {
			*t = time.Time{}
		}
	}
}

// noteError remembers a session that broke while commands were pipelined, or
// had been in the burst that it broke in: an answer too few shows at the end.
func (m *memory) noteError(err error, burst bool, now time.Time) {
	var e *pop3.Error
	if !errors.As(err, &e) || lost(err) == nil || !e.Pipelined && !burst {
		return
	}
	spare := spareBroken
	switch e.Kind {
	case pop3.KindProtocol:
		spare = spareMixedUp
	case pop3.KindCanceled, pop3.KindLimit:
		return // not the server's doing
	}
	m.SingleUntil = now.Add(spare)
}

// broke takes in the loss of a session after so many downloads and headers. Only
// a loss that comes again is taken for a limit of the server: connections drop.
func (m *memory) broke(answered int, now time.Time) {
	answered = max(answered, 1)
	again := m.Lost > 0 || answered == m.BrokeAt && answered >= telling || m.Window.Bad > 0
	m.Lost++
	m.BrokeAt = answered
	if !again {
		return
	}
	w := &m.Window
	if w.Bad == 0 || answered < w.Bad {
		w.Bad = answered
	}
	if w.Good >= w.Bad {
		w.Good = 0
	}
	w.Count++
	w.Until = now.Add(pause(w.Count)).UTC().Round(0)
}

// ended takes in a session whose QUIT was answered.
func (m *memory) ended(answered int, now time.Time) {
	m.Lost = 0
	w := &m.Window
	switch {
	case w.Bad == 0:
	case answered > w.Bad:
		*w, m.BrokeAt = window{}, 0
	case now.Before(w.Until):
		w.Good = max(w.Good, answered)
	}
}

// limit is how many downloads and headers a session takes before QUIT, 0 if
// there is no reason to limit them.
func (m *memory) limit(now time.Time) int {
	w := m.Window
	switch {
	case w.Bad == 0 || !now.Before(w.Until):
		return 0
	case w.Good == 0:
		return max(1, w.Bad/2)
	}
	return min(2*w.Good, max(w.Good, w.Bad*3/4))
}

// fragile reports whether sessions were lost lately: what can be deleted is
// then deleted in a session before anything is fetched.
func (m *memory) fragile(now time.Time) bool {
	if m.Lost > 0 || m.limit(now) > 0 {
		return true
	}
	for _, t := range m.Troubles {
		if t.Count > 0 {
			return true
		}
	}
	return false
}

// pause grows with the number of failures.
func pause(failures int) time.Duration {
	d := firstPause
	for i := 1; i < failures && d < lastPause; i++ {
		d *= 2
	}
	return min(d, lastPause)
}

// trouble returns what is known of a listed message, nil if nothing is.
func (v *visit) trouble(l pipeline.Listing) *trouble {
	if t, ok := v.memory.Troubles[troubleKey(v.mailbox.Name, l)]; ok {
		return &t
	}
	return nil
}

// breaks reports whether the message broke a session lately.
func (t *trouble) breaks() bool { return t != nil && t.Count > 0 }

// named reports whether the listing names one message: without a UIDL the size does, if no other has it.
func (s *session) named(l pipeline.Listing) bool { return l.UIDL != "" || s.times[l] == 1 }

// troubleOf is trouble for a message that the session lists.
func (s *session) troubleOf(l pipeline.Listing) *trouble {
	if !s.named(l) {
		return nil
	}
	return s.visit.trouble(l)
}

// noteTrouble remembers what a message did.
func (v *visit) noteTrouble(l pipeline.Listing, change func(*trouble)) {
	m := &v.memory
	if m.Troubles == nil {
		m.Troubles = map[string]trouble{}
	}
	key := troubleKey(v.mailbox.Name, l)
	t, known := m.Troubles[key]
	if !known && len(m.Troubles) >= maxTroubles {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(m.Troubles)), func(a, b string) int {
			return m.Troubles[a].Last.Compare(m.Troubles[b].Last)
		})
		delete(m.Troubles, oldest)
	}
	change(&t)
	t.Last = v.poller.opts.Now().UTC().Round(0)
	m.Troubles[key] = t
}

// brokeAt blames a message for the loss of a session after so many of its octets; see notRead. One that breaks it at another place each time is not to blame for long: a bad line does that
// to large messages.
func (v *visit) brokeAt(l pipeline.Listing, at int64) {
	v.noteTrouble(l, func(t *trouble) {
		if t.At != at {
			t.Count = 0
		}
		t.Count++
		t.At = at
		t.Until = time.Time{}
		if n := t.Count - patientTries; n > 0 {
			t.Until = v.poller.opts.Now().Add(pause(n)).UTC().Round(0)
		}
	})
}

// tooLargeFor remembers a message that is larger than LIST said.
func (v *visit) tooLargeFor(l pipeline.Listing, why string, limit int64) {
	if l.UIDL == "" { // the size that is listed is wrong: it tells nothing apart
		return
	}
	v.noteTrouble(l, func(t *trouble) {
		t.Oversize, t.Limit, t.Until = why, limit, time.Time{}
		if limit == 0 {
			t.Until = v.poller.opts.Now().Add(oversizeFor).UTC().Round(0)
		}
	})
}

// oversize is why the message is too large, as far as is known from earlier
// polls, "" if it is not.
func (v *visit) oversize(t *trouble) string {
	switch {
	case t == nil, t.Oversize == "",
		t.Limit > 0 && t.Limit != v.mailbox.MaxMessageBytes,
		t.Limit == 0 && !v.poller.opts.Now().Before(t.Until):
		return ""
	}
	return t.Oversize
}

// forgive forgets what a message did: it came through.
func (v *visit) forgive(l pipeline.Listing) {
	if len(v.memory.Troubles) > 0 {
		delete(v.memory.Troubles, troubleKey(v.mailbox.Name, l))
	}
}

// forgetOthers forgets the messages that the server does not list any more.
func (s *session) forgetOthers() {
	if len(s.memory.Troubles) == 0 {
		return
	}
	listed := make(map[string]bool, len(s.items))
	for i := range s.items {
		listed[troubleKey(s.mailbox.Name, s.items[i].listing)] = true
	}
	maps.DeleteFunc(s.memory.Troubles, func(key string, _ trouble) bool { return !listed[key] })
}
