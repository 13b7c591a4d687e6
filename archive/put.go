package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

// depositDetails is what the ledger's sidecar keeps of a deposit, and the
// content of the deposit's entry in the volume.
type depositDetails struct {
	Deposit
	ID   string `json:"id"`
	N    int    `json:"n"`    // number of this deposit among those of the message, from 0
	Size int64  `json:"size"` // octets of the message
	// Volume and Offset are the place of the message's bytes.
	Volume uint32 `json:"volume"`
	Offset int64  `json:"offset"`
}

// A DeliveryError says which delivery of a batch could not be read. Nothing of
// the batch was kept; the rest may be put without it.
type DeliveryError struct {
	N   int // index in the batch
	Err error
}

func (e *DeliveryError) Error() string { return fmt.Sprintf("read delivery %d: %v", e.N, e.Err) }
func (e *DeliveryError) Unwrap() error { return e.Err }

// Put appends a batch and makes it durable. It returns one receipt per
// delivery, in order, after the volume and the ledger have been fsynced. Bytes
// already held yield a receipt that refers to the first copy; a deposit made
// before (same message, mailbox, UIDL and listed size) is not made again.
//
// On error nothing in the batch is receipted. If the state of the disk is
// unknown the store refuses further writes with ErrBroken.
func (s *Store) Put(ctx context.Context, batch []Delivery) ([]Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return nil, err
	}
	if len(batch) == 0 {
		return nil, nil
	}
	if err := s.room(); err != nil {
		return nil, err
	}
	p := &put{store: s, places: map[string]*placed{}, receipts: make([]Receipt, len(batch)), pending: map[depositKey]int{}}
	for i := range batch {
		if err := p.add(ctx, i, &batch[i]); err != nil {
			err = errors.Join(err, s.volumes.Rollback())
			if errors.Is(err, volume.ErrBroken) {
				return nil, s.breaks(err)
			}
			return nil, err
		}
	}
	if err := p.commit(ctx); err != nil {
		return nil, s.breaks(err)
	}
	return p.receipts, nil
}

// depositKey is what makes two deposits the same.
type depositKey struct {
	id, mailbox, uidl string
	listed            int64
}

// placed is where a message of the batch lies, and how many deposits it has.
type placed struct {
	place    volume.Place
	deposits int
}

// put is one batch on its way.
type put struct {
	store    *Store
	places   map[string]*placed
	pending  map[depositKey]int // index of the receipt that makes the deposit
	receipts []Receipt
	events   []ledger.Event
	details  []depositDetails
	records  [][]byte // details, encoded
	owner    []int    // receipt of each event
	same     [][2]int // receipts that repeat another of the batch
}

func (p *put) add(ctx context.Context, i int, d *Delivery) error {
	r := &p.receipts[i]
	r.ID, r.Index = d.ID, -1
	if reason := d.invalid(); reason != "" {
		r.Refused = reason
		return nil
	}
	key := depositKey{d.ID, d.Mailbox, d.UIDL, d.ListedSize}
	if first, ok := p.pending[key]; ok {
		r.Known, r.Received = true, d.Received
		p.same = append(p.same, [2]int{i, first})
		return nil
	}
	index, received, err := p.store.deposited(ctx, key)
	if err != nil {
		return err
	}
	if index >= 0 {
		damaged, err := p.damaged(ctx, d.ID)
		if err != nil {
			return err
		}
		if !damaged {
			r.Known, r.Index, r.Received = true, index, received
			return nil
		}
	}
	at, err := p.place(ctx, i, d)
	if err != nil || at == nil {
		return err
	}
	return p.deposit(ctx, i, d, at)
}

