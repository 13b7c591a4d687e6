package mailparse

import (
	"strings"
	"testing"
)

func parse(t testing.TB, message string) *Message {
	t.Helper()
	m, err := Parse(t.Context(), strings.NewReader(message), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
