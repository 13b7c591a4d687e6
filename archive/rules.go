package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

// A Rule is a retention rule in force.
type Rule struct {
	retention.Rule
	Added   time.Time `json:"added"`
	AddedBy string    `json:"added_by"`
	// Pending is the change by which somebody has asked for its removal, which another one has to approve.
	Pending string `json:"pending,omitempty"`

	dual    bool   // it was added under dual control
	index   int64  // of its event
	reading string // of the index when it was added, "" if parts of it were of different ones
}

// id names the rule for good: another one may have its name later.
func (r *Rule) id() string { return idOf(ruleLetter, r.index) }

// Rules lists the retention rules in force, oldest first.
func (s *Store) Rules(ctx context.Context) ([]Rule, error) {
	records, err := s.orders(ctx, orderRule)
	if err != nil {
		return nil, err
	}
	out := make([]Rule, len(records))
	for i, r := range records {
		var d policyDetails
		if err := json.Unmarshal(r.Details, &d); err != nil || d.Rule == nil {
			return nil, fmt.Errorf("catalog: rule %s: %w", r.Key, err)
		}
		out[i] = Rule{Rule: *d.Rule, Added: r.Time, AddedBy: r.Actor, dual: d.Dual, index: r.Index, reading: d.Read}
	}
	return out, nil
}

// plainRules returns the rules as decisions need them.
func (s *Store) plainRules(ctx context.Context) ([]retention.Rule, error) {
	rules, err := s.Rules(ctx)
	out := make([]retention.Rule, len(rules))
	for i, r := range rules {
		out[i] = r.Rule
	}
	return out, err
}

// AddRule puts a rule into force. One with the same name has to be removed first: what is agreed on is not replaced
// in passing.
func (c *Compliance) AddRule(ctx context.Context, r retention.Rule, actor string) (Rule, error) {
	if err := r.Validate(); err != nil {
		return Rule{}, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	negates, err := c.check(r.Query)
	if err != nil {
		return Rule{}, err
	}
	r.Negated = negates
	read := c.opts.Reading
	if !c.reread() {
		read = ""
	}
	added, err := c.addRule(ctx, r, read, actor)
	if err != nil || read != "" {
		return added, err
	}
	return added, c.pinRules(ctx, true) // by what people see now
}

func (c *Compliance) addRule(ctx context.Context, r retention.Rule, read, actor string) (Rule, error) {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	rules, err := s.Rules(ctx)
	if err != nil {
		return Rule{}, err
	}
	if len(rules) >= retention.MaxRules {
		return Rule{}, fmt.Errorf("%w: there are %d rules, more are not taken", ErrOrder, len(rules))
	}
	for _, other := range rules {
		if other.Name == r.Name {
			return Rule{}, fmt.Errorf("%w: there is a rule %q already: remove it first", ErrOrder, r.Name)
		}
	}
	if _, err := s.enact(ctx, ledger.Event{Type: ledger.TypePolicy, Actor: actor, Details: policyDetails{Action: actAdd, Rule: &r, Read: read, Dual: c.opts.DualControl}}); err != nil {
		return Rule{}, err
	}
	return s.rule(ctx, r.Name)
}

func (s *Store) rule(ctx context.Context, name string) (Rule, error) {
	rules, err := s.Rules(ctx)
	if err != nil {
		return Rule{}, err
	}
	for _, r := range rules {
		if r.Name == name {
			return r, nil
		}
	}
	return Rule{}, fmt.Errorf("rule %q: %w", name, ErrNoOrder)
}

// RemoveRule ends a rule. Plans that were made by it dispose of nothing any more. With dual control, or if it was added under it, it asks
// for that: the rule stays in force until somebody else has approved the change.
func (c *Compliance) RemoveRule(ctx context.Context, name, actor string) error {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.rule(ctx, name)
	if err != nil {
		return err
	}
	if c.opts.DualControl || r.dual {
		_, err := c.request(ctx, &changeDetails{Kind: ChangeRemove, Name: name, Rule: &r.Rule}, actor)
		return err
	}
	_, err = s.enact(ctx, ledger.Event{Type: ledger.TypePolicy, Actor: actor, Details: policyDetails{Action: actRemove, Name: name}})
	return err
}
