// Package mailparse reads Internet messages (RFC 5322, MIME) the way they
// are, not the way they should be. The archive, the index, the export and the
// pages all see a message through it, so that they agree about what it says.
//
// It stands in front of github.com/emersion/go-message, which reads
// well-formed mail and gives up on the rest: a message is lost whole for an mbox
// "From " line, a header line without colon or a missing boundary, and all
// parts behind a bad one are lost with it. Here the lines of a message are fed
// once, as they are read, through a header reader that keeps what it can, a
// splitter that holds a stack of boundaries, and forgiving transfer decoders. Memory is
// bounded by Options, time is linear in the size of the message. go-message
// parses the addresses, where they are well-formed, and is what the tests compare with.
//
// What is found within the content of a part becomes parts below it: files in uuencode
// or yEnc, what winmail.dat holds, what S/MIME signs. The parsers for these pull, and
// run as coroutines of the decoder that pushes.
//
// Everything that a message gets wrong is named in Message.Problems; nothing of
// it is an error.
package mailparse
