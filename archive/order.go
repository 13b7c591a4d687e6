package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

// Holds, rules and plans are precious: they live in ledger events, what they say in the erasable
// details. The catalog has a copy of those that count.

// The kinds of records in the catalog, with their keys.
const (
	orderHold       = "hold"       // id of the hold
	orderRelease    = "release"    // id of the hold
	orderEvaluation = "evaluation" // id of the hold: the last one
	orderRule       = "rule"       // name
	orderPlan       = "plan"       // id
	orderApproval   = "approval"   // id of the plan
	orderIntent     = "intent"     // ledger index
	orderDone       = "done"       // id of the plan
	orderCover      = "cover:"     // with the id of a hold; ledger index: what it has covered
	orderReading    = "reading:"   // with the id of a rule; ledger index: what it found before messages were read in another way
	orderLate       = "late:"      // with the id of a hold; ledger index: what it came too late for
	orderUnreadable = "unreadable" // ledger index: its details are damaged
	orderClock      = "clock"      // ledger index
	orderChange     = "change"     // id of the change
	orderDecision   = "decision"   // id of the change
)

// What the details of hold and policy events say was done.
const (
	actPlace    = "place"
	actRelease  = "release"
	actEvaluate = "evaluate"
	actCover    = "cover"
	actLate     = "late"
	actAdd      = "add"
	actRemove   = "remove"
	actPlan     = "plan"
	actApprove  = "approve"
	actKeepOut  = "keep-out"
	actRequest  = "request"
	actAgree    = "agree"
	actReject   = "reject"
	actReading  = "reading"
)

// holdDetails are the details of a hold event.
type holdDetails struct {
	Action string     `json:"action"`
	Hold   *hold.Hold `json:"hold,omitempty"` // placed
	// Dual means that its release takes two people, whatever the configuration says later.
	Dual   bool   `json:"dual_control,omitempty"`
	Of     string `json:"of,omitempty"`     // id of the hold that it is about
	Reason string `json:"reason,omitempty"` // of the release
	Change string `json:"change,omitempty"` // that asked for the release, where it took two people
	// Of an evaluation: the query that was asked, the number of messages that it found, SHA-256 of their
	// ids in the order in which they were received, each followed by LF, and the first ones.
	Terms  string   `json:"terms,omitempty"`
	Hits   int64    `json:"hits,omitempty"`
	SHA256 string   `json:"sha256,omitempty"`
	First  []string `json:"first,omitempty"`
	For    string   `json:"for,omitempty"` // what it was evaluated for
	// Earlier is how many more messages it covers because it has covered them before.
	Earlier int64 `json:"earlier,omitempty"`
	// Set is an idSet of messages that it covers from now on until it is released.
	Set []byte `json:"set,omitempty"`
	// Late are messages that it came too late for.
	Late []LateMessage `json:"late,omitempty"`
}

// policyDetails are the details of a policy event.
type policyDetails struct {
	Action string          `json:"action"`
	Rule   *retention.Rule `json:"rule,omitempty"` // added
	// Dual means that its removal takes two people, whatever the configuration says later.
	Dual bool         `json:"dual_control,omitempty"`
	Name string       `json:"name,omitempty"` // of the rule that was removed
	Plan *planDetails `json:"plan,omitempty"` // made
	Of   string       `json:"of,omitempty"`   // id of the plan that was approved, or has disposed of what stays out; of the rule that was read
	// Login is how whoever did it had logged in, Account whether they have an account.
	Login   string `json:"login,omitempty"`
	Account bool   `json:"account,omitempty"`
	// Change is what was asked for and takes a second person.
	Change *changeDetails `json:"change,omitempty"`
	// KeptOut is what was delivered again and stays out.
	KeptOut *keptOut `json:"kept_out,omitempty"`
	// Read is the reading of the index when a rule was added, "" if parts of it were of different ones.
	Read    string          `json:"read,omitempty"`
	Reading *readingDetails `json:"reading,omitempty"`
}

