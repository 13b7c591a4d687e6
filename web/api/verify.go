package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/postkeep/postkeep/archive"
)

// VerifyRequest asks for a verification of the archive.
type VerifyRequest struct {
	Deep   bool   `json:"deep"`
	Volume uint32 `json:"volume,omitempty"` // only this one; 0 is all
	// Checkpoints are signed notes that the ledger has to continue, by the names that the report gives them.
	Checkpoints    map[string]string `json:"checkpoints,omitempty"`
	BytesPerSecond int64             `json:"bytes_per_second,omitempty"`
	// Restart forgets how far an interrupted one came.
	Restart bool `json:"restart,omitempty"`
}

// VerifyEvent is one line of the answer to a VerifyRequest. One field is set; the last line is a report or an error.
type VerifyEvent struct {
	Progress *archive.VerifyProgress `json:"progress,omitempty"`
	Damage   *archive.Damage         `json:"damage,omitempty"`
	Report   *archive.VerifyReport   `json:"report,omitempty"`
	// Error is why the verification could not be finished.
	Error string `json:"error,omitempty"`
}

const (
	// maxVerifyRequest is the size of a request with some saved checkpoints.
	maxVerifyRequest = 1 << 20
	// progressEvery is how often the progress of a verification is told.
	progressEvery = 100 * time.Millisecond
)

// verify verifies the archive and tells of it line by line. When the client goes away, it is interrupted.
func (s *Server) verify(w http.ResponseWriter, r *http.Request) error {
	var req VerifyRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxVerifyRequest)).Decode(&req); err != nil {
		return badBody("verify request", err)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := &lineWriter{enc: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
	var told time.Time
	o := archive.VerifyOptions{
		Deep: req.Deep, Volume: req.Volume, BytesPerSecond: req.BytesPerSecond, Restart: req.Restart,
		Damage: func(d archive.Damage) { lines.write(VerifyEvent{Damage: &d}) },
		Progress: func(p archive.VerifyProgress) {
			if now := time.Now(); now.Sub(told) >= progressEvery {
				told = now
				lines.write(VerifyEvent{Progress: &p})
			}
		},
	}
	for name, note := range req.Checkpoints {
		o.Checkpoints = append(o.Checkpoints, archive.SavedCheckpoint{Name: name, Note: []byte(note)})
	}
	report, err := s.Verify(r.Context(), Actor(r.Context()), o)
	if err != nil {
		lines.write(VerifyEvent{Error: err.Error()})
		return lines.err
	}
	lines.write(VerifyEvent{Report: &report})
	return lines.err
}

// Verify verifies archive and index, and records the result as the actor's.
func (s *Server) Verify(ctx context.Context, actor string, o archive.VerifyOptions) (archive.VerifyReport, error) {
	if s.opts.Anchored != nil && o.Volume == 0 {
		o.Anchors = s.opts.Anchored()
	}
	report, err := s.opts.Store.Verify(ctx, o)
	if err != nil {
		return report, err
	}
	return s.Verified(ctx, actor, report, o.Damage)
}

// Verified adds to a report what the index says, and records it as the actor's. damage is told of what was added. A report that cannot be
// recorded comes with a note that says so.
func (s *Server) Verified(ctx context.Context, actor string, report archive.VerifyReport, damage func(archive.Damage)) (archive.VerifyReport, error) {
	if report.Volume == 0 {
		d, note, err := s.compareIndex(ctx)
		if err != nil {
			return report, err
		}
		if note != "" {
			report.Notes = append(report.Notes, note)
		}
		if d != nil {
			report.Damages++
			report.Repairable++
			report.Damage = append(report.Damage, *d)
			if damage != nil {
				damage(*d)
			}
		}
	}
	err := s.opts.Store.RecordVerification(ctx, actor, report)
	if errors.Is(err, archive.ErrReadOnly) {
		report.Notes = append(report.Notes, fmt.Sprintf("the result is not in the ledger: %v", err))
		err = nil
	}
	return report, err
}

// comparePatience is how often documents and messages are counted while new ones come in.
const comparePatience = 10

// compareIndex counts the documents of the index.
func (s *Server) compareIndex(ctx context.Context) (*archive.Damage, string, error) {
	for range comparePatience {
		last, err := s.opts.Store.LastDeposit(ctx)
		if err != nil {
			return nil, "", err
		}
		st, err := s.opts.Store.Status(ctx)
		if err != nil {
			return nil, "", err
		}
		position, documents := s.opts.Index.Position(), s.opts.Index.Count()
		now, err := s.opts.Store.LastDeposit(ctx)
		if err != nil {
			return nil, "", err
		}
		pending, err := s.opts.Store.Interrupted(ctx)
		if err != nil {
			return nil, "", err
		}
		after, err := s.opts.Store.Status(ctx)
		switch {
		case err != nil:
			return nil, "", err
		case documents != uint64(st.Messages) && len(pending) > 0: // which takes the messages first, then their documents
			return nil, fmt.Sprintf("a disposal is not finished: the index has %d documents for %d messages", documents, st.Messages), nil
		case position < last:
			return nil, fmt.Sprintf("the index is being completed: it has %d documents for %d messages", documents, st.Messages), nil
		case now != last || after.Messages != st.Messages:
		case documents != uint64(st.Messages):
			return &archive.Damage{File: "index", Repairable: true,
				What: fmt.Sprintf("it has %d documents for %d messages: postkeep rebuild index", documents, st.Messages)}, "", nil
		default:
			live, err := s.opts.Store.Live(ctx)
			if err != nil {
				return nil, "", err
			}
			has := s.opts.Index.Deposits()
			if !live.Settled || has == live.Deposits {
				return nil, "", nil
			}
			if now, err = s.opts.Store.LastDeposit(ctx); err != nil || now != last {
				continue
			}
			s.opts.Index.Distrust()
			return &archive.Damage{File: "index", Repairable: true,
				What: fmt.Sprintf("it has %d deposits where the archive has %d, or others: it is rebuilt (or: postkeep rebuild index)", has.N, live.Deposits.N)}, "", nil
		}
	}
	return nil, "messages come in too fast for comparing their number with the index", nil
}

// Verify verifies the archive and hands every event but the last to fn.
func (c *Client) Verify(ctx context.Context, req VerifyRequest, fn func(VerifyEvent)) (archive.VerifyReport, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return archive.VerifyReport{}, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/api/v1/verify", nil, bytes.NewReader(body))
	if err != nil {
		return archive.VerifyReport{}, err
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var e VerifyEvent
		if err := dec.Decode(&e); err != nil {
			return archive.VerifyReport{}, joinClose(fmt.Errorf("the instance stopped answering: %w", err), resp.Body)
		}
		switch {
		case e.Error != "":
			return archive.VerifyReport{}, joinClose(errors.New(e.Error), resp.Body)
		case e.Report != nil:
			return *e.Report, joinClose(nil, resp.Body)
		}
		fn(e)
	}
}
