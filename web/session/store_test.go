package session

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestEndedSessionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{kept: map[string]kept{}}
		for i := range maxSessions {
			if err := s.Commit(strconv.Itoa(i), nil, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Commit("one more", nil, time.Now().Add(time.Hour)); !errors.Is(err, errFull) {
			t.Errorf("strangers can take all memory: %v", err)
		}
		if err := s.Commit("7", []byte("changed"), time.Now().Add(2*time.Hour)); err != nil {
			t.Errorf("somebody who is in cannot go on: %v", err)
		}
		time.Sleep(time.Hour)
		if err := s.Commit("one more", nil, time.Now().Add(time.Hour)); err != nil || len(s.kept) != 2 {
			t.Errorf("%v, %d sessions are kept", err, len(s.kept))
		}
		if data, ok, err := s.Find("7"); string(data) != "changed" || !ok || err != nil {
			t.Errorf("%q, %v, %v", data, ok, err)
		}
		if _, ok, _ := s.Find("8"); ok {
			t.Error("a session that has ended is found")
		}
	})
}
