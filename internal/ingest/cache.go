package ingest

import (
	"sync"
	"time"
)

// cache remembers values for a while, and not more than a number of them: what
// was not written lately goes first, half of all at a time.
type cache[V any] struct {
	mu         sync.Mutex
	size       int
	young, old map[string]kept[V]
}

type kept[V any] struct {
	value V
	until time.Time
}

func newCache[V any](size int) *cache[V] {
	return &cache[V]{size: max(size/2, 1), young: map[string]kept[V]{}}
}

func (c *cache[V]) get(key string) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.young[key]
	if !ok {
		k, ok = c.old[key]
	}
	if !ok || !time.Now().Before(k.until) {
		return value, false
	}
	return k.value, true
}

func (c *cache[V]) put(key string, value V, life time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.size {
		c.old, c.young = c.young, map[string]kept[V]{}
	}
	c.young[key] = kept[V]{value, time.Now().Add(life)}
}

func (c *cache[V]) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, key)
	delete(c.old, key)
}
