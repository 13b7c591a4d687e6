package archive

import (
	"context"
	"encoding/json"
	"fmt"
)

// A RecordedPoll is a poll with its place in the ledger.
type RecordedPoll struct {
	Ledger int64 `json:"ledger"`
	PollReport
}

// Polls returns the polls of a mailbox, newest first, at most limit of those
// before the ledger index before; 0 begins with the newest.
func (s *Store) Polls(ctx context.Context, mailbox string, before int64, limit int) ([]RecordedPoll, error) {
	rows, err := s.catalog.Polls(ctx, mailbox, before, limit)
	if err != nil {
		return nil, err
	}
	out := make([]RecordedPoll, len(rows))
	for i, row := range rows {
		out[i].Ledger = row.Index
		if err := json.Unmarshal(row.Report, &out[i].PollReport); err != nil {
			return nil, fmt.Errorf("catalog: poll %d: %w", row.Index, err)
		}
	}
	return out, nil
}
