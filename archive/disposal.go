package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

// A disposal is decided under the writer's lock and becomes final with its intent in the ledger: from then on
// nobody can find the deposits, nothing new refers to their bytes, and everything that is left to do can be done
// again, at any time later, from the intent alone. See docs/ARCHITECTURE.md.

// A Tombstone is what is left of a deposit that was disposed of.
type Tombstone struct {
	Index    int64     `json:"index"` // ledger index of the deposit
	ID       string    `json:"id"`    // of the message
	N        int       `json:"n"`     // number of the deposit among those of the message
	Mailbox  string    `json:"mailbox"`
	Size     int64     `json:"size"` // octets
	Received time.Time `json:"received"`
	Archived time.Time `json:"archived"`
	// Rule is that by which it was due, "" after an erasure.
	Rule string `json:"rule,omitempty"`

	Plan     string    `json:"plan"`
	Kind     string    `json:"kind"` // of the plan
	Reason   string    `json:"reason,omitempty"`
	Approver string    `json:"approver,omitempty"`
	By       string    `json:"by"`       // who had it disposed of
	Disposed time.Time `json:"disposed"` // when that was decided
	// HeaderHash is that of the deposit, "" in what was disposed of by earlier versions.
	HeaderHash string `json:"header_hash,omitempty"`
}

// intentDetails are the details of the event after which a disposal is final.
type intentDetails struct {
	Plan     string   `json:"plan"`
	Kind     string   `json:"kind"`
	Reason   string   `json:"reason,omitempty"`
	Approver string   `json:"approver,omitempty"`
	Login    string   `json:"login,omitempty"` // how whoever applied it had logged in
	Deposits []doomed `json:"deposits"`
	// Holds are those in force, none of which covers any of the deposits; in the first intent of a plan.
	Holds []holdCheck `json:"holds,omitempty"`
}

// A holdCheck is what a hold covered when it was evaluated.
type holdCheck struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Hits   int64  `json:"hits"`
	SHA256 string `json:"sha256"` // of the ids, as in the evaluation's event
	// Earlier is how many more it covers because it has covered them before.
	Earlier int64 `json:"earlier,omitempty"`
}

// A doomed is a deposit that an intent disposes of, with all that is needed to do so.
type doomed struct {
	Index    int64     `json:"index"`
	ID       string    `json:"id"`
	N        int       `json:"n"`
	Mailbox  string    `json:"mailbox"`
	Size     int64     `json:"size"`
	Received time.Time `json:"received"`
	Archived time.Time `json:"archived"`
	Rule     string    `json:"rule,omitempty"`
	Listing  string    `json:"listing"` // hex of listingHash
	// HeaderHash tells another message that a server lists in the same way.
	HeaderHash string `json:"header_hash,omitempty"`
	// Volume and End say where its entry ends, and Bytes how long the record in it is.
	Volume uint32 `json:"volume"`
	End    int64  `json:"end"`
	Bytes  int64  `json:"bytes"`
	// Blank are the bytes that go with it: those of the message with its last deposit, those of a part with
	// the last message that refers to it.
	Blank []blank `json:"blank,omitempty"`
	// Keep are the bytes that stay and of whose place no other deposit tells.
	Keep *kept `json:"keep,omitempty"`
	// Retold is what it told for deposits that stay.
	Retold *retold `json:"retold,omitempty"`
}

// kept is where bytes lie. Of a message also Parts, of parts alone nothing else.
type kept struct {
	Message bool       `json:"message,omitempty"` // at Volume and Offset, with all of its Parts
	Volume  uint32     `json:"volume,omitempty"`
	Offset  int64      `json:"offset,omitempty"`
	Parts   partPlaces `json:"parts,omitempty"`
}

// A blank is an entry of a volume to be blanked out.
type blank struct {
	Volume uint32 `json:"volume"`
	Offset int64  `json:"offset"`
	ID     string `json:"id"`
}

// listingHash recognises a message that a server lists, or that is delivered again, after its UIDL was
// erased: some servers make UIDLs of what is in a message.
func listingHash(mailbox, uidl string, size int64) []byte {
	sum := sha256.Sum256([]byte("postkeep listing\x00" + mailbox + "\x00" + uidl + "\x00" + strconv.FormatInt(size, 10)))
	return sum[:]
}

// addIntent buries the deposits in the catalog.
func addIntent(change *catalog.Change, e ledger.Entry) error {
	var d intentDetails
	if err := json.Unmarshal(e.Details, &d); err != nil {
		return err
	}
	for _, one := range d.Deposits {
		listing, err := hex.DecodeString(one.Listing)
		if err != nil {
			return err
		}
		record, err := json.Marshal(one.tombstone(&d, e))
		if err != nil {
			return err
		}
		grave := catalog.Tombstone{Index: one.Index, ID: one.ID, Listing: listing, Record: record}
		if k := one.Keep; k != nil && k.Message {
			grave.Message = &catalog.Message{ID: one.ID, Volume: k.Volume, Offset: k.Offset, Size: one.Size, Received: one.Received, Parts: k.Parts.rows()}
		} else if k != nil {
			grave.Parts = k.Parts.rows()
		}
		if r := one.Retold; r != nil {
			grave.Retold.Deposits = r.Deposits
			if grave.Retold.Told, err = json.Marshal(r.told); err != nil {
				return err
			}
		}
		change.Tombstones = append(change.Tombstones, grave)
	}
	// Of the intent itself the catalog needs no more than whose it is.
	e.Details, _ = json.Marshal(intentDetails{Plan: d.Plan, Kind: d.Kind}) // strings only
	return keep(change, e, orderIntent, strconv.FormatInt(e.Index, 10))
}

