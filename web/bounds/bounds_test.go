package bounds_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/postkeep/postkeep/web/bounds"
)

func TestAttemptsAreNotForgottenBecauseOthersCome(t *testing.T) {
	const free, every = 8, 10 * time.Second
	a, now := bounds.NewAttempts(free, every), time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for i := range free {
		if !a.Take(now, "anna") {
			t.Fatalf("attempt %d is refused", i)
		}
	}
	for i := range 100_000 {
		a.Take(now, fmt.Sprint("throwaway ", i))
	}
	if a.Take(now, "anna") {
		t.Error("100,000 names give a free attempt")
	}
	if now = now.Add(every); !a.Take(now, "anna") || a.Take(now, "anna") {
		t.Errorf("want one more attempt after %v", every)
	}
	if now = now.Add(-time.Hour); a.Take(now, "anna") {
		t.Error("a clock that is set back gives attempts")
	}
	if now = now.Add(every); !a.Take(now, "anna") {
		t.Error("a clock that was set back keeps somebody out for longer")
	}
	if now = now.Add(free * every); !a.Take(now, "anna") {
		t.Error("attempts do not come back")
	}
	a.Return(now, "anna")
	for i := range free {
		if !a.Take(now, "anna") {
			t.Errorf("attempt %d of %d is refused after one was given back", i, free)
		}
	}
}

func TestAFewKeysDoNotMeet(t *testing.T) {
	a, now := bounds.NewAttempts(1, time.Minute), time.Unix(1_700_000_000, 0)
	refused := 0
	for i := range 1600 { // as many as can be hashed in the time that eight attempts need to come back
		if !a.Take(now, fmt.Sprint("name ", i)) {
			refused++
		}
	}
	if refused > 1 {
		t.Errorf("%d of 1,600 names wait for others", refused)
	}
}

func TestPlacesAreSharedOut(t *testing.T) {
	p := bounds.NewPlaces(3, 2)
	leave, ok := p.Take("a")
	_, second := p.Take("a")
	if _, third := p.Take("a"); !ok || !second || third {
		t.Errorf("%v %v %v, want two places for one", ok, second, third)
	}
	if _, ok := p.Take("b"); !ok {
		t.Error("no place for another one")
	}
	if _, ok := p.Take("c"); ok {
		t.Error("a fourth place of three")
	}
	leave()
	leave() // gives back one place
	if _, ok := p.Take("c"); !ok {
		t.Error("a place that was left is not there")
	}
	if _, ok := p.Take("d"); ok {
		t.Error("a place was given back twice")
	}
}

func TestNetworkIsWhatOnePersonHas(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:4711": "192.0.2.1", "192.0.2.1": "192.0.2.1", "[::ffff:192.0.2.1]:1": "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:443": "2001:db8:1:2::/64", "2001:db8:1:2::ffff": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
		"": "no address", "anna": "no address", "@": "no address",
	} {
		if got := bounds.Network(address); got != want {
			t.Errorf("%q is %q, want %q", address, got, want)
		}
	}
}
