package pipeline

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Large bodies are objects of a JetStream Object Store, in its documented
// format (NATS ADR-20), so that its tools can list and read them. Chunks are
// written and read here and not by the client library: its writer lets 4,000
// chunks wait in the server and leaves them behind when the context ends, its
// reader takes in up to 32 MiB ahead.
const (
	// chunkSize is the Object Store's default.
	chunkSize = 128 << 10
	// chunksInFlight is what one upload may have unacknowledged: 2 MiB.
	chunksInFlight = 16
	// storeOverhead is a generous bound of what a stored chunk takes beside
	// its octets, in percent.
	storeOverhead = 2
)

var errBodyMissing = errors.New("the body is not in the object store")

// TooLargeError is the error of Publish for a message that cannot pass, however
// empty the streams are. It is permanent: others can still be published, this
// one only with a larger Options.MaxStoreBytes.
type TooLargeError struct {
	Size  int64 // of the message, read to its end, in octets
	Limit int64 // the largest that can pass
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a message of %d octets is larger than the object store takes (%d octets): raise nats.max_store_bytes",
		e.Size, e.Limit)
}

// putBody stores everything that r yields as the named object. When r or the
// store fails, nothing is left behind. errors.Is finds the error of r.
func (b *Bus) putBody(ctx context.Context, name string, r io.Reader) error {
	id := nuid.Next()
	size, err := b.putChunks(ctx, b.chunkSubject(id), r)
	if err == nil {
		err = b.putObjectInfo(ctx, &jetstream.ObjectInfo{
			ObjectMeta: jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkSize}},
			Bucket:     b.stream(bucketBodies),
			NUID:       id,
			Size:       uint64(size),
			Chunks:     uint32((size + chunkSize - 1) / chunkSize),
		})
	}
	if err == nil {
		return nil
	}
	b.suspectStore(err)
	if isFull(err) {
		err = fmt.Errorf("the object store is full, try again later or raise nats.max_store_bytes: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.timing.publish)
	defer cancel()
	return errors.Join(err, b.chunks.Purge(ctx, jetstream.WithPurgeSubject(b.chunkSubject(id))))
}

func (b *Bus) putObjectInfo(ctx context.Context, info *jetstream.ObjectInfo) error {
	data, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return b.publishOnce(ctx, &nats.Msg{
		Subject: b.metaSubject(info.Name), Data: data,
		Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}},
	})
}

// putChunks publishes what r yields, in order, and waits for all
// acknowledgements, also when it fails.
func (b *Bus) putChunks(ctx context.Context, subject string, r io.Reader) (size int64, err error) {
	var acks []jetstream.PubAckFuture
	settle := func(keep int) (err error) {
		for ; len(acks) > keep; acks = acks[1:] {
			select {
			case <-acks[0].Ok():
			case e := <-acks[0].Err(): // at the latest after timing.publish
				err = errors.Join(err, e)
			}
		}
		return err
	}
	defer func() { err = errors.Join(err, settle(0)) }()

	// A chunk may be sent again while it is not acknowledged, so its buffer is
	// used again only afterwards.
	var ring [chunksInFlight][]byte
	for n := 0; ; n++ {
		if err := errors.Join(settle(chunksInFlight-1), ctx.Err()); err != nil {
			return size, err
		}
		slot := n % chunksInFlight
		if ring[slot] == nil {
			ring[slot] = make([]byte, chunkSize)
		}
		got, end, err := fill(r, ring[slot])
		if err != nil {
			return size, err
		}
		if got > 0 {
			ack, err := b.js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: ring[slot][:got]})
			if err != nil {
				return size, err
			}
			acks = append(acks, ack)
			size += int64(got)
		}
		if end {
			return size, nil
		}
	}
}

