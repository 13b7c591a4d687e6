package parts

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// TestDecoderGivesWhatTheLibraryDoes draws base64 in lines, some of it damaged, of which measure says that it is in lines.
func TestDecoderGivesWhatTheLibraryDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(bufferBytes*3/4-200, bufferBytes*3/4+200)).Draw(t, "size")
		line := rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(bufferBytes-3, bufferBytes+3), rapid.Just(1<<30)).Draw(t, "line")
		text := lines(random(1, size), line, rapid.SampledFrom([]string{lf, crlf}).Draw(t, "eol"))
		for range rapid.IntRange(0, 2).Draw(t, "damages") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			text = text[:at] + rapid.SampledFrom([]string{"", "=", "==", "A", "\r", "\n", " ", "\x00"}).Draw(t, "damage") + text[min(len(text), at+rapid.IntRange(0, 1).Draw(t, "cut")):]
		}
		s, ok, err := measure(io.NewSectionReader(strings.NewReader(text), 0, int64(len(text))))
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return
		}
		d := newDecoder(io.NewSectionReader(strings.NewReader(text), s.from, s.to-s.from), s.line, s.eol)
		if rapid.Bool().Draw(t, "byte by byte") {
			d.r = iotest.OneByteReader(d.r)
		}
		got, err := io.ReadAll(d)
		want, wantErr := io.ReadAll(base64.NewDecoder(base64.StdEncoding.Strict(), strings.NewReader(text[s.from:s.to])))
		var corrupt base64.CorruptInputError
		switch {
		case err != nil && !errors.As(err, &corrupt):
			t.Fatalf("not the error of a text: %v", err)
		case err == nil && wantErr == nil && !bytes.Equal(got, want):
			t.Fatalf("%d bytes instead of %d", len(got), len(want))
		}
	})
}

func TestDecoderReportsErrorsOfReading(t *testing.T) {
	text := bytes.Repeat([]byte("QUJD"), 40_000)
	for _, at := range []int{0, 1, 3, 4, bufferBytes - 1, bufferBytes, bufferBytes + 1, 100_001, len(text) - 1, len(text)} {
		d := newDecoder(io.NewSectionReader(bytes.NewReader(text), 0, int64(len(text))), 1<<30, lf)
		d.r = io.MultiReader(bytes.NewReader(text[:at]), iotest.ErrReader(errInjected))
		if _, err := io.ReadAll(d); !errors.Is(err, errInjected) {
			t.Errorf("after %d bytes: %v", at, err)
		}
	}
}

func TestRecipeWithAPartOfAnySizeDoesNotPanic(t *testing.T) {
	id := strings.Repeat("a", 64)
	for _, size := range []int64{0, 1, chunkBytes - 1, chunkBytes, math.MaxInt64 - 1, math.MaxInt64} {
		recipe := head(id, 10) + fmt.Sprintf("base64 %s %d 76 lf\n", id, size) + end
		r, err := NewReader(strings.NewReader(recipe), func(string, int64) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil })
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.Copy(io.Discard, r); !errors.Is(err, ErrRecipe) {
			t.Errorf("a part of %d bytes that has one: %v", size, err)
		}
	}
}
