package mailgen

import (
	"bytes"
	"testing"
)

func TestHostileMailIsTheSameEveryTimeAndManifold(t *testing.T) {
	one, two := Hostile(), Hostile()
	if len(one) < 100 {
		t.Errorf("%d messages", len(one))
	}
	seen := map[string]bool{}
	for i := range one {
		if !bytes.Equal(one[i], two[i]) {
			t.Errorf("message %d differs from one time to the other", i)
		}
		_, body, ok := bytes.Cut(one[i], []byte("\r\n\r\n"))
		if !ok {
			t.Errorf("message %d has no body", i)
		}
		seen[string(body)] = true
		if bytes.Contains(one[i], []byte("CALL")) || bytes.Contains(one[i], []byte("//HOST")) {
			t.Errorf("message %d has a word that was not replaced", i)
		}
	}
	if len(seen) < 100 {
		t.Errorf("%d different bodies", len(seen))
	}
	t.Logf("%d messages, %d bodies", len(one), len(seen))
}
