package pop3test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
)

// Message is a message on the server.
type Message struct {
	// UIDL is its unique-id. The server gives one to a message that comes
	// without, which stays the same for its life and is not used again. An
	// empty one can be sent with a Hook.
	UIDL string
	// Size is what LIST claims, in octets.
	Size int64
	// Open returns the content, and may be called several times.
	Open func() (io.ReadCloser, error)
}

// Bytes returns a message with the content b, which must not be changed.
func Bytes(b []byte) Message {
	return Message{
		Size: int64(len(b)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
	}
}

// ReadAll returns the content.
func (m Message) ReadAll() ([]byte, error) {
	r, err := m.Open()
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// Mailbox is a user with a maildrop.
type Mailbox struct {
	User, Password string
	// Token is the access token for XOAUTH2 and OAUTHBEARER; "" for none.
	Token    string
	Messages []Message
}

// maildrop is the store behind a Mailbox.
type maildrop struct {
	mu       sync.Mutex
	password string
	token    string
	messages []Message
	nextUIDL int
	locked   bool
}

// deliver appends messages; the mutex must be held.
func (m *maildrop) deliver(messages []Message) {
	for _, msg := range messages {
		if msg.UIDL == "" {
			m.nextUIDL++
			msg.UIDL = "uid-" + strconv.Itoa(m.nextUIDL)
		}
		m.messages = append(m.messages, msg)
	}
}

// remove deletes the messages whose UIDL and position both were seen: a test
// may replace the content of a maildrop during a session.
func (m *maildrop) remove(seen []Message, deleted []bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := map[string]int{}
	for i, msg := range seen {
		if deleted[i] {
			gone[msg.UIDL]++
		}
	}
	m.messages = slices.DeleteFunc(slices.Clone(m.messages), func(msg Message) bool {
		if gone[msg.UIDL] == 0 {
			return false
		}
		gone[msg.UIDL]--
		return true
	})
}

// lock takes the maildrop for a session and returns what it holds.
func (m *maildrop) lock() ([]Message, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, false
	}
	m.locked = true
	return slices.Clone(m.messages), true
}

func (m *maildrop) unlock() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locked = false
}

// Deliver appends messages to the user's maildrop. A session that is open does
// not see them (RFC 1939, section 4).
func (s *Server) Deliver(user string, messages ...Message) error {
	return s.withMaildrop(user, func(m *maildrop) { m.deliver(messages) })
}

// SetMessages replaces what is in the user's maildrop.
func (s *Server) SetMessages(user string, messages ...Message) error {
	return s.withMaildrop(user, func(m *maildrop) {
		m.messages = nil
		m.deliver(messages)
	})
}

// Messages returns what is in the user's maildrop.
func (s *Server) Messages(user string) ([]Message, error) {
	var messages []Message
	err := s.withMaildrop(user, func(m *maildrop) { messages = slices.Clone(m.messages) })
	return messages, err
}

// Locked reports whether a session holds the user's maildrop.
func (s *Server) Locked(user string) (bool, error) {
	var locked bool
	err := s.withMaildrop(user, func(m *maildrop) { locked = m.locked })
	return locked, err
}

// AddMailbox adds a user, or replaces one who is not logged in.
func (s *Server) AddMailbox(box Mailbox) {
	drop := &maildrop{password: box.Password, token: box.Token}
	drop.deliver(box.Messages)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maildrops[box.User] = drop
}

func (s *Server) maildrop(user string) *maildrop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maildrops[user]
}

func (s *Server) withMaildrop(user string, f func(m *maildrop)) error {
	m := s.maildrop(user)
	if m == nil {
		return fmt.Errorf("no mailbox of %q", user)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
	return nil
}
