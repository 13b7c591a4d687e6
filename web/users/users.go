// Package users keeps the people who may log in, and the tokens of their
// programs. They are precious: the file that holds them is part of every backup
// and is never made from anything else.
//
// Passwords are kept as Argon2id (RFC 9106), tokens as SHA-256 of 256 random
// bits. docs/formats/users.md describes the file.
package users

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/web/access"
)

// The errors of this package.
var (
	// ErrUnknown means that nobody has the name.
	ErrUnknown = errors.New("no such user")
	// ErrExists means that somebody has the name already.
	ErrExists = errors.New("there is a user of this name")
	// ErrRefused means that name, password, code or token are not right, or the
	// user is disabled. It does not say which.
	ErrRefused = errors.New("name, password or code is wrong")
	// ErrCode means that the password is right and a one-time code is needed too.
	ErrCode = errors.New("a one-time code is needed")
	// ErrInvalid means that a user cannot be as wanted.
	ErrInvalid = errors.New("invalid user")
	// ErrLastAdmin means that nobody would be left who can log in as an administrator.
	ErrLastAdmin = errors.New("this is the last administrator: make another one first")
)

// A User is a person, or a program with nothing but tokens.
type User struct {
	// Name is the login and what the ledger calls them.
	Name  string        `json:"name"`
	Roles []access.Role `json:"roles"`
	// Mailboxes, From and To are the grant of users and auditors.
	Mailboxes []string  `json:"mailboxes,omitempty"`
	From      time.Time `json:"from,omitzero"`
	To        time.Time `json:"to,omitzero"` // the first moment after
	// Password is the Argon2id hash, "" for nobody who logs in with one.
	Password string `json:"password,omitempty"`
	// TOTP is the shared secret of the one-time codes (RFC 6238) in base 32.
	TOTP string `json:"totp,omitempty"`
	// Step is the time step of the last code, which is never taken twice.
	Step int64 `json:"step,omitempty"`
	// Subject is who an identity provider says they are: issuer and subject.
	Subject  string `json:"subject,omitempty"`
	Disabled bool   `json:"disabled,omitempty"`
	// Changed is when password, codes or state last changed: sessions from
	// before have ended.
	Changed time.Time `json:"changed,omitzero"`
	// Entrusted is when somebody else last gave them a password, the account back, or the role of an officer: before that
	// nobody else's second person was them.
	Entrusted time.Time `json:"entrusted,omitzero"`
	Created   time.Time `json:"created"`
	// CodesSince is when the one-time codes were turned on.
	CodesSince time.Time `json:"codes_since,omitzero"`
	// Set says who has set credentials. Nobody has in accounts from before it was recorded.
	Set      []Setting     `json:"set,omitempty"`
	Tokens   []Token       `json:"tokens,omitempty"`
	Searches []SavedSearch `json:"searches,omitempty"`
}

// A Token lets a program in.
type Token struct {
	ID      string    `json:"id"` // names it in lists, no secret
	Name    string    `json:"name"`
	Hash    string    `json:"hash"`         // SHA-256 in hex
	By      string    `json:"by,omitempty"` // who made it, "" if not recorded
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
}

// A SavedSearch is a query with a name.
type SavedSearch struct {
	Name  string `json:"name"`
	Query string `json:"query"`
}

// Principal is the user as the one who makes a request.
func (u *User) Principal() *access.Principal {
	return &access.Principal{Name: u.Name, Roles: u.Roles, Scope: access.Scope{
		All: slices.Contains(u.Roles, access.Officer), Mailboxes: u.Mailboxes, From: u.From, To: u.To,
	}, Login: access.Login{Account: true, Created: u.since()}}
}

// since is from when on the account is that of the person who has it now, as far as others had a say in that.
func (u *User) since() time.Time {
	if u.Entrusted.After(u.Created) {
		return u.Entrusted
	}
	return u.Created
}

// Options are the settings of a Store. The zero value is fine.
type Options struct {
	FS  disk.FS          // disk.OS() if nil
	Now func() time.Time // time.Now if nil
	// HashMemory is what hashing a password takes, in KiB; 0 is the 64 MiB that
	// RFC 9106 recommends.
	HashMemory uint32
}

