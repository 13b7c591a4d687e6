package session

import (
	"errors"
	"sync"
	"time"
)

const (
	// sweep is how often ended sessions are thrown away, at the earliest.
	sweep = time.Minute
	// maxSessions bounds the memory that strangers can take, some hundred bytes
	// for each log-in that they begin.
	maxSessions = 100_000
)

var errFull = errors.New("too many sessions at once, try again in some minutes")

// store keeps sessions in memory. Unlike the one of package scs it has no
// goroutine: what has ended is swept by those who write.
type store struct {
	mu    sync.Mutex
	kept  map[string]kept
	swept time.Time
}

type kept struct {
	data []byte
	ends time.Time
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
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) >= sweep {
		s.swept = now
		for t, k := range s.kept {
			if !now.Before(k.ends) {
				delete(s.kept, t)
			}
		}
	}
	if _, known := s.kept[token]; !known && len(s.kept) >= maxSessions {
		return errFull
	}
	s.kept[token] = kept{data, ends}
	return nil
}

func (s *store) Delete(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, token)
	return nil
}
