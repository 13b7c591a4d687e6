package volume

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestLocateNamesTheFrameThatHoldsTheEntry(t *testing.T) {
	o := testOptions(t.TempDir())
	s := mustOpen(t, o, nil)
	var at []Place
	var ids []string
	for seed := range uint64(6) {
		m := message(mail(seed, 700_000)) // some begin in one frame and end in the next
		p, _, err := s.Append(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if at, ids = append(at, p), append(ids, m.ID); seed%2 == 1 {
			if _, err := s.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	frames := map[int]bool{}
	for i, p := range at {
		l, err := s.Locate(p)
		if err != nil {
			t.Fatal(err)
		}
		frames[l.Frame] = true
		packed := readFile(t, filepath.Join(o.Dir, l.Name))[l.Offset:]
		var head zstd.Header
		if err := head.Decode(packed); err != nil {
			t.Fatalf("no frame begins at byte %d: %v", l.Offset, err)
		}
		tar, err := decoder.DecodeAll(packed, nil) // this frame, and what follows
		if err != nil {
			t.Fatal(err)
		}
		// The message's own header may come after one with its metadata (PAX).
		if l.Within < 0 || l.Within >= FrameBytes || !strings.Contains(string(tar[l.Within:l.Within+2048]), ids[i]+".eml") || l.Sealed {
			t.Errorf("message %d: %+v", i, l)
		}
	}
	if len(frames) < 3 {
		t.Errorf("only %d frames: the test shows nothing", len(frames))
	}
	for _, p := range []Place{{Volume: 9}, {Volume: 1, Offset: -1}, {Volume: 1, Offset: 1 << 40}} {
		if l, err := s.Locate(p); !errors.Is(err, ErrNoEntry) {
			t.Errorf("%v is at %+v, %v", p, l, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
