package archive

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/volume"
)

// Known reports which of the listed server entries are archived for mailbox,
// by UIDL and size in octets. Entries without a UIDL are never known: only
// their bytes can tell, and Put recognises those. A listing may have several holdings when the server reused a UIDL; the
// newest comes last. What was disposed of is known, too.
//
// An archive that takes nothing answers with the reason: what it cannot vouch
// for must not be taken for kept.
func (s *Store) Known(ctx context.Context, mailbox string, listed []Listing) ([]Holding, error) {
	if err := s.ReadOnly(); err != nil {
		return nil, err
	}
	var ask []catalog.Listing
	for _, l := range listed {
		if l.UIDL != "" {
			ask = append(ask, catalog.Listing(l))
		}
	}
	rows, err := s.catalog.ByListings(ctx, mailbox, ask)
	if err != nil {
		return nil, err
	}
	held := map[Listing][]Holding{}
	for _, row := range rows {
		h, err := holdingOf(row)
		if err != nil {
			return nil, err
		}
		held[h.Listing] = append(held[h.Listing], h)
	}
	var out []Holding
	for _, l := range ask {
		all := held[Listing(l)]
		out = append(out, all...)
		buried, err := s.buried(ctx, mailbox, Listing(l))
		if err != nil {
			return nil, err
		}
		if buried, err = s.without(ctx, buried); err != nil {
			return nil, err
		}
		if len(all) == 0 || len(buried) > 0 && buried[len(buried)-1].Index > all[len(all)-1].Index {
			for _, t := range buried {
				out = append(out, Holding{Listing: Listing(l), ID: t.ID, HeaderHash: t.HeaderHash, Received: t.Received, Index: t.Index, Disposed: true})
			}
		}
	}
	return out, nil
}

func holdingOf(h catalog.Held) (Holding, error) {
	d, err := detailsOf(h)
	return Holding{
		Listing: Listing{UIDL: d.UIDL, Size: d.ListedSize}, ID: h.ID,
		HeaderHash: d.HeaderHash, Received: d.Received, Index: h.Index, Confirmed: h.Confirmed,
	}, err
}

// minPrefix is the shortest id prefix that people may type: with 32 bits a
// chance collision is rare in an archive of a hundred thousand messages.
const minPrefix = 8

// Resolve returns the id that begins with prefix, of at least 8 hexadecimal
// digits. It returns ErrNotFound or ErrAmbiguous.
func (s *Store) Resolve(ctx context.Context, prefix string) (string, error) {
	if len(prefix) < minPrefix || len(prefix) > idDigits || !validPrefix(prefix) {
		return "", fmt.Errorf("%w: %q is not an id: want %d to %d digits of 0-9a-f", ErrNotFound, prefix, minPrefix, idDigits)
	}
	ids, err := s.catalog.Prefix(ctx, prefix, 2)
	switch {
	case err != nil:
		return "", err
	case len(ids) == 0:
		return "", fmt.Errorf("%w: %s", ErrNotFound, prefix)
	case len(ids) > 1:
		return "", fmt.Errorf("%w: %s could be %s or %s", ErrAmbiguous, prefix, ids[0], ids[1])
	}
	return ids[0], nil
}

