package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

const (
	// planDeposits is how many deposits a plan holds at most; the next plan has the rest. Their indexes
	// stay well below ledger.MaxDetails, and people can still look at them.
	planDeposits = 50_000
	// planWindow is how many deposits are looked at together: about 50 MiB. All queries are asked for each.
	planWindow = 100_000
	// maxReasonBytes bounds the reason of an erasure.
	maxReasonBytes = 4 << 10
)

// The kinds of plans.
const (
	Retention = "retention" // what is due by the rules
	Erasure   = "erasure"   // what somebody has a right to see erased
)

// planDetails are the details of the event that makes a plan.
type planDetails struct {
	Kind   string     `json:"kind"`
	Reason string     `json:"reason,omitempty"` // of an erasure
	Items  []planItem `json:"items"`
	// Rules are those by which something is due, as they were then.
	Rules []retention.Rule `json:"rules,omitempty"`
	Held  int              `json:"held"` // deposits that are due and held, and therefore not in it
	// Waiting are deposits that a rule finds in another way than before, and that nobody has confirmed.
	Waiting int  `json:"waiting,omitempty"`
	More    bool `json:"more,omitempty"`
	// ClockConfirmed means that somebody said that the clock is right although it is far ahead of the ledger.
	ClockConfirmed bool `json:"clock_confirmed,omitempty"`
	// Dual means that it takes the approval of a second person, whatever the configuration says later.
	Dual bool `json:"dual_control,omitempty"`
}

// A planItem is what is due by one rule.
type planItem struct {
	Rule     string  `json:"rule,omitempty"` // "" in an erasure
	Deposits []int64 `json:"deposits"`       // ledger indexes, ascending
}

// The states of a plan.
const (
	StatePlanned     = "planned"
	StateApproved    = "approved"
	StateInterrupted = "interrupted" // and finished when the archive is opened again
	StateApplied     = "applied"
)

// A Plan is a list of deposits to be disposed of, and what became of it.
type Plan struct {
	ID    string    `json:"id"`
	Kind  string    `json:"kind"`
	State string    `json:"state"`
	Made  time.Time `json:"made"`
	By    string    `json:"by"`
	Rules []RuleDue `json:"rules"`
	Due   int       `json:"due"`  // deposits
	Held  int       `json:"held"` // deposits that were due and held when it was made
	// Waiting are deposits that a rule found in another way than before when it was made: see Compliance.Differences.
	Waiting int    `json:"waiting,omitempty"`
	More    bool   `json:"more"` // there was more than one plan takes
	Note    string `json:"reason,omitempty"`
	// Login is how By had logged in, Dual whether a second person has to approve it.
	Login string     `json:"login,omitempty"`
	Dual  bool       `json:"dual_control,omitempty"`
	Gave  *Approval  `json:"approval,omitempty"`
	Done  *time.Time `json:"applied,omitempty"`

	items []planItem
}

// RuleDue is how many deposits are due by a rule.
type RuleDue struct {
	Rule     string `json:"rule"`
	Deposits int    `json:"deposits"`
}

// An Approval is by whom and when a plan was approved.
type Approval struct {
	By    string    `json:"by"`
	Time  time.Time `json:"time"`
	Login string    `json:"login,omitempty"` // how they had logged in

	account bool
}

