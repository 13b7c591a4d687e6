package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
)

// An object is what an AuditQuery asks for by AuditQuery.Object. Events that name many messages name them by
// the ledger indexes of their deposits.
type object struct {
	text     string
	escaped  []byte          // text as it stands in JSON
	deposits []int64         // of the messages whose ids begin with text
	sessions map[string]bool // of the polls that brought them
	exports  map[int64]bool  // whether the export that began with an event holds one of them
}

// maxObjects is how many messages the beginning of an id may stand for: more have it by chance.
const maxObjects = 100

// object finds the deposits, live or disposed of, of what is asked for.
func (s *Store) object(ctx context.Context, text string) (*object, error) {
	o := &object{text: text, escaped: escaped(text), sessions: map[string]bool{}, exports: map[int64]bool{}}
	if len(text) < minPrefix || len(text) > idDigits || !validPrefix(text) {
		return o, nil
	}
	ids, err := s.catalog.Prefix(ctx, text, maxObjects)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := s.eachDeposit(ctx, id, func(h catalog.Held, d depositDetails) {
			o.deposits = append(o.deposits, h.Index)
			if session, _, _ := strings.Cut(d.Source.Session, "-"); session != "" { // a poll may have several sessions
				o.sessions[session] = true
			}
		}); err != nil {
			return nil, err
		}
		buried, err := s.catalog.Buried(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, t := range buried {
			o.deposits = append(o.deposits, t.Index)
		}
	}
	return o, nil
}

// concerns reports whether an event is about the object.
func (o *object) concerns(ctx context.Context, s *Store, e *ledger.Entry) (bool, error) {
	if o.text == "" || bytes.Contains(e.Details, []byte(o.text)) || bytes.Contains(e.Details, o.escaped) ||
		slices.ContainsFunc(e.IDs, func(id string) bool { return strings.HasPrefix(id, o.text) }) {
		return true, nil
	}
	switch {
	case len(o.deposits) == 0:
		return false, nil
	case e.Type == ledger.TypePoll:
		return o.polled(e), nil
	case e.Type == ledger.TypeExport:
		return o.exported(ctx, s, e)
	}
	return false, nil
}

func (o *object) in(deposits Runs) bool {
	return deposits != "" && slices.ContainsFunc(o.deposits, func(index int64) bool { _, ok := deposits.Find(index); return ok })
}

// polled reports whether a poll brought the object, or deleted it on the server.
func (o *object) polled(e *ledger.Entry) bool {
	var p PollReport
	if json.Unmarshal(e.Details, &p) != nil { // erased or damaged
		return false
	}
	return o.sessions[p.Session] || slices.ContainsFunc(p.Replies, func(r SessionReplies) bool {
		return slices.ContainsFunc(r.DELE, func(d DELEReplies) bool { return o.in(d.Deposits) })
	})
}

// exported reports whether an event is of an export that holds the object. That of a sealed one says where it began.
func (o *object) exported(ctx context.Context, s *Store, e *ledger.Entry) (bool, error) {
	var d ExportBegun
	if json.Unmarshal(e.Details, &d) != nil {
		return false, nil
	}
	if d.Stage != stageSealed {
		return o.in(d.Deposits), nil
	}
	holds, known := o.exports[d.Begun]
	if known {
		return holds, nil
	}
	holds, err := o.began(ctx, s, d.Begun, e.Index)
	o.exports[d.Begun] = holds
	return holds, err
}

// began looks through the events with which an export began for the object, up to the event that sealed it.
func (o *object) began(ctx context.Context, s *Store, begun, sealed int64) (holds bool, err error) {
	err = s.ledger.Read(ctx, begun, func(e ledger.Entry) error {
		var d ExportBegun
		if e.Type != ledger.TypeExport || json.Unmarshal(e.Details, &d) != nil {
			d = ExportBegun{}
		}
		if e.Index == begun || d.Stage == stageCovers && d.Begun == begun {
			holds = holds || o.in(d.Deposits)
		}
		// One event is enough for most.
		if holds || e.Index+1 >= sealed || e.Index == begun && d.Messages <= depositsPerEvent {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return false, fmt.Errorf("ledger: %w", err)
	}
	return holds, nil
}
