package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// secret returns a message that zstd cannot compress, so that its bytes would be seen in a volume file.
func secret(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

// redactable adds secrets to a sealed set: small messages, one with frames of its own, a part, a recipe and deposits.
// It returns what is to be redacted, and every byte of it.
func redactable(t testing.TB, o Options) (s *Set, b *book, targets []Target, secrets [][]byte) {
	t.Helper()
	s, b = mustOpen(t, o, nil), newBook()
	add := func(m Message, data []byte) {
		at, _, err := s.Append(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		targets, secrets = append(targets, Target{at.Offset, m.ID}), append(secrets, data)
	}
	for i, size := range []int{300, 5*testFrame + 17, 0, 40, testFrame} {
		data := secret(uint64(i), size)
		if err := errors.Join(b.append(t, s, mail(uint64(i), 400)), b.deposit(t, s, idOf(nil), i)); err != nil {
			t.Fatal(err)
		}
		m := message(data)
		switch i {
		case 3:
			m.Kind, m.ID, m.SHA256 = KindRecipe, idOf([]byte("the whole")), m.ID
		case 4:
			m.Kind = KindPart
		}
		add(m, data)
		record := fmt.Appendf(nil, `{"mailbox":"%x"}`, secret(uint64(50+i), 20))
		at, _, err := s.AppendDeposit(t.Context(), idOf(data), i, testTime, record)
		if err := errors.Join(err, b.commit(t, s)); err != nil {
			t.Fatal(err)
		}
		targets, secrets = append(targets, Target{at.Offset, idOf(data)}), append(secrets, record[len(`{"mailbox":"`):], []byte(idOf(record)))
	}
	if err := errors.Join(b.append(t, s, mail(90, 3*testFrame)), b.commit(t, s)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, b, targets, secrets
}

// checkErased looks for any 12 bytes in a row of the secrets, in the file and in the tar stream.
func checkErased(t testing.TB, o Options, secrets [][]byte) {
	t.Helper()
	file := readFile(t, volumePath(o, 1))
	frames, err := readTable(bytesAt(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	codec, err := newCodec(zstd.SpeedFastest, 1)
	if err != nil {
		t.Fatal(err)
	}
	var tar []byte
	for _, f := range frames {
		data, err := codec.unpack(nil, file[f.off:f.end()], f)
		if err != nil {
			t.Fatal(err)
		}
		tar = append(tar, data...)
	}
	for i, s := range secrets {
		for j := 0; j+12 <= len(s); j += 3 {
			if bytes.Contains(file, s[j:j+12]) || bytes.Contains(tar, s[j:j+12]) {
				t.Fatalf("bytes %d to %d of secret %d are still there", j, j+12, i)
			}
		}
	}
}

func TestRedactedBytesAreGone(t *testing.T) {
	o := testOptions(t.TempDir())
	s, b, targets, secrets := redactable(t, o)
	file, frames := readFile(t, volumePath(o, 1)), s.vols[0].frames
	if !bytes.Contains(file, secrets[0][:12]) {
		t.Fatal("the secrets are not to be seen before either")
	}
	var before []Entry
	for _, target := range targets {
		e, _ := read(t, s, Place{1, target.Offset}) // into the cache, too
		before = append(before, e)
	}
	r, err := s.Redact(t.Context(), 1, targets, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := readFile(t, volumePath(o, 1))
	if want := (Rewritten{Volume: 1, SHA256: idOf(now), Bytes: int64(len(now)), Was: int64(len(file)), Entries: len(targets)}); r != want {
		t.Errorf("redacting gives %+v, want %+v", r, want)
	}
	checkErased(t, o, secrets)
	noLeftover(t, o)
	b.check(t, s)
	for i, e := range before {
		was := e.Kind
		if was == KindRecipe {
			was = KindMessage
		}
		got, _, err := s.Open(t.Context(), e.Place)
		if !errors.Is(err, ErrRedacted) || got.Kind != KindRedacted || got.Size != e.Size || got.End != e.End || got.ID != e.ID || got.N != e.N ||
			got.Was != was || !strings.HasSuffix(got.Name, ".redacted") {
			t.Errorf("%s (%d) is opened as %+v, %v", e.Name, i, got, err)
		}
	}
	for _, f := range frames { // that hold nothing to be redacted
		touched := slices.ContainsFunc(before, func(e Entry) bool { return e.Offset < f.tarEnd() && f.tar < e.End })
		if !touched && !bytes.Contains(now, file[f.off:f.end()]) {
			t.Errorf("frame at %d is not copied as it was", f.off)
		}
	}
	_ = s.Close()
	s = mustOpen(t, o, b.known)
	b.check(t, s)
	if _, err := s.Repack(t.Context(), 1, RepackOptions{}); err != nil {
		t.Error(err)
	}
	checkErased(t, o, secrets)
	b.check(t, s)
}

func TestStockToolsUnpackRedactedVolumes(t *testing.T) {
	o := testOptions(t.TempDir())
	s, b, targets, secrets := redactable(t, o)
	if _, err := s.Redact(t.Context(), 1, targets, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out, err := exec.Command("sh", "-c", `zstd -dcq "$1" | tar -xvf - -C "$2"`, "sh", volumePath(o, 1), dir).CombinedOutput()
	if err != nil {
		t.Fatalf("zstd and tar are needed: %v: %s", err, out)
	}
	if n := strings.Count(string(out), ".redacted\n"); n != len(targets) || strings.Count(string(out), "\n") != len(targets)+len(b.kept) {
		t.Errorf("%d of %d entries are redacted, all are %s", n, len(targets), out)
	}
	name := dir + "/" + idOf(secrets[3]) + ".redacted"
	if got := readFile(t, name); !bytes.Equal(got, make([]byte, len(secrets[3]))) {
		t.Errorf("redacted message is unpacked as %d bytes", len(got))
	}
}

func TestRedactingAgainDoesNothing(t *testing.T) {
	o := testOptions(t.TempDir())
	s, b, targets, secrets := redactable(t, o)
	first, err := s.Redact(t.Context(), 1, append(targets[:3:3], targets[:2]...), nil)
	if err != nil || first.Entries != 3 {
		t.Fatalf("%+v, %v", first, err)
	}
	before, err := os.Stat(volumePath(o, 1))
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Redact(t.Context(), 1, targets[:3], nil)
	first.Entries, first.Was = 0, first.Bytes
	if err != nil || again != first {
		t.Errorf("the second time gives %+v, %v, want %+v", again, err, first)
	}
	if after, err := os.Stat(volumePath(o, 1)); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written again, %v", err)
	}
	noLeftover(t, o)
	if all, err := s.Redact(t.Context(), 1, targets, nil); err != nil || all.Entries != len(targets)-3 {
		t.Errorf("%+v, %v", all, err)
	}
	checkErased(t, o, secrets)
	b.check(t, s)
}

func TestWrongTargetsRedactNothing(t *testing.T) {
	o := testOptions(t.TempDir())
	s, _, targets, _ := redactable(t, o)
	file := readFile(t, volumePath(o, 1))
	good := targets[1]
	for name, target := range map[string]Target{
		"other id": {good.Offset, idOf([]byte("other"))}, "no id": {good.Offset, ""}, "inside an entry": {good.Offset + tarBlock, good.ID},
		"behind the end": {s.vols[0].end, good.ID}, "negative": {-1, good.ID},
	} {
		if r, err := s.Redact(t.Context(), 1, []Target{targets[0], good, target}, nil); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
		if !bytes.Equal(readFile(t, volumePath(o, 1)), file) {
			t.Fatalf("%s: the volume was changed", name)
		}
		noLeftover(t, o)
	}
	b := newBook()
	if err := errors.Join(b.append(t, s, mail(1, 10)), b.commit(t, s)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Redact(t.Context(), 2, []Target{{0, idOf(mail(1, 10))}}, nil); !errors.Is(err, ErrNotSealed) {
		t.Errorf("redacting in an open volume: %v", err)
	}
}

func TestDamageElsewhereDoesNotKeepFromRedacting(t *testing.T) {
	o := testOptions(t.TempDir())
	s, _, targets, secrets := redactable(t, o)
	f := last(s.vols[0].frames)
	data := readFile(t, volumePath(o, 1))
	data[f.end()-checksumBytes-1] ^= 0x10
	if err := os.Chmod(volumePath(o, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	writeFile(t, volumePath(o, 1), data)
	if _, err := s.Redact(t.Context(), 1, targets, nil); err != nil {
		t.Fatal(err)
	}
	now := readFile(t, volumePath(o, 1))
	if !bytes.Contains(now, data[f.off:f.end()]) || bytes.Contains(now, secrets[0][:12]) {
		t.Error("the damaged frame was changed, or the secret not")
	}
	var damage *DamageError
	err := s.Scan(t.Context(), Place{}, func(_ Entry, body io.Reader) error { _, err := io.Copy(io.Discard, body); return err })
	if !errors.As(err, &damage) || damage.Size != int64(f.packed) {
		t.Errorf("scanning gives %v", err)
	}
}

func TestNoFaultWhileRedactingLosesAnything(t *testing.T) {
	t.Parallel()
	secret := mail(3, 250)
	place := func(b *book) Place {
		for at, d := range b.kept {
			if bytes.Equal(d, secret) {
				return at
			}
		}
		t.Fatal("there is nothing to redact")
		return Place{}
	}
	rewriteFaults(t, func(s *Set, b *book) error {
		_, err := s.Redact(t.Context(), 1, []Target{{place(b).Offset, idOf(secret)}}, nil)
		return err
	}, func(t *testing.T, s *Set, b *book) {
		at := place(b)
		rest := newBook()
		rest.kept = maps.Clone(b.kept)
		delete(rest.kept, at)
		rest.check(t, s)
		_, body, err := s.Open(t.Context(), at)
		if errors.Is(err, ErrRedacted) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("neither redacted nor there: %v", err)
		}
	})
}
