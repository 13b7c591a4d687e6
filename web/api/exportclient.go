package api

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/ledger"
)

func (c *Client) post(ctx context.Context, path string, request any) (*http.Response, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, http.MethodPost, path, nil, bytes.NewReader(body))
}

// Export calls begin, and then hands every message to fn. The reader is valid
// during the call; that of a damaged message is empty.
func (c *Client) Export(ctx context.Context, req ExportRequest, begin func(ExportPlan) error, fn func(id string, about Exported, body io.Reader) error) error {
	resp, err := c.post(ctx, "/api/v1/exports", req)
	if err != nil {
		return err
	}
	var plan ExportPlan
	for name, to := range map[string]*int64{exportHeader: &plan.Export, totalHeader: &plan.Messages, octetsHeader: &plan.Octets} {
		if *to, err = strconv.ParseInt(resp.Header.Get(name), 10, 64); err != nil {
			return joinClose(fmt.Errorf("answer of the instance: %s: %w", name, err), resp.Body)
		}
	}
	if err := begin(plan); err != nil {
		return joinClose(err, resp.Body)
	}
	return joinClose(eachExported(tar.NewReader(resp.Body), fn), resp.Body)
}

func eachExported(tr *tar.Reader, fn func(id string, about Exported, body io.Reader) error) error {
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the export broke off: %w", err)
		}
		var about Exported
		if err := json.Unmarshal([]byte(h.PAXRecords["comment"]), &about); err != nil {
			return fmt.Errorf("export entry %s: %w", h.Name, err)
		}
		if err := fn(strings.TrimSuffix(h.Name, ".eml"), about, tr); err != nil {
			return err
		}
	}
}

// SealExport records the manifest of an export.
func (c *Client) SealExport(ctx context.Context, export int64, req SealRequest) (seal archive.Seal, err error) {
	resp, err := c.post(ctx, fmt.Sprintf("/api/v1/exports/%d/seal", export), req)
	if err != nil {
		return seal, err
	}
	err = joinClose(json.NewDecoder(resp.Body).Decode(&seal), resp.Body)
	return seal, err
}

// ProveExport hands the proofs that were asked for to fn, in their order.
func (c *Client) ProveExport(ctx context.Context, export int64, req ProofRequest, fn func(ledger.EventProof) error) error {
	resp, err := c.post(ctx, fmt.Sprintf("/api/v1/exports/%d/proofs", export), req)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(resp.Body)
	for range req.Indexes {
		var p ledger.EventProof
		if err := dec.Decode(&p); err != nil {
			return joinClose(fmt.Errorf("the proofs broke off: %w", err), resp.Body)
		}
		if err := fn(p); err != nil {
			return joinClose(err, resp.Body)
		}
	}
	return joinClose(nil, resp.Body)
}
