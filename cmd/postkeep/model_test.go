package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A programModel says what has to be in the archive of a running program: it knows what each server has had, what people have
// ordered, and how much time has truly gone by, whatever the clock says.
type programModel struct {
	mail     map[string]*programMail // by id
	cut      map[string]bool         // ids of the parts before an unstuffed dot, which may be archived
	copies   map[programCopy]*copyState
	holds    map[string]*programOrder
	rules    map[string]*programOrder
	erased   map[string]bool // ids that somebody has asked to erase
	problems []string
}

func newProgramModel() *programModel {
	return &programModel{mail: map[string]*programMail{}, cut: map[string]bool{}, copies: map[programCopy]*copyState{},
		holds: map[string]*programOrder{}, rules: map[string]*programOrder{}, erased: map[string]bool{}}
}

// programMail is a message with what orders may be about.
type programMail struct {
	id, text, token string
	word, attached  string // in the body, in an attachment
	sender          string
	unstuffed       bool // the server sends it without stuffing the dot in it
}

// A programCopy is a message in a mailbox.
type programCopy struct{ id, mailbox string }

type copyState struct {
	delivered time.Time // the first time, truly
	archived  bool      // it has been found, or is gone from the server
	deleted   bool      // it is gone from the server
	gone      bool      // it was disposed of
}

// A programOrder is a hold or a rule. Begun and ended are false while a command that may have done it has not succeeded.
type programOrder struct {
	word, custodian  string // the word is in body or attachment
	min, max         time.Duration
	placed, released bool // surely
	maybeReleased    bool
	step             int // of the last change
}

// sure is whether it was in force all through a step.
func (o *programOrder) sure(step int) bool {
	return o.placed && !o.maybeReleased && o.step < step
}

// maybe is whether it may have been in force at some time of a step.
func (o *programOrder) maybe(step int) bool { return !o.released || o.step == step }

// heldSender has the address in forms that are odd but real.
var (
	heldSender = "held@weiss.example"
	senders    = []string{
		"Anna <anna@weiss.example>", "bob@example.org", "<held@weiss.example>", "held(c1)@(c2)weiss.example", "held @ weiss.example",
		"held@weiss  . example", "<held@weiss.example> <other@weiss.example>", "x@weiss.example held@weiss.example",
		`"held@weiss.example" <SMTP:held@weiss.example>`, "=?utf-8?Q?J=C3=B6rg_<held@weiss.example>?=",
	}
)

// fromHeld is whether a sender is that custodian, however it is written.
func fromHeld(sender string) bool { return strings.Contains(sender, "held") }

// newMail makes a message.
func newMail(token, sender, word, attached string, unstuffed bool) *programMail {
	m := &programMail{token: token, sender: sender, word: word, attached: attached, unstuffed: unstuffed}
	head := fmt.Sprintf("From: %s\r\nTo: list@example.org\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\nReceived: from x by y; Mon, 2 Mar 2026 10:00:00 +0100\r\nDate: Mon, 2 Mar 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\n",
		sender, token, token)
	body := token + " " + word + "\r\n"
	if unstuffed {
		body += "before\r\n.\r\nafter the dot\r\n"
	}
	if attached == "" {
		m.text = head + "Content-Type: text/plain\r\n\r\n" + body
	} else {
		m.text = head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + body +
			"--b\r\nContent-Type: application/rtf; name=notes.rtf\r\nContent-Disposition: attachment; filename=notes.rtf\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			base64.StdEncoding.EncodeToString([]byte(`{\rtf1 notes about `+attached+" for "+token+"}")) + "\r\n--b--\r\n"
	}
	m.id = hashOf(m.text)
	return m
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (m *programModel) problem(format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf(format, args...))
}

// deliver notes that a server has a message.
func (m *programModel) deliver(mailbox string, mail *programMail, now time.Time) {
	m.mail[mail.id] = mail
	if mail.unstuffed {
		before, _, _ := strings.Cut(mail.text, "\r\n.\r\n")
		m.cut[hashOf(before+"\r\n")] = true
	}
	c := programCopy{mail.id, mailbox}
	if m.copies[c] == nil {
		m.copies[c] = &copyState{delivered: now}
	}
}

// covers is whether a hold is about a message, by any of its copies.
func (m *programModel) covers(o *programOrder, mail *programMail) bool {
	if o.word != "" && o.word != mail.word && o.word != mail.attached {
		return false
	}
	if o.custodian == "" {
		return true
	}
	if strings.Contains(o.custodian, "@") {
		return fromHeld(mail.sender)
	}
	state := m.copies[programCopy{mail.id, o.custodian}]
	return state != nil && state.archived && !state.gone
}

// mustStay is why a copy cannot have gone during a step, "" if it may.
func (m *programModel) mustStay(c programCopy, step int, now time.Time) string {
	mail := m.mail[c.id]
	for name, h := range m.holds {
		if h.sure(step) && m.covers(h, mail) {
			return fmt.Sprintf("hold %s covers it (%+v)", name, h)
		}
	}
	age := now.Sub(m.copies[c].delivered)
	due := m.erased[c.id]
	for name, r := range m.rules {
		if r.custodian != "" && r.custodian != c.mailbox {
			continue
		}
		if r.sure(step) && r.min > age {
			return fmt.Sprintf("rule %s keeps it for %s, it is %s old", name, r.min, age)
		}
		if r.sure(step) && r.max > age && !m.erased[c.id] {
			return fmt.Sprintf("by rule %s it is due after %s, it is %s old", name, r.max, age)
		}
		due = due || r.maybe(step) && r.max > 0 && r.max <= age
	}
	if !due {
		return fmt.Sprintf("no rule lets it go, it is %s old", age)
	}
	return ""
}

// found compares what the archive has, as mailboxes by id, with what it must have, and judges what has gone.
func (m *programModel) found(there map[string][]string, step int, now time.Time) {
	for id := range there {
		if m.mail[id] == nil && !m.cut[id] {
			m.problem("the archive has message %s, which nobody sent", id)
		}
	}
	var gone []programCopy
	for c, state := range m.copies {
		is := slices.Contains(there[c.id], c.mailbox)
		switch {
		case is:
			state.archived, state.gone = true, false
		case state.archived && !state.gone:
			if why := m.mustStay(c, step, now); why != "" {
				m.problem("message %s (%+v) is missing in %s, deleted on the server %v: %s", c.id, m.mail[c.id], c.mailbox, state.deleted, why)
			}
			gone = append(gone, c)
		}
	}
	for _, c := range gone {
		m.copies[c].gone = true
	}
}

// owed is whether everything is there that is expected.
func (m *programModel) owed(there map[string][]string) bool {
	for c, state := range m.copies {
		if state.archived && !state.gone && !slices.Contains(there[c.id], c.mailbox) {
			return false
		}
	}
	return true
}
