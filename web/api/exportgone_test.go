package api

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// A message that is erased while an export waits for its client is not in it, also when it was looked up before.
func TestMessageErasedDuringAnExportIsNotInIt(t *testing.T) {
	var messages, ids []string
	for i := range 24 {
		text := make([]byte, 900<<10)
		r := rand.New(rand.NewPCG(uint64(i), 1))
		for j := range text {
			text[j] = 'a' + byte(r.IntN(26))
		}
		m := fmt.Sprintf("From: secret%d@example.com\r\nSubject: x\r\nContent-Type: application/octet-stream\r\n\r\n%s\r\n", i, text)
		messages, ids = append(messages, m), append(ids, idOf(m))
	}
	slices.Sort(ids)
	c := office(t, messages...)
	last, n := ids[len(ids)-1], 0
	err := c.Export(t.Context(), ExportRequest{}, func(ExportPlan) error { return nil }, func(id string, about Exported, _ io.Reader) error {
		if n++; n == 1 {
			if _, err := c.Erase(t.Context(), last, "a request", false); err != nil {
				return err
			}
		}
		if id == last {
			t.Errorf("the erased message is exported as %+v", about)
		}
		return nil
	})
	if err != nil || n != len(ids)-1 {
		t.Errorf("%d of %d messages: %v", n, len(ids), err)
	}
}
