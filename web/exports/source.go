// Package exports makes exports of what an API gives: with it the command line, and a job in a running instance, write the same files.
package exports

import (
	"context"

	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/web/api"
)

// Run exports what the client may see.
func Run(ctx context.Context, c *api.Client, opts export.Options) (export.Result, error) {
	return export.Fetch(ctx, c.Export, opts)
}