// Tombstones returns what is left of the deposits of a message that were disposed of, oldest first.
func (s *Store) Tombstones(ctx context.Context, id string) ([]Tombstone, error) {
	rows, err := s.catalog.Buried(ctx, id)
	if err != nil {
		return nil, err
	}
	return tombstonesOf(rows)
}

// buried returns what is left of the deposits of a mailbox that were listed so.
func (s *Store) buried(ctx context.Context, mailbox string, l Listing) ([]Tombstone, error) {
	rows, err := s.catalog.BuriedListing(ctx, listingHash(mailbox, l.UIDL, l.Size))
	if err != nil {
		return nil, err
	}
	return tombstonesOf(rows)
}

// disposed returns the newest tombstone of this very deposit, nil if there is none.
func (s *Store) disposed(ctx context.Context, key depositKey) (*Tombstone, error) {
	buried, err := s.buried(ctx, key.mailbox, Listing{UIDL: key.uidl, Size: key.listed})
	for i := len(buried) - 1; i >= 0; i-- {
		if buried[i].ID == key.id {
			return &buried[i], err
		}
	}
	return nil, err
}

// A Disposal is what became of a plan that was applied.
type Disposal struct {
	Plan     string `json:"plan"`
	Deposits int    `json:"deposits"` // disposed of
	Messages int    `json:"messages"` // of which nothing is left
	Bytes    int64  `json:"bytes"`    // octets of these messages
	// Held and NotDue are deposits of the plan that stay, because they are held now or are not due any more.
	Held   int `json:"held"`
	NotDue int `json:"not_due"`
	// Certificate is the name of the certificate's file, without its suffix.
	Certificate string `json:"certificate"`
}

// decide settles, with mu held, what of a plan is disposed of, and writes the intent.
func (c *Compliance) decide(ctx context.Context, p *Plan, actor string) (*Disposal, error) {
	s := c.store
	out := &Disposal{Plan: p.ID}
	if err := c.complete(ctx); err != nil {
		return nil, err
	}
	cs, rule, err := s.planned(ctx, p)
	if err != nil {
		return nil, err
	}
	evaluations, err := c.recheck(ctx, p, cs, rule, out)
	if err == nil {
		err = c.complete(ctx) // an index that failed meanwhile has named less than there is
	}
	if err != nil {
		return nil, err
	}
	dooms, err := s.doom(ctx, cs, rule, out)
	if err != nil {
		return nil, err
	}
	events, err := intentEvents(p, actor, loginOf(ctx).How, evaluations, dooms)
	if err == nil {
		_, err = s.enact(ctx, events...)
	}
	return out, err
}

// intentEvents are the evaluations of the holds and the intents, in as many events as it takes.
func intentEvents(p *Plan, actor, login string, evaluations []*evaluation, dooms []doomed) ([]ledger.Event, error) {
	d := intentDetails{Plan: p.ID, Kind: p.Kind, Reason: p.Note, Login: login}
	if p.Gave != nil {
		d.Approver = p.Gave.By
	}
	var events []ledger.Event
	for _, e := range evaluations {
		events = append(events, e.events(actor)...)
		d.Holds = append(d.Holds, holdCheck{e.hold.ID, e.hold.Name, e.details.Hits, e.details.SHA256, e.details.Earlier})
	}
	for len(dooms) > 0 {
		n, err := fitting(dooms)
		if err != nil {
			return nil, err
		}
		d.Deposits, dooms = dooms[:n], dooms[n:]
		events = append(events, ledger.Event{Type: ledger.TypeDisposalIntent, Actor: actor, IDs: d.ids(), Details: d})
		d.Holds = nil
	}
	return events, nil
}

