package archive

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/ledger"
)

// TestInterruptedVerificationCountsEverythingOnce stops at every place where it tells how far it is.
func TestInterruptedVerificationCountsEverythingOnce(t *testing.T) {
	dir := verifiableOf(t, 7, 7000)
	want := verifyDir(t, dir, VerifyOptions{Deep: true})
	var got VerifyReport
	for stopped := true; stopped; {
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		var err error
		got, err = VerifyDir(ctx, dir, Options{}, VerifyOptions{Deep: true, Progress: func(VerifyProgress) {
			if steps++; steps == 9 {
				cancel()
			}
		}})
		cancel()
		if stopped = errors.Is(err, context.Canceled); err != nil && !stopped {
			t.Fatal(err)
		}
	}
	if !got.Resumed || got.Messages != want.Messages || got.Entries != want.Entries || got.Volumes != want.Volumes || got.Damages != 0 {
		t.Errorf("%+v, want as %+v", got, want)
	}
}

// TestVerificationGivesWayAndGoesOn is asked for every file again and again.
func TestVerificationGivesWayAndGoesOn(t *testing.T) {
	for _, spoiled := range []bool{false, true} {
		dir := verifiableOf(t, 7, 7000)
		if spoiled {
			for name, data := range precious(t, dir) {
				if strings.HasSuffix(name, ".tar.zst") {
					data[len(data)/3] ^= 4
					replace(t, filepath.Join(dir, name), data)
				}
			}
		}
		s := reopen(t, dir, Options{VolumeBytes: 7000})
		want, err := s.Verify(t.Context(), VerifyOptions{Deep: true})
		if err != nil || (want.Damages > 0) != spoiled {
			t.Fatalf("%+v, %v", want, err)
		}
		steps := 0
		got, err := s.Verify(t.Context(), VerifyOptions{Deep: true, Progress: func(p VerifyProgress) {
			if steps++; p.Part == "volume" && steps%3 == 0 {
				s.rewrites.wait(1)
				s.rewrites.wait(-1)
			}
		}})
		if err != nil || got.Messages != want.Messages || got.Entries != want.Entries || got.Damages != want.Damages || got.Bytes <= want.Bytes {
			t.Errorf("%+v, %v, want as %+v", got, err, want)
		}
	}
}

// TestADisposalDoesNotWaitForAVerification: that is slow, and in the volume that is to be written anew.
func TestADisposalDoesNotWaitForAVerification(t *testing.T) {
	d := deskFor(t)
	d.put(delivery("sales", "1", "to be erased"), delivery("sales", "2", "to be kept"))
	if err := d.s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reading, done := make(chan struct{}), make(chan error, 1)
	go func() {
		first := true
		_, err := d.s.Verify(ctx, VerifyOptions{Deep: true, Volume: 1, BytesPerSecond: 1, Progress: func(p VerifyProgress) {
			if p.Part == "volume" && first {
				first = false
				close(reading)
			}
		}})
		done <- err
	}()
	<-reading
	if _, out, err := d.c.Erase(t.Context(), delivery("", "", "to be erased").ID, "a request", "olga", true); err != nil || out.Messages != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	select {
	case err := <-done:
		t.Fatalf("the verification was to be slow: %v", err)
	default:
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r, err := d.s.Verify(t.Context(), VerifyOptions{Deep: true, Volume: 1})
	if err != nil || r.Damages != 0 || r.Messages != 1 || !r.Resumed {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestARedactionNotesTheFileThatItReplaces: after a crash between event and rename that is not the one of the last event.
func TestARedactionNotesTheFileThatItReplaces(t *testing.T) {
	d := deskFor(t)
	d.put(delivery("sales", "1", "to be erased"), delivery("sales", "2", "to be kept"))
	if err := d.s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	sum, size, err := d.s.volumes.HashFile(t.Context(), 1)
	if err == nil {
		err = d.s.recordFile(t.Context(), ledger.TypeRepack, 1, systemActor, fileDetails{SHA256: strings.Repeat("a", 64), Bytes: size, Was: sum})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.c.Erase(t.Context(), delivery("", "", "to be erased").ID, "a request", "olga", true); err != nil {
		t.Fatal(err)
	}
	if file, err := d.s.catalog.File(t.Context(), 1); err != nil || file.Was != sum {
		t.Errorf("%+v, %v; the file had %s", file, err, sum)
	}
}
