package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

// fill puts messages until there are so many sealed volumes, and returns the bodies.
func fill(t *testing.T, s *Store, volumes int) map[string]string {
	t.Helper()
	bodies := map[string]string{}
	for n := 0; len(s.volumes.Volumes()) <= volumes; n++ {
		body := fmt.Sprintf("Subject: %d\r\n\r\n%s%x", n, strings.Repeat("what compresses well ", 50), noise(uint64(n), 300))
		d := delivery("a", fmt.Sprint(n), body)
		mustPut(t, s, d)
		bodies[d.ID] = body
	}
	return bodies
}

// maintained runs Maintain until all sealed volumes are packed.
func maintained(t *testing.T, s *Store) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Maintain(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		left := 0
		for _, v := range s.volumes.Volumes() {
			f, err := s.catalog.File(t.Context(), v.Number)
			if err != nil {
				t.Fatal(err)
			}
			if v.Sealed && (!f.Packed || f.Bytes != v.Bytes) {
				left++
			}
		}
		if left == 0 {
			break
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func sound(t *testing.T, s *Store) {
	t.Helper()
	report, err := s.Verify(t.Context(), VerifyOptions{Deep: true})
	if err != nil || report.Damages != 0 {
		t.Errorf("verification: %+v, %v", report.Damage, err)
	}
}

func TestSealedVolumesAreCompressedAgainAndTheLedgerKnowsTheirFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, dir, Options{VolumeBytes: 8 << 10})
	bodies := fill(t, s, 3)
	before := s.volumes.Volumes()
	sound(t, s)
	maintained(t, s)
	sound(t, s)
	after := s.volumes.Volumes()
	for i, v := range after {
		if !v.Sealed {
			continue
		}
		if v.Bytes >= before[i].Bytes {
			t.Errorf("volume %d has %d bytes, before %d", v.Number, v.Bytes, before[i].Bytes)
		}
		info, err := os.Stat(filepath.Join(dir, volumesName, fmt.Sprintf("%08d.tar.zst", v.Number)))
		if err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("volume %d: %v, %v; want it read-only", v.Number, info.Mode(), err)
		}
	}
	for id, body := range bodies {
		if content(t, s, id) != body {
			t.Errorf("message %s has other bytes", id)
		}
	}
	seals, packs := map[uint32]string{}, map[uint32]fileDetails{}
	err := s.ledger.Read(t.Context(), 0, func(e ledger.Entry) error {
		var d fileDetails
		switch e.Type {
		case ledger.TypeSeal:
			err := json.Unmarshal(e.Details, &d)
			seals[e.Volume] = d.SHA256
			return err
		case ledger.TypeRepack:
			err := json.Unmarshal(e.Details, &d)
			packs[e.Volume] = d
			return err
		}
		return nil
	})
	if err != nil || len(seals) != 3 || len(packs) != 3 {
		t.Fatalf("ledger has seals %v and repacks %v, %v", seals, packs, err)
	}
	for n, d := range packs {
		if sum, _, err := s.volumes.HashFile(t.Context(), n); err != nil || sum != d.SHA256 || d.Was != seals[n] {
			t.Errorf("volume %d has SHA-256 %s, the ledger says %+v and was sealed with %s", n, sum, d, seals[n])
		}
	}
	size := s.ledger.Size()
	s = sameAfterRebuild(t, s, dir)
	maintained(t, s)
	if s.ledger.Size() != size {
		t.Errorf("%d more events: what is done is done again", s.ledger.Size()-size)
	}
}

func TestVolumeThatTheLedgerDoesNotKnowIsNotCompressedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, dir, Options{VolumeBytes: 4 << 10})
	fill(t, s, 1)
	if err := s.recordFile(t.Context(), ledger.TypeSeal, 1, systemActor, fileDetails{SHA256: strings.Repeat("0", 64), Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	before := s.volumes.Volumes()[0]
	if err := s.maintain(t.Context(), before); err == nil || !strings.Contains(err.Error(), "postkeep verify") {
		t.Errorf("maintain gives %v", err)
	}
	if now := s.volumes.Volumes()[0]; now != before {
		t.Errorf("volume is %+v, was %+v", now, before)
	}
}

func TestReadersAndWritersGoOnWhileVolumesAreCompressedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, dir, Options{VolumeBytes: 4 << 10})
	bodies := fill(t, s, 4)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			for id, body := range bodies {
				if content(t, s, id) != body {
					t.Errorf("message %s has other bytes", id)
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	readers.Go(func() {
		for n := range 10 {
			if _, err := s.Put(t.Context(), []Delivery{delivery("b", fmt.Sprint(n), fmt.Sprintf("meanwhile %d", n))}); err != nil {
				t.Error(err)
			}
		}
	})
	maintained(t, s)
	close(stop)
	readers.Wait()
	sound(t, s)
}

func TestMaintainEndsSoon(t *testing.T) {
	s, _ := create(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Maintain(ctx); err != nil {
		t.Error(err)
	}
	mustPut(t, s, delivery("a", "1", "x"))
	if err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.repack(ctx, 1, systemActor, volume.RepackOptions{BytesPerSecond: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("repack gives %v", err)
	}
}
