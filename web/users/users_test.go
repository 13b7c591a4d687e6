package users_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

const password = "correct horse battery"

func open(t *testing.T, dir string, now *time.Time) *users.Store {
	t.Helper()
	s, err := users.Open(dir, users.Options{HashMemory: 1 << 10, Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func withAnna(t *testing.T) (*users.Store, string, *time.Time) {
	t.Helper()
	dir, now := t.TempDir(), time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s := open(t, dir, &now)
	if err := s.Add(t.Context(), users.User{Name: "anna", Roles: []access.Role{access.Auditor}, Mailboxes: []string{"sales"}}, password); err != nil {
		t.Fatal(err)
	}
	return s, dir, &now
}

func TestUsersSurviveAndTheFileHoldsNoPasswordAndIsPrivate(t *testing.T) {
	s, dir, now := withAnna(t)
	token, _, err := s.AddToken("anna", "script", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, now)
	if u, err := again.LogIn(t.Context(), "anna", password); err != nil || u.Principal().Scope.Mailboxes[0] != "sales" || u.Principal().Scope.All {
		t.Errorf("%+v, %v", u, err)
	}
	if u, err := again.ByToken(token); err != nil || u.Name != "anna" {
		t.Errorf("%+v, %v", u, err)
	}
	path := filepath.Join(dir, "users", "users.json")
	b, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(b), password) || strings.Contains(string(b), token) || !strings.Contains(string(b), "$argon2id$v=19$m=1024,t=3,p=4$") {
		t.Errorf("%s, %v", b, err)
	}
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(p); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
}

func TestLogInIsRefusedInTheSameWordsWhateverIsWrong(t *testing.T) {
	s, _, now := withAnna(t)
	if err := s.Add(t.Context(), users.User{Name: "robot", Roles: []access.Role{access.User}}, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(t.Context(), users.User{Name: "gone", Roles: []access.Role{access.User}}, password); err != nil {
		t.Fatal(err)
	}
	if err := s.Disable("gone", true); err != nil {
		t.Fatal(err)
	}
	expired, _, err := s.AddToken("anna", "old", now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	ofGone, _, err := s.AddToken("gone", "x", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Hour)
	for _, c := range [][2]string{{"anna", "wrong horse battery"}, {"anna", ""}, {"nobody", password}, {"robot", ""}, {"gone", password}, {"", ""}} {
		if _, err := s.LogIn(t.Context(), c[0], c[1]); !errors.Is(err, users.ErrRefused) || err.Error() != users.ErrRefused.Error() {
			t.Errorf("%q: %v", c, err)
		}
	}
	for _, token := range []string{expired, ofGone, "", "postkeep_", "postkeep_AAAA"} {
		if _, err := s.ByToken(token); !errors.Is(err, users.ErrRefused) {
			t.Errorf("token %q: %v", token, err)
		}
	}
}

func TestOneTimeCodeIsTakenOnce(t *testing.T) {
	s, _, now := withAnna(t)
	const secret = "JBSWY3DPEHPK3PXP"
	code := func() string {
		c, err := totp.GenerateCode(secret, *now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := s.SetTOTP("anna", secret, "000000"); !errors.Is(err, users.ErrRefused) {
		t.Fatalf("a wrong code proves the secret: %v", err)
	}
	if err := s.SetTOTP("anna", secret, code()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LogIn(t.Context(), "anna", password); !errors.Is(err, users.ErrCode) {
		t.Fatalf("no code is asked for: %v", err)
	}
	if err := s.Code("anna", code()); !errors.Is(err, users.ErrRefused) {
		t.Errorf("the code of the enrolment is taken again: %v", err)
	}
	*now = now.Add(30 * time.Second)
	if err := s.Code("anna", code()); err != nil {
		t.Error(err)
	}
	if err := s.Code("anna", code()); !errors.Is(err, users.ErrRefused) {
		t.Errorf("a code is taken twice: %v", err)
	}
	if err := s.SetTOTP("anna", "", ""); err != nil {
		t.Error(err)
	}
	if _, err := s.LogIn(t.Context(), "anna", password); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeAUserIsRefused(t *testing.T) {
	s, _, now := withAnna(t)
	roles := []access.Role{access.User}
	for name, c := range map[string]struct {
		u        users.User
		password string
		want     error
	}{
		"taken":          {users.User{Name: "anna", Roles: roles}, password, users.ErrExists},
		"short password": {users.User{Name: "bert", Roles: roles}, "short", users.ErrInvalid},
		"no role":        {users.User{Name: "bert"}, password, users.ErrInvalid},
		"unknown role":   {users.User{Name: "bert", Roles: []access.Role{"root"}}, password, users.ErrInvalid},
		"local role":     {users.User{Name: "bert", Roles: []access.Role{access.Local}}, password, users.ErrInvalid},
		"name":           {users.User{Name: "Bert\n", Roles: roles}, password, users.ErrInvalid},
		"no day":         {users.User{Name: "bert", Roles: roles, From: *now, To: *now}, password, users.ErrInvalid},
	} {
		if err := s.Add(t.Context(), c.u, c.password); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Update("anna", func(u *users.User) error { u.Roles = nil; return nil }); !errors.Is(err, users.ErrInvalid) {
		t.Errorf("role taken away: %v", err)
	}
	if u, err := s.Get("anna"); err != nil || len(u.Roles) != 1 {
		t.Errorf("a refused change is kept: %+v, %v", u, err)
	}
}

func TestDamagedFileSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "users"), 0o700); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{"{": "backup", `{"version":99}`: "version 99"} {
		if err := os.WriteFile(filepath.Join(dir, "users", "users.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := users.Open(dir, users.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", content, err)
		}
	}
}

func TestPasswordsAreHashedAsRecommended(t *testing.T) {
	dir := t.TempDir()
	s, err := users.Open(dir, users.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Add(t.Context(), users.User{Name: "anna", Roles: []access.Role{access.User}}, password); err != nil {
		t.Fatal(err)
	}
	if u, err := s.Get("anna"); err != nil || !strings.HasPrefix(u.Password, "$argon2id$v=19$m=65536,t=3,p=4$") {
		t.Errorf("%s, %v", u.Password, err)
	}
}

// TestAnAccountThatSomebodyElseHandsOverIsANewPerson: what takes two people goes by how long they have had it.
func TestAnAccountThatSomebodyElseHandsOverIsANewPerson(t *testing.T) {
	nothing := func(*users.User) error { return nil }
	for name, c := range map[string]struct {
		own bool
		do  func(s *users.Store) error
	}{
		"a password": {do: func(s *users.Store) error { return s.Change(t.Context(), "anna", "another long password", nothing) }},
		"the role of an officer": {do: func(s *users.Store) error {
			return s.Update("anna", func(u *users.User) error { u.Roles = append(u.Roles, access.Officer); return nil })
		}},
		"the account back": {do: func(s *users.Store) error {
			return errors.Join(s.Disable("anna", true), s.Change(t.Context(), "anna", "", func(u *users.User) error { u.Disabled = false; return nil }))
		}},
		"no codes any more": {do: func(s *users.Store) error {
			return errors.Join(s.Update("anna", func(u *users.User) error { u.TOTP = "JBSWY3DPEHPK3PXP"; return nil }),
				s.Change(t.Context(), "anna", "", func(u *users.User) error { u.TOTP = ""; return nil }))
		}},
		"a password of their own": {own: true, do: func(s *users.Store) error { return s.SetPassword(t.Context(), "anna", "another long password") }},
		"another mailbox": {own: true, do: func(s *users.Store) error {
			return s.Change(t.Context(), "anna", "", func(u *users.User) error { u.Mailboxes = append(u.Mailboxes, "legal"); return nil })
		}},
	} {
		s, dir, now := withAnna(t)
		made := *now
		*now = now.Add(time.Hour)
		if err := c.do(s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := *now
		if c.own {
			want = made
		}
		u, err := open(t, dir, now).Get("anna")
		if err != nil || !u.Principal().Login.Created.Equal(want) {
			t.Errorf("%s: the account counts from %s, want %s; %v", name, u.Principal().Login.Created, want, err)
		}
	}
}
