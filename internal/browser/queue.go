package browser

import (
	"context"
	"encoding/json"
	"iter"
	"sync"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	maxSignal      = 256 << 10 // bytes of one signal
	maxQueued      = 1024      // signals that wait to be read
	maxQueuedBytes = 4 << 20
)

// A queue holds the signals of a tab until somebody reads them.
type queue struct {
	mu    sync.Mutex // guards the fields below
	list  []json.RawMessage
	bytes int
	err   error         // why no more will come
	wake  chan struct{} // closed and replaced when something changes
}

func newQueue() *queue { return &queue{wake: make(chan struct{})} }

// push adds a signal. It fails when the page sends more than is read.
func (q *queue) push(signal json.RawMessage) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.err != nil:
		return nil
	case len(signal) > maxSignal:
		return fault.New(fault.PageFlooded, "the page sent a signal of %d bytes", len(signal))
	case len(q.list) >= maxQueued || q.bytes+len(signal) > maxQueuedBytes:
		return fault.New(fault.PageFlooded, "%d signals of the page were not read", len(q.list))
	}
	q.list = append(q.list, signal)
	q.bytes += len(signal)
	q.shake()
	return nil
}

// end says that no more will come. What is queued can still be read.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	q.shake()
}

func (q *queue) shake() {
	close(q.wake)
	q.wake = make(chan struct{})
}

// next takes all that is queued.
func (q *queue) next() (list []json.RawMessage, wake <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list, q.list, q.bytes = q.list, nil, 0
	return list, q.wake, q.err
}

// Events yields the signals of the page runtime, in their order, from the
// tab's first document on: what came before the call was kept. It ends with
// ctx, and with an error when the tab is gone. Each signal is yielded once, so
// a tab has one reader. A page that sends more than the reader takes loses its
// tab.
func (t *Tab) Events(ctx context.Context) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for ctx.Err() == nil {
			list, wake, err := t.signals.next()
			for i, signal := range list {
				if !yield(signal, nil) {
					t.signals.back(list[i+1:])
					return
				}
			}
			switch {
			case len(list) > 0:
				continue
			case err != nil:
				yield(nil, err)
				return
			}
			select {
			case <-wake:
			case <-ctx.Done():
			}
		}
	}
}

// back returns what a reader took and did not read.
func (q *queue) back(list []json.RawMessage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, signal := range list {
		q.bytes += len(signal)
	}
	q.list = append(list, q.list...)
}
