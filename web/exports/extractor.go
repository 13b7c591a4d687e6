package exports

import (
	"context"
	"io"

	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/indexer/extract"
)

// Extractor reads attachments in the children of a pool.
func Extractor(pool *extract.Pool) export.Extractor { return extractor{pool} }

type extractor struct{ pool *extract.Pool }

func (e extractor) Extract(ctx context.Context, name, mediaType string, size int64, r io.Reader) (string, error) {
	found, err := e.pool.Extract(ctx, name, mediaType, size, r)
	return found.Text, err
}
