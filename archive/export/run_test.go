package export

import (
	"context"
	"io"
)

// Run makes an export and writes it.
func Run(ctx context.Context, src Source, opts Options) (Result, error) {
	return Fetch(ctx, func(ctx context.Context, r Request) (io.ReadCloser, error) {
		ctx, cancel := context.WithCancel(ctx)
		pr, pw := io.Pipe()
		made := make(chan struct{})
		go func() {
			defer close(made)
			_ = pw.CloseWithError(Make(ctx, src, r, Tools{Parser: unread{}}, pw))
		}()
		return piped{pr, cancel, made}, nil
	}, opts)
}

// piped is what is being made.
type piped struct {
	*io.PipeReader
	cancel context.CancelFunc
	made   chan struct{}
}

func (p piped) Close() error {
	p.cancel()
	err := p.PipeReader.Close()
	<-p.made
	return err
}
