package api

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/web/access"
)

// ExportRequest asks for the messages that a query finds, with their bytes.
type ExportRequest struct {
	Query  string `json:"query"`
	Format string `json:"format"` // for the record
	// NewestFirst turns the order of receipt round.
	NewestFirst bool `json:"newest_first,omitempty"`
	// Skip leaves out this many messages, whose ids have to be those that SkipHash is
	// made of: the hex SHA-256 of ids, each followed by a line feed.
	Skip     int64  `json:"skip,omitempty"`
	SkipHash string `json:"skip_hash,omitempty"`
}

// ExportPlan is what an export is going to hold.
type ExportPlan struct {
	Export   int64 // by which it is sealed
	Messages int64
	Octets   int64
}

// Exported is the metadata of one message in the tar stream of an export, kept
// in the PAX record "comment" of its entry.
type Exported struct {
	Received time.Time         `json:"received"`
	From     string            `json:"from"`
	Deposits []ExportedDeposit `json:"deposits"`
	// Damaged marks an empty entry in place of a message that cannot be read.
	Damaged bool  `json:"damaged,omitempty"`
	Size    int64 `json:"size"` // octets, also of a damaged one
}

// ExportedDeposit is one copy of a message that was received.
type ExportedDeposit struct {
	Index    int64     `json:"index"` // in the ledger
	Mailbox  string    `json:"mailbox"`
	UIDL     string    `json:"uidl,omitempty"`
	Received time.Time `json:"received"`
}

// SealRequest ends an export.
type SealRequest struct {
	Manifest string `json:"manifest_sha256"`
	Messages int64  `json:"messages"` // that the manifest lists
}

// ProofRequest asks for the proofs of deposits and exports.
type ProofRequest struct {
	Checkpoint string  `json:"checkpoint"` // as sealing gave it
	Indexes    []int64 `json:"indexes"`    // of events, at most MaxProofs
}

// MaxProofs bounds a ProofRequest.
const MaxProofs = 4096

// Headers that announce an export.
const (
	exportHeader = "Postkeep-Export"
	totalHeader  = "Postkeep-Total"
	octetsHeader = "Postkeep-Octets"
)

