package parts

import (
	"slices"
	"strings"
	"testing"
)

func TestRestOfAMessageBeginsBehindTraceFields(t *testing.T) {
	const rest = "From: a\n\nbody\n"
	for _, c := range []struct {
		name, trace string
		want        []string // what the offsets cut off
	}{
		{"no trace", "", nil},
		{"one hop", "Delivered-To: a\nReceived: x\n\tfor a\n", []string{"Delivered-To: a\nReceived: x\n\tfor a\n"}},
		{"two hops", "Return-Path: <>\nReceived: x\nReceived: y\nX-Spam-Score: 1\n", []string{"Return-Path: <>\nReceived: x\n", "Return-Path: <>\nReceived: x\nReceived: y\nX-Spam-Score: 1\n"}},
		{"no Received", "delivered-to : a\nX-Original-To: b\n", []string{"delivered-to : a\nX-Original-To: b\n"}},
		{"mbox line", "From a Mon\nReceived: x\n", []string{"From a Mon\nReceived: x\n"}},
		{"CRLF", "Received: x\r\n\tby y\r\nARC-Seal: z\r\n", []string{"Received: x\r\n\tby y\r\n", "Received: x\r\n\tby y\r\nARC-Seal: z\r\n"}},
	} {
		msg := c.trace + rest
		at, err := rests(strings.NewReader(msg), int64(len(msg)))
		var got []string
		for _, off := range at {
			got = append(got, msg[:off])
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: cut off %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	for _, msg := range []string{"", "\n", "Received: x", strings.Repeat("Received: x\n", maxTrace), strings.Repeat("x", 2*bufferBytes)} {
		if at, err := rests(strings.NewReader(msg), int64(len(msg))); err != nil || at != nil && at[len(at)-1] >= int64(len(msg)) {
			t.Errorf("%.30q: %d, %v", msg, at, err)
		}
	}
}

func TestSmallPiecesBecomePartsWhenTheyAreShared(t *testing.T) {
	body := strings.Repeat("a line of the body\r\n", 100)
	first, second := "Received: one\r\nSubject: s\r\n\r\n"+body, "Received: two\r\nSubject: s\r\n\r\n"+body
	forwarded := "Subject: another\r\n\r\n" + body
	seen := map[uint64]bool{}
	shared := func(id uint64) bool {
		was := seen[id]
		seen[id] = true
		return was
	}
	if m := splitShared(t, first, Options{}, shared); m != nil {
		t.Errorf("the first message is taken apart into %+v", m.Parts)
	}
	for _, msg := range []string{second, forwarded} {
		m := splitShared(t, msg, Options{}, shared)
		if m == nil || len(m.Parts) != 1 {
			t.Fatalf("%.20q is not taken apart", msg)
		}
		if got, err := join(store(t, m)); err != nil || string(got) != msg {
			t.Errorf("%.20q comes back as %.20q, %v", msg, got, err)
		}
	}
	if m := splitShared(t, "Subject: short\r\n\r\n"+body[:DefaultSharedBytes/2], Options{}, func(uint64) bool { return true }); m != nil {
		t.Errorf("a piece below the smallest size became a part: %+v", m.Parts)
	}
}