// Plans lists all plans, oldest first.
func (s *Store) Plans(ctx context.Context) ([]Plan, error) {
	made, err := s.orders(ctx, orderPlan)
	if err != nil {
		return nil, err
	}
	out := make([]Plan, len(made))
	for i, m := range made {
		if out[i], err = s.planOf(ctx, m.Key, m.order); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Plan returns a plan by its id.
func (s *Store) Plan(ctx context.Context, id string) (Plan, error) {
	made, ok, err := s.order(ctx, orderPlan, id)
	if err != nil {
		return Plan{}, err
	}
	if !ok {
		return Plan{}, fmt.Errorf("plan %q: %w", id, ErrNoOrder)
	}
	return s.planOf(ctx, id, made)
}

func (s *Store) planOf(ctx context.Context, id string, made order) (Plan, error) {
	var d policyDetails
	if err := json.Unmarshal(made.Details, &d); err != nil || d.Plan == nil {
		return Plan{}, fmt.Errorf("catalog: plan %s: %w", id, err)
	}
	p := Plan{ID: id, Kind: d.Plan.Kind, State: StatePlanned, Made: made.Time, By: made.Actor, Rules: []RuleDue{},
		Held: d.Plan.Held, Waiting: d.Plan.Waiting, More: d.Plan.More, Note: d.Plan.Reason, items: d.Plan.Items,
		Login: d.Login, Dual: d.Plan.Dual}
	for _, item := range d.Plan.Items {
		p.Due += len(item.Deposits)
		p.Rules = append(p.Rules, RuleDue{item.Rule, len(item.Deposits)})
	}
	approval, ok, err := s.order(ctx, orderApproval, id)
	if err != nil {
		return p, err
	}
	if ok {
		var d policyDetails
		if err := json.Unmarshal(approval.Details, &d); err != nil {
			return p, fmt.Errorf("catalog: approval of plan %s: %w", id, err)
		}
		p.State, p.Gave = StateApproved, &Approval{By: approval.Actor, Time: approval.Time, Login: d.Login, account: d.Account}
	}
	done, ok, err := s.order(ctx, orderDone, id)
	if err != nil {
		return p, err
	}
	if ok {
		p.State, p.Done = StateApplied, &done.Time
		return p, nil
	}
	pending, err := s.Interrupted(ctx)
	for _, other := range pending {
		if other == id {
			p.State = StateInterrupted
		}
	}
	return p, err
}

// Each calls fn with the deposits of the plan that the archive still has, and the rules by which they are due.
func (p *Plan) Each(ctx context.Context, s *Store, fn func(rule string, index int64, id string, d Deposit, size int64) error) error {
	for _, item := range p.items {
		for _, index := range item.Deposits {
			held, err := s.catalog.ByIndex(ctx, index-1, 1)
			if err != nil {
				return err
			}
			if len(held) == 0 || held[0].Index != index {
				continue
			}
			d, err := detailsOf(held[0])
			if err == nil {
				err = fn(item.Rule, index, d.ID, d.Deposit, d.Size)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Plan finds what is due by the rules and not held, and keeps it as a plan. Nothing is disposed of. A plan
// without deposits is not kept, and has no id.
func (c *Compliance) Plan(ctx context.Context, actor string, clockConfirmed bool) (Plan, error) {
	s := c.store
	if err := s.lookAtClock(ctx, clockConfirmed, actor); err != nil {
		return Plan{}, err
	}
	if err := s.recounted(ctx); err != nil {
		return Plan{}, err
	}
	if err := c.completeNow(ctx); err != nil {
		return Plan{}, err
	}
	if err := c.pinRules(ctx, false); err != nil {
		return Plan{}, err
	}
	details := planDetails{Kind: Retention, ClockConfirmed: clockConfirmed}
	evaluations, err := c.collect(ctx, &details)
	if err != nil {
		return Plan{}, err
	}
	return c.keepPlan(ctx, &details, evaluations, actor)
}

// keepPlan records a plan with what the holds covered when it was made.
func (c *Compliance) keepPlan(ctx context.Context, d *planDetails, evaluations []*evaluation, actor string) (Plan, error) {
	s := c.store
	var events []ledger.Event
	for _, e := range evaluations {
		events = append(events, e.events(actor)...)
	}
	made := len(d.Items) > 0
	d.Dual = c.opts.DualControl
	if made {
		events = append(events, ledger.Event{Type: ledger.TypePolicy, Actor: actor,
			Details: policyDetails{Action: actPlan, Plan: d, Login: loginOf(ctx).How}})
	}
	if len(events) == 0 {
		return Plan{Kind: d.Kind, Held: d.Held, Waiting: d.Waiting, Rules: []RuleDue{}}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first, err := s.enact(ctx, events...)
	if err != nil || !made {
		return Plan{Kind: d.Kind, Held: d.Held, Waiting: d.Waiting, Rules: []RuleDue{}}, err
	}
	return s.Plan(ctx, idOf(planLetter, first+int64(len(events)-1)))
}

// collect fills a plan: it looks at the deposits in windows, asks all rules and holds about each, and
// stops when the plan is full.
func (c *Compliance) collect(ctx context.Context, d *planDetails) ([]*evaluation, error) {
	s := c.store
	rules, err := s.plainRules(ctx)
	if err != nil {
		return nil, err
	}
	now := s.opts.Now()
	last, err := s.lastDue(ctx, rules, now)
	if err != nil {
		return nil, err
	}
	last = min(last, c.opts.Search.Position()) // no hold covers yet what came since it was found complete
	due := map[string][]int64{}
	var evaluations []*evaluation
	n := 0
	for after := int64(-1); !d.More; {
		cs, err := s.window(ctx, after, last, planWindow)
		if err != nil {
			return nil, err
		}
		if len(cs.list) == 0 {
			break
		}
		after = cs.list[len(cs.list)-1].index
		evaluations, err = c.dueOf(ctx, rules, cs, now, d, func(rule string, index int64) {
			if n++; n > planDeposits {
				d.More = true
				return
			}
			due[rule] = append(due[rule], index)
		})
		if err != nil {
			return nil, err
		}
	}
	for _, r := range rules {
		if list := due[r.Name]; len(list) > 0 {
			d.Items, d.Rules = append(d.Items, planItem{r.Name, list}), append(d.Rules, r)
		}
	}
	return evaluations, nil
}

// dueOf hands those of the candidates to fn that are due and not held.
func (c *Compliance) dueOf(ctx context.Context, rules []retention.Rule, cs *candidates, now time.Time, d *planDetails, fn func(rule string, index int64)) ([]*evaluation, error) {
	if err := c.establish(ctx, rules, cs); err != nil {
		return nil, err
	}
	held, evaluations, err := c.held(ctx, cs, "plan")
	if err != nil {
		return nil, err
	}
	for _, one := range cs.list {
		r := retention.Due(rules, one.facts, now)
		switch {
		case r == nil && slices.ContainsFunc(one.facts, func(f retention.Fact) bool { return f.Changed }):
			d.Waiting++
		case r == nil:
		case held[one.ID]:
			d.Held++
		default:
			fn(r.Name, one.index)
		}
	}
	return evaluations, nil
}

// Approve approves a plan. With dual control it takes somebody else than the one who made it.
func (c *Compliance) Approve(ctx context.Context, id, actor string) (Plan, error) {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.Plan(ctx, id)
	if err != nil {
		return p, err
	}
	if p.State != StatePlanned {
		return p, fmt.Errorf("%w: plan %s is %s", ErrOrder, id, p.State)
	}
	if c.dual(&p) {
		if err := second(ctx, "plan "+id, Asked{By: p.By, Login: p.Login, At: p.Made}, actor); err != nil {
			return p, err
		}
	}
	l := loginOf(ctx)
	d := policyDetails{Action: actApprove, Of: id, Login: l.How, Account: l.Account}
	if _, err := s.enact(ctx, ledger.Event{Type: ledger.TypePolicy, Actor: actor, Details: d}); err != nil {
		return p, err
	}
	return s.Plan(ctx, id)
}

// dual reports whether a plan takes two people: it does if it did when it was made, whatever the configuration says now.
func (c *Compliance) dual(p *Plan) bool { return p.Dual || c.opts.DualControl }

// approved returns an error unless the plan may be applied.
func (c *Compliance) approved(p *Plan) error {
	switch {
	case p.State == StateApplied, p.State == StateInterrupted:
		return fmt.Errorf("%w: plan %s is %s already", ErrOrder, p.ID, p.State)
	case !c.dual(p):
		return nil
	case p.Gave == nil:
		return fmt.Errorf("%w: plan %s waits for the approval of somebody other than %s", ErrApproval, p.ID, p.By)
	case Person(p.Gave.By) == Person(p.By), !p.Gave.account: // approved before dual control was on
		return fmt.Errorf("%w: plan %s was approved by %s without dual control: make a new plan", ErrApproval, p.ID, p.Gave.By)
	}
	return nil
}
