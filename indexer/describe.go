package indexer

import "context"

// Describe reads the messages of which an archive has no summary, as its Worker would do at the start. opts are those of
// the Worker.
func (x *Index) Describe(ctx context.Context, a Archive, opts WorkerOptions) error {
	return NewWorker(x, a, nil, opts).describe(ctx)
}
