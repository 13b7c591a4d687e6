package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Names of the services; subjects are archive.<name>.<shard>.
const (
	serviceKnown   = "known"
	serviceDamaged = "damaged"
	serviceReport  = "report"
	serviceMemory  = "memory"
)

const (
	// questionEntries is the number of listings in one request. Answers
	// are some 300 octets for each.
	questionEntries = 500
	// damagedIDs is the number of messages in one request for reading them
	// again. Most are small; large ones take a second for every few hundred MiB.
	damagedIDs = 16
	// codeFailed: the archive could not answer. codeSplit: the answer is too
	// large, ask for less at a time.
	codeFailed = "500"
	codeSplit  = "413"
)

// A question asks which messages of a mailbox the archive has.
type question struct {
	Mailbox string    `json:"mailbox"`
	Listed  []Listing `json:"listed"`
}

// Known asks the archive which of the listed messages it holds for the
// mailbox: in parts, of which one is halved when its answer is too large. It
// waits some seconds for an archive worker to appear. An archive that takes
// nothing answers with the reason, also when nothing is listed.
//
// The Term is that of the answer. Before anything is deleted because of it, ask whether it is Valid.
func (b *Bus) Known(ctx context.Context, mailbox string, listed []Listing) ([]Holding, Term, error) {
	var all []Holding
	var term Term
	for n, asked := questionEntries, false; len(listed) > 0 || !asked; asked = true {
		n = min(n, len(listed))
		data, at, err := b.request(ctx, serviceKnown, question{Mailbox: mailbox, Listed: listed[:n]})
		if errors.Is(err, errSplit) && n > 1 {
			n /= 2
			continue
		}
		if err != nil {
			return nil, Term{}, err
		}
		if asked && at.Epoch != term.Epoch {
			return nil, Term{}, fmt.Errorf("archive service %s: %w", serviceKnown, ErrStale)
		}
		term = at
		var part []Holding
		if err := json.Unmarshal(data, &part); err != nil {
			return nil, Term{}, fmt.Errorf("archive service %s: answer is not readable: %w", serviceKnown, err)
		}
		all, listed = append(all, part...), listed[n:]
	}
	return all, term, nil
}

// Damaged has the archive read messages again, and returns those that are not
// what was archived any more.
func (b *Bus) Damaged(ctx context.Context, ids []string) ([]string, error) {
	var all []string
	for part := range slices.Chunk(ids, damagedIDs) {
		data, _, err := b.request(ctx, serviceDamaged, part)
		if err != nil {
			return nil, err
		}
		var damaged []string
		if err := json.Unmarshal(data, &damaged); err != nil {
			return nil, fmt.Errorf("archive service %s: answer is not readable: %w", serviceDamaged, err)
		}
		all = append(all, damaged...)
	}
	return all, nil
}

// RecordPoll has the archive write the report of a poll into its ledger.
func (b *Bus) RecordPoll(ctx context.Context, r PollReport) error {
	_, _, err := b.request(ctx, serviceReport, r)
	return err
}

// PollMemory returns the Memory of the last report of the mailbox that was recorded with one, nil if
// none was.
func (b *Bus) PollMemory(ctx context.Context, mailbox string) (json.RawMessage, error) {
	memory, _, err := b.request(ctx, serviceMemory, mailbox)
	return memory, err
}

var errSplit = errors.New("the answer is too large for one message")

func (b *Bus) request(ctx context.Context, service string, v any) ([]byte, Term, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, Term{}, err
	}
	if int64(len(data)) > b.nc.MaxPayload() {
		return nil, Term{}, fmt.Errorf("archive service %s: %w", service, errSplit)
	}
	subject := b.serviceSubject(service, b.opts.Shard)
	patience := time.Now().Add(b.timing.serviceStart)
	lost := 0
	for pause := b.newBackoff(); ; {
		floor := b.terms.get()
		reply, err := b.requestOnce(ctx, subject, data)
		if errors.Is(err, errLostRequest) && lost < maxLostRequests {
			lost++
			continue
		}
		if errors.Is(err, nats.ErrNoResponders) {
			if time.Now().Before(patience) && b.wait(ctx, pause.pause()) {
				continue
			}
			err = fmt.Errorf("no archive worker answers for shard %s: %w", b.opts.Shard, err)
		}
		if err != nil {
			return nil, Term{}, fmt.Errorf("archive service %s: %w", service, err)
		}
		switch reply.Header.Get(micro.ErrorCodeHeader) {
		case "":
			term, err := b.heard(reply.Header, floor)
			if err != nil {
				return nil, Term{}, fmt.Errorf("archive service %s: %w", service, err)
			}
			return reply.Data, term, nil
		case codeSplit:
			return nil, Term{}, errSplit
		default:
			return nil, Term{}, fmt.Errorf("archive service %s: %s", service, reply.Header.Get(micro.ErrorHeader))
		}
	}
}

// maxLostRequests is how often a request is repeated because the connection was
// lost under it. The services give the same answer again.
const maxLostRequests = 5

var errLostRequest = errors.New("the connection to NATS was lost before the answer came")

// requestOnce waits for the answer for at most timing.service, and no longer
// than the connection lives: after it there is none.
func (b *Bus) requestOnce(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	again := b.state.nextReconnection()
	limit, cancel := context.WithTimeoutCause(ctx, b.timing.service, fmt.Errorf("no answer within %s", b.timing.service))
	defer cancel()
	limit, lost := context.WithCancelCause(limit)
	defer lost(nil)
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-again:
			lost(errLostRequest)
		case <-ended:
		}
	})
	reply, err := b.nc.RequestWithContext(limit, subject, data)
	close(ended)
	wg.Wait()
	if err != nil && ctx.Err() == nil && limit.Err() != nil {
		err = context.Cause(limit)
	}
	return reply, err
}
