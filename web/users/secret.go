package users

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pquerna/otp/totp"
	"golang.org/x/crypto/argon2"
)

// The second recommended choice of RFC 9106 section 4.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	saltBytes    = 16
	keyBytes     = 32
)

const (
	// MinPassword is in characters (NIST SP 800-63B has 8 with a second factor).
	MinPassword = 10
	// maxPassword keeps hashing from costing more than it should.
	maxPassword = 1024
)

// CheckPassword says what is wrong with a new password.
func CheckPassword(password string) error {
	switch {
	case utf8.RuneCountInString(password) < MinPassword:
		return fmt.Errorf("%w: a password has at least %d characters", ErrInvalid, MinPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("%w: a password has at most %d bytes", ErrInvalid, maxPassword)
	}
	return nil
}

func hash(password string, memory uint32) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	key := argon2.IDKey([]byte(password), salt, argonTime, memory, argonThreads, keyBytes)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, argonTime, argonThreads,
		enc.EncodeToString(salt), enc.EncodeToString(key)), nil
}

// matches reports whether password has the hash, in the form that the Argon2
// reference implementation writes.
func matches(hashed, password string) bool {
	var version, memory, passes, threads uint32
	parts := strings.Split(hashed, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || len(password) > maxPassword {
		return false
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &passes, &threads); err != nil {
		return false
	}
	enc := base64.RawStdEncoding
	salt, err1 := enc.DecodeString(parts[4])
	key, err2 := enc.DecodeString(parts[5])
	const most = 1 << 20 // a damaged file does not take all memory
	if errors.Join(err1, err2) != nil || version != argon2.Version || memory > most || passes == 0 || passes > 100 || threads == 0 || threads > 255 || len(key) == 0 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, passes, memory, uint8(threads), uint32(len(key))) //nolint:gosec // bounded above, a hash of some bytes
	return subtle.ConstantTimeCompare(got, key) == 1
}

func (s *Store) hash(ctx context.Context, password string) (string, error) {
	if err := CheckPassword(password); err != nil {
		return "", err
	}
	if err := s.enter(ctx); err != nil {
		return "", err
	}
	defer s.leave()
	return hash(password, s.opts.HashMemory)
}

func (s *Store) enter(ctx context.Context) error {
	select {
	case s.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) leave() { <-s.gate }

// LogIn returns the user of the name, if the password is right. The error is
// ErrRefused if not, and ErrCode, beside the user, if Code has to follow. It takes
// as long for a name that nobody has.
func (s *Store) LogIn(ctx context.Context, name, password string) (User, error) {
	u, err := s.Get(name)
	known := err == nil && u.Password != "" && !u.Disabled
	if err := s.enter(ctx); err != nil {
		return User{}, err
	}
	defer s.leave()
	against, err := s.decoy() // also where it is not needed: the first log-in must not tell by its time
	if err != nil {
		return User{}, err
	}
	if known {
		against = u.Password
	}
	right := matches(against, password)
	switch {
	case !known || !right:
		return User{}, ErrRefused
	case u.TOTP != "":
		return u, ErrCode
	}
	return u, nil
}

const (
	codePeriod = 30 * time.Second // of RFC 6238
	codeDigits = 6
)

// Code accepts a one-time code of a user, once. A clock may be one step off.
func (s *Store) Code(name, code string) error {
	u, err := s.Get(name)
	if err != nil || u.Disabled {
		return ErrRefused
	}
	step, ok := stepOf(u.TOTP, code, s.opts.Now())
	if !ok {
		return ErrRefused
	}
	return s.Update(name, func(now *User) error {
		if step <= now.Step || now.TOTP != u.TOTP {
			return ErrRefused
		}
		now.Step = step
		return nil
	})
}

func stepOf(secret, code string, now time.Time) (int64, bool) {
	code = strings.ReplaceAll(code, " ", "")
	if secret == "" || len(code) != codeDigits { // everybody can work out the codes of no secret
		return 0, false
	}
	at := now.Unix() / int64(codePeriod/time.Second)
	for _, step := range []int64{at, at - 1, at + 1} {
		want, err := totp.GenerateCode(secret, time.Unix(step*int64(codePeriod/time.Second), 0))
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, true
		}
	}
	return 0, false
}

