package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// maxSecretBytes bounds a secret file; a password is shorter, a wrong path is not.
const maxSecretBytes = 64 << 10

// Secret is a password that does not show itself: whatever formats, logs or
// encodes it gets "[secret]".
type Secret struct {
	value *string // a pointer, because fmt calls no method on the unexported fields of others
}

const hidden = "[secret]"

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String returns "[secret]".
func (Secret) String() string { return hidden }

// Format writes "[secret]" whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue returns "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText returns "[secret]", for JSON and others.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Password reads the mailbox's password now, so that a changed file counts from
// the next session on; see ReadSecret. A mailbox that logs in by other means has
// none, which is no error.
func (m Mailbox) Password(ctx context.Context, log *slog.Logger) (Secret, error) {
	var secret Secret
	var err error
	switch {
	case m.PasswordEnv != "":
		value, ok := os.LookupEnv(m.PasswordEnv)
		if !ok {
			err = fmt.Errorf("environment variable %s (password_env) is not set", m.PasswordEnv)
		} else {
			secret, err = oneLine(value, "environment variable "+m.PasswordEnv)
		}
	case m.PasswordFile != "":
		secret, err = ReadSecret(ctx, "password_file", m.PasswordFile, log)
	}
	if err = errors.Join(ctx.Err(), err); err != nil {
		return Secret{}, fmt.Errorf("mailbox %s: %w", m.Name, err)
	}
	return secret, nil
}

// ReadSecret reads the file that key names. A byte order mark at the beginning
// and one line break at the end are not part of the secret; the mark also says
// that the file is UTF-16, as PowerShell writes it. A file that every user of the machine can read is reported
// to log; nil discards.
func ReadSecret(ctx context.Context, key, path string, log *slog.Logger) (Secret, error) {
	value, mode, err := readSecret(path)
	if err != nil {
		return Secret{}, fmt.Errorf("%s: %w", key, err)
	}
	if log != nil && mode&0o004 != 0 && runtime.GOOS != "windows" { // Windows has no such bit
		log.WarnContext(ctx, "every user of this machine can read a secret: chmod 600", "key", key, "path", path)
	}
	return oneLine(value, key+" "+path)
}

func oneLine(value, source string) (Secret, error) {
	value = string(WithoutBOM([]byte(value)))
	value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	if value == "" {
		return Secret{}, fmt.Errorf("%s is empty", source)
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return Secret{}, fmt.Errorf("%s holds more than one line", source)
	}
	return NewSecret(value), nil
}

// WithoutBOM returns text without the byte order mark that editors put in
// front of it, as UTF-8 if the mark says that it is UTF-16.
func WithoutBOM(text []byte) []byte {
	decoded, _, err := transform.Bytes(unicode.BOMOverride(transform.Nop), text)
	if err != nil {
		return text
	}
	return decoded
}

func readSecret(path string) (string, fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", 0, err
	}
	if !info.Mode().IsRegular() { // opening a named pipe could wait for ever
		return "", 0, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", 0, err
	}
	if len(data) > maxSecretBytes {
		return "", 0, fmt.Errorf("%s is larger than 64 KiB", path)
	}
	return string(data), info.Mode(), nil
}
