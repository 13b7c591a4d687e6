package pipeline

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// identityDigits is the length of Options.Identity: 128 bits in hexadecimal.
	identityDigits = 32
	// prefixDigits of the identity tell the installations on a NATS server apart in names. The metadata of each
	// stream holds all of it, so that two that begin alike are an error and no mixture.
	prefixDigits = 12
	// maxPrefix keeps the names of streams below the server's limit.
	maxPrefix = 64
	// metaIdentity is the metadata of a stream that names the installation.
	metaIdentity = "postkeep.identity"
)

// Kinds of streams and buckets, and names of consumers.
const (
	streamPoll     = "POLL"
	streamMail     = "MAIL"
	streamArchived = "ARCHIVED"
	streamDead     = "DEAD"
	streamTenure   = "TENURE"
	bucketLease    = "LEASE"
	bucketBodies   = "BODIES"

	consumerPoller   = "poller"
	consumerArchiver = "archiver"
)

// names are those of one installation on a NATS server: of streams, buckets and subjects.
type names struct {
	prefix string // "" on the embedded server, which nobody else reaches
}

func (n names) stream(kind string) string {
	if n.prefix == "" {
		return kind
	}
	return n.prefix + "_" + kind
}

func (n names) subject(tokens ...string) string {
	s := strings.Join(tokens, ".")
	if n.prefix == "" {
		return s
	}
	return n.prefix + "." + s
}

func (n names) pollSubject(mailbox string) string { return n.subject("poll", Token(mailbox)) }
func (n names) mailSubject(shard, mailbox string) string {
	return n.subject("mail", shard, Token(mailbox))
}
func (n names) archivedSubject(shard string) string      { return n.subject("archived", shard) }
func (n names) tenureSubject(shard string) string        { return n.subject("tenure", shard) }
func (n names) deadSubject(shard string) string          { return n.subject("dead", shard) }
func (n names) reportSubject(mailbox string) string      { return n.subject("report", Token(mailbox)) }
func (n names) progressSubject(mailbox string) string    { return n.subject("progress", Token(mailbox)) }
func (n names) serviceSubject(name, shard string) string { return n.subject("archive", name, shard) }

func (n names) mailStream(shard string) string { return n.stream(streamMail + "_" + shard) }
func (n names) leaseStream() string            { return "KV_" + n.stream(bucketLease) }

// bodyStream, chunkSubject and metaPrefix are how the Object Store names what is behind a bucket.
func (n names) bodyStream() string            { return "OBJ_" + n.stream(bucketBodies) }
func (n names) chunkSubject(id string) string { return "$O." + n.stream(bucketBodies) + ".C." + id }
func (n names) metaPrefix() string            { return "$O." + n.stream(bucketBodies) + ".M." }

// unprefixed is the name of a stream for people and dashboards, the same for every installation.
func (n names) unprefixed(stream string) string {
	if n.prefix == "" {
		return stream
	}
	return strings.Replace(stream, n.prefix+"_", "", 1)
}

// namesFor are the names that the options ask for.
func namesFor(o Options) names {
	switch {
	case o.Prefix != "":
		return names{o.Prefix}
	case o.URL == "":
		return names{}
	}
	return names{"postkeep-" + o.Identity[:prefixDigits]}
}

// validIdentity reports whether the options name an installation. On the embedded server nobody else could be meant.
func validIdentity(o Options) error {
	if raw, err := hex.DecodeString(o.Identity); (err != nil || len(raw) != identityDigits/2) && (o.Identity != "" || o.URL != "") {
		return fmt.Errorf("identity of the installation %q: want %d hexadecimal digits", o.Identity, identityDigits)
	}
	if o.Prefix != "" && (!plain(o.Prefix) || len(o.Prefix) > maxPrefix) {
		return fmt.Errorf("prefix %q: only letters, digits, '-' and '_' are allowed, at most %d of them", o.Prefix, maxPrefix)
	}
	return nil
}

// A ForeignError means that a stream of the name that would be used belongs to another installation.
type ForeignError struct {
	Stream string
	Owner  string // its identity, "" if nobody says
}

func (e *ForeignError) Error() string {
	owner := "was made by another program or an earlier version"
	if e.Owner != "" {
		owner = "belongs to another Postkeep installation (identity " + e.Owner + ")"
	}
	return fmt.Sprintf("the stream %s on the NATS server %s: set nats.prefix to a name that nobody else uses there, or leave it out "+
		"for one that is made of the identity; to use the stream's name all the same, remove it on the server first", e.Stream, owner)
}

// ours reports whether a message was read by a poller of this installation. Earlier versions did not say; what they have left in
// the embedded server is ours.
func (b *Bus) ours(e envelope) bool {
	return e.Identity == b.opts.Identity || e.Identity == "" && b.server != nil
}

func (b *Bus) metadata() map[string]string {
	if b.opts.Identity == "" {
		return nil
	}
	return map[string]string{metaIdentity: b.opts.Identity}
}

// owned reports whether a stream is there. One of another installation is a *ForeignError. In the embedded server, which is
// inside the data directory, streams of earlier versions name nobody and are ours.
func (b *Bus) owned(ctx context.Context, name string) (bool, error) {
	stream, err := b.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, declareError("stream "+name, err)
	}
	owner := stream.CachedInfo().Config.Metadata[metaIdentity]
	if owner == b.opts.Identity || owner == "" && b.server != nil {
		return true, nil
	}
	return false, &ForeignError{Stream: name, Owner: owner}
}

// declareStream creates a stream or brings it to its configuration, unless it is somebody else's. Of two installations
// that do so at the same moment one creates it.
func (b *Bus) declareStream(ctx context.Context, cfg jetstream.StreamConfig) error {
	cfg.Metadata = b.metadata()
	there, err := b.owned(ctx, cfg.Name)
	if err != nil {
		return err
	}
	if !there {
		_, err = b.js.CreateStream(ctx, cfg)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return declared("stream "+cfg.Name, err)
		}
		if _, err := b.owned(ctx, cfg.Name); err != nil {
			return err
		}
	}
	_, err = b.js.CreateOrUpdateStream(ctx, cfg)
	return declared("stream "+cfg.Name, err)
}

func declared(what string, err error) error {
	if err == nil {
		return nil
	}
	return declareError(what, err)
}

// strangers are streams of an earlier version on an external server, by name with what is in them: their names were the same for
// all installations, so that nobody can tell whose mail is in them. It is still on the POP3 servers.
func (b *Bus) strangers(ctx context.Context) map[string]uint64 {
	if b.server != nil {
		return nil
	}
	found := map[string]uint64{}
	streams := b.js.ListStreams(ctx, jetstream.WithStreamListSubject("mail.>"))
	for info := range streams.Info() {
		if strings.HasPrefix(info.Config.Name, streamMail+"_") && info.Config.Metadata[metaIdentity] == "" {
			found[info.Config.Name] = info.State.Msgs
		}
	}
	if err := streams.Err(); err != nil {
		b.log.Debug("streams of earlier versions are not looked for", "error", err)
	}
	return found
}

// reportStrangers says what an earlier version has left.
func (b *Bus) reportStrangers(ctx context.Context) {
	for name, messages := range b.strangers(ctx) {
		b.log.Warn("a stream of an earlier version is left as it is: nobody can tell whose messages are in it, and they are still on their "+
			"POP3 servers; remove it when no earlier version uses it any more", "stream", name, "messages", messages, "server", b.where())
	}
}
