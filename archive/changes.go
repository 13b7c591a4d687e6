package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

// With dual control the release of a hold and the removal of a rule take two people, too: what one asks for is a change, which
// another one approves. Removing any rule can end the keeping of something: of several rules that match the one that asks for more counts, so that
// a rule with a maximum alone keeps what another one would dispose of. Adding one cannot, but through a plan.

// The kinds of changes.
const (
	ChangeRelease = "release" // of a hold
	ChangeRemove  = "remove"  // of a rule
	ChangeGrant   = "grant"   // of what somebody may do
)

// The states of a change.
const (
	ChangeOpen     = "open"
	ChangeApproved = "approved"
	ChangeRejected = "rejected"
)

// changeDetails are what somebody asks for.
type changeDetails struct {
	Kind   string `json:"kind"`
	Of     string `json:"of,omitempty"` // id of the hold
	Name   string `json:"name"`         // of the hold or rule
	Reason string `json:"reason,omitempty"`
	// Rule is the one that is to be removed, as it was then.
	Rule *retention.Rule `json:"rule,omitempty"`
	// Grant is what the user of the name may do from then on.
	Grant *Grant `json:"grant,omitempty"`
}

// A Grant is what a user may do. The archive keeps it as it is.
type Grant struct {
	Roles     []string  `json:"roles"`
	Mailboxes []string  `json:"mailboxes,omitempty"`
	From      time.Time `json:"from,omitzero"`
	To        time.Time `json:"to,omitzero"`
	// Was are the roles when it was asked for.
	Was []string `json:"was,omitempty"`
}

// A Change is the release of a hold, the removal of a rule, or a grant to a user, that one person asked for and another one has to approve.
type Change struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"` // release, remove or grant
	Name   string    `json:"name"` // of the hold, rule or user
	Reason string    `json:"reason,omitempty"`
	State  string    `json:"state"`
	Asked  time.Time `json:"asked"`
	By     string    `json:"by"`
	Login  string    `json:"login,omitempty"` // how they had logged in
	// Decision is by whom and when it was approved or rejected.
	Decision *Approval `json:"decision,omitempty"`
	Grant    *Grant    `json:"grant,omitempty"` // of a grant

	details changeDetails
}

// Changes lists all changes that were asked for, oldest first.
func (s *Store) Changes(ctx context.Context) ([]Change, error) {
	asked, err := s.orders(ctx, orderChange)
	if err != nil {
		return nil, err
	}
	out := make([]Change, len(asked))
	for i, a := range asked {
		if out[i], err = s.changeOf(ctx, a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Store) changeOf(ctx context.Context, asked keyed) (Change, error) {
	c := Change{ID: asked.Key, State: ChangeOpen, Asked: asked.Time, By: asked.Actor}
	var d policyDetails
	if err := json.Unmarshal(asked.Details, &d); err != nil || d.Change == nil {
		return c, fmt.Errorf("catalog: change %s: %w", asked.Key, err)
	}
	c.details = *d.Change
	c.Kind, c.Name, c.Reason, c.Login, c.Grant = d.Change.Kind, d.Change.Name, d.Change.Reason, d.Login, d.Change.Grant
	decision, ok, err := s.order(ctx, orderDecision, asked.Key)
	if err != nil || !ok {
		return c, err
	}
	var by policyDetails
	if err := json.Unmarshal(decision.Details, &by); err != nil {
		return c, fmt.Errorf("catalog: decision about change %s: %w", asked.Key, err)
	}
	c.State = ChangeApproved
	if by.Action == actReject {
		c.State = ChangeRejected
	}
	c.Decision = &Approval{By: decision.Actor, Time: decision.Time, Login: by.Login}
	return c, nil
}

// Pending returns the open changes of a kind, by the name of the hold or rule.
func (s *Store) Pending(ctx context.Context, kind string) (map[string]string, error) {
	all, err := s.Changes(ctx)
	pending := map[string]string{}
	for i := range all {
		if all[i].State == ChangeOpen && all[i].Kind == kind {
			pending[all[i].Name] = all[i].ID
		}
	}
	return pending, err
}

// openChange returns the open change of a kind that matches, nil if there is none.
func (s *Store) openChange(ctx context.Context, match func(*Change) bool) (*Change, error) {
	all, err := s.Changes(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].State == ChangeOpen && match(&all[i]) {
			return &all[i], nil
		}
	}
	return nil, nil //nolint:nilnil // none is an answer
}

// request records a change that waits for a second person. It is called with mu held.
func (c *Compliance) request(ctx context.Context, d *changeDetails, actor string) (*Change, error) {
	s := c.store
	open, err := s.openChange(ctx, func(o *Change) bool { return o.Kind == d.Kind && o.Name == d.Name })
	if err != nil {
		return nil, err
	}
	if open != nil {
		return nil, fmt.Errorf("%w: %s asked for it already (change %s), which waits for somebody else to approve it", ErrOrder, open.By, open.ID)
	}
	l := loginOf(ctx)
	first, err := s.enact(ctx, ledger.Event{Type: ledger.TypePolicy, Actor: actor,
		Details: policyDetails{Action: actRequest, Change: d, Login: l.How, Account: l.Account}})
	if err != nil {
		return nil, err
	}
	return s.openChange(ctx, func(o *Change) bool { return o.ID == idOf(changeLetter, first) })
}

// DualControl reports whether what takes a second person waits for one.
func (c *Compliance) DualControl() bool { return c != nil && c.opts.DualControl }

// RequestGrant asks for a grant to a user, which another administrator approves with ApproveChange. It is for the caller to carry it
// out then.
func (c *Compliance) RequestGrant(ctx context.Context, user string, g Grant, actor string) (Change, error) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	asked, err := c.request(ctx, &changeDetails{Kind: ChangeGrant, Name: user, Grant: &g}, actor)
	if err != nil {
		return Change{}, err
	}
	return *asked, nil
}