// An order is an event as the catalog keeps it.
type order struct {
	Index   int64           `json:"index"`
	Time    time.Time       `json:"time"`
	Actor   string          `json:"actor"`
	Details json.RawMessage `json:"details"`
}

// idOf names what an event has made: the letter and the ledger index.
func idOf(letter string, index int64) string { return letter + strconv.FormatInt(index, 10) }

// The letters that ids of holds, plans and rules begin with.
const (
	holdLetter = "h"
	planLetter = "p"

	changeLetter = "c"
	ruleLetter   = "r"
)

// An UnreadableOrder is an event about a hold, a rule or a disposal whose details are damaged, or were erased, which no disposal
// does: without them nobody knows what is held. The rest stands in the ledger itself.
type UnreadableOrder struct {
	Index int64     `json:"index"`
	Time  time.Time `json:"time"`
	Actor string    `json:"actor"`
	Type  string    `json:"type"`
}

// noteUnreadable keeps what is left of an event whose details cannot be read.
func noteUnreadable(change *catalog.Change, e ledger.Entry) error {
	switch e.Type {
	case ledger.TypeHold, ledger.TypePolicy, ledger.TypeDisposalIntent, ledger.TypeDisposalDone, ledger.TypeClock:
		record, err := json.Marshal(UnreadableOrder{e.Index, e.Time, e.Actor, string(e.Type)})
		if err != nil {
			return err
		}
		change.Orders = append(change.Orders, catalog.Order{Kind: orderUnreadable, Key: strconv.FormatInt(e.Index, 10), Index: e.Index, Record: record})
	}
	return nil
}

// UnreadableOrders lists what was ordered and cannot be read any more, oldest first.
func (s *Store) UnreadableOrders(ctx context.Context) ([]UnreadableOrder, error) {
	rows, err := s.catalog.Orders(ctx, orderUnreadable)
	if err != nil {
		return nil, err
	}
	out := make([]UnreadableOrder, len(rows))
	for i, r := range rows {
		if err := json.Unmarshal(r.Record, &out[i]); err != nil {
			return nil, fmt.Errorf("catalog: %s %s: %w", orderUnreadable, r.Key, err)
		}
	}
	return out, nil
}

// OrdersKnown returns an error, which is ErrUnreadable, if something that was ordered cannot be read any more.
func (s *Store) OrdersKnown(ctx context.Context) error {
	lost, err := s.UnreadableOrders(ctx)
	if err != nil || len(lost) == 0 {
		return err
	}
	o, more := lost[0], ""
	if len(lost) > 1 {
		more = fmt.Sprintf(", and of %d more", len(lost)-1)
	}
	return fmt.Errorf("%w: details of ledger event %d (%s, %s, by %s)%s are damaged, nobody can say what is held, and nothing is disposed of: "+
		"put back the newest copy of the ledger and run postkeep rebuild catalog", ErrUnreadable, o.Index, o.Type, o.Time.Format(time.RFC3339), o.Actor, more)
}

// addOrder adds what an event about holds, rules and disposals means for the catalog.
func addOrder(change *catalog.Change, e ledger.Entry) error {
	switch e.Type {
	case ledger.TypeHold:
		return addHold(change, e)
	case ledger.TypePolicy:
		return addPolicy(change, e)
	case ledger.TypeDisposalIntent:
		return addIntent(change, e)
	case ledger.TypeClock:
		return addClock(change, e)
	case ledger.TypeDisposalDone:
		var d doneDetails
		if err := json.Unmarshal(e.Details, &d); err != nil {
			return err
		}
		return keep(change, e, orderDone, d.Plan)
	}
	return nil
}

func addHold(change *catalog.Change, e ledger.Entry) error {
	var d holdDetails
	if err := json.Unmarshal(e.Details, &d); err != nil {
		return err
	}
	switch d.Action {
	case actPlace:
		return keep(change, e, orderHold, idOf(holdLetter, e.Index))
	case actRelease:
		return keep(change, e, orderRelease, d.Of)
	case actEvaluate:
		return keep(change, e, orderEvaluation, d.Of)
	case actCover:
		return keepOf(change, e, coverKind(d.Of))
	case actLate:
		return keepOf(change, e, lateKind(d.Of))
	}
	return nil
}

