package archive

import "sync"

// flying are the pieces of the batches that are being put, with the id of the first message that has one. The catalog knows them
// when they are written.
type flying struct {
	mu     sync.Mutex
	pieces map[uint64]string
}

// share decides which pieces of the items others have too: those that were seen before, and those that are flying. It leaves the
// items with the pieces that nobody else has, and returns what is flying now, to be landed.
func (f *flying) share(items []*item, seen map[uint64]bool) (flown []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range items {
		it.shared = map[uint64]bool{}
		var alone []uint64
		for _, piece := range it.pieces {
			first, ok := f.pieces[piece]
			if !ok {
				f.pieces[piece], first = it.id, it.id
				flown = append(flown, piece)
			}
			if first != it.id || seen[piece] {
				it.shared[piece] = true
			} else {
				alone = append(alone, piece)
			}
		}
		it.pieces = alone
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