// Store keeps the users of an archive. It is safe for concurrent use, by one
// process: whoever holds the lock of the data directory.
type Store struct {
	opts Options
	path string
	gate chan struct{} // bounds hashing at a time
	// decoy is the hash of a password that nobody has, made when it is first needed: it takes 0.2 s of
	// processor time, and every command opens a Store.
	decoy func() (string, error)
	// rehearsal means that changes are not written.
	rehearsal bool

	mu    sync.RWMutex
	users []User // sorted by name; what is handed out are copies

	watching sync.Mutex // guards watchers
	watchers []func()
}

const (
	dirName  = "users"
	fileName = "users.json"
	// maxFileBytes is room for a hundred thousand people.
	maxFileBytes = 64 << 20
	// hashersAtATime bounds the memory of logins: each takes argonMemory.
	hashersAtATime = 2
)

type file struct {
	Version int    `json:"version"`
	Users   []User `json:"users"`
}

// fileVersion is raised when older programs could not read the file.
const fileVersion = 1

// Open reads the users of the data directory dir. There are none if it has no
// file of them.
func Open(dir string, opts Options) (*Store, error) {
	if opts.FS == nil {
		opts.FS = disk.OS()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.HashMemory == 0 {
		opts.HashMemory = argonMemory
	}
	s := &Store{opts: opts, path: filepath.Join(dir, dirName, fileName), gate: make(chan struct{}, hashersAtATime)}
	s.decoy = sync.OnceValues(func() (string, error) { return hash("not the password of anybody", opts.HashMemory) })
	data, err := disk.ReadFile(opts.FS, s.path, maxFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("users: %s is damaged, put it back from a backup: %w", s.path, err)
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("users: %s has version %d, this program reads %d", s.path, f.Version, fileVersion)
	}
	s.users = f.Users
	return s, nil
}

// List returns all users by name.
func (s *Store) List() []User {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.users)
}

// Get returns a user by name, or ErrUnknown.
func (s *Store) Get(name string) (User, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i := s.find(name); i >= 0 {
		return s.users[i], nil
	}
	return User{}, fmt.Errorf("%w: %s", ErrUnknown, name)
}

func (s *Store) find(name string) int {
	return slices.IndexFunc(s.users, func(u User) bool { return u.Name == name })
}

// validName is what can stand in a ledger, a URL and on a command line.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@+-]{0,63}$`)

// Watch has fn called after every change of a user. fn must not change one.
func (s *Store) Watch(fn func()) {
	s.watching.Lock()
	defer s.watching.Unlock()
	s.watchers = append(s.watchers, fn)
}

func (s *Store) tell() {
	s.watching.Lock()
	watchers := slices.Clone(s.watchers)
	s.watching.Unlock()
	for _, fn := range watchers {
		fn()
	}
}

// Check says why a user cannot be as they are, with ErrInvalid.
func (u *User) Check() error {
	switch {
	case !validName.MatchString(u.Name):
		return fmt.Errorf("%w: name %q, want 1 to 64 of a-z 0-9 . _ @ + -", ErrInvalid, u.Name)
	case len(u.Roles) == 0:
		return fmt.Errorf("%w: %s has no role, want some of %s", ErrInvalid, u.Name, roleNames())
	case !u.From.IsZero() && !u.To.IsZero() && !u.From.Before(u.To):
		return fmt.Errorf("%w: the days granted to %s end before they begin", ErrInvalid, u.Name)
	}
	for _, r := range u.Roles {
		if !slices.Contains(access.Roles(), r) {
			return fmt.Errorf("%w: role %q, want one of %s", ErrInvalid, r, roleNames())
		}
	}
	return nil
}