// fill reads until p is full or r ends. Only io.EOF itself is the end: unlike
// with io.ReadFull, a reader's own io.ErrUnexpectedEOF is an error, for it
// means that the body was cut off.
func fill(r io.Reader, p []byte) (n int, end bool, err error) {
	for n < len(p) {
		got, err := r.Read(p[n:])
		n += got
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// largestBody is what fits into an empty store.
func (b *Bus) largestBody() int64 {
	limit := divide(b.opts.MaxStoreBytes).bodies
	return limit - limit/100*storeOverhead
}

// waitForBodyRoom waits until a body of about size octets, but at most of
// largestBody, fits into the store: servers claim absurd sizes.
func (b *Bus) waitForBodyRoom(ctx context.Context, size int64) error {
	limit := divide(b.opts.MaxStoreBytes).bodies
	size = min(size, b.largestBody())
	size = min(size+size/100*storeOverhead, limit)
	for pause := b.newBackoff(); ; {
		used, err := b.bodyBytes(ctx)
		b.suspect(err)
		if err == nil && used+size <= limit {
			return nil
		}
		if !b.wait(ctx, pause.pause()) {
			return fmt.Errorf("no room for %d octets in the object store: %w", size, cmp.Or(err, ctx.Err(), context.Canceled))
		}
	}
}

// bodyBytes is what the object store holds.
func (b *Bus) bodyBytes(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timing.publish)
	defer cancel()
	info, err := b.chunks.Info(ctx)
	if err != nil {
		return 0, err
	}
	return int64(info.State.Bytes), nil
}

// A bodyReader reads an object, one chunk at a time. It asks the server for
// nothing before the first Read: many may wait in one batch.
type bodyReader struct {
	ctx    context.Context
	stream jetstream.Stream
	chunks string // their subject
	info   *jetstream.ObjectInfo
	next   uint64 // sequence in the stream
	chunk  []byte
	left   uint64 // octets
	err    error  // why reading failed, for whoever passed the reader on
}

// openBody finds an object. It returns errBodyMissing if there is none.
func (b *Bus) openBody(ctx context.Context, name string) (*bodyReader, error) {
	info, err := b.bodies.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, errBodyMissing
	}
	if err != nil {
		return nil, err
	}
	return &bodyReader{ctx: ctx, stream: b.chunks, chunks: b.chunkSubject(info.NUID), info: info, next: 1, left: info.Size}, nil
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if r.err == nil && len(r.chunk) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		r.err = r.fetch()
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

func (r *bodyReader) fetch() error {
	msg, err := r.stream.GetMsg(r.ctx, r.next, jetstream.WithGetMsgSubject(r.chunks))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("%w: %d of %d octets are missing", errBodyMissing, r.left, r.info.Size)
	}
	if err != nil {
		return fmt.Errorf("read body from the object store: %w", err)
	}
	if uint64(len(msg.Data)) > r.left || len(msg.Data) == 0 {
		return fmt.Errorf("%w: a chunk is larger than the rest of the object, or empty", errBodyMissing)
	}
	r.chunk, r.next, r.left = msg.Data, msg.Sequence+1, r.left-uint64(len(msg.Data))
	return nil
}

// removeBody deletes an object. One that is not there is fine. Names do not come
// again, so that no marker is left for it, as the client library would: markers
// take room in a store that may be needed to the last octet.
func (b *Bus) removeBody(ctx context.Context, name string) error {
	info, err := b.bodies.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := b.chunks.Purge(ctx, jetstream.WithPurgeSubject(b.chunkSubject(info.NUID))); err != nil {
		return err
	}
	return b.chunks.Purge(ctx, jetstream.WithPurgeSubject(b.metaSubject(name)))
}

func (b *Bus) metaSubject(name string) string {
	return b.metaPrefix() + base64.URLEncoding.EncodeToString([]byte(name))
}

// sweep removes what crashed publishers and workers left behind.
func (b *Bus) sweep(ctx context.Context) error {
	return errors.Join(b.removeOrphans(ctx, b.timing.orphanAge), b.removePartialBodies(ctx, b.timing.orphanAge))
}

// removeOrphans deletes the objects that no pending message can refer to: the
// envelope of an object is published within age after it, and the oldest
// pending message is younger than that.
func (b *Bus) removeOrphans(ctx context.Context, age time.Duration) error {
	objects, err := b.bodies.List(ctx)
	if errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list large bodies: %w", err)
	}
	oldest := time.Now()
	streams := b.js.ListStreams(ctx, jetstream.WithStreamListSubject(b.subject("mail", ">")))
	for info := range streams.Info() {
		if info.State.Msgs > 0 && info.State.FirstTime.Before(oldest) {
			oldest = info.State.FirstTime
		}
	}
	if err := streams.Err(); err != nil {
		return fmt.Errorf("list mail streams: %w", err)
	}
	for _, o := range objects {
		if o.ModTime.Add(age).Before(oldest) {
			b.log.Info("removing a body that no message refers to", "object", o.Name, "size", o.Size)
			err = errors.Join(err, b.removeBody(ctx, o.Name))
		}
	}
	return err
}

// removePartialBodies deletes chunks of uploads that were never finished and
// have not grown for age.
func (b *Bus) removePartialBodies(ctx context.Context, age time.Duration) error {
	info, err := b.chunks.Info(ctx, jetstream.WithSubjectFilter(b.chunkSubject("*")))
	if err != nil {
		return fmt.Errorf("list chunks of large bodies: %w", err)
	}
	objects, err := b.bodies.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return fmt.Errorf("list large bodies: %w", err)
	}
	for _, o := range objects {
		delete(info.State.Subjects, b.chunkSubject(o.NUID))
	}
	for subject := range info.State.Subjects {
		last, err := b.chunks.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && time.Since(last.Time) < age {
			continue
		}
		if err == nil {
			b.log.Info("removing an unfinished body", "object", strings.TrimPrefix(subject, b.chunkSubject("")))
			err = b.chunks.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil {
			return fmt.Errorf("remove unfinished body: %w", err)
		}
	}
	return nil
}
