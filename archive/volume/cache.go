package volume

import "sync"

// A frameCache keeps the frames that were read last, so that a reader that goes
// through small entries in order decodes every frame once.
type frameCache struct {
	max int64 // bytes

	mu    sync.Mutex
	size  int64
	byKey map[frameKey]*cachedFrame
	ring  cachedFrame // next is the frame read last, prev the one to drop
}

type frameKey struct {
	volume uint32
	gen    int   // of the file
	off    int64 // in the file
}

type cachedFrame struct {
	key        frameKey
	data       []byte
	prev, next *cachedFrame
}

func newFrameCache(maxBytes int64) *frameCache {
	c := &frameCache{max: maxBytes, byKey: make(map[frameKey]*cachedFrame)}
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	return c
}

// get returns a decoded frame, which the caller must not change, or nil.
func (c *frameCache) get(key frameKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.byKey[key]
	if !ok {
		return nil
	}
	f.unlink()
	f.linkAfter(&c.ring)
	return f.data
}

// put takes data over.
func (c *frameCache) put(key frameKey, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[key]; ok || int64(len(data)) > c.max {
		return // another reader was faster
	}
	f := &cachedFrame{key: key, data: data}
	c.byKey[key] = f
	f.linkAfter(&c.ring)
	c.size += int64(len(data))
	for c.size > c.max {
		c.drop(c.ring.prev)
	}
}

// forget drops the frames of a volume.
func (c *frameCache) forget(volume uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, f := range c.byKey {
		if key.volume == volume {
			c.drop(f)
		}
	}
}

func (c *frameCache) drop(f *cachedFrame) {
	f.unlink()
	delete(c.byKey, f.key)
	c.size -= int64(len(f.data))
}

func (f *cachedFrame) unlink() { f.prev.next, f.next.prev = f.next, f.prev }

func (f *cachedFrame) linkAfter(p *cachedFrame) {
	f.prev, f.next = p, p.next
	p.next.prev, p.next = f, f
}
