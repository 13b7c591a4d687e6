package volume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
)

func TestEntryOfLaterVersionIsUnknown(t *testing.T) {
	id := idOf(nil)
	head, err := headerBytes(messageName(id), 0, id, testTime)
	if err != nil {
		t.Fatal(err)
	}
	e, err := readHeader(bytes.NewReader(bytes.Replace(head, []byte(`"v":1`), []byte(`"v":2`), 1)), Place{Volume: 1})
	if err != nil || e.Kind != KindUnknown || e.ID != "" || e.End != int64(len(head)) {
		t.Errorf("entry is %+v, %v", e, err)
	}
}

func TestEntryNames(t *testing.T) {
	id := idOf(nil)
	tests := map[string]Kind{
		id + ".eml":                      KindMessage,
		"deposits/" + id + ".0.json":     KindDeposit,
		"deposits/" + id + ".17.json":    KindDeposit,
		"deposits/" + id + ".017.json":   KindUnknown,
		"deposits/" + id + ".-1.json":    KindUnknown,
		"deposits/" + id + ".+1.json":    KindUnknown,
		"deposits/" + id + ".json":       KindUnknown,
		id + ".1.json":                   KindUnknown,
		id[1:] + ".eml":                  KindUnknown,
		"../" + id + ".eml":              KindUnknown,
		"parts/" + id:                    KindPart,
		id + ".recipe":                   KindRecipe,
		"parts/" + id + ".redacted":      KindUnknown, // parseRedactedName knows it
		"parts/x" + id[1:]:               KindUnknown,
		"":                               KindUnknown,
		"deposits/" + id + ".1e3.json":   KindUnknown,
		"deposits/" + id[1:] + ".1.json": KindUnknown,
	}
	for name, want := range tests {
		if kind, _, _ := parseName(name); kind != want {
			t.Errorf("%q is of kind %d, want %d", name, kind, want)
		}
	}
}

func TestHeadersThatAreNotOurs(t *testing.T) {
	id, other := idOf(nil), idOf([]byte("x"))
	head, err := headerBytes(messageName(id), 0, id, testTime)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]byte{
		"other hash":   bytes.Replace(head, []byte(`256":"`+id), []byte(`256":"`+other), 1),
		"bad hash":     bytes.Replace(head, []byte(`256":"`+id), []byte(`256":"`+id[1:]+"G"), 1),
		"no JSON":      bytes.Replace(head, []byte(`{"sha`), []byte(`["sha`), 1),
		"version 0":    bytes.Replace(head, []byte(`"v":1`), []byte(`"v":0`), 1),
		"vendor key":   bytes.Replace(head, []byte("comment="), []byte("VENDOR.="), 1),
		"bad checksum": bytes.Replace(head, []byte(".eml"), []byte(".EML"), 2),
		"cut":          head[:len(head)-1],
		"zeros":        make([]byte, trailerBytes),
		"empty":        nil,
	}
	for name, data := range tests {
		if e, err := readHeader(bytes.NewReader(data), Place{}); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
}

func TestSealOfLaterVersionIsNotRead(t *testing.T) {
	frames := []frame{{packed: 100, bytes: 1536}, {off: 100, tar: 1536, packed: 30, bytes: trailerBytes}}
	file := appendTable(make([]byte, 130), frames)
	if got, err := readTable(bytesAt(file), int64(len(file))); err != nil || len(got) != 2 || got[1] != frames[1] {
		t.Fatalf("table is %v, %v", got, err)
	}
	seal := file[130:]
	binary.LittleEndian.PutUint32(seal[sealHead-8:], sealVersion+1)
	binary.LittleEndian.PutUint32(seal[sealHead-4:], checksum(append(bytes.Clone(seal[:sealHead-4]), seal[sealHead:]...)))
	if _, err := readTable(bytesAt(file), int64(len(file))); err == nil || errors.Is(err, errTable) {
		t.Errorf("a volume of a later version gives %v: it must not be taken for a damaged one", err)
	}
}

// The numbers that another reader needs, so that no change of a constant goes unseen.
func TestSideRecordIsAsDocumented(t *testing.T) {
	data, crc := appendSideHead(nil, 7)
	if string(data) != "PKSEEK1\n\x07\x00\x00\x00" || crc != crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) {
		t.Errorf("head is %q", data)
	}
	record, crc := appendSide(nil, crc, []frame{{packed: 1, bytes: 2, sum: 3, crc: 4}})
	want := "\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00"
	if string(record[:20]) != want || binary.LittleEndian.Uint32(record[20:]) != crc {
		t.Errorf("record is %q", record)
	}
	if all := crc32.Checksum(append(data, record[:20]...), crc32.MakeTable(crc32.Castagnoli)); all != crc {
		t.Errorf("checksum is %x, want %x over everything before it", crc, all)
	}
}

func TestFrameCacheKeepsWhatWasReadLast(t *testing.T) {
	c := newFrameCache(30)
	key := func(i int64) frameKey { return frameKey{volume: 1, off: i} }
	for i := range int64(3) {
		c.put(key(i), make([]byte, 10))
	}
	c.get(key(0))
	c.put(key(3), make([]byte, 10))
	c.put(key(4), make([]byte, 31))
	for i, want := range []bool{true, false, true, true, false} {
		if got := c.get(key(int64(i))) != nil; got != want {
			t.Errorf("frame %d is kept: %t", i, got)
		}
	}
	if c.size != 30 || len(c.byKey) != 3 {
		t.Errorf("cache has %d bytes in %d frames", c.size, len(c.byKey))
	}
}
