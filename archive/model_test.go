package archive

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
)

// A mailModel says what has to be in an archive. It reads the events of the ledger, with none of the archive's own code for
// that, in their order, which is the order in which things that happened at the same time took effect. It knows the true time
// of each event, whatever the clock said, and what callers were told: that has to be in the ledger for good.
type mailModel struct {
	size     int64       // events taken in
	when     []time.Time // true time of each
	seen     map[string]bool
	acked    map[string]string // what callers were told, and in which step
	deposits map[int64]*modelDeposit
	holds    map[string]*span // by id, "h7"
	rules    map[string]*span // by name
	plans    map[string]*modelPlan
	problems []string

	// What does not come from the ledger.
	dual   bool
	texts  map[string]string     // of every message that was ever delivered, by id
	keys   map[int64]depositKey  // of the deposits that callers were told of
	vouch  map[int64]bool        // deposits that a poll has vouched for, or may have
	asHold map[string]drawnHold  // by name
	asRule map[string]drawnRule  // by name
	mail   map[int64]modelSource // of deposits, kept when the ledger is read again
}

// A modelDeposit is a deposit; archived is the true time.
type modelDeposit struct {
	drawnDeposit
	goneAt int64 // ledger index of the intent, 0 while it is there
}

// modelSource is what the details of a deposit say: they are erased with it.
type modelSource struct{ id, mailbox string }

// A span is from when to when something is in force, as ledger indexes.
type span struct {
	name     string
	from, to int64 // to is 0 while it is in force
}

func (s *span) in(at int64) bool { return s.from < at && (s.to == 0 || s.to > at) }

type modelPlan struct {
	kind, by, approvedBy string
	gone                 int // deposits
	done                 bool
}

func newMailModel() *mailModel {
	m := &mailModel{acked: map[string]string{}, texts: map[string]string{}, keys: map[int64]depositKey{}, vouch: map[int64]bool{},
		asHold: map[string]drawnHold{}, asRule: map[string]drawnRule{}, mail: map[int64]modelSource{}}
	m.restart()
	return m
}

// restart forgets the ledger, which is read again from its beginning.
func (m *mailModel) restart() {
	m.size = 0
	m.seen, m.deposits = map[string]bool{}, map[int64]*modelDeposit{}
	m.holds, m.rules, m.plans = map[string]*span{}, map[string]*span{}, map[string]*modelPlan{}
}

func (m *mailModel) problem(format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf(format, args...))
}

// modelEvent has what the model reads of the details of any event.
type modelEvent struct {
	Mailbox string `json:"mailbox"`
	Session string `json:"session"`
	Action  string `json:"action"`
	Name    string `json:"name"`
	Of      string `json:"of"`
	Hold    *struct {
		Name string `json:"name"`
	} `json:"hold"`
	Rule *struct {
		Name string `json:"name"`
	} `json:"rule"`
	Plan json.RawMessage `json:"plan"` // an object or a name
	// Of an intent.
	Deposits json.RawMessage `json:"deposits"`
}

type modelGone struct {
	Index   int64  `json:"index"`
	ID      string `json:"id"`
	Mailbox string `json:"mailbox"`
	Rule    string `json:"rule"`
}

// take takes in the next event.
func (m *mailModel) take(e ledger.Entry, now time.Time) error {
	if m.size++; int64(len(m.when)) < m.size {
		m.when = append(m.when, now)
	}
	var d modelEvent
	switch e.Type {
	case ledger.TypeDeposit, ledger.TypeRecovered, ledger.TypePoll, ledger.TypeHold, ledger.TypePolicy, ledger.TypeDisposalIntent, ledger.TypeDisposalDone:
	default:
		return nil // says nothing of what has to be there
	}
	if e.Details != nil { // which are erased with a deposit
		if err := json.Unmarshal(e.Details, &d); err != nil {
			return fmt.Errorf("event %d: %w", e.Index, err)
		}
	}
	switch e.Type {
	case ledger.TypeDeposit, ledger.TypeRecovered:
		if len(e.IDs) > 0 {
			m.deposit(e, d.Mailbox)
		}
	case ledger.TypePoll:
		m.seen["poll "+d.Session] = true
	case ledger.TypeHold:
		m.hold(e, &d)
	case ledger.TypePolicy:
		return m.policy(e, &d)
	case ledger.TypeDisposalIntent:
		return m.intent(e, &d)
	case ledger.TypeDisposalDone:
		var plan string
		if err := json.Unmarshal(d.Plan, &plan); err != nil {
			return err
		}
		m.plans[plan].done = true
		m.seen["done "+plan] = true
	}
	return nil
}

