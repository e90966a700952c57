package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/event"
)

// rawIngest stores events with nats.go alone, on a server that flushes every
// publish. It looks for no repetition, and answers nobody.
type rawIngest struct {
	*broker
	window, batch int
	sent, batches int
	groups        [][]*nats.Msg // that are stored together
}

// startRawIngest makes a stream as Parley's is; batch is how many events are
// published together.
func startRawIngest(s contend.Setup, batch int) (*rawIngest, error) {
	b, err := startServer(s.Dir, true)
	if err != nil {
		return nil, err
	}
	_, err = b.js.CreateStream(context.Background(), jetstream.StreamConfig{
		Name: "FLOW", Subjects: []string{"in.>"}, AllowAtomicPublish: true, MaxAge: 90 * 24 * time.Hour, Duplicates: 10 * time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("making the stream: %w", err)
	}
	return &rawIngest{broker: b, window: s.Window, batch: batch}, nil
}

// Round makes the messages, or stores them.
func (r *rawIngest) Round(o contend.Order) (contend.Report, error) {
	if o.Prepare {
		return contend.Report{}, r.prepare(o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var next, done atomic.Int64
	times, failed := make([]float64, len(r.groups)), make(chan error, r.window)
	var publishers sync.WaitGroup
	begun := time.Now()
	for range r.window {
		publishers.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(r.groups) {
					return
				}
				start := time.Now()
				if err := r.publish(ctx, r.groups[n]); err != nil {
					failed <- err
					return
				}
				times[n] = float64(time.Since(start).Nanoseconds()) / 1000
				done.Add(int64(len(r.groups[n])))
			}
		})
	}
	publishers.Wait()
	wall := float64(time.Since(begun).Microseconds())
	close(failed)
	var err error
	for one := range failed {
		err = errors.Join(err, one)
	}
	return contend.Report{Jobs: int(done.Load()), WallUS: wall, LatenciesUS: times}, err
}

// publish stores a group, all or nothing.
func (r *rawIngest) publish(ctx context.Context, group []*nats.Msg) error {
	last := len(group) - 1
	for _, msg := range group[:last] {
		if err := r.conn.PublishMsg(msg); err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
	}
	if _, err := r.js.PublishMsg(ctx, group[last]); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}

// prepare makes the messages of a round.
func (r *rawIngest) prepare(o contend.Order) error {
	r.groups = nil
	for from := 0; from < o.Jobs; from += r.batch {
		r.batches++
		var group []*nats.Msg
		for _, visitor := range o.Picks[from:min(from+r.batch, o.Jobs)] {
			r.sent++
			id := fmt.Sprintf("node-next-%d", r.sent)
			subject, e, err := message.Trigger(id, message.Viewed(id, visitor, 20, time.Now().UTC()))
			if err != nil {
				return fmt.Errorf("making an event: %w", err)
			}
			header, body := event.Encode(e)
			group = append(group, &nats.Msg{Subject: subject, Header: header, Data: body})
		}
		if len(group) > 1 {
			for i, msg := range group {
				msg.Header["Nats-Batch-Id"] = []string{"b" + strconv.Itoa(r.batches)}
				msg.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
			}
			group[len(group)-1].Header["Nats-Batch-Commit"] = []string{"1"}
		}
		r.groups = append(r.groups, group)
	}
	return nil
}
