package exports

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/web/api"
)

// interrupt stops an export behind a number of messages.
func interrupt(t *testing.T, c *api.Client, opts export.Options, after int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	opts.Progress = func(int64) {
		if n++; n == after {
			cancel()
		}
	}
	if _, err := Run(ctx, c, opts); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted after %d messages: %v", after, err)
	}
}

// resumable are exports in which something is easily lost.
func resumable() map[string]func(*export.Options) {
	all := map[string]func(*export.Options){}
	for _, f := range export.Formats() {
		all[string(f)] = func(o *export.Options) { o.Format = f }
	}
	for _, f := range []export.Format{export.Mbox, export.Concordance, export.HTML} {
		all[string(f)+" in volumes"] = func(o *export.Options) { o.Format, o.SplitBytes = f, 24<<10 }
	}
	all["deduplicated"] = func(o *export.Options) { o.Format, o.Deduplicate = export.CSV, true }
	all["one per thread"] = func(o *export.Options) { o.Format, o.OnePerThread = export.HTML, true }
	return all
}

func TestInterruptedExportGoesOnAndGivesTheSame(t *testing.T) {
	messages := append(nasty(), generated(t, 25)...)
	c := instance(t, append(messages, []byte("Received: elsewhere\r\n"+string(messages[0]))))
	for name, set := range resumable() {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for fsync
			opts := options("", filepath.Join(t.TempDir(), "whole"))
			set(&opts)
			run(t, c, opts)
			want := snapshot(t, filepath.Dir(opts.Out))
			for _, damage := range []string{"", "torn manifest", "changed file", "longer file"} {
				opts.Out = filepath.Join(t.TempDir(), "whole")
				interrupt(t, c, opts, 13)
				spoil(t, filepath.Dir(opts.Out), damage)
				interrupt(t, c, opts, 10)
				seen := 0
				opts.Progress = func(int64) { seen++ }
				r := run(t, c, opts)
				opts.Progress = nil
				if damage == "" && seen > len(messages)+1-23 {
					t.Errorf("%d messages were exported again", seen)
				}
				got := snapshot(t, filepath.Dir(opts.Out))
				if !maps.Equal(got, want) {
					t.Errorf("%s: not what an export without interruption gives: %s", damage, difference(got, want))
				}
				if v := verified(t, opts.Out, export.VerifyOptions{Key: r.Key}); len(v.Problems) > 0 {
					t.Errorf("%s: %+v", damage, v.Problems)
				}
			}
		})
	}
}

func difference(got, want map[string]string) string {
	var out []string
	for name := range want {
		if got[name] != want[name] {
			out = append(out, name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			out = append(out, name+" (more)")
		}
	}
	return strings.Join(out, ", ")
}

// spoil does what a power cut may do.
func spoil(t *testing.T, dir, how string) {
	t.Helper()
	done := false
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || done {
			return err
		}
		manifest := strings.HasSuffix(path, "manifest.json.partial")
		data, err := os.ReadFile(path)
		must(t, err)
		switch {
		case how == "torn manifest" && manifest:
			data = data[:len(data)-20]
		case how == "changed file" && !manifest && len(data) > 0:
			data[len(data)/2] ^= 1
		case how == "longer file" && strings.HasSuffix(path, ".partial"):
			data = append(data, "not finished"...)
		default:
			return nil
		}
		done = true
		return os.WriteFile(path, data, 0o600)
	}))
}

func TestFinishedExportIsMadeAgainInPlace(t *testing.T) {
	c := instance(t, nasty())
	for _, format := range export.Formats() {
		opts := options(format, filepath.Join(t.TempDir(), "out"))
		first := run(t, c, opts)
		want := snapshot(t, filepath.Dir(opts.Out))
		opts.Progress = func(int64) { t.Errorf("%s: a message was exported again", format) }
		second := run(t, c, opts)
		if got := snapshot(t, filepath.Dir(opts.Out)); !maps.Equal(got, want) || second.Messages != first.Messages || second.Event <= first.Event {
			t.Errorf("%s: %+v, the first time %+v: %s", format, second, first, difference(got, want))
		}
		if v := verified(t, opts.Out, export.VerifyOptions{}); len(v.Problems) > 0 || v.Event != second.Event {
			t.Errorf("%s: %+v", format, v)
		}
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	c := instance(t, nasty())
	other := options(export.EML, filepath.Join(t.TempDir(), "other"))
	run(t, c, other)
	other.Query = "hello"
	full := t.TempDir()
	must(t, os.WriteFile(filepath.Join(full, "precious.txt"), []byte("x"), 0o600))
	mbox := filepath.Join(t.TempDir(), "all.mbox")
	must(t, os.WriteFile(mbox, []byte("x"), 0o600))
	archive := filepath.Join(t.TempDir(), "all.zip")
	must(t, os.WriteFile(archive, []byte("x"), 0o600))
	for name, c2 := range map[string]struct {
		opts export.Options
		want error
	}{
		"another export":    {other, export.ErrForeign},
		"another directory": {options(export.EML, full), export.ErrForeign},
		"an mbox":           {options(export.Mbox, mbox), export.ErrForeign},
		"a zip":             {options(export.EML, archive), os.ErrExist},
	} {
		before := snapshotAll(t, filepath.Dir(c2.opts.Out))
		if _, err := Run(t.Context(), c, c2.opts); !errors.Is(err, c2.want) {
			t.Errorf("%s: %v, want %v", name, err, c2.want)
		}
		if after := snapshotAll(t, filepath.Dir(c2.opts.Out)); !maps.Equal(before, after) {
			t.Errorf("%s was changed: %s", name, difference(after, before))
		}
	}
}

func TestExportThatDidNotBeginLeavesNothing(t *testing.T) {
	c := instance(t, nasty())
	for _, format := range export.Formats() {
		dir := t.TempDir()
		opts := options(format, filepath.Join(dir, "out"))
		opts.Query = "(" // which is no query
		if _, err := Run(t.Context(), c, opts); err == nil {
			t.Errorf("%s: no error", format)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left, %v", format, left, err)
		}
		opts.Query = "hello"
		run(t, c, opts)
	}
}

func snapshotAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[path] = string(data)
		return err
	}))
	return out
}

func TestTwoExportsToOnePlaceDoNotMix(t *testing.T) {
	c := instance(t, nasty())
	opts := options(export.EML, filepath.Join(t.TempDir(), "out"))
	outer := opts
	tried := false
	outer.Progress = func(int64) {
		if !tried {
			tried = true
			if _, err := Run(t.Context(), c, opts); !errors.Is(err, export.ErrForeign) {
				t.Errorf("the second export: %v", err)
			}
		}
	}
	run(t, c, outer)
	if v := verified(t, opts.Out, export.VerifyOptions{}); len(v.Problems) > 0 || !tried {
		t.Errorf("%+v", v)
	}
}
