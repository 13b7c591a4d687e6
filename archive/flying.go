package archive

import "sync"

// flying are the pieces of the batches that are being put, with the id of the first message that has one. The catalog knows them
// when they are written.
type flying struct {
	mu     sync.Mutex
	pieces map[uint64]string
}

// takeOff notes which pieces of the items fly already, of other messages, and has the others fly. It returns those, to be landed. Whoever
// asks the catalog after it misses none: what does not fly any more has been written.
func (f *flying) takeOff(items []*item) (flown []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range items {
		it.shared = map[uint64]bool{}
		for _, piece := range it.pieces {
			first, ok := f.pieces[piece]
			if !ok {
				f.pieces[piece], first = it.id, it.id
				flown = append(flown, piece)
			}
			if first != it.id {
				it.shared[piece] = true
			}
		}
	}
	return flown
}

func (f *flying) land(pieces []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, piece := range pieces {
		delete(f.pieces, piece)
	}
}