// export streams all messages that a query finds as a tar, each entry with an
// Exported in its PAX record "comment". The client makes the format from it. That
// they leave is in the ledger before the first one does.
func (s *Server) export(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	req, err := decode[ExportRequest](r)
	if err != nil {
		return err
	}
	if req.Query = strings.TrimSpace(req.Query); req.Query == "" {
		req.Query = everything
	}
	if _, err := query.Parse(req.Query); err != nil {
		return err // before waiting for anything
	}
	if err := s.complete(ctx); err != nil {
		return err
	}
	plan, deposits, each, err := s.planExport(ctx, &req)
	if err != nil {
		return err
	}
	if plan.Export, err = s.opts.Store.BeginExport(ctx, Actor(ctx), archive.ExportBegun{
		Query: req.Query, Format: req.Format, Messages: uint64(plan.Messages), Skip: req.Skip,
	}, deposits); err != nil {
		return fmt.Errorf("the export could not be recorded and is not made: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-tar")
	h.Set(exportHeader, strconv.FormatInt(plan.Export, 10))
	h.Set(totalHeader, strconv.FormatInt(plan.Messages, 10))
	h.Set(octetsHeader, strconv.FormatInt(plan.Octets, 10))
	e := exporting{s: s, scope: access.Of(ctx).Scope, out: bufio.NewWriterSize(w, exportBuffer)}
	return e.stream(ctx, behind(req.Skip, each))
}

// behind leaves out the first ids.
func behind(skip int64, each func(func(id string) error) error) func(func(id string) error) error {
	return func(fn func(id string) error) error {
		at := int64(0)
		return each(func(id string) error {
			if at++; at <= skip {
				return nil
			}
			return fn(id)
		})
	}
}

// planExport goes through the messages once, to say how much there is, of which deposits, and that those
// to be skipped are still the first ones.
func (s *Server) planExport(ctx context.Context, req *ExportRequest) (plan ExportPlan, deposits []int64, each func(func(id string) error) error, err error) {
	each = func(fn func(id string) error) error { return s.opts.Index.Each(ctx, req.Query, scopeOf(ctx), fn) }
	if req.NewestFirst {
		// The index goes one way. 32 bytes for a message are little enough.
		var ids [][sha256.Size]byte
		if err := each(func(id string) error {
			b, err := hex.DecodeString(id)
			ids = append(ids, [sha256.Size]byte(b))
			return err
		}); err != nil {
			return plan, nil, nil, err
		}
		slices.Reverse(ids)
		each = func(fn func(id string) error) error {
			for _, id := range ids {
				if err := fn(hex.EncodeToString(id[:])); err != nil {
					return err
				}
			}
			return nil
		}
	}
	skipped := sha256.New()
	err = inBatches(func(fn func(id string) error) error {
		return each(func(id string) error {
			if plan.Messages < req.Skip {
				plan.Messages++
				skipped.Write([]byte(id + "\n"))
				return nil
			}
			return fn(id)
		})
	}, func(ids []string) error {
		octets, first, err := s.firsts(ctx, ids)
		plan.Octets += octets
		deposits = append(deposits, first...)
		plan.Messages += int64(len(first)) // without those that were disposed of in this moment
		return err
	})
	if err == nil && req.Skip > 0 && (plan.Messages < req.Skip || hex.EncodeToString(skipped.Sum(nil)) != req.SkipHash) {
		err = &Problem{Status: http.StatusConflict, Title: "Conflict",
			Detail: "the query finds other messages than when the export was begun: export to another place"}
	}
	return plan, deposits, each, err
}

// inBatches hands ids over as many at once as the archive looks up with one query. fn must not keep them.
func inBatches(each func(func(id string) error) error, fn func(ids []string) error) error {
	batch := make([]string, 0, archive.LookedUpAtOnce)
	err := each(func(id string) error {
		if batch = append(batch, id); len(batch) < cap(batch) {
			return nil
		}
		err := fn(batch)
		batch = batch[:0]
		return err
	})
	if err == nil && len(batch) > 0 {
		err = fn(batch)
	}
	return err
}

// firsts returns the octets of messages together, and of each the ledger index of the first deposit that the principal may see. Those
// of which they may see nothing, or that are gone, are left out.
func (s *Server) firsts(ctx context.Context, ids []string) (octets int64, indexes []int64, err error) {
	scope := access.Of(ctx).Scope
	if scope.All {
		found, err := s.opts.Store.Firsts(ctx, ids)
		for _, f := range found {
			octets += f.Size
			indexes = append(indexes, f.Index)
		}
		return octets, indexes, err
	}
	found, err := s.opts.Store.Stored(ctx, ids)
	for _, m := range found {
		i := slices.IndexFunc(m.Deposited, func(d archive.Deposited) bool { return scope.Sees(d.Mailbox, d.Received) })
		if i >= 0 {
			octets += m.Size
			indexes = append(indexes, m.Deposited[i].Index)
		}
	}
	return octets, indexes, err
}

// complete waits until the index has everything that the archive had at the
// start: an export must not lack messages without anybody knowing.
func (s *Server) complete(ctx context.Context) error {
	if err := s.opts.Store.Unreadable(); err != nil {
		return err
	}
	last, err := s.opts.Store.LastDeposit(ctx)
	if err != nil {
		return err
	}
	if s.opts.Store.Medium() != nil && s.opts.Index.Position() < last { // nobody completes it
		return fmt.Errorf("the index is not complete, an export would lack messages: %w", s.opts.Store.Medium())
	}
	ctx, cancel := s.opts.Watch(ctx)
	defer cancel()
	patient, stop := context.WithTimeout(ctx, indexPatience)
	defer stop()
	if err := s.opts.Index.Wait(patient, last); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("the index is not complete, an export would lack messages: %w", err)
	}
	return nil
}

func exportID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < -1 { // -1 is that of a data directory that cannot be written to
		return 0, fmt.Errorf("%w: %.40q", archive.ErrNoExport, r.PathValue("id"))
	}
	return id, nil
}

// sealExport records the manifest of an export.
func (s *Server) sealExport(w http.ResponseWriter, r *http.Request) error {
	id, err := exportID(r)
	if err != nil {
		return err
	}
	req, err := decode[SealRequest](r)
	if err != nil {
		return err
	}
	seal, err := s.opts.Store.SealExport(r.Context(), Actor(r.Context()), id, req.Manifest, req.Messages)
	if err != nil {
		return err
	}
	return writeJSON(w, seal)
}

// proveExport gives the proofs of deposits and exports, one a line.
func (s *Server) proveExport(w http.ResponseWriter, r *http.Request) error {
	if _, err := exportID(r); err != nil {
		return err
	}
	req, err := decode[ProofRequest](r)
	if err != nil {
		return err
	}
	if len(req.Indexes) > MaxProofs {
		return &Problem{Status: http.StatusBadRequest, Title: "Bad request",
			Detail: fmt.Sprintf("%d proofs at once, at most %d are given", len(req.Indexes), MaxProofs)}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	scope := access.Of(r.Context()).Scope
	may := func(d archive.Deposit) bool { return scope.Sees(d.Mailbox, d.Received) }
	if scope.All {
		may = nil
	}
	return s.opts.Store.ProveExport(r.Context(), Actor(r.Context()), req.Checkpoint, req.Indexes, may, func(p ledger.EventProof) error { return enc.Encode(p) })
}
