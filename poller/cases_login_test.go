package poller

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// patience is how long clients wait for servers that stall.
const patience = 400 * time.Millisecond

func impatient(m *Mailbox) { m.Server.ConnectTimeout, m.Server.CommandTimeout = patience, patience }

func connected(verb, kind, words string, hook pop3test.Hook) pollCase {
	return pollCase{
		number: "19", name: verb,
		rigOptions: rigOptions{messages: mails(1), mailbox: impatient, server: times(1, hook)},
		polls: []casePoll{
			{want: nothing, kind: kind, error: words}, {want: allOf("archived", 1)},
		},
		archived: mails(1), onServer: []string{},
	}
}

// loginCases are 18 to 21: getting in.
func loginCases() []pollCase {
	stls := func(m *Mailbox) { m.Server.TLS = pop3.TLSStart }
	return []pollCase{
		refusedLogins(),
		connected("greeting refused", "temporary", "unavailable", pop3test.Reply(pop3test.VerbGreeting, "", "-ERR service unavailable")),
		connected("greeting never comes", "timeout", "greeting", pop3test.On(pop3test.VerbGreeting, "", stalled)),
		connected("stall at CAPA", "timeout", "CAPA", pop3test.On("CAPA", "", stalled)),
		connected("drop at CAPA", "closed", "CAPA", drop("CAPA", "")),
		{
			number: "19", name: "STLS refused",
			rigOptions: rigOptions{messages: mails(1), mailbox: stls, server: hooked(pop3test.Reply("STLS", "", "-ERR not now"))},
			polls:      []casePoll{{want: nothing, kind: "tls", error: "STLS"}},
			onServer:   mails(1),
			check: func(t *testing.T, r *caseRig) {
				if len(r.sent("AUTH"))+len(r.sent("USER")) > 0 {
					t.Error("logged in without TLS")
				}
			},
		},
		{
			number: "19", name: "bytes injected before TLS",
			rigOptions: rigOptions{messages: mails(1), mailbox: stls, server: hooked(pop3test.Reply("STLS", "", "+OK\r\n+OK injected"))},
			polls:      []casePoll{{want: nothing, kind: "tls", error: "tampering"}},
			onServer:   mails(1),
		},
		certificate("expired", "expired", -time.Hour, "127.0.0.1", trusted),
		certificate("for another host", "another host", time.Hour, "other.example.com", trusted),
		certificate("self-signed", "self-signed", time.Hour, "127.0.0.1", nil),
		certificate("pinned, whatever else is wrong", "", -time.Hour, "other.example.com", pinned),
		certificate("another one than pinned", "pin", time.Hour, "127.0.0.1", func(o *pop3.Options, _ *x509.Certificate) {
			o.Pin = &[sha256.Size]byte{}
		}),
		tokenCase(),
		{
			number: "21", name: "every token refused",
			rigOptions: rigOptions{
				messages: mails(1), server: pop3test.Config{SASL: []string{"XOAUTH2"}},
				mailbox: func(m *Mailbox) {
					m.Password = nil
					m.Server.Token = func(context.Context, string) (string, error) { return secret, nil }
				},
			},
			polls: []casePoll{{want: nothing, kind: "auth"}}, onServer: mails(1),
		},
	}
}

func stalled(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
	return pop3test.Stall(s, nil, normal)
}

// refusedLogins is one server after the other.
func refusedLogins() pollCase {
	var answer atomic.Value
	c := pollCase{
		number: "18", name: "refused logins, temporary and not",
		rigOptions: rigOptions{messages: mails(1), server: pop3test.Config{
			Without: []string{"SASL"},
			Hook: pop3test.On("PASS", "", func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
				return pop3test.Raw(fmt.Sprintf("-ERR %v\r\n", answer.Load()))
			}),
		}},
		onServer: mails(1),
	}
	for _, refusal := range []struct{ words, kind string }{
		{"[IN-USE] Do you have another POP session running?", "busy"},
		{"[LOGIN-DELAY] minimum time between mail checks", "busy"},
		{"[SYS/TEMP] the disk is tired", "temporary"},
		{"[SYS/PERM] no such disk", "refused"},
		{"[AUTH] wrong " + secret, "auth"},
		{"Unable to lock maildrop", "busy"},
		{"Please wait 5 minutes", "busy"},
		{"Mailbox unavailable", "temporary"},
		{"", "refused"},
		{"Exceeded the login limit for a 15 minute period", "busy"},
		{"invalid username or password", "auth"},
	} {
		c.polls = append(c.polls, casePoll{
			before: func(*caseRig) { answer.Store(refusal.words) }, want: nothing, kind: refusal.kind, error: "login to",
		})
	}
	return c
}

// certificate is a server with a certificate of its own; words are in the error,
// "" if there is none.
func certificate(name, words string, valid time.Duration, host string, client func(*pop3.Options, *x509.Certificate)) pollCase {
	c := pollCase{number: "20", name: "certificate " + name, onServer: mails(1)}
	cert, err := pop3test.NewCertificate(time.Now().Add(-2*time.Hour), time.Now().Add(valid), host)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		panic(err)
	}
	c.rigOptions = rigOptions{
		messages: mails(1), server: pop3test.Config{TLS: pop3test.TLSImplicit, Certificate: &cert},
		mailbox: func(m *Mailbox) {
			m.Server.TLS = pop3.TLSImplicit
			if client != nil {
				client(&m.Server, leaf)
			}
		},
	}
	c.polls = []casePoll{{want: nothing, kind: "tls", error: words}}
	if words == "" {
		c.polls = []casePoll{{want: allOf("archived", 1)}}
		c.archived, c.onServer = mails(1), []string{}
	}
	return c
}

func trusted(o *pop3.Options, leaf *x509.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	o.TLSConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func pinned(o *pop3.Options, leaf *x509.Certificate) {
	pin := sha256.Sum256(leaf.Raw)
	o.Pin = &pin
}

// tokenCase is Microsoft 365: AUTH and token in two lines, a token that expires
// between two logins of one poll, and an error as a challenge.
func tokenCase() pollCase {
	var refusals atomic.Int32
	return pollCase{
		number: "21", name: "XOAUTH2 in two lines, token expired",
		rigOptions: rigOptions{
			messages: mails(2), server: pop3test.Config{SASL: []string{"XOAUTH2"}, NoInitialResponse: true},
			mailbox: func(m *Mailbox) {
				m.CommitEvery, m.Password = 1, nil
				m.Server.Mechanism = pop3.MechanismXOAuth2
				m.Server.Token = func(_ context.Context, refused string) (string, error) {
					if refused == "" {
						return "expired" + token, nil
					}
					refusals.Add(1)
					return token, nil
				}
			},
		},
		polls:    []casePoll{{want: allOf("archived", 2)}},
		archived: mails(2), onServer: []string{},
		check: func(t *testing.T, _ *caseRig) {
			if n := refusals.Load(); n != 2 {
				t.Errorf("%d refused tokens, want one for each login", n)
			}
		},
	}
}

// endless is an answer that begins with start and goes on with more for ever.
func endless(start, more string) func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
	return func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, start)
			for err == nil {
				_, err = io.WriteString(w, more)
			}
			return err
		}
	}
}
