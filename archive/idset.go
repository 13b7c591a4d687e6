package archive

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
)

// An idSet is a set of messages by the first 8 octets of their ids, ascending: 8 MB for a million. That
// two messages share them takes 2^32 messages, or somebody who tries 2^64; then one is covered with the other, which harms nothing.
type idSet []uint64

// setChunk is how many ids an event names at most: 8 octets each at worst, in base64, stay below ledger.MaxDetails.
const setChunk = 50_000

// prefixOf is what an idSet has of an id.
func prefixOf(id string) uint64 {
	var b [8]byte
	if len(id) < 2*len(b) {
		return 0
	}
	if _, err := hex.Decode(b[:], []byte(id[:2*len(b)])); err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(b[:])
}

func prefixHex(p uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], p)
	return hex.EncodeToString(b[:])
}

// newIDSet sorts prefixes, which it takes over.
func newIDSet(prefixes []uint64) idSet {
	slices.Sort(prefixes)
	return slices.Compact(prefixes)
}

func (s idSet) has(id string) bool {
	_, found := slices.BinarySearch(s, prefixOf(id))
	return found
}

// without returns what is in s and not in other.
func (s idSet) without(other idSet) idSet {
	var out idSet
	for _, p := range s {
		for len(other) > 0 && other[0] < p {
			other = other[1:]
		}
		if len(other) == 0 || other[0] != p {
			out = append(out, p)
		}
	}
	return out
}

func (s idSet) with(other idSet) idSet {
	if len(other) == 0 {
		return s
	}
	return newIDSet(append(slices.Clone(s), other...))
}

// encode writes the set as the differences between its members, as varints.
func (s idSet) encode() []byte {
	var out []byte
	last := uint64(0)
	for _, p := range s {
		out = binary.AppendUvarint(out, p-last)
		last = p
	}
	return out
}

func decodeIDSet(data []byte) (idSet, error) {
	var out idSet
	last := uint64(0)
	for len(data) > 0 {
		d, n := binary.Uvarint(data)
		if n <= 0 {
			return nil, errors.New("a set of messages is damaged")
		}
		last += d
		out = append(out, last)
		data = data[n:]
	}
	return out, nil
}
