package session

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
)

const (
	// sweep is how often ended sessions are thrown away, at the earliest.
	sweep = time.Minute
	// maxSessions bounds the sessions of people who are logged in, some hundred bytes each.
	maxSessions = 100_000
	// maxStrangers bounds those of people who have only begun to log in. The oldest makes room for the next one, so that strangers
	// keep nobody out: whoever begins has the time that as many others need.
	maxStrangers = 10_000
)

var (
	errFull  = errors.New("too many sessions at once, try again in some minutes")
	errEmpty = errors.New("a session without data")
)

// store keeps sessions in memory. Unlike the one of package scs it has no
// goroutine: what has ended is swept by those who write.
type store struct {
	ended func(id string) // called after a session was ended; nil before anybody wants to know

	mu    sync.Mutex
	kept  map[string]kept
	known int // of kept, those of people who are logged in
	swept time.Time
	// strangers are the tokens of the other ones, oldest first; some may have ended.
	strangers []string
}

type kept struct {
	data []byte
	ends time.Time
}

// The first byte of what is kept says whether somebody is logged in.
const (
	stranger byte = iota
	known
)

// of reports whether a session is of somebody who is logged in.
func (k *kept) of() bool { return len(k.data) > 0 && k.data[0] == known }

// codec has the store see who is logged in.
type codec struct{ scs.GobCodec }

func (c codec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	data, err := c.GobCodec.Encode(deadline, values)
	mark := stranger
	if name, _ := values[nameKey].(string); name != "" {
		mark = known
	}
	return append([]byte{mark}, data...), err
}

func (c codec) Decode(data []byte) (time.Time, map[string]any, error) {
	if len(data) == 0 {
		return time.Time{}, nil, errEmpty
	}
	return c.GobCodec.Decode(data[1:])
}

func (s *store) Find(token string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.kept[token]
	if !ok || !time.Now().Before(k.ends) {
		return nil, false, nil
	}
	return k.data, true, nil
}

func (s *store) Commit(token string, data []byte, ends time.Time) error {
	return s.commit(token, data, ends, false)
}

// commit keeps a session; one that was there before has to be there still, or nothing is done.
func (s *store) commit(token string, data []byte, ends time.Time, before bool) error {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, there := s.kept[token]; before && (!there || !now.Before(k.ends)) {
		return nil
	}
	if now.Sub(s.swept) >= sweep {
		s.swept = now
		for t, k := range s.kept {
			if !now.Before(k.ends) {
				s.drop(t)
			}
		}
		s.strangers = slices.DeleteFunc(s.strangers, func(t string) bool { k, ok := s.kept[t]; return !ok || k.of() })
	}
	was, there := s.kept[token]
	wasKnown, wasStranger := there && was.of(), there && !was.of()
	k := kept{data, ends}
	switch {
	case k.of() && !wasKnown:
		if s.known >= maxSessions {
			return errFull
		}
		s.drop(token)
		s.known++
	case !k.of() && !wasStranger:
		s.drop(token)
		for len(s.strangers) >= maxStrangers {
			if oldest, ok := s.kept[s.strangers[0]]; ok && !oldest.of() {
				s.drop(s.strangers[0])
			}
			s.strangers = s.strangers[1:]
		}
		s.strangers = append(s.strangers, token)
	}
	s.kept[token] = k
	return nil
}

// drop forgets a session, if it is there; mu is held.
func (s *store) drop(token string) {
	if k, ok := s.kept[token]; ok && k.of() {
		s.known--
	}
	delete(s.kept, token)
}

func (s *store) Delete(token string) error {
	s.mu.Lock()
	s.drop(token)
	ended := s.ended
	s.mu.Unlock()
	if ended != nil {
		ended(token)
	}
	return nil
}

// found is the session that a request came with, "" if with none.
type found struct{ token string }

type foundKey struct{}

func foundIn(ctx context.Context) *found {
	f, ok := ctx.Value(foundKey{}).(*found)
	if !ok {
		return &found{}
	}
	return f
}

// FindCtx is Find for a request, which keeps in mind what was found.
func (s *store) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	data, ok, err := s.Find(token)
	if ok {
		foundIn(ctx).token = token
	}
	return data, ok, err
}

// CommitCtx is Commit for a request. A session that has ended since the request came is not made again.
func (s *store) CommitCtx(ctx context.Context, token string, data []byte, ends time.Time) error {
	return s.commit(token, data, ends, token == foundIn(ctx).token)
}

// DeleteCtx is Delete.
func (s *store) DeleteCtx(_ context.Context, token string) error { return s.Delete(token) }

func (s *store) has(token string) bool {
	_, ok, _ := s.Find(token) // never fails
	return ok
}