func (m *mailModel) deposit(e ledger.Entry, mailbox string) {
	id := e.IDs[0]
	text, ok := m.texts[id]
	if !ok {
		m.problem("event %d archives message %s, which nobody has delivered", e.Index, id)
	}
	source := m.mail[e.Index]
	if mailbox != "" || source.id != id {
		source = modelSource{id, mailbox}
	}
	m.mail[e.Index] = source
	m.deposits[e.Index] = &modelDeposit{drawnDeposit: drawnDeposit{
		text: text, mailbox: source.mailbox, id: id, index: e.Index, archived: m.when[e.Index],
	}}
	m.seen[depositSeen(e.Index, id)] = true
}

func depositSeen(index int64, id string) string { return fmt.Sprintf("deposit %d of %s", index, id) }

func (m *mailModel) hold(e ledger.Entry, d *modelEvent) {
	switch d.Action {
	case actPlace:
		id := fmt.Sprint("h", e.Index)
		m.holds[id] = &span{name: d.Hold.Name, from: e.Index}
		m.seen["hold "+d.Hold.Name] = true
	case actRelease:
		m.holds[d.Of].to = e.Index
		m.seen["release "+m.holds[d.Of].name] = true
	}
}

func (m *mailModel) policy(e ledger.Entry, d *modelEvent) error {
	switch d.Action {
	case actAdd:
		m.rules[d.Rule.Name] = &span{name: d.Rule.Name, from: e.Index}
		m.seen["rule "+d.Rule.Name] = true
	case actRemove:
		m.rules[d.Name].to = e.Index
		m.seen["remove "+d.Name] = true
	case actPlan:
		var p struct {
			Kind string `json:"kind"`
		}
		if err := json.Unmarshal(d.Plan, &p); err != nil {
			return err
		}
		m.plans[fmt.Sprint("p", e.Index)] = &modelPlan{kind: p.Kind, by: e.Actor}
	case actApprove:
		m.plans[d.Of].approvedBy = e.Actor
		m.seen["approve "+d.Of] = true
	}
	return nil
}

// intent judges a disposal by what was in force, and how much time had truly gone by.
func (m *mailModel) intent(e ledger.Entry, d *modelEvent) error {
	var id string
	var gone []modelGone
	if err := json.Unmarshal(d.Plan, &id); err != nil {
		return err
	}
	if err := json.Unmarshal(d.Deposits, &gone); err != nil {
		return err
	}
	p := m.plans[id]
	if p == nil || m.dual && (p.approvedBy == "" || p.approvedBy == p.by) {
		m.problem("plan %s is applied without a second person: %+v", id, p)
	}
	for _, one := range gone {
		deposit := m.deposits[one.Index]
		switch {
		case deposit == nil || deposit.id != one.ID:
			m.problem("plan %s disposes of deposit %d of %s, which is none", id, one.Index, one.ID)
			continue
		case deposit.goneAt != 0:
			m.problem("plan %s disposes of deposit %d again", id, one.Index)
		}
		if deposit.mailbox == "" { // it came and went between two looks at the ledger
			deposit.mailbox = one.Mailbox
			m.mail[one.Index] = modelSource{one.ID, one.Mailbox}
		}
		if why := m.mustStay(deposit, p.kind, one.Rule, e.Index); why != "" {
			m.problem("plan %s (event %d) disposed of deposit %d (%.60q in %s): %s", id, e.Index, one.Index, deposit.text, deposit.mailbox, why)
		}
		p.gone++
	}
	for _, one := range gone {
		if deposit := m.deposits[one.Index]; deposit != nil {
			deposit.goneAt = e.Index
		}
	}
	return nil
}

