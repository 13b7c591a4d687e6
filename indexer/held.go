package indexer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	index "github.com/blevesearch/bleve_index_api"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/setsum"
)

// Each generation keeps a sum of the deposits that its documents are made of, in the same batch as these. It is compared with what the
// archive has. For a document that is replaced or deleted to leave the sum, it says itself which deposits it has, behind its place.

// encodeDeposits appends the deposits of a message: their number, and of each the distance of its ledger index from that of the one before,
// and the mailbox with its length in front.
func encodeDeposits(b []byte, deposits []archive.Arrival) []byte {
	b = binary.AppendUvarint(b, uint64(len(deposits)))
	last := int64(0)
	for _, d := range deposits {
		b = binary.AppendVarint(b, d.Index-last)
		b = binary.AppendUvarint(b, uint64(len(d.Mailbox)))
		b, last = append(b, d.Mailbox...), d.Index
	}
	return b
}

var errDeposits = errors.New("damaged list of deposits in the search index")

// decodeDeposits returns the sum of the deposits of a message.
func decodeDeposits(b []byte, id string) (sum setsum.Sum, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)) { // each takes two bytes or more
		return sum, errDeposits
	}
	b = b[size:]
	last := int64(0)
	for range n {
		distance, size := binary.Varint(b)
		if size <= 0 {
			return sum, errDeposits
		}
		length, more := binary.Uvarint(b[size:])
		if more <= 0 || length > uint64(len(b)-size-more) {
			return sum, errDeposits
		}
		last += distance
		begin := size + more
		sum.Add(last, id, string(b[begin:begin+int(length)]))
		b = b[begin+int(length):]
	}
	return sum, nil
}

// sumOf is the sum of the deposits that an entry is made of.
func sumOf(item archive.Indexable) (sum setsum.Sum) {
	for _, d := range item.Deposits {
		sum.Add(d.Index, item.ID, d.Mailbox)
	}
	return sum
}

// stored returns what a document has stored, nil if there is no such document.
func stored(r index.IndexReader, id string) ([]byte, error) {
	doc, err := r.Document(id)
	if err != nil || doc == nil {
		return nil, err
	}
	var encoded []byte
	doc.VisitFields(func(f index.Field) {
		if f.Name() == fieldPlace {
			encoded = f.Value()
		}
	})
	if encoded == nil {
		return nil, errPlace
	}
	return encoded, nil
}

// depositsOf returns the sum of the deposits of those of the documents that are there.
func (g *generation) depositsOf(ids []string) (sum setsum.Sum, err error) {
	if len(ids) == 0 {
		return sum, nil
	}
	defer g.recovered("look up deposits", &err)
	r, err := g.reader()
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, id := range ids {
		encoded, err := stored(r, id)
		if err != nil {
			return sum, fmt.Errorf("look up the deposits of %s: %w", id, err)
		}
		if encoded == nil {
			continue
		}
		_, rest, err := cutPlace(encoded)
		if err != nil {
			return sum, err
		}
		one, err := decodeDeposits(rest, id)
		if err != nil {
			return sum, fmt.Errorf("look up the deposits of %s: %w", id, err)
		}
		sum.Merge(one)
	}
	return sum, nil
}

// replaced returns the sum of the deposits of the documents that the entries replace. Those of messages that came after all that there
// are replace none.
func (g *generation) replaced(entries []*entry, newest int64) (setsum.Sum, error) {
	var ids []string
	for _, e := range entries {
		if e.item.First <= newest {
			ids = append(ids, e.item.ID)
		}
	}
	return g.depositsOf(ids)
}

// delete takes messages out of what is found. Their words stay in the files
// until these are written anew.
func (g *generation) delete(ctx context.Context, ids []string) error {
	if err := g.usable(); err != nil {
		return err
	}
	was, err := g.depositsOf(ids)
	if err != nil {
		return err
	}
	next := *g.state.Load()
	next.Deposits.Subtract(was)
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	b := g.bleve.NewBatch()
	for _, id := range ids {
		b.Delete(id)
	}
	b.SetInternal([]byte(stateKey), data)
	if err := g.batch(ctx, b); err != nil {
		return err
	}
	g.state.Store(&next)
	return nil
}

// Deposits is the sum of the deposits of all messages in the index. Where it is complete it is that of all deposits of the archive.
func (x *Index) Deposits() (sum setsum.Sum) {
	_ = x.use(func(slots []*slot) error { // there is nothing in a closed index
		for _, s := range slots {
			sum.Merge(s.gen.state.Load().Deposits)
		}
		return nil
	})
	return sum
}

// doubts is whether the index was found not to have the deposits that the archive has.
type doubts struct {
	reason atomic.Pointer[error]
	asked  atomic.Bool // to compare
	once   atomic.Bool // it has been rebuilt for that
}

// Distrust has the worker compare the index with the archive, and rebuild it if it does not have the same deposits.
func (x *Index) Distrust() {
	x.doubts.asked.Store(true)
	x.stir()
}

// Doubt is why the index is rebuilt, or has to be: it was found not to have the deposits that the archive has. It is nil if it has.
func (x *Index) Doubt() error {
	if err := x.doubts.reason.Load(); err != nil {
		return *err
	}
	return nil
}

// compare compares the index with the archive when it was opened, and when somebody has asked for it. One that has other deposits is
// rebuilt, once: if that does not help, a person has to look.
func (b *builder) compare(ctx context.Context) error {
	d := &b.index.doubts
	if !d.asked.Load() || b.busy() {
		return nil
	}
	live, err := b.archive.Live(ctx)
	if err != nil || !live.Settled {
		return err
	}
	at, _, err := b.index.complete()
	if err != nil || at < live.Last {
		return err
	}
	d.asked.Store(false)
	has := b.index.Deposits()
	if has == live.Deposits {
		d.reason.Store(nil)
		return nil
	}
	err = fmt.Errorf("the search index has %d deposits, and the archive %d, or others: it is rebuilt (or: postkeep rebuild index)", has.N, live.Deposits.N)
	d.reason.Store(&err)
	b.opts.Logger.Error("search index and archive disagree", "error", err)
	if d.once.Swap(true) {
		return nil
	}
	d.asked.Store(true) // when that is done
	b.index.stir()
	return b.index.markAll()
}

// busy reports whether a part of the index is being rebuilt.
func (b *builder) busy() bool {
	for _, s := range b.index.slots {
		if s.rebuild || s.purge || s.next != nil || s.lacking() {
			return true
		}
	}
	return len(b.waiting) > 0
}
