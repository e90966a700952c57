package bus

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
)

// What a permission is for.
const (
	verbPublish = "publish"
	verbListen  = "listen on"
)

// maxDenials bounds the memory of denials. A caller looks within moments of the
// denial, so old ones may go.
const maxDenials = 256

// denials remembers what the server refused. Whoever waits for the server's
// answer also waits for the next denial, and looks whether it is its own: so a
// publish costs nothing more, and a denial is known at once.
type denials struct {
	last atomic.Uint64 // the number of denials so far; changed under mu

	mu   sync.Mutex // guards the fields below
	kept []denial   // the newest last
	more chan struct{}
}

type denial struct {
	number        uint64
	verb, subject string
}

func newDenials() *denials { return &denials{more: make(chan struct{})} }

// add records a denial and wakes all who wait.
func (d *denials) add(verb, subject string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	number := d.last.Add(1)
	if len(d.kept) == maxDenials {
		d.kept = append(d.kept[:0], d.kept[1:]...)
	}
	d.kept = append(d.kept, denial{number, verb, subject})
	close(d.more)
	d.more = make(chan struct{})
}

// mark returns the number of denials so far. A caller takes it before it asks
// the server, so that older denials are not taken for its own.
func (d *denials) mark() uint64 { return d.last.Load() }

// find returns the denial that matches, if any, and a channel that is closed at
// the next one.
func (d *denials) find(match func(denial) bool) (<-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.kept {
		if match(one) {
			return d.more, deniedErr(one.verb, one.subject)
		}
	}
	return d.more, nil
}

// guard runs ask with a context that ends at once when the server denies what
// ask needs: a publish below the prefix. Without it, a denied request to the
// JetStream API looks like a server that does not answer. While the connection
// is away, guard waits for it, as long as the context lasts; so ask may run
// again.
func (b *Bus) guard(ctx context.Context, prefix string, ask func(ctx context.Context) error) error {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	for {
		back := b.reconnected()
		err := b.watch(ctx, prefix, ask)
		if err == nil || b.conn.IsConnected() || ctx.Err() != nil {
			return classify(err)
		}
		select {
		case <-back:
		case <-b.closed:
			return b.goneErr()
		case <-ctx.Done():
			return classify(err)
		}
	}
}

// watch runs ask once, and looks out for a denial meanwhile.
func (b *Bus) watch(ctx context.Context, prefix string, ask func(ctx context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	mark := b.denials.mark()
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer stop(nil)
	watcher.Go(func() {
		for {
			more, denied := b.denials.find(func(d denial) bool {
				return d.number > mark && d.verb == verbPublish && strings.HasPrefix(d.subject, prefix)
			})
			if denied != nil {
				stop(denied)
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	})
	err := ask(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}
