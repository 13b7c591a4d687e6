package api

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	out := bufio.NewWriterSize(w, exportBuffer)
	e := exporting{s: s, tw: tar.NewWriter(out), scope: access.Of(ctx).Scope}
	at := int64(0)
	if err := each(func(id string) error {
		if at++; at <= req.Skip {
			return nil
		}
		return e.one(ctx, id)
	}); err != nil {
		return err
	}
	return errors.Join(e.tw.Close(), out.Flush())
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
	err = each(func(id string) error {
		if plan.Messages++; plan.Messages <= req.Skip {
			skipped.Write([]byte(id + "\n"))
			return nil
		}
		size, first, err := s.first(ctx, id)
		if errors.Is(err, archive.ErrNotFound) { // disposed of in this moment
			plan.Messages--
			return nil
		}
		if err != nil {
			return err
		}
		plan.Octets += size
		deposits = append(deposits, first)
		return nil
	})
	if err == nil && req.Skip > 0 && (plan.Messages < req.Skip || hex.EncodeToString(skipped.Sum(nil)) != req.SkipHash) {
		err = &Problem{Status: http.StatusConflict, Title: "Conflict",
			Detail: "the query finds other messages than when the export was begun: export to another place"}
	}
	return plan, deposits, each, err
}

// first returns the size of a message, and the ledger index of its first deposit that the principal may see.
func (s *Server) first(ctx context.Context, id string) (size, index int64, err error) {
	scope := access.Of(ctx).Scope
	if scope.All {
		return s.opts.Store.First(ctx, id)
	}
	m, err := s.opts.Store.Stored(ctx, id)
	if err != nil {
		return 0, 0, err
	}
	i := slices.IndexFunc(m.Deposited, func(d archive.Deposited) bool { return scope.Sees(d.Mailbox, d.Received) })
	if i < 0 {
		return 0, 0, archive.ErrNotFound
	}
	return m.Size, m.Deposited[i].Index, nil
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
	ctx, cancel := context.WithTimeout(ctx, indexPatience)
	defer cancel()
	if err := s.opts.Index.Wait(ctx, last); err != nil {
		return fmt.Errorf("the index is not complete, an export would lack messages: %w", err)
	}
	return nil
}

const (
	// exportBuffer makes few writes of many small ones.
	exportBuffer = 256 << 10
	// wholeInMemory is how large a message may be for its bytes to be read once, into memory; of a larger one they are read
	// twice. Nearly all are smaller.
	wholeInMemory = 1 << 20
)

// exporting is the stream of an export.
type exporting struct {
	s     *Server
	tw    *tar.Writer
	scope access.Scope
	body  bytes.Buffer // of the message in hand
}

// one writes a message.
func (e *exporting) one(ctx context.Context, id string) error {
	m, err := e.s.opts.Store.Stored(ctx, id)
	if errors.Is(err, archive.ErrNotFound) { // disposed of in this moment
		return nil
	}
	if err != nil {
		return err
	}
	about := Exported{Received: m.Received, From: m.Summary.From, Size: m.Size}
	for _, d := range m.Deposited {
		if !e.scope.Sees(d.Mailbox, d.Received) {
			continue
		}
		if len(about.Deposits) == 0 || d.Received.Before(about.Received) { // of those that the principal may see
			about.Received = d.Received
		}
		about.Deposits = append(about.Deposits, ExportedDeposit{Index: d.Index, Mailbox: d.Mailbox, UIDL: d.UIDL, Received: d.Received})
	}
	// Read before its header is written, because a tar entry cannot be taken back.
	if about.Damaged, err = e.read(ctx, m); err != nil {
		return err
	}
	comment, err := json.Marshal(about)
	if err != nil {
		return err
	}
	header := &tar.Header{
		Name: id + ".eml", Size: m.Size, Mode: 0o600, ModTime: about.Received,
		Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": string(comment)},
	}
	if about.Damaged {
		header.Size = 0
	}
	if err := e.tw.WriteHeader(header); err != nil || about.Damaged {
		return err
	}
	if m.Size <= wholeInMemory {
		_, err := e.body.WriteTo(e.tw)
		return err
	}
	body, err := m.Open(ctx)
	if err != nil {
		return err
	}
	_, err = io.Copy(e.tw, body)
	return joinClose(err, body)
}

// read reads a message, and keeps it if it is small. It reports whether the stored bytes are damaged.
func (e *exporting) read(ctx context.Context, m *archive.Stored) (damaged bool, err error) {
	var failed error
	if e.body.Reset(); m.Size <= wholeInMemory {
		if failed = e.keep(ctx, m); failed == nil {
			return false, nil
		}
	}
	// Whether it is damage, or something that goes away, is for the archive to say.
	found, err := e.s.opts.Store.Damaged(ctx, []string{m.ID})
	if err == nil && len(found) == 0 {
		err = failed
	}
	return len(found) > 0, err
}

func (e *exporting) keep(ctx context.Context, m *archive.Stored) error {
	body, err := m.Open(ctx)
	if err != nil {
		return err
	}
	if _, err = e.body.ReadFrom(io.LimitReader(body, m.Size+1)); err == nil && int64(e.body.Len()) != m.Size {
		err = fmt.Errorf("message %s has %d octets or more, the catalog says %d: run postkeep rebuild catalog", m.ID, e.body.Len(), m.Size)
	}
	return joinClose(err, body)
}

func exportID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 0 {
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
