package visitor

import (
	"sync"
	"time"
)

// bucket is a token bucket of 16 bytes, so that each connection can have one.
type bucket struct {
	level float64
	at    int64 // nanoseconds since the epoch; 0 is a full bucket
}

// take takes a token at the time, if there is one.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	at := now.UnixNano()
	if b.at == 0 {
		b.level, b.at = burst, at
	}
	if passed := at - b.at; passed > 0 {
		b.level = min(burst, b.level+rate*float64(passed)/float64(time.Second))
		b.at = at
	}
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

// give gives n tokens back.
func (b *bucket) give(n, burst float64) { b.level = min(burst, b.level+n) }

// buckets are token buckets by name, as many as are in use. Whoever has been
// silent long enough to have a full bucket is forgotten.
type buckets struct {
	rate, burst float64
	most        int // names; a name beyond is treated as one that is over its rate

	mu  sync.Mutex // guards the fields below
	all map[string]*bucket
}

func newBuckets(rate, burst float64, most int) *buckets {
	return &buckets{rate: rate, burst: burst, most: most, all: map[string]*bucket{}}
}

// take takes one token of the name's bucket, if there is one.
func (b *buckets) take(name string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.all[name]
	if one == nil {
		if len(b.all) >= b.most {
			return false
		}
		one = &bucket{}
		b.all[name] = one
	}
	return one.take(now, b.rate, b.burst)
}

// sweep forgets those whose bucket is full again.
func (b *buckets) sweep(now time.Time) {
	full := now.Add(-time.Duration(b.burst / b.rate * float64(time.Second))).UnixNano()
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, one := range b.all {
		if one.at <= full {
			delete(b.all, name)
		}
	}
}
