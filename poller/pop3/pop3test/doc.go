// Package pop3test is a POP3 server inside the process, for tests and
// demonstrations.
//
// Left alone it is a decent server: several mailboxes, an exclusive lock on each
// maildrop, deletions that take effect at QUIT and only there, implicit TLS
// or STLS with a certificate of its own, USER, APOP and the usual mechanisms of
// AUTH, CAPA, TOP, UIDL and pipelining. It streams messages of any size.
//
// A Hook makes it misbehave. It sees each command before the server does and may
// return an Answer to be used instead of the normal one, which it can call, cut,
// delay or alter:
//
//	hook := func(s *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
//		if cmd.Verb == "RETR" && cmd.Arg == "2" {
//			return pop3test.DropAfter(1000, normal)
//		}
//		return nil
//	}
package pop3test
