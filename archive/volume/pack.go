package volume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A packer compresses frames side by side. Every goroutine that it starts is
// waited for by wait or drain.
type packer struct {
	codec    *codec
	parallel int
	queue    []*job // started, in order
	free     []*job
}

// A job is one frame being compressed. Its buffers are used again.
type job struct {
	src    []byte // tar
	ends   bool   // an entry ends where src does
	packed []byte
	check  []byte
	err    error
	done   chan struct{}
}

func (p *packer) get() *job {
	if n := len(p.free); n > 0 {
		j := p.free[n-1]
		p.free = p.free[:n-1]
		return j
	}
	return &job{done: make(chan struct{}, 1)}
}

func (p *packer) put(j *job) {
	j.src = j.src[:0]
	p.free = append(p.free, j)
}

func (p *packer) full() bool { return len(p.queue) >= p.parallel }

// start compresses j.src. The job belongs to the packer until wait returns it.
func (p *packer) start(j *job) {
	p.queue = append(p.queue, j)
	go func() {
		j.err = j.pack(p.codec)
		j.done <- struct{}{}
	}()
}

// wait returns the oldest job when it is done.
func (p *packer) wait() *job {
	j := p.queue[0]
	p.queue = p.queue[1:]
	<-j.done
	return j
}

// drain drops all jobs.
func (p *packer) drain() {
	for len(p.queue) > 0 {
		p.put(p.wait())
	}
}

// pack compresses the frame and decodes it again: after this the only other
// copy of a message may be deleted. Then it is encrypted, if the codec does; that can be tried only with an identity.
func (j *job) pack(c *codec) error {
	j.packed = c.enc.EncodeAll(j.src, j.packed[:0])
	if err := j.compare(c); err != nil || len(c.recipients) == 0 {
		return err
	}
	var err error
	if j.packed, err = putEnvelope(j.packed, len(j.src), j.ends, c.recipients); err != nil {
		return err
	}
	if err := j.compare(c); !errors.Is(err, ErrNoIdentity) {
		return err
	}
	return nil
}

func (j *job) compare(c *codec) error {
	var err error
	j.check, err = c.unpack(j.check, j.packed, j.frame(frame{}))
	if err != nil {
		return fmt.Errorf("check of the compressed frame: %w", err)
	}
	if !bytes.Equal(j.check, j.src) {
		return errors.New("check of the compressed frame: it decodes to other bytes; suspect the memory of this machine")
	}
	return nil
}

// frame returns the packed frame as it is when it is written after prev.
func (j *job) frame(prev frame) frame {
	sum := binary.LittleEndian.Uint32(j.packed[len(j.packed)-checksumBytes:])
	if isEnvelope(j.packed) {
		sum = binary.LittleEndian.Uint32(j.packed[16:])
	}
	f := prev.next(uint32(len(j.packed)), uint32(len(j.src)), sum)
	f.crc = checksum(j.packed)
	return f
}