// change returns an open change by its id.
func (s *Store) change(ctx context.Context, id string) (*Change, error) {
	c, err := s.openChange(ctx, func(o *Change) bool { return o.ID == id })
	if err == nil && c == nil {
		err = fmt.Errorf("change %q: %w that is open", id, ErrNoOrder)
	}
	return c, err
}

// ApproveChange makes a change that somebody else has asked for.
func (c *Compliance) ApproveChange(ctx context.Context, id, actor string) (Change, error) {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, err := s.change(ctx, id)
	if err != nil {
		return Change{}, err
	}
	if err := second(ctx, "change "+id, Asked{asked.By, asked.Login, asked.Asked, asked.Kind == ChangeGrant}, actor); err != nil {
		return *asked, err
	}
	effect, err := s.effect(ctx, asked, actor)
	if err != nil {
		return *asked, err
	}
	return c.decideChange(ctx, asked, actAgree, actor, effect)
}

// RejectChange ends a change that somebody has asked for, which may be the same person.
func (c *Compliance) RejectChange(ctx context.Context, id, actor string) (Change, error) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	asked, err := c.store.change(ctx, id)
	if err != nil {
		return Change{}, err
	}
	return c.decideChange(ctx, asked, actReject, actor)
}

func (c *Compliance) decideChange(ctx context.Context, asked *Change, action, actor string, effects ...ledger.Event) (Change, error) {
	l := loginOf(ctx)
	events := append([]ledger.Event{{Type: ledger.TypePolicy, Actor: actor,
		Details: policyDetails{Action: action, Of: asked.ID, Login: l.How, Account: l.Account}}}, effects...)
	if _, err := c.store.enact(ctx, events...); err != nil {
		return *asked, err
	}
	row, ok, err := c.store.order(ctx, orderChange, asked.ID)
	if err != nil || !ok {
		return *asked, err
	}
	return c.store.changeOf(ctx, keyed{asked.ID, row})
}

// effect is the event that a change leads to, if what it is about is still as it was.
func (s *Store) effect(ctx context.Context, asked *Change, actor string) (ledger.Event, error) {
	d := &asked.details
	switch asked.Kind {
	case ChangeRelease:
		_, err := s.hold(ctx, d.Of)
		return ledger.Event{Type: ledger.TypeHold, Actor: actor,
			Details: holdDetails{Action: actRelease, Of: d.Of, Reason: d.Reason, Change: asked.ID}}, err
	case ChangeRemove:
		r, err := s.rule(ctx, d.Name)
		if err == nil && (d.Rule == nil || r.Rule != *d.Rule) {
			err = fmt.Errorf("%w: rule %q is another one than when its removal was asked for: ask again", ErrOrder, d.Name)
		}
		return ledger.Event{Type: ledger.TypePolicy, Actor: actor,
			Details: policyDetails{Action: actRemove, Name: d.Name, Of: asked.ID}}, err
	case ChangeGrant:
		if d.Grant == nil {
			break
		}
		return ledger.Event{Type: ledger.TypeUser, Actor: actor,
			Details: map[string]any{"user": d.Name, "what": "grant", "roles": d.Grant.Roles, "mailboxes": d.Grant.Mailboxes,
				"from": d.Grant.From, "to": d.Grant.To, "change": asked.ID}}, nil
	}
	return ledger.Event{}, fmt.Errorf("%w: change %s is a %q, which this version does not know", ErrOrder, asked.ID, asked.Kind)
}
