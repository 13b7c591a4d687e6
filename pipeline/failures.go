package pipeline

import "sync"

const (
	// maxFailures is how often a message may fail while others pass, before it
	// becomes a dead letter.
	maxFailures = 5
	// maxFailing bounds what is remembered: beyond it somebody else is to blame.
	maxFailing = 4 * batchMessages
)

// failures tells a message that cannot be archived from an archive that does
// not work, and from a NATS server that delivers again and again: a failure
// counts against a message only when the archive took another one since its last.
// A restart begins at zero.
type failures struct {
	mu     sync.Mutex
	passed uint64                  // commits that succeeded
	of     map[uint64]failureCount // by sequence in the stream
}

type failureCount struct {
	n      int
	passed uint64 // when it failed last
}

func sequence(it item) uint64 {
	meta, err := it.msg.Metadata()
	if err != nil {
		return 0
	}
	return meta.Sequence.Stream
}

// failed counts a failure and returns how many counted so far.
func (f *failures) failed(it item) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	seq := sequence(it)
	c, again := f.of[seq]
	if again && c.passed != f.passed {
		c.n++
	}
	c.passed = f.passed
	if !again && len(f.of) >= maxFailing {
		return 0
	}
	if f.of == nil {
		f.of = map[uint64]failureCount{}
	}
	f.of[seq] = c
	return c.n
}

// suspected reports whether a message failed while others passed.
func (f *failures) suspected(it item) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[sequence(it)].n > 0
}

func (f *failures) succeeded(items []item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passed++
	for _, it := range items {
		delete(f.of, sequence(it))
	}
}

func (f *failures) forget(it item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.of, sequence(it))
}
