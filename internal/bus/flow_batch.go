package bus

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/fault"
)

// The error codes of batches that nats.go does not name.
const (
	codeIncomplete = 10176 // a message of the batch did not arrive
	codeInFlight   = 10210 // too many batches are under way
	codeDuplicate  = 10201 // a message id of the batch is known
)

const (
	// maxIncomplete is how often a batch may arrive with gaps before the blame is
	// looked for among its members.
	maxIncomplete = 3
	// denialAfter is how long a denial may come after the gap that it made.
	denialAfter = 100 * time.Millisecond
	// weeders is how many questions are asked at the same time after a refusal.
	weeders = 32
)

// commit settles all of the commits: it stores those that the server takes.
func (w *flowWriter) commit(ctx context.Context, b *Bus, all []*Commitment) {
	pause, gaps := retryFirst, 0
	for {
		if all = b.waited(all); len(all) == 0 {
			return
		}
		first, err := w.attempt(ctx, b, all)
		if err == nil {
			w.stored(all, first)
			return
		}
		if apiCode(err) == codeIncomplete {
			gaps++
		}
		err = classify(err)
		if retry := fault.CodeOf(err) == fault.Unavailable || apiCode(err) == codeInFlight || apiCode(err) == codeIncomplete; !retry || gaps > maxIncomplete {
			w.refused(ctx, b, all, err)
			return
		}
		// Nobody knows whether it was stored.
		for {
			if !b.pause(ctx, pause) {
				for _, c := range all {
					c.settle(0, b.goneErr())
				}
				return
			}
			pause = min(2*pause, retryMost)
			if all = b.waited(all); len(all) == 0 {
				return
			}
			first, found, err := w.find(ctx, b, all[0])
			if err != nil {
				continue
			}
			if found { // And so are the others: it is one batch.
				w.stored(all, first)
				return
			}
			break
		}
	}
}

// waited returns the commits that somebody still waits for, and settles the
// others. Nobody reads what becomes of those.
func (b *Bus) waited(all []*Commitment) []*Commitment {
	return slices.DeleteFunc(all, func(c *Commitment) bool {
		if !c.abandoned() {
			return false
		}
		c.settle(0, fault.New(fault.BusUnavailable, "the caller gave up before the server answered"))
		return true
	})
}

// stored settles the commits, whose first message has the sequence.
func (w *flowWriter) stored(all []*Commitment, first uint64) {
	for _, c := range all {
		for _, g := range c.guards {
			if g.create {
				w.recent.add(g.subject)
			}
		}
		c.settle(first, nil)
		first += uint64(len(c.msgs))
	}
	w.last = max(w.last, first-1)
}

