package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestPasswordIsReadWhenItIsNeeded(t *testing.T) {
	m := Mailbox{Name: "sales", PasswordFile: filepath.Join(t.TempDir(), "secret")}
	for content, want := range map[string]string{
		"old": "old", "new\n": "new", "windows\r\n": "windows", " spaces count ": " spaces count ", "ü": "ü",
		"\ufeffnotepad\r\n": "notepad", "\ufeffbom": "bom", "mac\r": "mac", "l\xe4tin": "l\xe4tin", "in\ufeffside": "in\ufeffside",
		"\xff\xfeP\x00S\x00\xfc\x00\r\x00\n\x00": "PSü", "\xfe\xff\x00B\x00E": "BE",
	} {
		if err := os.WriteFile(m.PasswordFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := m.Password(t.Context(), nil)
		if err != nil || got.Reveal() != want {
			t.Errorf("%q: %q, %v; want %q", content, got.Reveal(), err, want)
		}
	}
	t.Setenv("POSTKEEP_TEST_PASSWORD", "from env")
	got, err := Mailbox{Name: "sales", PasswordEnv: "POSTKEEP_TEST_PASSWORD"}.Password(t.Context(), nil)
	if err != nil || got.Reveal() != "from env" {
		t.Errorf("%q, %v", got.Reveal(), err)
	}
}

func TestPasswordErrorNamesMailboxAndSource(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("POSTKEEP_TEST_EMPTY", "")
	for name, c := range map[string]struct {
		m    Mailbox
		want string
	}{
		"missing file": {Mailbox{PasswordFile: filepath.Join(dir, "none")}, filepath.Join(dir, "none")},
		"folder":       {Mailbox{PasswordFile: dir}, dir + " is not a regular file"},
		"too large":    {Mailbox{PasswordFile: file("large", strings.Repeat("hunter2\n", 10000))}, "large is larger than 64 KiB"},
		"empty":        {Mailbox{PasswordFile: file("empty", "\n")}, "empty is empty"},
		"two lines":    {Mailbox{PasswordFile: file("two", "hunter2\nhunter2\n")}, "two holds more than one line"},
		"unset":        {Mailbox{PasswordEnv: "POSTKEEP_TEST_UNSET"}, "POSTKEEP_TEST_UNSET (password_env) is not set"},
		"empty env":    {Mailbox{PasswordEnv: "POSTKEEP_TEST_EMPTY"}, "POSTKEEP_TEST_EMPTY is empty"},
	} {
		c.m.Name = "sales"
		got, err := c.m.Password(t.Context(), nil)
		if err == nil || got.Reveal() != "" {
			t.Errorf("%s: got %q, %v", name, got.Reveal(), err)
			continue
		}
		if text := err.Error(); !strings.HasPrefix(text, "mailbox sales: ") || !strings.Contains(text, c.want) ||
			strings.Contains(text, "hunter2") {
			t.Errorf("%s: %q does not say %q", name, text, c.want)
		}
	}
	_, err := Mailbox{PasswordFile: filepath.Join(dir, "none")}.Password(t.Context(), nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist in it", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Mailbox{PasswordEnv: "POSTKEEP_TEST_EMPTY"}).Password(canceled, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestPasswordFileThatEveryoneCanReadIsReported(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such permission bit")
	}
	m := Mailbox{Name: "sales", PasswordFile: filepath.Join(t.TempDir(), "secret")}
	if err := os.WriteFile(m.PasswordFile, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o604: true} {
		if err := os.Chmod(m.PasswordFile, mode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		if _, err := m.Password(t.Context(), slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), m.PasswordFile); got != want || strings.Contains(log.String(), "hunter2") {
			t.Errorf("mode %o: log %q", mode, log.String())
		}
	}
}

func TestSecretNeverShowsItself(t *testing.T) {
	secret := NewSecret("hunter2")
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
		fmt.Fprintf(&out, verb+"\n", secret)
		fmt.Fprintf(&out, verb+"\n", &secret)
		fmt.Fprintf(&out, verb+"\n", struct{ inner Secret }{secret}) // fmt calls no methods here
	}
	fmt.Fprintln(&out, secret, secret.String())
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "s", secret, "in", struct{ S Secret }{secret})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "s", secret, "in", struct{ S Secret }{secret})
	if err := json.NewEncoder(&out).Encode(map[string]any{"s": secret, "p": &secret}); err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2")} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q is in the output:\n%s", leak, out.String())
		}
	}
	if secret.Reveal() != "hunter2" || (Secret{}).Reveal() != "" {
		t.Error("Reveal does not give the secret")
	}
}
