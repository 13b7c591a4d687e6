package archive

import (
	"math/rand/v2"
	"testing"
)

func TestRunsGiveBackTheNumbersInTheirOrder(t *testing.T) {
	for _, c := range []struct {
		numbers []int64
		text    Runs
	}{
		{[]int64{17, 18, 19, 22}, "17+2,3"},
		{[]int64{0}, "0"},
		{[]int64{5, 4, 3, 3}, "5,-1,-1,0"},
		{[]int64{1, 2, 3, 1, 2}, "1+2,-2+1"},
		{nil, ""},
	} {
		if got := NewRuns(c.numbers); got != c.text {
			t.Errorf("%v became %q, want %q", c.numbers, got, c.text)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var numbers []int64
		at := map[int64]bool{}
		for range random.IntN(50) {
			n := random.Int64N(80)
			if random.IntN(10) == 0 {
				n += 1 << 40
			}
			if !at[n] {
				numbers, at[n] = append(numbers, n), true
			}
		}
		r := NewRuns(numbers)
		for place, want := range numbers {
			if got, ok := r.At(int64(place)); !ok || got != want {
				t.Fatalf("%q: at %d is %d %v, want %d", r, place, got, ok, want)
			}
			if got, ok := r.Find(want); !ok || got != int64(place) {
				t.Fatalf("%q: %d is found at %d %v, want %d", r, want, got, ok, place)
			}
		}
		if _, ok := r.At(int64(len(numbers))); ok {
			t.Fatalf("%q has more than %d numbers", r, len(numbers))
		}
		if _, ok := r.Find(99); ok {
			t.Fatalf("%q has 99", r)
		}
	}
}

func FuzzRunsNeverFindWhatIsNotThere(f *testing.F) {
	for _, s := range []string{"17+2,3", "", "+", "1+", "1+-1", "9223372036854775807+9223372036854775807", "1,-5", "1++2", "1,,2"} {
		f.Add(s, int64(18))
	}
	f.Fuzz(func(t *testing.T, text string, number int64) {
		place, ok := Runs(text).Find(number)
		if !ok {
			return
		}
		if got, ok := Runs(text).At(place); !ok || got != number {
			t.Errorf("%q: %d is at %d, where %d %v is", text, number, place, got, ok)
		}
	})
}