// attempt sends the commits as one batch, or as one message, and returns the
// sequence of the first message.
func (w *flowWriter) attempt(ctx context.Context, b *Bus, all []*Commitment) (uint64, error) {
	if w.last == 0 {
		err := b.repeat(ctx, "$JS.API.", nil, func(ctx context.Context) error {
			flow, err := b.js.Stream(ctx, StreamFlow)
			if err == nil {
				w.last = flow.CachedInfo().State.LastSeq
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	id := w.nextID()
	var msgs []*nats.Msg
	for _, c := range all {
		if len(c.sent) == 0 {
			c.floor = w.last
		}
		c.sent = append(c.sent, sending{id, uint64(len(msgs)) + c.anchor + 1})
		msgs = append(msgs, c.msgs...)
	}
	label(msgs, id)
	f := &Future{bus: b, msg: msgs[len(msgs)-1], ahead: msgs[:len(msgs)-1]}
	f.attempt()
	receipt, err := f.answer(ctx)
	if apiCode(err) == codeIncomplete {
		err = f.orDenied(ctx, err)
	}
	if err != nil {
		return 0, err
	}
	return receipt.Sequence + 1 - uint64(len(msgs)), nil
}

// orDenied returns the denial that the gap in a batch comes from, which may be
// told after the gap, or else the error.
func (f *Future) orDenied(ctx context.Context, err error) error {
	timer := time.NewTimer(denialAfter)
	defer timer.Stop()
	for {
		more, denied := f.bus.denials.find(f.concerns)
		if denied != nil {
			return denied
		}
		select {
		case <-more:
		case <-timer.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// label writes the id of the batch into its messages. A message that is alone
// needs no batch, which would cost the server a file of its own.
func label(msgs []*nats.Msg, id string) {
	name := []string{id}
	if len(msgs) == 1 {
		header := msgs[0].Header
		delete(header, headerBatch)
		delete(header, headerBatchNumber)
		delete(header, headerBatchCommit)
		header[headerCommit] = name
		return
	}
	for i, msg := range msgs {
		delete(msg.Header, headerCommit)
		delete(msg.Header, headerBatchCommit)
		msg.Header[headerBatch] = name
		msg.Header[headerBatchNumber] = []string{strconv.Itoa(i + 1)}
	}
	msgs[len(msgs)-1].Header[headerBatchCommit] = []string{"1"}
}

// find looks for the commit's anchor, where an attempt may have stored it
// without our hearing of it, and returns the sequence of the first message.
func (w *flowWriter) find(ctx context.Context, b *Bus, c *Commitment) (sequence uint64, found bool, err error) {
	if len(c.sent) == 0 {
		return 0, false, nil
	}
	for from := c.floor + 1; ; from++ {
		msg, err := b.nextOf(ctx, c.msgs[c.anchor].Subject, from)
		if gone(err) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, err
		}
		if c.own(msg.Header) {
			return msg.Sequence - c.anchor, true, nil
		}
		from = msg.Sequence
	}
}

// nextOf returns the first message of the subject in FLOW that is not before the
// sequence, read through the leader.
func (b *Bus) nextOf(ctx context.Context, subject string, from uint64) (*jetstream.RawStreamMsg, error) {
	var msg *jetstream.RawStreamMsg
	err := b.repeat(ctx, "$JS.API.", nil, func(ctx context.Context) error {
		flow, err := b.stream(ctx, StreamFlow)
		if err == nil {
			msg, err = flow.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
		}
		return err
	})
	return msg, err
}

// refused finds out which of the commits the server does not take, and stores
// the others.
func (w *flowWriter) refused(ctx context.Context, b *Bus, all []*Commitment, err error) {
	if len(all) == 1 {
		w.alone(ctx, b, all[0], err)
		return
	}
	if isConflict(err) {
		w.wary = true
		if broken := w.weed(ctx, b, all); len(broken) > 0 {
			rest := slices.DeleteFunc(all, func(c *Commitment) bool { return slices.Contains(broken, c) })
			w.commit(ctx, b, rest)
			return
		}
	}
	half := len(all) / 2
	w.commit(ctx, b, all[:half:half])
	w.commit(ctx, b, all[half:])
}

// alone settles a commit that the server refused.
func (w *flowWriter) alone(ctx context.Context, b *Bus, c *Commitment, err error) {
	if isConflict(err) || apiCode(err) == codeDuplicate {
		// By an attempt of its own, maybe.
		if first, found, lookErr := w.find(ctx, b, c); lookErr != nil {
			err = lookErr
		} else if found {
			w.stored([]*Commitment{c}, first)
			return
		} else if c.nonce && apiCode(err) == codeDuplicate {
			c.settle(0, nil) // It was a timer, and has fired.
			return
		}
	}
	if apiCode(err) == codeDuplicate {
		c.settle(0, fault.New(fault.AlreadyStored, "a message with this id was stored before").Because(err))
		return
	}
	if isConflict(err) {
		if g, lookErr := b.broken(ctx, c); lookErr == nil && g != nil {
			err = g.err()
		}
	}
	c.settle(0, classify(err))
}

// weed settles the commits whose guards do not hold, and returns those. It asks
// for many at the same time.
func (w *flowWriter) weed(ctx context.Context, b *Bus, all []*Commitment) []*Commitment {
	found := make([]*guard, len(all))
	var group errgroup.Group
	group.SetLimit(weeders)
	for i, c := range all {
		group.Go(func() error {
			if g, err := b.broken(ctx, c); err == nil { // What cannot be asked stays.
				found[i] = g
			}
			return nil
		})
	}
	_ = group.Wait() // Nothing fails.
	var broken []*Commitment
	for i, g := range found {
		if g == nil {
			continue
		}
		c := all[i]
		broken = append(broken, c)
		first, own, err := w.find(ctx, b, c) // By an attempt of its own, maybe.
		switch {
		case err != nil:
			c.settle(0, err)
		case own:
			w.stored([]*Commitment{c}, first)
		default:
			c.settle(0, g.err())
		}
	}
	return broken
}

// broken returns the first guard of the commit that does not hold, or nil.
func (b *Bus) broken(ctx context.Context, c *Commitment) (*guard, error) {
	for _, g := range c.guards {
		now := uint64(0)
		last, err := b.lastOf(ctx, StreamFlow, g.subject)
		switch {
		case err == nil:
			now = last.Sequence
		case !gone(err):
			return nil, err
		}
		if now != g.at {
			return &g, nil
		}
	}
	return nil, nil //nolint:nilnil // No guard is broken, and nothing failed.
}

// err is what the caller gets when the guard does not hold.
func (g *guard) err() error {
	if g.create {
		return fault.New(fault.AlreadyStored, "%s is there already", g.subject)
	}
	return fault.New(fault.StaleFence, "somebody else wrote %s first", g.subject)
}
