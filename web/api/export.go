package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/web/access"
)

// exportMedia is a stream of package export: frames that say which files to write.
const exportMedia = "application/vnd.postkeep.export"

// exportIndex is the header with the ledger index by which the export began; it is -1 where nothing can be written.
const exportIndex = "Postkeep-Export"

// export makes an export and streams it. That messages leave is in the ledger before the first one does, and what left when the last one
// has: both are written here, of what this process has streamed. A client has no say in them.
func (s *Server) export(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	req, err := decode[export.Request](r)
	if err != nil {
		return err
	}
	if req.Format == "" {
		req.Format = export.EML
	}
	e := &exporting{s: s, scope: access.Of(ctx).Scope, actor: Actor(ctx), w: w, begun: -1}
	defer func() { s.opts.Store.GiveUpExport(e.begun) }()
	err = export.Make(ctx, e, req, export.Tools{Parser: parser{}, Extractor: s.opts.Extractor}, w)
	if err == nil || !e.streams || ctx.Err() != nil {
		return err
	}
	s.opts.Logger.Error("export ended", "export", e.begun, "error", err)
	return export.SendError(w, err)
}

// exporting is the archive as an export needs it, as far as a principal may see it.
type exporting struct {
	s       *Server
	scope   access.Scope
	actor   string
	w       http.ResponseWriter
	begun   int64     // index of the event by which the export began
	streams bool      // the answer has begun
	bufs    sync.Pool // of *bytes.Buffer
}

// Messages gives those that the query of the request finds.
func (e *exporting) Messages(ctx context.Context, req export.Request, begin func(export.Plan) error, fn func(export.Message) error) error {
	s := e.s
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
	skip := int64(0)
	if req.Resume != nil {
		skip = req.Resume.Messages
	}
	if e.begun, err = s.opts.Store.BeginExport(ctx, e.actor, archive.ExportBegun{
		Query: req.Query, Format: string(req.Format), Messages: uint64(plan.Messages), Skip: skip,
	}, deposits); err != nil {
		return fmt.Errorf("the export could not be recorded and is not made: %w", err)
	}
	plan.Export = e.begun
	e.w.Header().Set("Content-Type", exportMedia)
	e.w.Header().Set(exportIndex, strconv.FormatInt(e.begun, 10))
	e.streams = true
	if err := begin(plan); err != nil {
		return err
	}
	_ = http.NewResponseController(e.w).Flush() // the client sees what comes before the first message was read, where that is possible
	return e.stream(ctx, each, fn)
}

// Seal records what was streamed.
func (e *exporting) Seal(ctx context.Context, what export.Sealing) (export.Seal, error) {
	seal, err := e.s.opts.Store.SealExport(ctx, e.actor, what.Export, archive.ExportSealed{Manifest: what.Manifest, Messages: what.Messages, IDs: what.IDs})
	return export.Seal{Index: seal.Index, Key: seal.Key, Checkpoint: seal.Checkpoint}, err
}

// Prove gives the proofs of deposits that the principal may see, and of their exports.
func (e *exporting) Prove(ctx context.Context, _ int64, checkpoint string, indexes []int64, fn func(ledger.EventProof) error) error {
	may := func(d archive.Deposit) bool { return e.scope.Sees(d.Mailbox, d.Received) }
	if e.scope.All {
		may = nil
	}
	return e.s.opts.Store.ProveExport(ctx, e.actor, checkpoint, indexes, may, fn)
}

// planExport goes through the messages once, to say how much there is to send, of which deposits, and that those
// that are there already are still the first ones.
func (s *Server) planExport(ctx context.Context, req *export.Request) (plan export.Plan, deposits []int64, each func(func(id string) error) error, err error) {
	each = func(fn func(id string) error) error { return s.opts.Index.Each(ctx, req.Query, scopeOf(ctx), fn) }
	if req.OnePerThread { // the newest first
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
	there := req.Resume
	if there == nil {
		there = &export.Resume{}
	}
	skipped := sha256.New()
	err = inBatches(func(fn func(id string) error) error {
		return each(func(id string) error {
			if plan.Messages < there.Messages {
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
	if err == nil && there.Messages > 0 && (plan.Messages < there.Messages || hex.EncodeToString(skipped.Sum(nil)) != there.IDs) {
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