// mustStay is why a deposit may not be disposed of by an intent, "" if it may.
func (m *mailModel) mustStay(d *modelDeposit, kind, rule string, at int64) string {
	if name := m.heldBy(d, at); name != "" {
		return "hold " + name + " covers it"
	}
	return m.tooEarly(d, kind, rule, at, m.when[at])
}

// heldBy names a hold that covers the deposit, "" if none does.
func (m *mailModel) heldBy(d *modelDeposit, at int64) string {
	for _, h := range m.holds {
		if h.in(at) && m.covers(m.asHold[h.name], d, at) {
			return h.name
		}
	}
	return ""
}

// tooEarly is why no rule, or not the one that is named, lets a deposit go, "" if it does.
func (m *mailModel) tooEarly(d *modelDeposit, kind, rule string, at int64, now time.Time) string {
	due := kind == Erasure
	for _, r := range m.rules {
		drawn := m.asRule[r.name]
		surely, perhaps := drawn.applies(&d.drawnDeposit)
		if !r.in(at) || !perhaps {
			continue
		}
		age := now.Sub(d.archived)
		if drawn.least > 0 && !d.over(drawn.least, now) {
			return fmt.Sprintf("rule %s keeps it for %d days, it is %s old", r.name, drawn.least, age)
		}
		if kind == Retention && drawn.most > 0 && !d.over(drawn.most, now) {
			return fmt.Sprintf("by rule %s it is due after %d days, it is %s old", r.name, drawn.most, age)
		}
		due = due || surely && r.name == rule && drawn.most > 0
	}
	if !due {
		return fmt.Sprintf("rule %q does not match it, or is not in force", rule)
	}
	return ""
}

// covers is by message: a hold on a mailbox covers every deposit of what is in it.
func (m *mailModel) covers(h drawnHold, d *modelDeposit, at int64) bool {
	if h.word != "" && !strings.Contains(d.text, h.word) && !unsearchable(d.text) {
		return false
	}
	some := func(fits func(*modelDeposit) bool) bool {
		for _, other := range m.deposits {
			if other.id == d.id && other.index < at && (other.goneAt == 0 || other.goneAt >= at) && fits(other) {
				return true
			}
		}
		return false
	}
	return (h.mailbox == "" || some(func(d *modelDeposit) bool { return d.mailbox == h.mailbox })) &&
		(h.from.IsZero() || some(func(d *modelDeposit) bool { return !d.archived.Before(h.from) && d.archived.Before(h.to) }))
}

// due counts the deposits that a plan made now has.
func (m *mailModel) due(now time.Time) (n int) {
	for _, d := range m.deposits {
		if d.goneAt != 0 || m.heldBy(d, m.size) != "" {
			continue
		}
		for name := range m.rules {
			if m.tooEarly(d, Retention, name, m.size, now) == "" {
				n++
				break
			}
		}
	}
	return n
}

// inForce lists the names of what is in force, sorted.
func inForce(all map[string]*span) []string {
	names := []string{}
	for _, s := range all {
		if s.to == 0 {
			names = append(names, s.name)
		}
	}
	slices.Sort(names)
	return names
}

// live counts the deposits that are there, by mailbox, and the messages.
func (m *mailModel) live() (boxes map[string]int64, messages map[string][]*modelDeposit) {
	boxes, messages = map[string]int64{}, map[string][]*modelDeposit{}
	for _, d := range m.deposits {
		if d.goneAt == 0 {
			boxes[d.mailbox]++
			messages[d.id] = append(messages[d.id], d)
		}
	}
	return boxes, messages
}

// lost lists what callers were told of and the ledger does not have.
func (m *mailModel) lost() (out []string) {
	for what, step := range m.acked {
		if !m.seen[what] {
			out = append(out, what+" ("+step+")")
		}
	}
	slices.Sort(out)
	return out
}
