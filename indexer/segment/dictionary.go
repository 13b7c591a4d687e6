package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// dictionary numbers the terms of a field of all documents.
type dictionary struct {
	seed    maphash.Seed
	table   []uint32 // number of the term + 1
	entries []entry
	text    []byte // of all terms
	sorted  []sortable
}

type entry struct {
	hash uint32
	end  uint32 // in text
	// next counts the documents of the term; after sort it is where the next posting goes, and in the end behind the last.
	next uint32
}

// sortable is a term by its first bytes, which tell most terms apart.
type sortable struct {
	first uint64
	pid   uint32
}

func (d *dictionary) reset() {
	if d.table == nil {
		d.seed, d.table = maphash.MakeSeed(), make([]uint32, 1<<10)
	}
	clear(d.table)
	d.entries, d.text = d.entries[:0], d.text[:0]
}

func (d *dictionary) key(pid uint32) []byte {
	from := uint32(0)
	if pid > 0 {
		from = d.entries[pid-1].end
	}
	return d.text[from:d.entries[pid].end]
}

// pid returns the number of a term, and counts it.
func (d *dictionary) pid(term []byte) uint32 {
	hash := uint32(maphash.Bytes(d.seed, term))
	mask := uint32(len(d.table) - 1)
	at := hash & mask
	for ; d.table[at] != 0; at = (at + 1) & mask {
		pid := d.table[at] - 1
		if e := &d.entries[pid]; e.hash == hash && bytes.Equal(d.key(pid), term) {
			e.next++
			return pid
		}
	}
	d.text = append(d.text, term...)
	d.entries = append(d.entries, entry{hash: hash, end: uint32(len(d.text)), next: 1})
	d.table[at] = uint32(len(d.entries))
	if 2*len(d.entries) > len(d.table) {
		d.grow()
	}
	return uint32(len(d.entries) - 1)
}

func (d *dictionary) grow() {
	d.table = make([]uint32, 2*len(d.table))
	mask := uint32(len(d.table) - 1)
	for i, e := range d.entries {
		at := e.hash & mask
		for d.table[at] != 0 {
			at = (at + 1) & mask
		}
		d.table[at] = uint32(i + 1)
	}
}

// sort puts the terms in order, and gives each the room for its postings.
func (d *dictionary) sort() {
	d.sorted = slices.Grow(d.sorted[:0], len(d.entries))[:len(d.entries)]
	for i := range d.sorted {
		var first [8]byte
		copy(first[:], d.key(uint32(i)))
		d.sorted[i] = sortable{binary.BigEndian.Uint64(first[:]), uint32(i)}
	}
	slices.SortFunc(d.sorted, func(a, b sortable) int {
		if a.first != b.first {
			return cmp.Compare(a.first, b.first)
		}
		return bytes.Compare(d.key(a.pid), d.key(b.pid))
	})
	from := uint32(0)
	for _, s := range d.sorted {
		e := &d.entries[s.pid]
		e.next, from = from, from+e.next
	}
}
