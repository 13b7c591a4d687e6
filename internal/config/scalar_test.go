package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "336h": 336 * time.Hour, "14d": 14 * day, "1d12h": day + 12*time.Hour, "0": 0, "0s": 0,
		"1h30m": 90 * time.Minute, "99999d": 99999 * day,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "d", "14", "-1h", "1d-1h", "1.5d", "1h2d", "100000d", "99999d2562047h", "14 d", "two days", "9999999999h",
	} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is accepted as %v", text, got)
		}
	}
}

func TestBytesUnmarshalText(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "7": 7, "7B": 7, "1KiB": 1 << 10, "1 KiB": 1 << 10, "1KB": 1000, "512MiB": 512 << 20, "1GiB": 1 << 30,
		"2GB": 2e9, "1TiB": 1 << 40, "3TB": 3e12, "8388607TiB": 8388607 << 40,
	} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5GiB", "1gib", "GiB", "1PiB", "3G", "8388608TiB", "99999999999999999999", "0x10"} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is accepted as %d", text, got)
		}
	}
}

func TestScheduleUnmarshalText(t *testing.T) {
	for _, text := range []string{
		"@every 5m", "@every 1s", "@hourly", "@daily", "*/10 * * * *", "0 6 * * MON-FRI", "CRON_TZ=Europe/Berlin 0 6 * * *",
		"TZ=UTC @daily", "0 0 29 2 *",
	} {
		var s Schedule
		if err := s.UnmarshalText([]byte(text)); err != nil || string(s) != text {
			t.Errorf("%s: %q, %v", text, s, err)
		}
	}
}

// The cron package panics on some strings; those must be refused before.
func FuzzSchedule(f *testing.F) {
	for _, text := range []string{"TZ=UTC", "TZ=", "CRON_TZ= ", "@every ", "@", "", "*/0 * * * *", "1-9/2,3 * ? * L", "TZ=UTC  "} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSchedule(text)
		if err != nil {
			return
		}
		if now := time.Now(); !s.Next(now).After(now) {
			t.Errorf("%q never happens", text)
		}
	})
}

// Whatever the file is, there is a configuration or an error, no panic, and
// what stands behind an inline password key is not shown.
func FuzzParse(f *testing.F) {
	f.Add(string(Example()), "")
	f.Add("mailboxes:\n- name: a", "\n  port: x")
	f.Add("mailboxes: [{name: a, host: h", "\n}]")
	f.Add("# c", "|\n p\nlog: x")
	f.Add("? [a]\n: &x !!str b\n---\n<<: *x\n", "\"")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "Xq7Xq7Xq7"
		cfg, err := parse("f", dir, []byte(before))
		if (cfg == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cfg, err)
		}
		_, err = parse("f", dir, []byte(before+"\npassword: "+secret+after))
		var bad *Error
		if errors.As(err, &bad) {
			for _, p := range bad.Problems {
				if strings.Contains(p.Snippet, secret) {
					t.Errorf("the snippet shows the secret:\n%s", p.Snippet)
				}
			}
		}
	})
}
