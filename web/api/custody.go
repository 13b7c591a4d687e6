package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
)

// Custody is the chain of custody of a message, as GET
// /api/v1/messages/{id}/custody gives it.
type Custody struct {
	archive.Custody
	// Holds are those that cover the message, also the ones that were released.
	Holds []archive.Hold `json:"holds,omitempty"`
	// Partial says why Holds may lack some, "" if it does not.
	Partial string `json:"partial,omitempty"`
}

// custody is the chain of custody of a message, or of what is left of it. What others did with it is for those who
// may read the ledger.
func (s *Server) custody(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	id, err := s.traced(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := s.show(r, id, "chain of custody", WithCustody); err != nil {
		return err
	}
	var c Custody
	if c.Custody, err = s.opts.Store.Custody(ctx, id); err != nil {
		return err
	}
	p := access.Of(ctx)
	scope := p.Scope
	c.Deposits = slices.DeleteFunc(c.Deposits, func(d archive.DepositRecord) bool { return !scope.Sees(d.Mailbox, d.Received) })
	c.Disposed = slices.DeleteFunc(c.Disposed, func(t archive.Tombstone) bool { return !scope.Sees(t.Mailbox, t.Received) })
	if !p.May(access.Audit) {
		c.Events = []archive.AuditEvent{}
		return writeJSON(w, c)
	}
	if s.opts.Compliance != nil && c.Place != nil {
		if c.Holds, err = s.opts.Compliance.Covering(ctx, id); err != nil {
			c.Partial = "holds: " + err.Error()
		}
	}
	return writeJSON(w, c)
}

// traced returns the id of a message that the principal may see, or could before it was disposed of.
func (s *Server) traced(ctx context.Context, prefix string) (string, error) {
	m, err := s.find(ctx, prefix)
	if err == nil || !errors.Is(err, archive.ErrNotFound) {
		return m.ID, err
	}
	graves, graveErr := s.graves(ctx, prefix)
	if graveErr != nil || len(graves) == 0 {
		return "", err
	}
	return graves[0].ID, nil
}

// Custody returns the chain of custody of a message.
func (c *Client) Custody(ctx context.Context, id string) (Custody, error) {
	return get[Custody](ctx, c, "/api/v1/messages/"+url.PathEscape(id)+"/custody", nil)
}
