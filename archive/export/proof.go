package export

import (
	"context"
	"fmt"
	"io"

	"github.com/postkeep/postkeep/archive/ledger"
)

// proofBatch is how many events are asked for at once: 4 MiB of answer in most cases.
const proofBatch = 1024

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
	batch := []int64{seal.Index}
	written := int64(0)
	send := func() error {
		err := src.Prove(ctx, export, seal.Checkpoint, batch, func(p ledger.EventProof) error {
			line, err := proofLine(p, written == 0)
			if err != nil {
				return err
			}
			written++
			_, err = w.Write(line)
			return err
		})
		batch = batch[:0]
		return err
	}
	asked := int64(1)
	err = x.each(func(e Entry) error {
		for _, d := range e.Deposits {
			batch = append(batch, d.Index)
			asked++
		}
		if len(batch) < proofBatch {
			return nil
		}
		return send()
	})
	if err == nil && len(batch) > 0 {
		err = send()
	}
	if err != nil {
		return err
	}
	if written != asked {
		return fmt.Errorf("the archive gave %d proofs, want %d", written, asked)
	}
	_, err = io.WriteString(w, manifestTail)
	return err
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
