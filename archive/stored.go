package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/postkeep/postkeep/archive/catalog"
)

// A Stored is a message with its deposits as the ledger has them. It may be disposed of while somebody has it.
type Stored struct {
	Message
	// Deposited are the deposits of the message, oldest first.
	Deposited []Deposited

	store *Store
	row   catalog.Row
}

// LookedUpAtOnce is how many messages Stored and Firsts are best asked for: the cost of their queries vanishes, and what they hold is small.
const LookedUpAtOnce = catalog.Batch

// Stored returns messages, best LookedUpAtOnce, in the order of their ids. Those that are not there are left out.
func (s *Store) Stored(ctx context.Context, ids []string) ([]*Stored, error) {
	rows, err := s.catalog.Messages(ctx, ids)
	if err != nil {
		return nil, err
	}
	held, err := s.catalog.ByMessage(ctx, ids...)
	if err != nil {
		return nil, err
	}
	deposits := make(map[string][]Deposited, len(ids))
	for _, h := range held {
		d, err := detailsOf(h)
		if err != nil {
			return nil, err
		}
		deposits[h.ID] = append(deposits[h.ID], Deposited{Deposit: d.Deposit, Index: h.Index})
	}
	out := make([]*Stored, 0, len(rows))
	for _, id := range ids {
		row, ok := rows[id]
		if !ok {
			continue
		}
		m := &Stored{Message: Message{ID: row.ID, Size: row.Size, Received: row.Received}, Deposited: deposits[id], store: s, row: row}
		if row.Summary != nil {
			if err := json.Unmarshal(row.Summary, &m.Summary); err != nil {
				return nil, fmt.Errorf("catalog: summary of %s: %w", id, err)
			}
		}
		for _, d := range m.Deposited {
			m.Deposits = append(m.Deposits, d.Deposit)
		}
		out = append(out, m)
	}
	return out, nil
}

// Firsts returns what the catalog knows of messages without reading their records, by id, best LookedUpAtOnce. Those that are not
// there are missing.
func (s *Store) Firsts(ctx context.Context, ids []string) (map[string]catalog.First, error) {
	return s.catalog.Firsts(ctx, ids)
}

// Open is OpenMessage of this message.
func (m *Stored) Open(ctx context.Context) (io.ReadCloser, error) { return m.store.openRow(ctx, m.row) }
