package inorder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errTest = errors.New("test")

func limits() Limits { return Limits{Workers: 4, Jobs: 3, Bytes: 100} }

// numbers takes 0 to n-1 at a byte each, and ends with err.
func numbers(n int, err error) func(context.Context, func(int, int64) error) error {
	return func(_ context.Context, take func(int, int64) error) error {
		for i := range n {
			if err := take(i, 1); err != nil {
				return err
			}
		}
		return err
	}
}

// TestResultsComeInOrderWhateverIsReadyFirst has every job wait until the one behind it is done, as far as the limits let that be begun.
func TestResultsComeInOrderWhateverIsReadyFirst(t *testing.T) {
	const jobs = 200
	l := limits()
	done := make([]chan struct{}, jobs)
	for i := range done {
		done[i] = make(chan struct{})
	}
	next := 0
	err := Do(t.Context(), l, numbers(jobs, nil), func(_ context.Context, i int) (int, error) {
		if i%l.Workers == 0 && i+1 < jobs {
			<-done[i+1]
		}
		close(done[i])
		return i, nil
	}, func(i int) error {
		if i != next {
			return fmt.Errorf("%d instead of %d", i, next)
		}
		next++
		return nil
	})
	if err != nil || next != jobs {
		t.Errorf("%d results: %v", next, err)
	}
}

func TestFirstErrorInOrderIsTheOneThatIsReturned(t *testing.T) {
	other := errors.New("a later one")
	for name, c := range map[string]struct {
		produce, work, consume int // at which job it fails
	}{"produce": {10, 99, 99}, "work": {99, 10, 99}, "consume": {99, 99, 10}, "work before produce": {11, 10, 99}} {
		failed := make(chan struct{})
		consumed := 0
		err := Do(t.Context(), limits(), func(ctx context.Context, take func(int, int64) error) error {
			if err := numbers(min(c.produce, 50), nil)(ctx, take); err != nil {
				return err
			}
			if c.produce < c.work && c.produce < 50 {
				return errTest
			}
			return other
		}, func(_ context.Context, i int) (int, error) {
			switch {
			case i == c.work+1: // before the earlier one
				close(failed)
				return 0, other
			case i == c.work && i+1 < c.produce:
				<-failed
			}
			if i == c.work {
				return 0, errTest
			}
			return i, nil
		}, func(i int) error {
			if i == c.consume {
				return errTest
			}
			consumed++
			return nil
		})
		if !errors.Is(err, errTest) || consumed != 10 {
			t.Errorf("%s: %v after %d results", name, err, consumed)
		}
	}
}

func TestNeitherBytesNorJobsUnderWayExceedTheirLimits(t *testing.T) {
	l := Limits{Workers: 3, Jobs: 5, Bytes: 100}
	costs := []int64{1, 99, 100, 1000, 40, 40, 40, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1000, 3}
	var bytes, jobs atomic.Int64
	most := int64(0)
	var index int
	err := Do(t.Context(), l, func(_ context.Context, take func(int64, int64) error) error {
		for range 50 {
			for _, c := range costs {
				if err := take(c, c); err != nil {
					return err
				}
			}
		}
		return nil
	}, func(_ context.Context, cost int64) (int64, error) {
		jobs.Add(1)
		if now := bytes.Add(min(cost, l.Bytes)); now > l.Bytes {
			return 0, fmt.Errorf("%d bytes are under way", now)
		}
		return cost, nil
	}, func(cost int64) error {
		if cost != costs[index%len(costs)] {
			return errors.New("another job")
		}
		index++
		most = max(most, jobs.Load())
		bytes.Add(-min(cost, l.Bytes))
		jobs.Add(-1)
		return nil
	})
	// Of those that were taken one is with the consumer, and one with produce until a worker is free.
	if err != nil || index != 50*len(costs) || most > int64(l.Jobs+2) {
		t.Errorf("%d results, %d at once: %v", index, most, err)
	}
}

func TestNothingIsConsumedWhenTheContextHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	consumed := 0
	err := Do(ctx, limits(), numbers(1_000_000, nil), func(_ context.Context, i int) (int, error) { return i, nil }, func(i int) error {
		if consumed++; i == 20 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || consumed != 21 {
		t.Errorf("%d results: %v", consumed, err)
	}
}

func TestPanicIsThatOfTheCallerInItsTurn(t *testing.T) {
	for _, where := range []string{"work", "produce"} {
		consumed := 0
		caught := func() (v any) {
			defer func() { v = recover() }()
			return Do(t.Context(), limits(), func(ctx context.Context, take func(int, int64) error) error {
				if err := numbers(10, nil)(ctx, take); err != nil || where == "work" {
					return err
				}
				panic("of produce")
			}, func(_ context.Context, i int) (int, error) {
				if where == "work" && i == 5 {
					panic("of work")
				}
				return i, nil
			}, func(int) error { consumed++; return nil })
		}()
		want := map[string]int{"work": 5, "produce": 10}[where]
		if text := fmt.Sprint(caught); !strings.HasPrefix(text, "of "+where+"\n") || !strings.Contains(text, "inorder_test.go") || consumed != want {
			t.Errorf("%s: %d were consumed, and Do ended with %.300s", where, consumed, text)
		}
	}
}
