package bounds

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// rows and columns are the size of the counters, 512 KiB whatever the keys are. A key is counted in each row, and the least of
	// them counts: 16,384 keys at the same time would have to meet one key in all four rows before it has to wait for them.
	rows    = 4
	columns = 16 << 10
)

// Attempts counts attempts by keys such as addresses and names. Some are free, then one is allowed in every period. It has a fixed
// size: keys are not kept, and none is forgotten because others come. It is safe for concurrent use.
type Attempts struct {
	every, most int64 // nanoseconds
	seeds       [rows]maphash.Seed

	mu sync.Mutex
	// used is when all attempts of a key are free again (the generic cell rate algorithm), in nanoseconds since 1970.
	used [rows][columns]int64
}

// NewAttempts makes counters.
func NewAttempts(free int, every time.Duration) *Attempts {
	a := &Attempts{every: int64(every), most: int64(free) * int64(every)}
	for i := range a.seeds {
		a.seeds[i] = maphash.MakeSeed()
	}
	return a
}

// cells are those of a key, and used is what counts for it, now at least. Where the clock was set back, nobody is kept out for
// longer than where it was not.
func (a *Attempts) cells(key string, now int64) (at [rows]*int64, used int64) {
	used = now + a.most
	for i := range at {
		at[i] = &a.used[i][maphash.String(a.seeds[i], key)%columns]
		*at[i] = min(*at[i], now+a.most)
		used = min(used, *at[i])
	}
	return at, max(used, now)
}

// Take counts an attempt, unless there is none left.
func (a *Attempts) Take(now time.Time, key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, used := a.cells(key, now.UnixNano())
	if used += a.every; used > now.UnixNano()+a.most {
		return false
	}
	for _, c := range at {
		*c = max(*c, used)
	}
	return true
}

// Return gives an attempt back that turned out to be none.
func (a *Attempts) Return(now time.Time, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, used := a.cells(key, now.UnixNano())
	for _, c := range at {
		if *c == used {
			*c = used - a.every
		}
	}
}
