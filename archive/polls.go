package archive

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/postkeep/postkeep/archive/catalog"
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

// PollMemory returns the Memory of the last poll report of a mailbox that has one, nil if none has.
func (s *Store) PollMemory(ctx context.Context, mailbox string) (json.RawMessage, error) {
	return s.catalog.PollMemory(ctx, mailbox)
}

// addPoll adds what a poll report means for the catalog.
func addPoll(change *catalog.Change, index int64, r *PollReport, details []byte) {
	change.Polls = append(change.Polls, catalog.Poll{Index: index, Mailbox: r.Mailbox, Report: details})
	st := catalog.Statement{Index: index, Mailbox: r.Mailbox, Memory: r.Memory}
	for it, err := range r.Confirmed.items() {
		if err == nil {
			st.Confirmed = append(st.Confirmed, [2]int64{it.first, it.first + it.more})
		}
	}
	if st.Memory != nil || st.Confirmed != nil {
		change.Statements = append(change.Statements, st)
	}
}