func addPolicy(change *catalog.Change, e ledger.Entry) error {
	var d policyDetails
	if err := json.Unmarshal(e.Details, &d); err != nil {
		return err
	}
	switch d.Action {
	case actAdd:
		return keep(change, e, orderRule, d.Rule.Name)
	case actRemove:
		change.Orders = append(change.Orders, catalog.Order{Kind: orderRule, Key: d.Name, Index: e.Index})
	case actPlan:
		return keep(change, e, orderPlan, idOf(planLetter, e.Index))
	case actApprove:
		return keep(change, e, orderApproval, d.Of)
	case actRequest:
		return keep(change, e, orderChange, idOf(changeLetter, e.Index))
	case actAgree, actReject:
		return keep(change, e, orderDecision, d.Of)
	case actKeepOut:
		return addKeptOut(change, e, d.KeptOut)
	case actReading:
		return keepOf(change, e, readingKind(d.Of))
	}
	return nil
}

func keep(change *catalog.Change, e ledger.Entry, kind, key string) error {
	record, err := json.Marshal(order{e.Index, e.Time, e.Actor, e.Details})
	if err != nil {
		return err
	}
	change.Orders = append(change.Orders, catalog.Order{Kind: kind, Key: key, Index: e.Index, Record: record})
	return nil
}

// enact writes events to the ledger and takes them into the catalog. It is called with mu held and
// finishes whatever happens to ctx.
func (s *Store) enact(ctx context.Context, events ...ledger.Event) (first int64, err error) {
	if err := s.whole(); err != nil || len(events) == 0 {
		return 0, err
	}
	if s.unsigned != nil {
		return 0, fmt.Errorf("%w: %w", ErrReadOnly, s.unsigned)
	}
	if err := s.noteClock(ctx); err != nil {
		return 0, err
	}
	return s.commitEvents(ctx, events...)
}

// commitEvents is enact without a look at the clock.
func (s *Store) commitEvents(ctx context.Context, events ...ledger.Event) (first int64, err error) {
	ctx = context.WithoutCancel(ctx)
	first, err = s.ledger.Append(ctx, events)
	switch {
	case errors.Is(err, ledger.ErrBroken):
		return 0, s.breaks(fmt.Errorf("ledger: %w", err))
	case err != nil:
		return 0, fmt.Errorf("ledger: %w", err)
	}
	// Read back, because the ledger gives the time.
	change := s.newChange()
	change.Position = first + int64(len(events))
	err = s.ledger.Read(ctx, first, func(e ledger.Entry) error {
		if e.Index == change.Position {
			return errEnough
		}
		return addEvent(&change, e)
	})
	if err == nil || errors.Is(err, errEnough) {
		err = s.catalog.Apply(ctx, change)
	}
	if err != nil {
		return 0, s.breaks(err)
	}
	return first, nil
}

// orders returns the records of a kind by their keys.
func (s *Store) orders(ctx context.Context, kind string) ([]keyed, error) {
	rows, err := s.catalog.Orders(ctx, kind)
	if err != nil {
		return nil, err
	}
	out := make([]keyed, len(rows))
	for i, r := range rows {
		out[i].Key = r.Key
		if err := json.Unmarshal(r.Record, &out[i].order); err != nil {
			return nil, fmt.Errorf("catalog: %s %s: %w", kind, r.Key, err)
		}
	}
	return out, nil
}

type keyed struct {
	Key string
	order
}

// order returns one record, and whether there is one.
func (s *Store) order(ctx context.Context, kind, key string) (order, bool, error) {
	row, ok, err := s.catalog.Order(ctx, kind, key)
	if err != nil || !ok {
		return order{}, false, err
	}
	var o order
	if err := json.Unmarshal(row.Record, &o); err != nil {
		return order{}, false, fmt.Errorf("catalog: %s %s: %w", kind, key, err)
	}
	return o, true, nil
}
