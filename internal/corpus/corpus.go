// Package corpus reads collections of real mail for tests. They are not part
// of the project; POSTKEEP_CORPORA names the directory that has them.
package corpus

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

const env = "POSTKEEP_CORPORA"

const (
	// maxWindow is the window of zstd --long=27, with which the archives are made.
	maxWindow = 1 << 27
	// maxMessage is above anything that belongs in a corpus, in octets.
	maxMessage = 256 << 20
)

// ErrUnavailable means that POSTKEEP_CORPORA is not set.
var ErrUnavailable = errors.New(env + " is not set")

// Require skips the test, loudly, where there are no corpora. A directory that is
// named but lacks the corpus is a failure.
func Require(tb testing.TB, name string) {
	tb.Helper()
	switch err := check(name); {
	case errors.Is(err, ErrUnavailable):
		tb.Skipf("SKIPPED, NO REAL MAIL WAS TESTED: %v", err)
	case err != nil:
		tb.Fatal(err)
	}
}

// Available reports whether the corpus is there. If not, it says so in the
// log of the test, which then uses generated mail.
func Available(tb testing.TB, name string) bool {
	tb.Helper()
	switch err := check(name); {
	case errors.Is(err, ErrUnavailable):
		tb.Logf("NO REAL MAIL: %v", err)
		return false
	case err != nil:
		tb.Fatal(err)
	}
	return true
}

func check(name string) error {
	file, err := archive(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("corpus %s: %w", name, err)
	}
	return nil
}

func archive(name string) (string, error) {
	dir := os.Getenv(env)
	if dir == "" {
		return "", ErrUnavailable
	}
	return filepath.Join(dir, name+".tar.zst"), nil
}

// Load calls fn for each file of the corpus, in archive order, except those that
// describe it (SOURCE.txt, LICENSE and the like). fn owns msg. An error of fn ends
// the walk and is returned. Without corpora the error is ErrUnavailable.
func Load(ctx context.Context, name string, fn func(path string, msg []byte) error) error {
	file, err := archive(name)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("corpus %s: %w", name, err)
	}
	defer f.Close() // only read
	dec, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("corpus %s: %w", name, err)
	}
	defer dec.Close()
	if err := walk(ctx, tar.NewReader(dec), fn); err != nil {
		return fmt.Errorf("corpus %s: %w", name, err)
	}
	return nil
}

func walk(ctx context.Context, tr *tar.Reader, fn func(path string, msg []byte) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if hdr.Typeflag != tar.TypeReg || describes(hdr.Name) {
			continue
		}
		if hdr.Size > maxMessage {
			return fmt.Errorf("%s has %d octets, more than %d", hdr.Name, hdr.Size, maxMessage)
		}
		var buf bytes.Buffer
		buf.Grow(int(hdr.Size))
		if _, err := buf.ReadFrom(tr); err != nil {
			return fmt.Errorf("%s: %w", hdr.Name, err)
		}
		if err := fn(hdr.Name, buf.Bytes()); err != nil {
			return fmt.Errorf("%s: %w", hdr.Name, err)
		}
	}
}

func describes(name string) bool {
	base, _, _ := strings.Cut(path.Base(name), ".")
	switch base {
	case "SOURCE", "LICENSE", "NOTICE", "README", "COPYING", "AUTHORS":
		return true
	}
	return false
}
