package config

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Bytes is a size, written as a number of bytes or with a unit: 512KiB, 1GiB, 2GB.
type Bytes int64

var sizeForm = regexp.MustCompile(`^(\d+) ?([KMGT]i?B|B)?$`)

// UnmarshalText reads a size. KiB is 1024 bytes, KB is 1000.
func (b *Bytes) UnmarshalText(text []byte) error {
	m := sizeForm.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("must be a size like 512MiB or 1GiB, is %q", text)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	unit := int64(1)
	if suffix := string(m[2]); len(suffix) > 1 {
		base := int64(1000)
		if suffix[1] == 'i' {
			base = 1024
		}
		for range strings.IndexByte("KMGT", suffix[0]) + 1 {
			unit *= base
		}
	}
	if err != nil || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is too large", text)
	}
	*b = Bytes(n * unit)
	return nil
}

// TimeZone is a time.Location. After Load it is never nil.
type TimeZone struct{ *time.Location }

// UnmarshalText reads the name of an IANA zone; "" is the system's.
func (z *TimeZone) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*z = TimeZone{time.Local}
		return nil
	}
	loc, err := time.LoadLocation(string(text))
	if err != nil {
		return fmt.Errorf("must be a time zone like Europe/Berlin or UTC, is %q", text)
	}
	*z = TimeZone{loc}
	return nil
}

// Schedule is a cron expression of five fields (minute, hour, day of month,
// month, day of week), @hourly, @daily, @weekly, @monthly, @yearly, or
// "@every 5m". It may begin with "CRON_TZ=Europe/Berlin ".
type Schedule string

// UnmarshalText reads a schedule that the cron package accepts and that happens.
func (s *Schedule) UnmarshalText(text []byte) error {
	if _, err := parseSchedule(string(text)); err != nil {
		return fmt.Errorf(`must be a schedule like "*/10 * * * *" or "@every 5m": %w`, err)
	}
	*s = Schedule(text)
	return nil
}

func parseSchedule(spec string) (cron.Schedule, error) {
	// A zone without a space after it makes the cron parser panic (robfig/cron#554).
	zoned := strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ=")
	if zoned && !strings.Contains(spec, " ") {
		return nil, errors.New("a time zone needs a schedule after it")
	}
	every, isEvery := strings.CutPrefix(spec, "@every ")
	if isEvery {
		if d, err := time.ParseDuration(every); err == nil && d < time.Second {
			return nil, errors.New("the interval is shorter than one second")
		}
	}
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return nil, err
	}
	if schedule.Next(time.Now()).IsZero() {
		return nil, errors.New("it never happens")
	}
	return schedule, nil
}

// UnmarshalText reads after_archive or never; the third form is a mapping.
func (d *Delete) UnmarshalText(text []byte) error {
	switch string(text) {
	case "after_archive":
		*d = Delete{}
	case "never":
		*d = Delete{Never: true}
	default:
		return fmt.Errorf("must be after_archive, never, or { after: 336h }, is %q", text)
	}
	return nil
}

var days = regexp.MustCompile(`^(\d{1,5})d(.*)$`)

// parseDuration is time.ParseDuration with days of 24 hours in front: 14d, 1d12h.
func parseDuration(text string) (time.Duration, error) {
	var d time.Duration
	rest := text
	if m := days.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, err
		}
		d, rest = time.Duration(n)*24*time.Hour, m[2]
		if rest == "" {
			return d, nil
		}
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || d+more < d {
		return 0, fmt.Errorf("must be a duration like 30s, 10m, 336h or 14d, is %q", text)
	}
	return d + more, nil
}

// AnchorURL is an http or https URL without a user.
type AnchorURL string

// UnmarshalText reads a URL; its errors do not quote it.
func (a *AnchorURL) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return errors.New("must be an http or https URL")
	case u.User != nil:
		return errors.New("must not hold a user or a password: use token_file")
	}
	*a = AnchorURL(text)
	return nil
}

// ProxyURL is socks5://host:port or http://host:port.
type ProxyURL string

// UnmarshalText reads a URL; its errors do not quote it, for there may be a
// password in it.
func (p *ProxyURL) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	switch {
	case err != nil, u.Scheme != "socks5" && u.Scheme != "http", u.Hostname() == "", u.Port() == "",
		u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return errors.New("must be like socks5://host:1080 or http://host:3128")
	case u.User != nil:
		return errors.New("must not hold a user or a password: use { url: …, username: …, password_file: … }")
	}
	*p = ProxyURL(text)
	return nil
}

// UnmarshalText reads a URL, "" for none; the other form is a mapping.
func (p *Proxy) UnmarshalText(text []byte) error {
	*p = Proxy{}
	if len(text) == 0 {
		return nil
	}
	return p.URL.UnmarshalText(text)
}

// Fingerprint is the SHA-256 of a certificate in DER form.
type Fingerprint [sha256.Size]byte

// UnmarshalText reads 64 hexadecimal digits, with or without colons, as
// "openssl x509 -fingerprint -sha256" prints them, or base64.
func (f *Fingerprint) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), ":", ""))
	if err != nil {
		b, err = base64.StdEncoding.DecodeString(string(text))
	}
	if err != nil || len(b) != len(f) || Fingerprint(b) == (Fingerprint{}) { // which would stand for none
		return fmt.Errorf("must be the SHA-256 of a certificate in hexadecimal or base64, is %q", text)
	}
	*f = Fingerprint(b)
	return nil
}
