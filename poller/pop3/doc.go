// Package pop3 is a POP3 client for programs that must not lose mail.
//
// It speaks RFC 1939 (POP3), 2449 (CAPA, response codes), 3206 (SYS and AUTH
// codes), 2595 (STLS), 6856 (UTF8, LANG) and 5034 (SASL: SCRAM-SHA-256, CRAM-MD5,
// PLAIN, LOGIN, OAUTHBEARER, XOAUTH2 and EXTERNAL), directly or through a SOCKS5 or
// HTTP proxy. What sets it apart:
//
//   - A message is streamed and comes out as it was sent: the dots that the
//     protocol adds are taken away and nothing else is touched. NUL bytes, bare
//     CR, bare LF, 8-bit and lines of megabytes are kept.
//   - The end of a message is io.EOF only if the server's terminating dot was
//     seen. A dropped connection is [io.ErrUnexpectedEOF], a stall a timeout.
//   - Commands are pipelined in a bounded window when the server offers it.
//   - Every wait and every response is bounded, in bytes, in entries and in
//     time, and the end of a context interrupts any wait at once.
//   - An error says what failed, where, in the server's words, and whether
//     trying again makes sense. A locked maildrop is never a wrong password.
//   - Secrets appear neither in errors nor in logs, even if the server echoes them.
//
// A session:
//
//	conn, err := pop3.Dial(ctx, pop3.Options{Host: "pop.example.com"})
//	err = conn.Login(ctx, pop3.Credentials{Username: user, Password: password})
//	entries, err := conn.List(ctx)
//	err = conn.Retrieve(ctx, numbers, func(m *pop3.Message) error { … })
//	err = conn.Delete(ctx, numbers, func(number int, err error) { … })
//	err = conn.Quit(ctx) // only now does the server delete
//
// # Where a message ends
//
// Only CRLF "." CRLF ends a message (RFC 1939, section 3), and only a dot after
// CRLF, or at the very start, is taken for a stuffed one: a bare LF is a byte
// like any other, so that a message that contains LF "." LF, or LF "." CRLF, is
// neither cut nor used to forge the answers that follow it. A server whose
// status line ends in a bare LF sends bare LF everywhere: in its messages every
// LF ends a line, and LF "." LF the message. A server that ends its status
// lines in CRLF and its messages in LF "." CRLF breaks the protocol in a way
// that cannot be told from such a message; it makes the read time out, the error
// says so, and [Options.BareLF] is the way out. Likewise a server that sends
// no line end before the final dot makes the read time out.
package pop3