// place finds or appends the bytes. It returns nil when they are refused.
func (p *put) place(ctx context.Context, i int, d *Delivery) (*placed, error) {
	if at := p.places[d.ID]; at != nil {
		return at, nil
	}
	row, ok, err := p.store.catalog.Message(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	at := &placed{}
	damaged := false
	if ok {
		held, err := p.store.catalog.ByMessage(ctx, d.ID)
		if err != nil {
			return nil, err
		}
		at.place, at.deposits = volume.Place{Volume: row.Volume, Offset: row.Offset}, len(held)
		if damaged, err = p.damaged(ctx, d.ID); err != nil {
			return nil, err
		}
	}
	if !ok || damaged {
		place, _, err := p.store.volumes.Append(ctx, volume.Message{ID: d.ID, Size: d.Size, Time: d.Received, Body: d.Body})
		var mismatch *volume.MismatchError
		switch {
		case errors.As(err, &mismatch), errors.Is(err, volume.ErrTooLarge):
			p.receipts[i].Refused = err.Error()
			return nil, nil
		case err != nil:
			return nil, &DeliveryError{N: i, Err: err}
		}
		at.place = place
		p.receipts[i].Stored = true
	}
	p.places[d.ID] = at
	return at, nil
}

// damaged reports whether the copy that a receipt would refer to cannot be
// read any more. Then the delivered bytes are stored again, and their deposit
// is made again with the new place.
func (p *put) damaged(ctx context.Context, id string) (bool, error) {
	if p.places[id] != nil {
		return false, nil // of this batch
	}
	damaged, err := p.store.Damaged(ctx, []string{id})
	return len(damaged) > 0, err
}

func (p *put) deposit(ctx context.Context, i int, d *Delivery, at *placed) error {
	details := depositDetails{
		Deposit: d.Deposit, ID: d.ID, N: at.deposits, Size: d.Size,
		Volume: at.place.Volume, Offset: at.place.Offset,
	}
	record, err := json.Marshal(details)
	if err != nil {
		return &DeliveryError{N: i, Err: err}
	}
	place, end, err := p.store.volumes.AppendDeposit(ctx, d.ID, at.deposits, d.Received, record)
	if err != nil {
		return &DeliveryError{N: i, Err: err}
	}
	at.deposits++
	p.pending[depositKey{d.ID, d.Mailbox, d.UIDL, d.ListedSize}] = i
	p.events = append(p.events, ledger.Event{
		Type: ledger.TypeDeposit, Actor: systemActor, IDs: []string{d.ID},
		Volume: place.Volume, End: end, Details: json.RawMessage(record),
	})
	p.details = append(p.details, details)
	p.records = append(p.records, record)
	p.owner = append(p.owner, i)
	return nil
}

// commit is the order that everything rests on: volume, ledger, catalog.
func (p *put) commit(ctx context.Context) error {
	if len(p.events) == 0 {
		return nil
	}
	// From here on the batch is finished whatever happens to the caller:
	// a half-written commit would cost a recovery.
	ctx = context.WithoutCancel(ctx)
	committed, err := p.store.volumes.Commit(ctx)
	if err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if committed.Sealed != 0 {
		p.events = append(p.events, ledger.Event{Type: ledger.TypeSeal, Actor: systemActor, Volume: committed.Sealed})
	}
	first, err := p.store.ledger.Append(ctx, p.events)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	change := catalog.Change{Ends: map[uint32]int64{}, Position: first + int64(len(p.events))}
	for i, details := range p.details {
		event, index := &p.events[i], first+int64(i)
		p.receipts[p.owner[i]].Index = index
		change.Ends[event.Volume] = max(change.Ends[event.Volume], event.End)
		change.Messages = append(change.Messages, details.message())
		change.Deposits = append(change.Deposits, details.row(index, p.records[i]))
	}
	for _, pair := range p.same {
		p.receipts[pair[0]].Index = p.receipts[pair[1]].Index
	}
	return p.store.catalog.Apply(ctx, change)
}

func (d *depositDetails) message() catalog.Message {
	return catalog.Message{ID: d.ID, Volume: d.Volume, Offset: d.Offset, Size: d.Size, Received: d.Received}
}

func (d *depositDetails) row(index int64, record []byte) catalog.Deposit {
	return catalog.Deposit{
		Index: index, ID: d.ID, Mailbox: d.Mailbox, UIDL: d.UIDL, ListedSize: d.ListedSize,
		Received: d.Received, Size: d.Size, Record: record,
	}
}

// deposited returns the ledger index of a deposit made before, and when it was
// received; -1 if there is none.
func (s *Store) deposited(ctx context.Context, key depositKey) (int64, time.Time, error) {
	held, err := s.catalog.ByListing(ctx, key.mailbox, key.uidl, key.listed)
	if err != nil {
		return 0, time.Time{}, err
	}
	for _, h := range held {
		if h.ID == key.id {
			d, err := detailsOf(h)
			return h.Index, d.Received, err
		}
	}
	return -1, time.Time{}, nil
}

// Limits of what a deposit says, so that no server can blow up the ledger.
const (
	maxMailboxBytes = 256
	// RFC 1939 allows 70 characters; servers send more, escaped they triple.
	maxUIDLBytes = 4096
)

// invalid is why the delivery can never be archived, "" if it can.
func (d *Delivery) invalid() string {
	switch {
	case !validID(d.ID):
		return fmt.Sprintf("id %q is not a SHA-256 in lower-case hexadecimal", d.ID)
	case d.Size < 0:
		return fmt.Sprintf("negative size %d", d.Size)
	case d.Mailbox == "" || len(d.Mailbox) > maxMailboxBytes:
		return fmt.Sprintf("mailbox name of %d bytes, want 1 to %d", len(d.Mailbox), maxMailboxBytes)
	case len(d.UIDL) > maxUIDLBytes:
		return fmt.Sprintf("UIDL of %d bytes, at most %d", len(d.UIDL), maxUIDLBytes)
	case d.Received.IsZero():
		return "no time of receipt"
	}
	return ""
}

// idDigits is the length of a message id.
const idDigits = 64

func validID(id string) bool { return len(id) == idDigits && validPrefix(id) }

func validPrefix(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
