package hubspot_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// pump does to a connector what its contract says of the engine: batches, one
// call at a time for each contact, all again after an unsure answer, and halves.
// It does not wait.
type pump struct {
	to      crm.Connector
	size    int
	timeout time.Duration

	mu    sync.Mutex // guards the fields below
	ids   map[string]string
	dead  map[string]*fault.Error
	calls int
	most  int // attempts of one contact
}

func newPump(to crm.Connector, size int) *pump {
	return &pump{to: to, size: size, timeout: 2 * time.Second, ids: map[string]string{}, dead: map[string]*fault.Error{}}
}

func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("visitor-%05d", i)
	}
	return all
}

// run writes the contacts until each of them is done or dead.
func (p *pump) run(t testing.TB, contacts []crm.Contact) {
	t.Helper()
	var running sync.WaitGroup
	slots := make(chan struct{}, 4)
	for batch := range slices.Chunk(contacts, p.size) {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			p.batch(t, slices.Clone(batch))
		})
	}
	running.Wait()
}

func (p *pump) batch(t testing.TB, batch []crm.Contact) {
	t.Helper()
	for len(batch) > 0 {
		ctx, cancel := context.WithTimeout(t.Context(), p.timeout)
		p.mu.Lock()
		p.calls++
		for i := range batch {
			batch[i].ID = p.ids[batch[i].Key]
			p.most = max(p.most, batch[i].Attempt)
		}
		p.mu.Unlock()
		outcomes, err := p.to.UpsertContacts(ctx, batch)
		cancel()
		if err != nil {
			e := fault.From(err)
			switch {
			case e.Reason == fault.EffectUnknown || fault.Retryable(e):
			case len(batch) > 1:
				p.batch(t, slices.Clone(batch[:len(batch)/2]))
				batch = batch[len(batch)/2:]
				continue
			default:
				p.bury(batch[0].Key, e)
				return
			}
			for i := range batch {
				batch[i].Attempt++
				batch[i].Unsure = batch[i].Unsure || e.Reason == fault.EffectUnknown
			}
			if batch[0].Attempt > 200 {
				t.Errorf("no end: %v", err)
				return
			}
			continue
		}
		batch = p.after(t, batch, outcomes)
	}
}

// after returns what has to be written once more.
func (p *pump) after(t testing.TB, batch []crm.Contact, outcomes []crm.Outcome) []crm.Contact {
	t.Helper()
	told := byKey(t, outcomes)
	var left []crm.Contact
	for _, c := range batch {
		o, known := told[c.Key]
		c.Attempt++
		switch {
		case !known:
			c.Unsure = true
		case o.Status == crm.Done:
			p.mu.Lock()
			p.ids[c.Key] = o.ID
			p.mu.Unlock()
			continue
		case o.Status == crm.Rejected && o.Err.Reason == fault.VendorNotFound && c.ID != "":
			p.mu.Lock()
			delete(p.ids, c.Key)
			p.mu.Unlock()
		case o.Status == crm.Rejected:
			p.bury(c.Key, o.Err)
			continue
		}
		left = append(left, c)
	}
	return left
}

func (p *pump) bury(key string, why *fault.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[key] = why
}
