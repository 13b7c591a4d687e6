package session

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// of is what is kept for somebody who is logged in.
var of = []byte{known, 'x'}

func TestStrangersKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ends := &store{kept: map[string]kept{}}, time.Now().Add(time.Hour)
		if err := s.Commit("anna", of, ends); err != nil {
			t.Fatal(err)
		}
		for i := range 3 * maxStrangers {
			if err := s.Commit(strconv.Itoa(i), []byte{stranger}, ends); err != nil {
				t.Fatal(err)
			}
		}
		if len(s.kept) != maxStrangers+1 || len(s.strangers) != maxStrangers {
			t.Errorf("%d sessions and %d strangers are kept", len(s.kept), len(s.strangers))
		}
		last := strconv.Itoa(3*maxStrangers - 1)
		for token, want := range map[string]bool{"anna": true, "0": false, last: true} {
			if _, ok, _ := s.Find(token); ok != want {
				t.Errorf("session %s is there: %v", token, ok)
			}
		}
		if err := s.Commit(last, of, ends); err != nil || s.known != 2 {
			t.Errorf("a stranger cannot log in: %v, %d are", err, s.known)
		}
		for range 3 * maxStrangers { // begins and gives up again and again
			if err := errors.Join(s.Commit("bert", []byte{stranger}, ends), s.Delete("bert")); err != nil {
				t.Fatal(err)
			}
		}
		if len(s.strangers) > maxStrangers || s.known != 2 {
			t.Errorf("%d strangers, %d known", len(s.strangers), s.known)
		}
		if _, ok, _ := s.Find(last); !ok {
			t.Error("somebody who logged in is forgotten with the strangers")
		}
	})
}

func TestEndedSessionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{kept: map[string]kept{}}
		for i := range maxSessions {
			if err := s.Commit(strconv.Itoa(i), of, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Commit("one more", of, time.Now().Add(time.Hour)); !errors.Is(err, errFull) {
			t.Errorf("there is no end to sessions: %v", err)
		}
		if err := s.Commit("7", append(of, "changed"...), time.Now().Add(2*time.Hour)); err != nil {
			t.Errorf("somebody who is in cannot go on: %v", err)
		}
		time.Sleep(time.Hour)
		if err := s.Commit("one more", of, time.Now().Add(time.Hour)); err != nil || len(s.kept) != 2 {
			t.Errorf("%v, %d sessions are kept", err, len(s.kept))
		}
		if data, ok, err := s.Find("7"); string(data) != string(of)+"changed" || !ok || err != nil {
			t.Errorf("%q, %v, %v", data, ok, err)
		}
		if _, ok, _ := s.Find("8"); ok {
			t.Error("a session that has ended is found")
		}
	})
}
