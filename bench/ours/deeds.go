package ours

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// deed is one command that was done.
type deed struct {
	worker string
	at     time.Time // when its result was stored
}

// deeds are the results that the workers have published.
type deeds struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex // guards the fields below
	done map[string]deed
	err  error
}

// follow begins to listen.
func follow(ctx context.Context, on *bus.Bus) *deeds {
	ctx, cancel := context.WithCancel(ctx)
	d := &deeds{cancel: cancel, ended: make(chan struct{}), done: map[string]deed{}}
	go func() {
		defer close(d.ended)
		for got, err := range on.Tail(ctx, bus.TailOptions{Subjects: []string{"res.>"}, All: true}) {
			d.take(got, err)
		}
	}()
	return d
}

func (d *deeds) take(got *bus.Delivery, err error) {
	var e event.Envelope
	if err == nil {
		e, err = got.Envelope()
	}
	var r event.Result
	if err == nil {
		err = json.Unmarshal(e.Data, &r)
	}
	if err == nil && r.Status != event.Succeeded {
		err = fmt.Errorf("command %s: %s", r.CommandID, e.Data)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.err = err
		return
	}
	if _, twice := d.done[r.CommandID]; twice {
		d.err = fmt.Errorf("command %s has two results", r.CommandID)
	}
	d.done[r.CommandID] = deed{worker: r.Worker, at: got.StoredAt}
}

// of returns what became of a command.
func (d *deeds) of(id string) (deed, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	one, ok := d.done[id]
	return one, ok
}

// fault says what went wrong so far.
func (d *deeds) fault() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// wait waits until all commands are done, each once, and returns when the last
// one was. Then it forgets them.
func (d *deeds) wait(ctx context.Context, ids []string) (last time.Time, err error) {
	left := slices.Clone(ids)
	err = until(ctx, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		left = slices.DeleteFunc(left, func(id string) bool {
			one, ok := d.done[id]
			if ok && one.at.After(last) {
				last = one.at
			}
			return ok
		})
		return len(left) == 0 || d.err != nil
	})
	if err != nil {
		return last, fmt.Errorf("%d commands have no result, as %s: %w", len(left), left[0], err)
	}
	if err := d.fault(); err != nil {
		return last, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		delete(d.done, id)
	}
	return last, nil
}

// stop stops listening.
func (d *deeds) stop() error {
	d.cancel()
	<-d.ended
	return d.fault()
}