// planned returns the deposits of a plan that the archive still has, and the rules by which they are due.
func (s *Store) planned(ctx context.Context, p *Plan) (*candidates, map[int64]string, error) {
	rule := map[int64]string{}
	var ids []string
	seen := map[string]bool{}
	err := p.Each(ctx, s, func(r string, index int64, id string, _ Deposit, _ int64) error {
		rule[index] = r
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	all, err := s.ofMessages(ctx, ids...)
	if err != nil {
		return nil, nil, err
	}
	var list []*candidate
	for _, one := range all.list {
		if _, ok := rule[one.index]; ok {
			list = append(list, one)
		}
	}
	return newCandidates(list), rule, nil
}

// recheck drops from the candidates what is held now, or not due any more. An erasure is refused as a whole.
func (c *Compliance) recheck(ctx context.Context, p *Plan, cs *candidates, rule map[int64]string, out *Disposal) ([]*evaluation, error) {
	s := c.store
	if p.Kind == Erasure {
		return c.erasable(ctx, cs)
	}
	held, evaluations, err := c.held(ctx, cs, "apply "+p.ID)
	if err != nil {
		return nil, err
	}
	out.Held = cs.drop(held)
	rules, err := s.plainRules(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.establish(ctx, rules, cs); err != nil {
		return nil, err
	}
	kept := cs.list[:0]
	for _, one := range cs.list {
		if r := retention.Due(rules, one.facts, s.opts.Now()); r == nil || r.Name != rule[one.index] {
			out.NotDue++
			continue
		}
		kept = append(kept, one)
	}
	cs.list = kept
	return evaluations, nil
}

// erasable returns ErrHeld or ErrTooYoung unless all deposits of one message may be erased.
func (c *Compliance) erasable(ctx context.Context, cs *candidates) ([]*evaluation, error) {
	if len(cs.list) == 0 {
		return nil, nil
	}
	id := cs.list[0].ID
	names, evaluations, err := c.heldBy(ctx, id, "erase "+id)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("message %s is %w: %s", id, ErrHeld, strings.Join(names, ", "))
	}
	rules, err := c.store.plainRules(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.establish(ctx, rules, cs); err != nil {
		return nil, err
	}
	for _, one := range cs.list {
		if until, by := retention.Until(rules, one.facts); until.After(c.store.opts.Now()) {
			return nil, fmt.Errorf("message %s %w in %s until %s: rule %q asks for %s", id, ErrTooYoung, one.Mailbox,
				until.Format(time.RFC3339), by.Name, by.Min)
		}
	}
	return evaluations, nil
}

// maxIntent keeps an intent, with the ids in its leaf, well below the limits of the ledger.
const (
	maxIntentBytes    = ledger.MaxDetails / 2
	maxIntentDeposits = 5000
)

// fitting returns how many of the deposits go into one intent.
func fitting(dooms []doomed) (n int, err error) {
	size := 0
	for n < min(len(dooms), maxIntentDeposits) {
		data, err := json.Marshal(dooms[n])
		if err != nil {
			return 0, err
		}
		if size += len(data) + 1; size > maxIntentBytes && n > 0 {
			break
		}
		n++
	}
	return n, nil
}

func (d *intentDetails) ids() []string {
	var ids []string
	seen := map[string]bool{}
	for _, one := range d.Deposits {
		if !seen[one.ID] {
			seen[one.ID] = true
			ids = append(ids, one.ID)
		}
	}
	return ids
}

// doom says of every candidate what has to go with it.
func (s *Store) doom(ctx context.Context, cs *candidates, rule map[int64]string, out *Disposal) ([]doomed, error) {
	going := map[string]bool{} // messages of which no deposit stays
	count := map[string]int{}
	for _, one := range cs.list {
		count[one.ID]++
	}
	for id, n := range count {
		held, err := s.catalog.ByMessage(ctx, id)
		if err != nil {
			return nil, err
		}
		going[id] = n == len(held)
	}
	shared := sharing{store: s, going: going, leaving: map[int64]bool{}, users: map[string][]string{}, stay: map[string]*staying{}}
	for _, one := range cs.list {
		shared.leaving[one.index] = true
	}
	out.Deposits = len(cs.list)
	dooms := make([]doomed, 0, len(cs.list))
	for _, one := range cs.list {
		d := doomed{
			Index: one.index, ID: one.ID, N: one.N, Mailbox: one.Mailbox, Size: one.Size, Received: one.Received,
			Archived: one.archived, Rule: rule[one.index], Volume: one.in, End: one.end, Bytes: one.bytes,
			Listing: hex.EncodeToString(listingHash(one.Mailbox, one.UIDL, one.ListedSize)), HeaderHash: one.HeaderHash,
		}
		if err := shared.bytesOf(ctx, one, &d); err != nil {
			return nil, err
		}
		if count[one.ID]--; count[one.ID] == 0 && going[one.ID] {
			out.Messages++
			out.Bytes += one.Size
		}
		dooms = append(dooms, d)
	}
	return dooms, nil
}

// Interrupted returns the plans whose intent is in the ledger and whose end is not.
func (s *Store) Interrupted(ctx context.Context) ([]string, error) {
	intents, err := s.intents(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, i := range intents {
		if _, done, err := s.order(ctx, orderDone, i.plan); err != nil || done {
			if err != nil {
				return nil, err
			}
			continue
		}
		if len(out) == 0 || out[len(out)-1] != i.plan {
			out = append(out, i.plan)
		}
	}
	return out, nil
}

// An intent is the ledger index of one, and its plan.
type intent struct {
	index int64
	plan  string
}

func (s *Store) intents(ctx context.Context) ([]intent, error) {
	records, err := s.orders(ctx, orderIntent)
	if err != nil {
		return nil, err
	}
	out := make([]intent, len(records))
	for i, r := range records {
		var d intentDetails
		if err := json.Unmarshal(r.Details, &d); err != nil {
			return nil, err
		}
		out[i] = intent{r.Index, d.Plan}
	}
	return out, nil
}
