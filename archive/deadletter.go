package archive

import (
	"context"
	"encoding/json"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
)

// deadMeta is where the catalog keeps the last dead letter, with the number of
// all.
const deadMeta = "dead"

// maxDeadEnvelope bounds the text of an unreadable envelope in the ledger, in bytes.
const maxDeadEnvelope = 4 << 10

// A DeadLetter is a message that was offered to the archive and could not be
// taken: its envelope is unreadable, its bytes are not what the poller read, or storing it
// fails while others are stored. The message itself is still on its server.
type DeadLetter struct {
	// Number counts the dead letters of the archive, from 1. RecordDeadLetter sets it.
	Number  int64     `json:"number,omitempty"`
	Time    time.Time `json:"time"`
	Reason  string    `json:"reason"`
	ID      string    `json:"id,omitempty"`   // SHA-256 as the poller computed it
	Size    int64     `json:"size,omitempty"` // octets
	Deposit Deposit   `json:"deposit"`
	// Envelope is the text of an envelope, where it could not be read.
	Envelope string `json:"envelope,omitempty"`
}

// RecordDeadLetter writes a dead letter into the ledger.
func (s *Store) RecordDeadLetter(ctx context.Context, d DeadLetter) error {
	s.deadLetters.Lock()
	defer s.deadLetters.Unlock()
	last, err := s.lastDeadLetter(ctx)
	if err != nil {
		return err
	}
	d.Number = 1
	if last != nil {
		if a, b := last.Deposit.Source, d.Deposit.Source; a.Session != "" && a.Session == b.Session && a.Number == b.Number && last.ID == d.ID {
			return nil // delivered again, because the acknowledgement got lost
		}
		d.Number = last.Number + 1
	}
	d.Envelope = d.Envelope[:min(len(d.Envelope), maxDeadEnvelope)]
	return s.recordLast(ctx, ledger.Event{Type: ledger.TypeDeadLetter, Actor: systemActor, Details: d}, deadMeta)
}

// lastDeadLetter returns nil if there is none.
func (s *Store) lastDeadLetter(ctx context.Context) (*DeadLetter, error) {
	last, err := s.catalog.Meta(ctx, deadMeta)
	if err != nil || last == "" {
		return nil, err
	}
	d := new(DeadLetter)
	return d, json.Unmarshal([]byte(last), d)
}
