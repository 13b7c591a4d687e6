package volume

import (
	"container/list"
	"sync"
)

// A frameCache keeps the frames that were decoded last, so that a reader that goes
// through small entries in order decodes every frame once.
type frameCache struct {
	max int64 // bytes

	mu    sync.Mutex
	size  int64
	order *list.List // of *cached, the latest first
	byKey map[frameKey]*list.Element
}

type frameKey struct {
	volume uint32
	off    int64 // in the file
}

type cached struct {
	key  frameKey
	data []byte
}

func newFrameCache(maxBytes int64) *frameCache {
	return &frameCache{max: maxBytes, order: list.New(), byKey: make(map[frameKey]*list.Element)}
}

// get returns a decoded frame, which the caller must not change, or nil.
func (c *frameCache) get(key frameKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).data
}

// put takes data over.
func (c *frameCache) put(key frameKey, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[key]; ok || int64(len(data)) > c.max {
		return // another reader was faster
	}
	c.byKey[key] = c.order.PushFront(&cached{key: key, data: data})
	c.size += int64(len(data))
	for c.size > c.max {
		oldest := c.order.Back()
		old := c.order.Remove(oldest).(*cached)
		delete(c.byKey, old.key)
		c.size -= int64(len(old.data))
	}
}
