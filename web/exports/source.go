// Package exports joins the export engine to the API and to the mail parser: with
// it the command line, and a job in a running instance, make the same exports.
package exports

import (
	"context"
	"io"
	"strings"

	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/web/api"
)

// Run exports what the client may see. Parser in the options is set here.
func Run(ctx context.Context, c *api.Client, opts export.Options) (export.Result, error) {
	opts.Parser = parser{}
	return export.Run(ctx, source{c}, opts)
}

// source is the API as an export needs it.
type source struct{ c *api.Client }

func (s source) Messages(ctx context.Context, r export.Request, begin func(export.Plan) error, fn func(export.Message) error) error {
	return s.c.Export(ctx, api.ExportRequest{
		Query: r.Query, Format: string(r.Format), NewestFirst: r.NewestFirst, Skip: r.Skip, SkipHash: r.SkipHash,
	}, func(p api.ExportPlan) error {
		return begin(export.Plan(p))
	}, func(id string, about api.Exported, body io.Reader) error {
		m := export.Message{
			ID: id, Size: about.Size, Received: about.Received, From: address(about.From), Damaged: about.Damaged, Body: body,
		}
		for _, d := range about.Deposits {
			m.Deposits = append(m.Deposits, export.Deposit(d))
		}
		return fn(m)
	})
}

func (s source) Seal(ctx context.Context, e export.Sealing) (export.Seal, error) {
	seal, err := s.c.SealExport(ctx, e.Export, api.SealRequest{Manifest: e.Manifest, Messages: e.Messages})
	return export.Seal{Index: seal.Index, Key: seal.Key, Checkpoint: seal.Checkpoint}, err
}

func (s source) Prove(ctx context.Context, id int64, checkpoint string, indexes []int64, fn func(ledger.EventProof) error) error {
	for len(indexes) > 0 {
		n := min(len(indexes), api.MaxProofs)
		if err := s.c.ProveExport(ctx, id, api.ProofRequest{Checkpoint: checkpoint, Indexes: indexes[:n]}, fn); err != nil {
			return err
		}
		indexes = indexes[n:]
	}
	return nil
}

// address is the first address of a header as the summary shows it.
func address(from string) string {
	if _, rest, ok := strings.Cut(from, "<"); ok {
		from, _, _ = strings.Cut(rest, ">")
	}
	return strings.TrimSpace(from)
}