// Message returns what the catalog knows of a message, or ErrNotFound.
func (s *Store) Message(ctx context.Context, id string) (Message, error) {
	found, err := s.Stored(ctx, []string{id})
	if err != nil {
		return Message{}, err
	}
	if len(found) == 0 {
		return Message{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return found[0].Message, nil
}

// OpenMessage returns the bytes of a message, exactly as the server sent them.
// Their SHA-256 is computed again while they are read: where they are not what
// was archived, the last Read returns ErrDamaged instead of io.EOF. The caller
// closes the reader.
func (s *Store) OpenMessage(ctx context.Context, id string) (io.ReadCloser, error) {
	row, ok, err := s.catalog.Message(ctx, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return s.openRow(ctx, row)
}

func (s *Store) openRow(ctx context.Context, row catalog.Row) (io.ReadCloser, error) {
	id := row.ID
	e, body, err := s.volumes.Open(ctx, volume.Place{Volume: row.Volume, Offset: row.Offset})
	switch {
	case err != nil:
		return nil, fmt.Errorf("open message %s: %w", id, err)
	case e.Kind == volume.KindRecipe && e.ID == id:
		return s.openRecipe(ctx, id, body)
	case e.Kind != volume.KindMessage || e.ID != id:
		return nil, errors.Join(fmt.Errorf("%w: %s in volume %d where message %s should be", ErrDamaged, e.Name, row.Volume, id), body.Close())
	}
	return &checkedReader{body: body, hash: sha256.New(), id: id}, nil
}

// Damaged reads the stored copies of the messages and reports those whose
// bytes are not what was archived, or are not there. Before a message is deleted
// elsewhere because it was archived once, it has to be still. What is encrypted, and cannot be read here, is compared with
// the checksums of what was written.
func (s *Store) Damaged(ctx context.Context, ids []string) ([]string, error) {
	var damaged []string
	for _, id := range ids {
		body, err := s.OpenMessage(ctx, id)
		if err == nil {
			_, err = io.Copy(io.Discard, body)
			err = errors.Join(err, body.Close())
		}
		if errors.Is(err, volume.ErrNoIdentity) {
			places, e := s.places(ctx, id)
			if e != nil {
				return nil, e
			}
			err = s.opaque(ctx, err, places...)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil && !gone(err) {
			return nil, fmt.Errorf("read message %s again: %w", id, err)
		}
		if err != nil {
			s.opts.Logger.Error("archived message is damaged", "id", id, "error", err)
			damaged = append(damaged, id)
		}
	}
	return damaged, nil
}

// gone tells errors that will not go away from those of a moment, such as too
// many open files.
func gone(err error) bool {
	var damage *volume.DamageError
	return errors.As(err, &damage) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) ||
		errors.Is(err, volume.ErrNoEntry) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EIO)
}

// ErrDamaged means that the stored bytes are not those that were archived.
var ErrDamaged = errors.New("archived bytes are damaged")

// Since lists messages with deposits whose ledger index is above after, in the
// order of these deposits, looking at no more than limit deposits. An empty list
// means that there are none. A deposit that was disposed of counts as long as the
// message has others.
func (s *Store) Since(ctx context.Context, after int64, limit int) ([]Indexable, error) {
	held, err := s.catalog.Listing(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	newest := make(map[string]int64, len(held))
	var ids []string
	for _, h := range held {
		if _, ok := newest[h.ID]; !ok {
			ids = append(ids, h.ID)
		}
		newest[h.ID] = h.Index
	}
	out, err := s.indexables(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Index = newest[out[i].ID]
	}
	if len(out) == 0 && len(held) > 0 {
		return s.Since(ctx, held[len(held)-1].Index, limit)
	}
	return out, nil
}

// indexables returns messages without an Index, in the order of ids, without those that are disposed of in this moment.
func (s *Store) indexables(ctx context.Context, ids []string) ([]Indexable, error) {
	out := make([]Indexable, 0, len(ids))
	for some := range slices.Chunk(ids, LookedUpAtOnce) {
		held, err := s.catalog.ByMessage(ctx, some...)
		if err != nil {
			return nil, err
		}
		deposits := make(map[string][]catalog.Held, len(some)) // oldest first
		for _, h := range held {
			deposits[h.ID] = append(deposits[h.ID], h)
		}
		for _, id := range some {
			if len(deposits[id]) == 0 {
				continue
			}
			m, err := s.indexable(ctx, deposits[id])
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		}
	}
	return out, nil
}

// indexable makes one of all deposits of a message.
func (s *Store) indexable(ctx context.Context, all []catalog.Held) (Indexable, error) {
	m := Indexable{ID: all[0].ID, First: all[0].Index, Last: all[len(all)-1].Index}
	buried, err := s.catalog.Buried(ctx, m.ID)
	if err != nil {
		return Indexable{}, err
	}
	if len(buried) > 0 {
		m.First = min(m.First, buried[0].Index)
	}
	for _, one := range all {
		d, err := detailsOf(one)
		if err != nil {
			return Indexable{}, err
		}
		m.Size = d.Size
		if m.Received.IsZero() || d.Received.Before(m.Received) {
			m.Received = d.Received
		}
		m.Mailboxes = append(m.Mailboxes, d.Mailbox)
		m.Deposits = append(m.Deposits, Arrival{d.Mailbox, d.Received, one.Index})
		m.Returned = m.Returned || d.Returned != ""
	}
	slices.Sort(m.Mailboxes)
	m.Mailboxes = slices.Compact(m.Mailboxes)
	return m, nil
}

// Undescribed lists messages that no parser has described, at most limit: new
// ones, and all of them after the catalog was made anew.
func (s *Store) Undescribed(ctx context.Context, limit int) ([]Indexable, error) {
	ids, err := s.catalog.Undescribed(ctx, limit)
	if err != nil {
		return nil, err
	}
	return s.indexables(ctx, ids)
}

// LastDeposit is the ledger index of the newest deposit, -1 if there is none:
// an index that is complete up to there has everything.
func (s *Store) LastDeposit(ctx context.Context) (int64, error) { return s.catalog.LastDeposit(ctx) }

// Describe keeps what a parser found, for result lists.
func (s *Store) Describe(ctx context.Context, descriptions []Description) error {
	rows := make([]catalog.Description, len(descriptions))
	for i, d := range descriptions {
		summary, err := json.Marshal(d.Summary)
		if err != nil {
			return fmt.Errorf("describe %s: %w", d.ID, err)
		}
		rows[i] = catalog.Description{ID: d.ID, Parser: d.Summary.Parser, Summary: summary}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.whole(); err != nil {
		return err
	}
	return s.catalog.Describe(ctx, rows)
}

// A Mailbox is what the archive holds of one mailbox.
type Mailbox struct {
	Name     string
	Deposits int64
	Bytes    int64     // octets, counting every deposit
	Received time.Time // newest deposit, zero if none
	LastPoll *PollReport
}

// Mailboxes lists the mailboxes that were ever polled or deposited for, by name.
func (s *Store) Mailboxes(ctx context.Context) ([]Mailbox, error) {
	rows, err := s.catalog.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Mailbox, len(rows))
	for i, r := range rows {
		out[i] = Mailbox{Name: r.Name, Deposits: r.Deposits, Bytes: r.Bytes, Received: r.Received}
		if r.LastPoll != nil {
			var last PollReport
			if err := json.Unmarshal(r.LastPoll, &last); err != nil {
				return nil, fmt.Errorf("catalog: last poll of %s: %w", r.Name, err)
			}
			last = last.ForWatchers()
			out[i].LastPoll = &last
		}
	}
	return out, nil
}
