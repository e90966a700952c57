// Package crmtest does to connectors what the engine does, without a bus, and
// lends them tokens as the vault does. It is for tests.
package crmtest

import (
	"context"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// mostAttempts is how often one item is tried until the test gives up.
const mostAttempts = 300

// Pump brings items to a connector as its contract says of the engine: in
// batches, in order for each key, all again after an unsure answer, and in halves
// when one of them is to blame.
type Pump struct {
	To crm.Connector
	// Size is the items of a call, and Parallel the calls at once; 0 is 1.
	Size, Parallel int
	// Timeout is of one call; 0 is 10 s.
	Timeout time.Duration
	// Wait, if set, is told how long to wait before the next attempt.
	Wait func(d time.Duration)
	// Restart, if set, is asked after an unanswered call whether what the engine
	// knew of it is lost, too: a crash. The item comes again as if it were new.
	Restart func() bool

	mu    sync.Mutex // guards the fields below
	ids   map[string]string
	dead  map[string]*fault.Error
	calls int
	most  int
	all   map[string]crm.Outcome
}

// Key returns a key as the engine makes them.
func Key(name string) string {
	text := strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(fmt.Appendf(nil, "%016s", name)))
	return text[:26]
}

// Names returns so many names of visitors.
func Names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("visitor-%05d", i)
	}
	return all
}

// Dead returns what was rejected, by key.
func (p *Pump) Dead() map[string]*fault.Error { return p.dead }

// Outcome returns the last outcome of the key.
func (p *Pump) Outcome(key string) crm.Outcome { return p.all[key] }

// ID returns the vendor's id of the key.
func (p *Pump) ID(key string) string { return p.ids[key] }

// Calls returns how many calls were made, and the most attempts of one item.
func (p *Pump) Calls() (calls, attempts int) { return p.calls, p.most }

// Contacts writes contacts until each of them is done or dead.
func (p *Pump) Contacts(t testing.TB, contacts []crm.Contact) {
	t.Helper()
	run(t, p, contacts, kind[crm.Contact]{
		do:  p.To.UpsertContacts,
		key: func(c *crm.Contact) string { return c.Key },
		set: func(c *crm.Contact, id string, attempt int, unsure bool) {
			c.ID, c.Attempt, c.Unsure = id, attempt, unsure
		},
	})
}

// Activities writes activities until each of them is done or dead.
func (p *Pump) Activities(t testing.TB, activities []crm.Activity) {
	t.Helper()
	run(t, p, activities, kind[crm.Activity]{
		do:  p.To.PutActivities,
		key: func(a *crm.Activity) string { return a.Key },
		set: func(a *crm.Activity, id string, attempt int, unsure bool) {
			a.ID, a.Attempt, a.Unsure = id, attempt, unsure
			p.mu.Lock()
			defer p.mu.Unlock()
			a.Contact.ID = p.ids[a.Contact.Key]
		},
	})
}

// kind is what the pump has to know of the items.
type kind[T any] struct {
	do  func(context.Context, []T) ([]crm.Outcome, error)
	key func(*T) string
	set func(item *T, id string, attempt int, unsure bool)
}

// try is one item on its way.
type try[T any] struct {
	item     T
	attempts int
	unsure   bool
}

func run[T any](t testing.TB, p *Pump, items []T, k kind[T]) {
	t.Helper()
	p.mu.Lock()
	if p.ids == nil {
		p.ids, p.dead, p.all = map[string]string{}, map[string]*fault.Error{}, map[string]crm.Outcome{}
	}
	p.mu.Unlock()
	var running sync.WaitGroup
	slots := make(chan struct{}, max(p.Parallel, 1))
	for batch := range slices.Chunk(items, max(p.Size, 1)) {
		tries := make([]try[T], len(batch))
		for i, item := range batch {
			tries[i] = try[T]{item: item}
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			pumpBatch(t, p, tries, k)
		})
	}
	running.Wait()
}

// pumpBatch brings a batch to its end.
func pumpBatch[T any](t testing.TB, p *Pump, batch []try[T], k kind[T]) {
	t.Helper()
	for len(batch) > 0 {
		items := make([]T, len(batch))
		p.mu.Lock()
		p.calls++
		p.mu.Unlock()
		for i := range batch {
			b := &batch[i]
			b.attempts++
			p.mu.Lock()
			p.most = max(p.most, b.attempts)
			id := p.ids[k.key(&b.item)]
			p.mu.Unlock()
			k.set(&b.item, id, b.attempts, b.unsure)
			items[i] = b.item
		}
		if batch[0].attempts > mostAttempts {
			t.Errorf("no end of %s", k.key(&batch[0].item))
			return
		}
		timeout := p.Timeout
		if timeout == 0 {
			timeout = 10 * time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		outcomes, err := k.do(ctx, items)
		cancel()
		e := fault.From(err)
		switch {
		case err == nil:
			batch = settle(t, p, batch, outcomes, k)
		case e.Reason == fault.EffectUnknown || e.Reason == fault.DeadlineExceeded:
			lost := p.Restart != nil && p.Restart()
			for i := range batch {
				batch[i].unsure = !lost
			}
			p.wait(e.After)
		case fault.Retryable(err):
			p.wait(e.After)
		case len(batch) > 1:
			pumpBatch(t, p, slices.Clone(batch[:len(batch)/2]), k)
			batch = slices.Clone(batch[len(batch)/2:])
		default:
			p.bury(k.key(&batch[0].item), e)
			return
		}
	}
}

// settle returns what has to be written once more.
func settle[T any](t testing.TB, p *Pump, batch []try[T], outcomes []crm.Outcome, k kind[T]) []try[T] {
	t.Helper()
	told := map[string]crm.Outcome{}
	for _, o := range outcomes {
		if _, twice := told[o.Key]; twice {
			t.Errorf("two outcomes of %s", o.Key)
		}
		told[o.Key] = o
	}
	var left []try[T]
	var after time.Duration
	for _, b := range batch {
		key := k.key(&b.item)
		o, known := told[key]
		switch {
		case !known:
			b.unsure = true
		case o.Status == crm.Done:
			p.mu.Lock()
			p.ids[key], p.all[key] = o.ID, o
			p.mu.Unlock()
			continue
		case o.Status == crm.Rejected && o.Err.Reason == fault.VendorNotFound && p.known(key):
			p.mu.Lock()
			delete(p.ids, key)
			p.mu.Unlock()
		case o.Status == crm.Rejected:
			p.bury(key, o.Err)
			continue
		default:
			after = max(after, o.After)
			b.unsure = b.unsure || o.Err != nil && o.Err.Reason == fault.EffectUnknown
		}
		left = append(left, b)
	}
	if len(left) > 0 {
		p.wait(after)
	}
	return left
}

func (p *Pump) wait(d time.Duration) {
	if p.Wait != nil {
		p.Wait(d)
	}
}

func (p *Pump) bury(key string, why *fault.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[key] = why
}

func (p *Pump) known(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids[key] != ""
}
