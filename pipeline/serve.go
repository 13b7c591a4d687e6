package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/sync/singleflight"
)

// maxHoldings bounds the answer for a single entry, which cannot be asked for
// in smaller parts: some 150 KiB.
const maxHoldings = 400

// maxHandlers bounds the requests of a service in hand. Reports of polls that end at the same
// time share one commit of the archive.
const maxHandlers = 64

// services answers what Bus.Known, Damaged, RecordPoll and PollMemory ask.
type services struct {
	*Archiver
	ctx   context.Context
	micro micro.Service
	// The client library does not wait for handlers; the store may be closed
	// only after the last.
	mu      sync.RWMutex // held for reading by handlers
	stopped bool

	reporting singleflight.Group // by session
	recorded  recent             // sessions
}

func (a *Archiver) serve(ctx context.Context) (*services, error) {
	// Requests that are already here are answered after ctx has ended.
	s := &services{Archiver: a, ctx: context.WithoutCancel(ctx)}
	var err error
	s.micro, err = micro.AddService(a.bus.nc, micro.Config{
		Name:        "archive",
		Version:     "1.0.0",
		Description: "what an archive shard holds",
		Metadata:    map[string]string{"shard": a.bus.opts.Shard, "identity": a.bus.opts.Identity},
	})
	if err != nil {
		return nil, err
	}
	for name, answer := range map[string]func(context.Context, []byte) ([]byte, error){
		serviceKnown:   s.known,
		serviceDamaged: s.damaged,
		serviceReport:  s.report,
		serviceMemory:  s.memory,
	} {
		slots := make(chan struct{}, maxHandlers)
		handler := micro.HandlerFunc(func(r micro.Request) {
			slots <- struct{}{}
			s.mu.RLock()
			go func() {
				defer func() {
					s.mu.RUnlock()
					<-slots
				}()
				s.handle(name, r, answer)
			}()
		})
		subject := a.bus.serviceSubject(name, a.bus.opts.Shard)
		if err := s.micro.AddEndpoint(name, handler, micro.WithEndpointSubject(subject)); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	}
	return s, nil
}

// stop returns after the last handler.
func (s *services) stop() error {
	err := s.micro.Stop()
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	return err
}

// handle is called with mu held for reading.
func (s *services) handle(name string, r micro.Request, answer func(context.Context, []byte) ([]byte, error)) {
	ctx, cancel := context.WithTimeout(s.ctx, s.bus.timing.service)
	defer cancel()
	err := errors.New("the archive worker is stopping")
	var data []byte
	if !s.stopped {
		data, err = answer(ctx, r.Data())
	}
	switch {
	case err != nil:
		s.log.Error("request not answered", "service", name, "error", err)
		err = r.Error(codeFailed, err.Error(), nil)
	case int64(len(data)) > s.bus.nc.MaxPayload()-envelopeRoom:
		err = r.Error(codeSplit, errSplit.Error(), nil)
	default:
		err = r.Respond(data, micro.WithHeaders(micro.Headers(s.bus.speaks(s.lastTerm()))))
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.log.Warn("answer not sent", "service", name, "error", err)
	}
}

func (s *services) known(ctx context.Context, data []byte) ([]byte, error) {
	var q question
	if err := json.Unmarshal(data, &q); err != nil {
		return nil, fmt.Errorf("question is not readable: %w", err)
	}
	holdings, err := s.store.Known(ctx, q.Mailbox, q.Listed)
	if err != nil {
		return nil, err
	}
	// More than one holding per entry comes from servers that use a UIDL again
	// and again. What is left out here is only fetched once more.
	if len(q.Listed) == 1 {
		holdings = holdings[max(0, len(holdings)-maxHoldings):] // the newest come last
	}
	return json.Marshal(holdings)
}

func (s *services) damaged(ctx context.Context, data []byte) ([]byte, error) {
	var ids []string
	if err := json.Unmarshal(data, &ids); err != nil {
		return nil, fmt.Errorf("question is not readable: %w", err)
	}
	damaged, err := s.store.Damaged(ctx, ids)
	if err != nil {
		return nil, err
	}
	return json.Marshal(damaged)
}

func (s *services) report(ctx context.Context, data []byte) ([]byte, error) {
	var r PollReport
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("report is not readable: %w", err)
	}
	if r.Session == "" {
		return nil, s.store.RecordPoll(ctx, r)
	}
	// A poller whose connection was lost asks again.
	_, err, _ := s.reporting.Do(r.Session, func() (any, error) {
		if s.recorded.has(r.Session) {
			return nil, nil
		}
		err := s.store.RecordPoll(ctx, r)
		if err == nil {
			s.recorded.add(r.Session)
		}
		return nil, err
	})
	return nil, err
}

// maxRecorded is the number of sessions whose reports are recognised: those of
// some seconds at the busiest.
const maxRecorded = 1024

// recent remembers the last maxRecorded names.
type recent struct {
	mu    sync.Mutex
	names map[string]bool // guarded by mu, as order
	order []string
}

func (r *recent) has(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names[name]
}

func (r *recent) add(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names == nil {
		r.names = map[string]bool{}
	}
	if len(r.order) == maxRecorded {
		delete(r.names, r.order[0])
		r.order = r.order[1:]
	}
	r.names[name] = true
	r.order = append(r.order, name)
}

func (s *services) memory(ctx context.Context, data []byte) ([]byte, error) {
	var mailbox string
	if err := json.Unmarshal(data, &mailbox); err != nil {
		return nil, fmt.Errorf("question is not readable: %w", err)
	}
	return s.store.PollMemory(ctx, mailbox)
}
