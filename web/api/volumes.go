package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/volume"
)

// RotateEvent is one line of the answer to a request to encrypt volumes anew. The last one has Finished or Error.
type RotateEvent struct {
	// Volume that was encrypted for the present recipients.
	Volume *volume.Info `json:"volume,omitempty"`
	// Plain is how many volumes are not encrypted, and stay so.
	Plain    int    `json:"plain,omitempty"`
	Finished bool   `json:"finished,omitempty"`
	Error    string `json:"error,omitempty"`
}

// rotate seals the volume that is being written, and encrypts all encrypted ones for the present recipients.
func (s *Server) rotate(w http.ResponseWriter, r *http.Request) error {
	ctx, store := r.Context(), s.opts.Store
	if err := store.Unreadable(); err != nil {
		return &Problem{Status: http.StatusConflict, Title: "No key", Detail: err.Error()}
	}
	if err := store.Seal(ctx); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := &lineWriter{enc: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
	err := store.Repack(ctx, archive.RepackOptions{
		Actor: Actor(ctx), Encrypted: true, Done: func(v volume.Info) { lines.write(RotateEvent{Volume: &v}) },
	})
	if err != nil {
		lines.write(RotateEvent{Error: err.Error()})
		return lines.err
	}
	st, err := store.Status(ctx)
	if err != nil {
		lines.write(RotateEvent{Error: err.Error()})
		return lines.err
	}
	last := RotateEvent{Finished: true}
	for _, v := range st.Volumes {
		if !v.Encrypted {
			last.Plain++
		}
	}
	lines.write(last)
	return lines.err
}

// Rotate encrypts all encrypted volumes for the present recipients, and hands each to fn. It returns how many
// volumes are not encrypted.
func (c *Client) Rotate(ctx context.Context, fn func(volume.Info)) (plain int, err error) {
	resp, err := c.do(ctx, http.MethodPost, "/api/v1/volumes/rotate", nil, nil)
	if err != nil {
		return 0, err
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var e RotateEvent
		if err := dec.Decode(&e); err != nil {
			return 0, joinClose(fmt.Errorf("the instance stopped answering: %w", err), resp.Body)
		}
		switch {
		case e.Error != "":
			return 0, joinClose(errors.New(e.Error), resp.Body)
		case e.Finished:
			return e.Plain, joinClose(nil, resp.Body)
		case e.Volume != nil:
			fn(*e.Volume)
		}
	}
}