// SetTOTP turns one-time codes on, if code proves that the person has the
// secret, in base 32; with an empty secret it turns them off.
func (s *Store) SetTOTP(name, secret, code string) error {
	step, ok := int64(0), true
	if secret != "" {
		step, ok = stepOf(secret, code, s.opts.Now())
	}
	if !ok {
		return ErrRefused
	}
	return s.Update(name, func(u *User) error {
		u.TOTP, u.Step = secret, step
		u.Note(SetCodes, Setter{By: name}, s.opts.Now())
		return nil
	})
}

// tokenPrefix makes tokens easy to find where they should not be.
const tokenPrefix = "postkeep_"

// maxTokens bounds the tokens of a user.
const maxTokens = 50

// AddToken makes a token of a user, as that user, and returns it. It cannot be had again. A zero expires never comes.
func (s *Store) AddToken(name, label string, expires time.Time) (secret string, t Token, err error) {
	return s.AddTokenBy(Setter{By: name}, name, label, expires)
}

// AddTokenBy is AddToken for whoever makes it.
func (s *Store) AddTokenBy(by Setter, name, label string, expires time.Time) (secret string, t Token, err error) {
	if !expires.IsZero() && !s.opts.Now().Before(expires) {
		return "", t, fmt.Errorf("%w: a token that expires at %s has expired already", ErrInvalid, expires.UTC().Format(time.RFC3339))
	}
	random := make([]byte, keyBytes)
	if _, err := rand.Read(random); err != nil {
		return "", t, err
	}
	secret = tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	t = Token{ID: hex.EncodeToString(random[:4]), Name: label, Hash: tokenHash(secret), By: by.By, Created: s.opts.Now().UTC(), Expires: expires}
	return secret, t, s.Update(name, func(u *User) error {
		if len(u.Tokens) == maxTokens {
			return fmt.Errorf("%w: %s has %d tokens already, revoke one", ErrInvalid, name, maxTokens)
		}
		u.Tokens = append(u.Tokens, t)
		u.Note(SetToken, by, t.Created)
		return nil
	})
}

// RevokeToken removes a token by its id.
func (s *Store) RevokeToken(name, id string) error {
	return s.Update(name, func(u *User) error {
		n := len(u.Tokens)
		if u.Tokens = slices.DeleteFunc(u.Tokens, func(t Token) bool { return t.ID == id }); len(u.Tokens) == n {
			return fmt.Errorf("%w: %s has no token %s", ErrInvalid, name, id)
		}
		return nil
	})
}

func tokenHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// ByToken returns the user of a token, or ErrRefused.
func (s *Store) ByToken(secret string) (User, error) {
	u, _, err := s.Token(secret)
	return u, err
}

// Token is ByToken, with the token.
func (s *Store) Token(secret string) (User, Token, error) {
	if !strings.HasPrefix(secret, tokenPrefix) {
		return User{}, Token{}, ErrRefused
	}
	want, now := tokenHash(secret), s.opts.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, u := range s.users {
		for _, t := range u.Tokens {
			// Comparing hashes leaks nothing of a secret of 256 random bits.
			if t.Hash == want && !u.Disabled && (t.Expires.IsZero() || now.Before(t.Expires)) {
				return u, t, nil
			}
		}
	}
	return User{}, Token{}, ErrRefused
}

// BySubject returns the user that an identity provider's subject belongs to, or
// ErrUnknown.
func (s *Store) BySubject(subject string) (User, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, u := range s.users {
		if subject != "" && u.Subject == subject {
			return u, nil
		}
	}
	return User{}, ErrUnknown
}
