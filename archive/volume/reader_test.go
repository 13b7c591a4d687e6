package volume

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// needs skips the test if the commands are missing, or fails it if they have to be there.
func needs(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			if os.Getenv("POSTKEEP_REAL") == "required" {
				t.Fatalf("POSTKEEP_REAL=required, but %v", err)
			}
			t.Skipf("SKIPPED, the format is not read by another program: %v", err)
		}
	}
}

// A reader that was written from docs/formats/volume.md alone.
func python(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "python3", append([]string{"testdata/volume.py"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, &stderr)
	}
	return out, err
}

func TestVolumesAreReadByAnotherProgram(t *testing.T) {
	t.Parallel()
	needs(t, "python3", "zstd")
	o := testOptions(t.TempDir())
	s, b, targets, _ := redactable(t, o)
	check := func(volume uint32) {
		t.Helper()
		var want strings.Builder
		var places []Place
		err := s.Scan(t.Context(), Place{Volume: volume}, func(e Entry, _ io.Reader) error {
			if e.Volume == volume {
				fmt.Fprintln(&want, e.Offset, e.End, e.Size, e.SHA256, e.Name)
				places = append(places, e.Place)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := python(t, "list", volumePath(o, volume))
		if err != nil || string(got) != want.String() || len(places) == 0 {
			t.Fatalf("volume %d is listed as\n%swant\n%s%v", volume, got, &want, err)
		}
		for i := 0; i < len(places); i += 3 {
			data, ok := b.kept[places[i]]
			got, err := python(t, "cat", volumePath(o, volume), fmt.Sprint(places[i].Offset))
			if err != nil || ok && !bytes.Equal(got, data) {
				t.Errorf("%v is read as %d other bytes, %v", places[i], len(got), err)
			}
		}
	}
	for i, size := range []int{10, 3 * testFrame, 700} { // an open volume, of frames with all widths of the size
		s.o.frameBytes = []int{testFrame, testFrame, 1 << 20}[i]
		if err := b.append(t, s, mail(uint64(30+i), size)); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			err := b.append(t, s, mail(40, 1<<17))
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := b.commit(t, s); err != nil {
			t.Fatal(err)
		}
	}
	check(1)
	check(2)
	if _, err := s.Redact(t.Context(), 1, targets, nil); err != nil {
		t.Fatal(err)
	}
	check(1)
	s.o.frameBytes = 2 * testFrame
	if _, err := s.Repack(t.Context(), 1, RepackOptions{}); err != nil {
		t.Fatal(err)
	}
	check(1)
	data := readFile(t, volumePath(o, 1))
	frames, size := s.vols[0].frames, int64(len(data))
	seal := size - tableFoot - tableEntry*int64(len(frames)+2) - tableHead - sealEntry*int64(len(frames)+1)
	for name, at := range map[string]int64{"frame": frames[2].off + 20, "seal": seal, "table": size - 30} {
		damaged := bytes.Clone(data)
		damaged[at] ^= 4
		file := t.TempDir() + "/v"
		writeFile(t, file, damaged)
		if out, err := python(t, "list", file); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("a bit flipped in the %s is not found: %v %s", name, err, out)
		}
	}
}
