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

// Stored returns a message, or ErrNotFound.
func (s *Store) Stored(ctx context.Context, id string) (*Stored, error) {
	row, ok, err := s.catalog.Message(ctx, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	m := &Stored{Message: Message{ID: row.ID, Size: row.Size, Received: row.Received}, store: s, row: row}
	if row.Summary != nil {
		if err := json.Unmarshal(row.Summary, &m.Summary); err != nil {
			return nil, fmt.Errorf("catalog: summary of %s: %w", id, err)
		}
	}
	err = s.eachDeposit(ctx, id, func(h catalog.Held, d depositDetails) {
		m.Deposits = append(m.Deposits, d.Deposit)
		m.Deposited = append(m.Deposited, Deposited{Deposit: d.Deposit, Index: h.Index})
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Open is OpenMessage of this message.
func (m *Stored) Open(ctx context.Context) (io.ReadCloser, error) { return m.store.openRow(ctx, m.row) }
