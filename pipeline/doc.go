// Package pipeline carries messages, poll jobs and reports over NATS
// JetStream. Every stream, subject and consumer is declared in streams.go; no
// NATS type leaves the package.
//
// NATS is never the only holder of a message: until the archive has sent a
// receipt the POP3 server still has it. What is lost in flight costs a second
// download, nothing else. The wire format is in docs/formats/streams.md.
package pipeline
