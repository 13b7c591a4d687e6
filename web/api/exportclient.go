package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/postkeep/postkeep/archive/export"
)

func (c *Client) post(ctx context.Context, path string, request any) (*http.Response, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, http.MethodPost, path, nil, bytes.NewReader(body))
}

// Export asks for an export. What it returns is for export.Fetch, and closed by the caller.
func (c *Client) Export(ctx context.Context, r export.Request) (io.ReadCloser, error) {
	resp, err := c.post(ctx, "/api/v1/exports", r)
	if err != nil {
		return nil, err
	}
	if resp.Header.Get("Content-Type") != exportMedia {
		return nil, joinClose(errors.New("the answer is not an export: is the instance of another version?"), resp.Body)
	}
	return resp.Body, nil
}
