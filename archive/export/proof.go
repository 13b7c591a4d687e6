package export

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/internal/inorder"
)

const (
	// proofBatch is how many events are asked for at once: half a MiB of answer in most cases.
	proofBatch = 256
	// aheadProofs is how many answers wait to be written.
	aheadProofs = 2
)

// prove writes proof.json: a ledger.Proof laid out in lines, so that it is written and
// checked at constant memory. The first event is the export itself, then come
// the deposits in the order of the manifest.
func (x *exporter) prove(ctx context.Context, src Source, export int64, seal Seal, w io.Writer) error {
	first, err := proofHead(seal.Key, seal.Checkpoint)
	if err != nil {
		return err
	}
	if _, err := w.Write(first); err != nil {
		return err
	}
	limits := inorder.Limits{Workers: runtime.GOMAXPROCS(0), Jobs: aheadProofs, Bytes: 1}
	err = inorder.Do(ctx, limits, func(_ context.Context, take func([]int64, int64) error) error {
		return x.events(seal.Index, func(indexes []int64) error { return take(indexes, 0) })
	}, func(ctx context.Context, indexes []int64) (*bytes.Buffer, error) {
		return proofLines(ctx, src, export, seal, indexes)
	}, func(lines *bytes.Buffer) error {
		_, err := lines.WriteTo(w)
		return err
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, manifestTail)
	return err
}

// events hands over the events that are proved, the export first, then the deposits that the manifest lists.
func (x *exporter) events(export int64, fn func(indexes []int64) error) error {
	batch := []int64{export}
	err := x.each(func(e Entry) error {
		for _, d := range e.Deposits {
			if batch = append(batch, d.Index); len(batch) < proofBatch {
				continue
			}
			if err := fn(batch); err != nil {
				return err
			}
			batch = make([]int64, 0, proofBatch)
		}
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = fn(batch)
	}
	return err
}

// proofLines asks for the proofs of events. The first of all events is the one that seals the export.
func proofLines(ctx context.Context, src Source, export int64, seal Seal, indexes []int64) (*bytes.Buffer, error) {
	var lines bytes.Buffer
	given := 0
	err := src.Prove(ctx, export, seal.Checkpoint, indexes, func(p ledger.EventProof) error {
		line, err := proofLine(p, p.Index == seal.Index)
		given++
		lines.Write(line)
		return err
	})
	if err == nil && given != len(indexes) {
		err = fmt.Errorf("the archive gave %d proofs, want %d", given, len(indexes))
	}
	return &lines, err
}

// proofHead is the first line of a proof.
func proofHead(key, checkpoint string) ([]byte, error) {
	line, err := encode(struct {
		Format     string `json:"format"`
		Key        string `json:"key"`
		Checkpoint string `json:"checkpoint"`
	}{ledger.ProofFormat, key, checkpoint})
	if err != nil {
		return nil, err
	}
	return append(line[:len(line)-1], `,"events":[`+"\n"...), nil
}

// proofLine is the line of an event, the first or a further one.
func proofLine(p ledger.EventProof, first bool) ([]byte, error) {
	line, err := encode(p)
	if err != nil {
		return nil, err
	}
	if !first {
		line = append([]byte(","), line...)
	}
	return append(line, '\n'), nil
}
