package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/parts"
	"github.com/postkeep/postkeep/archive/volume"
)

// depositDetails is what the ledger's sidecar keeps of a deposit, and the
// content of the deposit's entry in the volume. See told for what may be missing.
type depositDetails struct {
	Deposit
	ID   string `json:"-"`           // of the message: event and entry name it
	N    int    `json:"n,omitempty"` // number of this deposit among those of the message, from 0
	Size int64  `json:"size"`        // octets of the message
	// Volume and Offset are the place of the message's bytes.
	Volume uint32 `json:"volume,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	// Parts are those that the recipe at this place refers to, by their SHA-256; none if the message is stored whole.
	Parts partPlaces `json:"parts,omitempty"`
}

// partPlaces says where parts lie: volume, offset, and size in bytes. There are many of them in the
// ledger, so that their names are left out.
type partPlaces map[string][3]int64

func (p partPlaces) add(row catalog.Part) {
	p[row.ID] = [3]int64{int64(row.Volume), row.Offset, row.Size}
}

// rows returns the parts in the order of their SHA-256.
func (p partPlaces) rows() []catalog.Part {
	var rows []catalog.Part
	for _, id := range slices.Sorted(maps.Keys(p)) {
		rows = append(rows, catalog.Part{ID: id, Volume: uint32(p[id][0]), Offset: p[id][1], Size: p[id][2]})
	}
	return rows
}

// A DeliveryError says which delivery of a batch could not be read. Nothing of
// the batch was kept; the rest may be put without it.
type DeliveryError struct {
	N   int // index in the batch
	Err error
}

func (e *DeliveryError) Error() string { return fmt.Sprintf("read delivery %d: %v", e.N, e.Err) }
func (e *DeliveryError) Unwrap() error { return e.Err }

// errStale means that the archive has changed since the batch was made ready.
var errStale = errors.New("archive has changed")

// Put appends a batch and makes it durable. It returns one receipt per
// delivery, in order, after the volume and the ledger have been fsynced. Bytes
// already held yield a receipt that refers to the first copy; a deposit made
// before (same message, mailbox, UIDL and listed size) is not made again. Pieces
// that other messages have too are kept once. It may be called by several at the same time: while one batch is written, others are made
// ready, and which of them is written next is open.
//
// On error nothing in the batch is receipted. If the state of the disk is
// unknown the store refuses further writes with ErrBroken.
func (s *Store) Put(ctx context.Context, batch []Delivery) ([]Receipt, error) {
	if err := s.ReadOnly(); err != nil {
		return nil, err
	}
	if len(batch) == 0 {
		return nil, nil
	}
	p := s.newPut(batch)
	defer p.close()
	for {
		if err := p.prepare(ctx); err != nil {
			return nil, err
		}
		if err := p.write(ctx); !errors.Is(err, errStale) {
			return p.receipts, err
		}
	}
}

// depositKey is what makes two deposits the same.
type depositKey struct {
	id, mailbox, uidl string
	listed            int64
}

// placed is where a message of the batch lies.
type placed struct {
	place    volume.Place
	parts    partPlaces
	deposits int  // the number of the next
	last     told // by the one before that
}

// put is one batch on its way. What prepare makes ready, write appends.
type put struct {
	store   *Store
	batch   []Delivery
	spool   spool
	refused []string         // why, per delivery
	items   map[string]*item // by message
	order   []*item          // in which they came
	flown   []uint64         // their pieces
	worn    map[string]bool  // whether the archive cannot read a part any more that it has

	// What the catalog says at the time of writing.
	had      map[string]catalog.Row
	hadParts map[string]catalog.Part

	receipts []Receipt
	places   map[string]*placed
	stored   map[string]catalog.Part // parts that were appended
	pending  map[depositKey]int      // index of the receipt that makes the deposit
	events   []ledger.Event
	details  []depositDetails
	records  [][]byte // details, encoded
	pieces   []catalog.Piece
	owner    []int    // receipt of each event
	same     [][2]int // receipts that repeat another of the batch
	keptOut  []ledger.Event
}

func (s *Store) newPut(batch []Delivery) *put {
	return &put{
		store: s, batch: batch, spool: spool{store: s}, refused: make([]string, len(batch)),
		items: map[string]*item{}, worn: map[string]bool{},
	}
}

func (p *put) close() {
	p.store.flying.land(p.flown)
	p.spool.close()
}

// write appends the batch and commits it. After an error there are no receipts.
func (p *put) write(ctx context.Context) error {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.noteClock(ctx); err != nil {
		return err
	}
	if err := p.lookAgain(ctx); err != nil {
		return err
	}
	receipts := make([]Receipt, len(p.batch))
	p.places, p.stored, p.pending = map[string]*placed{}, map[string]catalog.Part{}, map[depositKey]int{}
	p.events, p.details, p.records, p.pieces, p.owner, p.same = nil, nil, nil, nil, nil, nil
	p.keptOut = nil
	for i := range p.batch {
		if err := p.add(ctx, i, &receipts[i]); err != nil {
			err = errors.Join(err, s.volumes.Rollback())
			if errors.Is(err, volume.ErrBroken) {
				return s.breaks(err)
			}
			return err
		}
	}
	if err := p.commit(ctx, receipts); err != nil {
		return s.breaks(err)
	}
	if _, err := s.enact(ctx, p.keptOut...); err != nil {
		return err
	}
	p.receipts = receipts
	return nil
}

// lookAgain asks what the archive has by now.
func (p *put) lookAgain(ctx context.Context) (err error) {
	if p.had, err = p.store.catalog.Messages(ctx, slices.Collect(maps.Keys(p.items))); err != nil {
		return err
	}
	p.hadParts, err = p.store.catalog.PartsByID(ctx, partIDs(p.order))
	return err
}

func (p *put) add(ctx context.Context, i int, r *Receipt) error {
	d := &p.batch[i]
	r.ID, r.Index, r.Refused = d.ID, -1, p.refused[i]
	if r.Refused != "" {
		return nil
	}
	key := depositKey{d.ID, d.Mailbox, d.UIDL, d.ListedSize}
	if first, ok := p.pending[key]; ok {
		r.Known, r.Received = true, d.Received
		p.same = append(p.same, [2]int{i, first})
		return nil
	}
	grave, after, err := p.store.returning(ctx, key)
	if err != nil {
		return err
	}
	d.Returned = after
	if grave != nil {
		event, err := p.store.keptOutEvent(ctx, key, grave)
		if err != nil {
			return err
		}
		if event != nil {
			p.keptOut = append(p.keptOut, *event)
		}
		r.Known, r.Disposed, r.Index, r.Received = true, true, grave.Index, grave.Received
		return nil
	}
	at, err := p.place(ctx, d, r)
	if err != nil {
		return err
	}
	if !r.Stored { // what was stored again, because it was damaged, is deposited again with its new place
		index, received, err := p.store.deposited(ctx, key)
		if err != nil {
			return err
		}
		if index >= 0 {
			r.Known, r.Index, r.Received = true, index, received
			return nil
		}
	}
	p.places[d.ID] = at
	return p.deposit(ctx, i, d, at)
}

// place finds or appends the bytes.
func (p *put) place(ctx context.Context, d *Delivery, r *Receipt) (*placed, error) {
	if at := p.places[d.ID]; at != nil {
		return at, nil
	}
	it := p.items[d.ID]
	row, ok := p.had[d.ID]
	if !ok && it.held { // it was disposed of meanwhile
		delete(p.items, d.ID)
		return nil, errStale
	}
	at := &placed{parts: partPlaces{}}
	if ok {
		var err error
		if at.deposits, at.last, err = p.store.nextDeposit(ctx, d.ID); err != nil {
			return nil, err
		}
	}
	at.place = volume.Place{Volume: row.Volume, Offset: row.Offset}
	if ok && (it.held || at.place != it.was) { // somebody else may just have put it
		var err error
		at.parts, err = p.store.partsOf(ctx, d.ID)
		return at, err
	}
	r.Stored = true
	for _, piece := range it.pieces {
		p.pieces = append(p.pieces, catalog.Piece{Fingerprint: piece, Message: d.ID})
	}
	return at, p.append(ctx, d, it, at)
}

// nextDeposit is the number of the next deposit of a message, and what the last one tells.
func (s *Store) nextDeposit(ctx context.Context, id string) (int, told, error) {
	held, err := s.catalog.ByMessage(ctx, id)
	if err != nil || len(held) == 0 {
		return 0, told{}, err
	}
	last, err := detailsOf(held[len(held)-1])
	return last.N + 1, last.told(), err
}

// append stores a message: whole, or as a recipe behind the parts that are not there yet.
func (p *put) append(ctx context.Context, d *Delivery, it *item, at *placed) (err error) {
	m := volume.Message{ID: d.ID, Size: d.Size, Time: d.Received}
	if it.split == nil {
		m.Body = io.NewSectionReader(it.body, 0, d.Size)
		at.place, _, err = p.store.volumes.Append(ctx, m)
		return err
	}
	for _, part := range it.split.Parts {
		stored, err := p.part(ctx, d, part)
		if err != nil {
			return err
		}
		at.parts.add(stored)
	}
	m.Kind, m.SHA256, m.Size, m.Body = volume.KindRecipe, it.split.RecipeSHA256, it.split.RecipeBytes, it.split.Recipe()
	at.place, _, err = p.store.volumes.Append(ctx, m)
	return err
}

// part finds or appends a part.
func (p *put) part(ctx context.Context, d *Delivery, part parts.Part) (catalog.Part, error) {
	if stored, ok := p.stored[part.SHA256]; ok {
		return stored, nil
	}
	row, ok := p.hadParts[part.SHA256]
	if ok && !p.worn[part.SHA256] {
		return row, nil
	}
	place, _, err := p.store.volumes.Append(ctx, volume.Message{
		Kind: volume.KindPart, ID: part.SHA256, Size: part.Bytes, Time: d.Received, Body: part.Open(),
	})
	row = catalog.Part{ID: part.SHA256, Volume: place.Volume, Offset: place.Offset, Size: part.Bytes}
	p.stored[part.SHA256] = row
	return row, err
}

func (p *put) deposit(ctx context.Context, i int, d *Delivery, at *placed) error {
	details := depositDetails{
		Deposit: d.Deposit, ID: d.ID, N: at.deposits, Size: d.Size,
		Volume: at.place.Volume, Offset: at.place.Offset, Parts: at.parts,
	}
	if t := details.told(); t.same(at.last) && at.deposits%tellEvery != 0 {
		details.tell(told{})
	} else {
		at.last = t
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
		Volume: place.Volume, End: end, Details: depositRecord{record, details.Mailbox},
	})
	p.details = append(p.details, details)
	p.records = append(p.records, record)
	p.owner = append(p.owner, i)
	return nil
}

// commit is the order that everything rests on: volume, ledger, catalog.
func (p *put) commit(ctx context.Context, receipts []Receipt) error {
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
		p.store.wakeKeeper()
	}
	first, err := p.store.ledger.Append(ctx, p.events)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	change := catalog.Change{Ends: map[uint32]int64{}, Pieces: p.pieces, Position: first + int64(len(p.events))}
	for i, details := range p.details {
		event, index := &p.events[i], first+int64(i)
		receipts[p.owner[i]].Index = index
		change.Ends[event.Volume] = max(change.Ends[event.Volume], event.End)
		change.Messages = append(change.Messages, details.message())
		change.Deposits = append(change.Deposits, details.row(index, p.records[i]))
	}
	for _, pair := range p.same {
		receipts[pair[0]].Index = receipts[pair[1]].Index
	}
	return p.store.catalog.Apply(ctx, change)
}

func (d *depositDetails) message() catalog.Message {
	return catalog.Message{
		ID: d.ID, Volume: d.Volume, Offset: d.Offset, Size: d.Size, Received: d.Received, Parts: d.Parts.rows(),
	}
}

// partsOf returns the parts of a message, none if it is stored whole.
func (s *Store) partsOf(ctx context.Context, id string) (partPlaces, error) {
	rows, err := s.catalog.PartsOf(ctx, id)
	places := partPlaces{}
	for _, r := range rows {
		places.add(r)
	}
	return places, err
}

func (d *depositDetails) row(index int64, record []byte) catalog.Deposit {
	return catalog.Deposit{
		Index: index, ID: d.ID, Mailbox: d.Mailbox, UIDL: d.UIDL, ListedSize: d.ListedSize,
		Received: d.Received, Size: d.Size, Record: record, Repeats: d.repeats(),
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
	case d.Size < 0 || d.Size > volume.MaxMessageBytes:
		return fmt.Sprintf("size %d, want 0 to %d octets", d.Size, volume.MaxMessageBytes)
	case d.Mailbox == "" || len(d.Mailbox) > maxMailboxBytes:
		return fmt.Sprintf("mailbox name of %d bytes, want 1 to %d", len(d.Mailbox), maxMailboxBytes)
	case !utf8.ValidString(d.Mailbox):
		return fmt.Sprintf("mailbox name %q is not UTF-8", d.Mailbox)
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
