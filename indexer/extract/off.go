package extract

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/postkeep/postkeep/indexer/extract/document"
)

// Off reads no files. It looks at their beginning, and says of those that may have text that they were not read.
type Off struct{}

// Extract looks at the beginning of a file.
func (Off) Extract(_ context.Context, name, mediaType string, _ int64, r io.Reader) (Result, error) {
	head, err := sniff(name, r)
	if err != nil {
		return Result{}, err
	}
	return Off{}.Result(head, name, mediaType), nil
}

// Result is what there is to say of a file by its beginning.
func (Off) Result(head []byte, name, mediaType string) Result {
	kind := document.Detect(head, mediaType, name)
	if kind == document.KindNone {
		return Result{}
	}
	return Result{Kind: string(kind), Reason: "not read, the configuration says so (index.extract)", Off: true}
}

// sniff reads as much as it takes to tell what a file is.
func sniff(name string, r io.Reader) ([]byte, error) {
	head := make([]byte, document.SniffBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("extract: read %q: %w", name, err)
	}
	return head[:n], nil
}