func roleNames() string {
	var names []string
	for _, r := range access.Roles() {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// Add makes a user. password may be "" for one who logs in elsewhere, or only
// with tokens.
func (s *Store) Add(ctx context.Context, u User, password string) error {
	return s.add(ctx, u, password, func([]User) error { return nil })
}

func (s *Store) add(ctx context.Context, u User, password string, may func([]User) error) error {
	u.Created, u.Password, u.Tokens = s.opts.Now().UTC(), "", nil
	if len(u.Set) == 0 { // nobody made it for them
		u.Note(SetAccount, Setter{By: u.Name}, u.Created)
	}
	slices.Sort(u.Roles)
	u.Roles = slices.Compact(u.Roles)
	if err := u.Check(); err != nil {
		return err
	}
	if password != "" {
		var err error
		if u.Password, err = s.hash(ctx, password); err != nil {
			return err
		}
	}
	return s.change(func(users []User) ([]User, error) {
		if err := may(users); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(users, func(o User) bool { return o.Name == u.Name }) {
			return nil, fmt.Errorf("%w: %s", ErrExists, u.Name)
		}
		users = append(users, u)
		slices.SortFunc(users, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
		return users, nil
	})
}

// Disable keeps a user out, and ends the sessions, or lets the user in again.
func (s *Store) Disable(name string, disabled bool) error {
	return s.Update(name, func(u *User) error {
		u.Disabled = disabled
		return nil
	})
}

// Update changes a user; fn must not change the name. What fn makes invalid is
// refused.
func (s *Store) Update(name string, fn func(*User) error) error {
	return s.change(func(users []User) ([]User, error) {
		i := slices.IndexFunc(users, func(u User) bool { return u.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: %s", ErrUnknown, name)
		}
		before, officer := users[i], slices.Contains(users[i].Roles, access.Officer)
		if err := fn(&users[i]); err != nil {
			return nil, err
		}
		if !officer && slices.Contains(users[i].Roles, access.Officer) {
			users[i].Entrusted = s.opts.Now().UTC()
		}
		if users[i].Name != name {
			return nil, fmt.Errorf("%w: a name cannot change, the ledger has it", ErrInvalid)
		}
		s.end(&before, &users[i])
		return users, users[i].Check()
	})
}

// SetPassword changes the password of somebody who does so themselves, and what also changes with it. It is the caller who asks for
// the old one.
func (s *Store) SetPassword(ctx context.Context, name, password string, also ...func(*User)) error {
	hashed, err := s.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.Update(name, func(u *User) error {
		u.Password = hashed
		for _, fn := range also {
			fn(u)
		}
		return nil
	})
}

// end ends the sessions and tokens of a user from before a change of password or codes, of one who is kept out, and of one who lost
// a role.
func (s *Store) end(before, u *User) {
	secret := u.Password != before.Password || u.TOTP != before.TOTP
	lost := slices.ContainsFunc(before.Roles, func(r access.Role) bool { return !slices.Contains(u.Roles, r) })
	if secret || lost || u.Disabled {
		// What was added in the same change stays.
		u.Tokens = slices.DeleteFunc(u.Tokens, func(t Token) bool {
			return slices.ContainsFunc(before.Tokens, func(o Token) bool { return o.ID == t.ID })
		})
	}
	if secret || lost || u.Disabled != before.Disabled {
		u.Changed = s.opts.Now().UTC()
		if !u.Changed.After(before.Changed) { // the clock was set back
			u.Changed = before.Changed.Add(1)
		}
	}
	switch {
	case u.TOTP == "":
		u.CodesSince = time.Time{}
	case u.TOTP != before.TOTP:
		u.CodesSince = s.opts.Now().UTC()
	}
}

// LogsIn reports whether the user can log in, and not only with tokens.
func (u *User) LogsIn() bool { return !u.Disabled && (u.Password != "" || u.Subject != "") }

// admins counts the people who can log in and manage others.
func admins(users []User) (n int) {
	for i := range users {
		if u := &users[i]; u.LogsIn() && slices.Contains(u.Roles, access.Admin) {
			n++
		}
	}
	return n
}

// change writes the users that fn makes of a deep enough copy, and then takes them.
func (s *Store) change(fn func([]User) ([]User, error)) error {
	err := s.write(fn)
	if err == nil && !s.rehearsal {
		s.tell()
	}
	return err
}

func (s *Store) write(fn func([]User) ([]User, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	users := slices.Clone(s.users)
	for i := range users {
		users[i].Roles = slices.Clone(users[i].Roles)
		users[i].Mailboxes = slices.Clone(users[i].Mailboxes)
		users[i].Tokens = slices.Clone(users[i].Tokens)
		users[i].Searches = slices.Clone(users[i].Searches)
		users[i].Set = slices.Clone(users[i].Set)
	}
	users, err := fn(users)
	if err != nil {
		return err
	}
	if admins(users) == 0 && admins(s.users) > 0 {
		return ErrLastAdmin
	}
	if s.rehearsal {
		s.users = users
		return nil
	}
	data, err := json.MarshalIndent(file{fileVersion, users}, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(s.path)
	if _, err := s.opts.FS.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := errors.Join(s.opts.FS.MkdirAll(dir, disk.DirPerm), s.opts.FS.SyncDir(filepath.Dir(dir))); err != nil {
			return fmt.Errorf("users: %w", err)
		}
	}
	if err := disk.WriteFile(s.opts.FS, s.path, append(data, '\n'), disk.FilePerm); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	s.users = users
	return nil
}
