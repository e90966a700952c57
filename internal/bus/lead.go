package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// leadLife is how long the key of a leader lives that gives no sign of life,
	// and leadLifeCluster in a cluster, where the loss of a server stops all
	// writing for seconds.
	leadLife        = 2 * time.Second
	leadLifeCluster = 5 * time.Second
)

// errDeposed is why the context of a leader ends.
var errDeposed error = fault.New(fault.StaleFence, "another one leads, or may lead")

// Lead calls run in one process at a time of all that call Lead with the name:
// the leader. The term is larger than that of every leader before. The context
// of run ends when somebody else leads, or may lead; run then returns soon, and
// is called again when its turn comes. Lead returns when the context ends, with
// nil, or when run returns while it leads, with its error. A leader that dies or
// returns is followed at once, and one that hangs when its key has ended.
//
// A process that was frozen can believe for a moment that it leads. So what a
// leader writes expects what it wrote last: see FlowMsg.At.
func (b *Bus) Lead(ctx context.Context, name string, run func(ctx context.Context, term uint64) error) error {
	if !event.IsToken(name) {
		return fault.New(fault.Malformed, "the name %q is not a token", name)
	}
	kv, err := b.KV(ctx, BucketGroup)
	if err != nil {
		return err
	}
	c := &candidate{bus: b, kv: kv, name: name, id: rand.Text(), life: leadLife}
	if b.opts.Replicas > 1 {
		c.life = leadLifeCluster
	}
	hear, err := b.conn.Subscribe(c.alive(c.id), func(msg *nats.Msg) {
		_ = msg.Respond(nil) // Whoever asked asks again.
	})
	if err != nil {
		return fmt.Errorf("listening for questions who leads %s: %w", name, classify(err))
	}
	defer func() { _ = hear.Unsubscribe() }() // It fails when the connection is gone, and so is the subscription.
	for {
		since, term, err := c.win(ctx)
		if err != nil || term == 0 {
			return err
		}
		b.log.LogAttrs(ctx, slog.LevelInfo, "leads now", slog.String("name", name), slog.Uint64("term", term))
		if over, err := c.lead(ctx, since, term, run); over {
			return err
		}
		b.log.LogAttrs(ctx, slog.LevelWarn, "leads no more", slog.String("name", name), slog.Uint64("term", term))
	}
}

// candidate is one call of Lead.
type candidate struct {
	bus  *Bus
	kv   *KV
	name string
	id   string
	life time.Duration
}

func (c *candidate) key() string { return "lead." + c.name }

func (c *candidate) alive(id string) string { return aliveSubject("lead-"+c.name, id) }

// win returns when we lead, with a time before that; or with term 0 when the
// context ends.
func (c *candidate) win(ctx context.Context) (since time.Time, term uint64, err error) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		since = time.Now()
		term, err := c.try(ctx)
		switch code := fault.CodeOf(err); {
		case ctx.Err() != nil:
			if term > 0 {
				c.resign(ctx, term)
			}
			return since, 0, nil
		case err == nil && term > 0:
			return since, term, nil
		case err != nil && code != fault.Unavailable && code != fault.Conflict:
			return since, 0, fmt.Errorf("asking who leads %s: %w", c.name, err)
		}
		select {
		case <-tick.C:
		case <-c.bus.closed:
			return since, 0, c.bus.goneErr()
		case <-ctx.Done():
			return since, 0, nil
		}
	}
}

// try takes the lead if nobody has it, or if the server says that the one who
// has it is not connected. It returns 0 when somebody has it.
func (c *candidate) try(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.life)
	defer cancel()
	at, found, err := c.kv.Get(ctx, c.key())
	switch {
	case err != nil:
		return 0, err
	case !found:
		return c.kv.Create(ctx, c.key(), []byte(c.id), c.life)
	case string(at.Value) != c.id && !c.bus.silent(ctx, c.alive(string(at.Value))):
		return 0, nil
	}
	return c.kv.Replace(ctx, c.key(), []byte(c.id), at.Revision, c.life)
}

// lead calls run, and gives signs of life meanwhile. It returns when run has,
// and reports whether that is the end.
func (c *candidate) lead(ctx context.Context, since time.Time, term uint64, run func(context.Context, uint64) error) (over bool, err error) {
	within, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := make(chan error, 1)
	go func() { done <- run(within, term) }()
	tick := time.NewTicker(c.life / 4)
	defer tick.Stop()
	for revision := term; ; {
		select {
		case err = <-done:
			c.resign(ctx, revision)
			if errors.Is(err, context.Canceled) && ctx.Err() != nil {
				err = nil
			}
			return true, err
		case <-tick.C:
		}
		if ctx.Err() != nil {
			continue // run will notice.
		}
		before := time.Now()
		next, err := c.sign(ctx, since, revision)
		switch {
		case err == nil:
			since, revision = before, next
		case ctx.Err() == nil:
			c.bus.log.LogAttrs(ctx, slog.LevelWarn, "sign of life of the leader not stored", slog.String("name", c.name), slog.Any("err", err))
			stop(errDeposed)
			if err := <-done; err != nil {
				c.bus.log.LogAttrs(ctx, slog.LevelInfo, "deposed leader ended", slog.String("name", c.name), slog.Any("err", err))
			}
			return ctx.Err() != nil, nil
		}
	}
}

// sign says that we live. It has time for that until the others may think that
// we do not.
func (c *candidate) sign(ctx context.Context, since time.Time, revision uint64) (uint64, error) {
	ctx, cancel := context.WithDeadline(ctx, since.Add(c.life*7/8))
	defer cancel()
	return c.kv.Replace(ctx, c.key(), []byte(c.id), revision, c.life)
}

// resign removes our key, so that the others need not wait for its end.
func (c *candidate) resign(ctx context.Context, revision uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := c.kv.Remove(ctx, c.key(), revision); err != nil {
		c.bus.log.LogAttrs(ctx, slog.LevelInfo, "key of the leader not removed, it ends by itself", slog.String("name", c.name), slog.Any("err", err))
	}
}
