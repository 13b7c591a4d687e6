package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// leave makes a store directory as a process leaves it that ends while messages wait: small ones and one with its
// body in the object store.
func leave(t *testing.T) (dir string, messages int) {
	t.Helper()
	b := &bench{opts: embedded(t), timing: quick()}
	bus, err := connect(t.Context(), b.opts, b.timing)
	if err != nil {
		t.Fatal(err)
	}
	s := openSession(t, bus, "a")
	const small = 20
	for i := range small {
		publish(t, s, i+1, randomBody(2000))
	}
	publish(t, s, small+1, randomBody(2<<20))
	eventually(t, "published", func() bool { return stream(t, bus, "MAIL_s0").Messages == small+1 })
	if err := errors.Join(s.Close(), bus.Close()); err != nil {
		t.Fatal(err)
	}
	return b.opts.Dir, small + 1
}

// damages are what a crash or a disk does to a file. They return false where they change nothing.
var damages = map[string]func(path string, data []byte) (bool, error){
	"emptied": func(path string, data []byte) (bool, error) {
		return len(data) > 0, os.Truncate(path, 0)
	},
	"half": func(path string, data []byte) (bool, error) {
		return len(data) > 1, os.Truncate(path, int64(len(data)/2))
	},
	"short": func(path string, data []byte) (bool, error) {
		return len(data) > 3, os.Truncate(path, int64(max(0, len(data)-3)))
	},
	"zeroed": func(path string, data []byte) (bool, error) {
		return len(data) > 0, os.WriteFile(path, make([]byte, len(data)), 0o600)
	},
	"tail zeroed": func(path string, data []byte) (bool, error) {
		clear(data[len(data)/2:])
		return len(data) > 1, os.WriteFile(path, data, 0o600)
	},
	"flipped": func(path string, data []byte) (bool, error) {
		for i := len(data) / 3; i < len(data); i += 1000 {
			data[i] ^= 0x55
		}
		return len(data) > 0, os.WriteFile(path, data, 0o600)
	},
	"deleted": func(path string, _ []byte) (bool, error) { return true, os.Remove(path) },
	"a directory": func(path string, _ []byte) (bool, error) {
		return true, errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
	},
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDamagedStreamsOfAnEarlierRunDoNotStopTheNext(t *testing.T) {
	left, messages := leave(t)
	tried, whole, set := 0, 0, 0
	for _, file := range files(t, left) {
		for what, damage := range damages {
			if os.Getenv("POSTKEEP_TORTURE") == "" && !strings.HasSuffix(file, ".blk") && slices.Contains([]string{"half", "short", "tail zeroed", "a directory"}, what) {
				continue
			}
			name := file + " " + what
			dir := filepath.Join(t.TempDir(), "nats")
			if err := os.CopyFS(dir, os.DirFS(left)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, file)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if changed, err := damage(path, data); err != nil {
				t.Fatalf("%s: %v", name, err)
			} else if !changed {
				continue
			}
			tried++
			stored, aside := goOn(t, name, dir)
			if stored == messages {
				whole++
			} else if aside == 0 && what != "deleted" && what != "emptied" && what != "a directory" {
				t.Errorf("%s: %d of %d messages were archived, and nothing was set aside", name, stored, messages)
			}
			if !strings.HasSuffix(file, ".blk") && (stored != messages || aside > 0) {
				t.Errorf("%s: %d of %d messages were archived, %d set aside, although the damaged file holds no message", name, stored, messages, aside)
			}
			set += aside
		}
	}
	t.Logf("%d damages: everything was archived after %d, something was set aside after %d", tried, whole, set)
	if set == 0 || whole == tried {
		t.Error("no damage was one")
	}
}

// goOn starts over a directory, and returns how much of what was in there has been archived, and how many
// directories were set aside. A new message has to pass.
func goOn(t *testing.T, name, dir string) (stored, aside int) {
	t.Helper()
	b := &bench{opts: Options{Dir: dir, MaxStoreBytes: 1 << 30}, timing: quick()}
	start := time.Now()
	bus, err := connect(t.Context(), b.opts, b.timing)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	store := newFakeStore()
	stop := runArchiver(t, bus, store)
	s := openSession(t, bus, "b")
	publish(t, s, 1, []byte("new"))
	select {
	case r := <-s.Receipts():
		if r.Err != "" || r.Refused != "" {
			t.Errorf("%s: receipt %+v", name, r)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("%s: no receipt for a new message", name)
	}
	eventually(t, name+": nothing waits", func() bool { return len(leftovers(dir, suffixWaiting)) == 0 })
	aside = len(leftovers(dir, suffixSetAside))
	st, err := bus.Status(t.Context())
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if aside > 0 && !strings.Contains(fmt.Sprint(st.Problems), suffixSetAside) {
		t.Errorf("%s: the status does not name what was set aside: %v", name, st.Problems)
	}
	stop()
	if err := errors.Join(s.Close(), bus.Close()); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("%s: took %s", name, d)
	}
	return store.stored() - 1, aside
}
