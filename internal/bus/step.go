package bus

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// lookAt is how often it is checked that everything came that was delivered, and
// underWay how long a delivery may be on its way.
const (
	lookAt   = 4 * pullHeartbeat
	underWay = 250 * time.Millisecond
)

// inStep is receive for a consumer that only we use, which numbers what it
// delivers. A number that does not come was lost with a server or a connection.
// The server would deliver it again after AckWait, behind its successors. So we
// take nothing more and delete the consumer: the next one gets all that is not
// settled, at once and in the order of the stream. It takes until within ends,
// and has deleted the consumer, if it had to, before it returns, or ctx ended.
func (m *member) inStep(ctx, within context.Context, at jetstream.Consumer, most int, offer func(jetstream.Msg), halt func()) error {
	within, stop := context.WithCancel(within)
	defer stop()
	var last atomic.Uint64
	var lost atomic.Bool
	name := at.CachedInfo().Name
	lose := func(why string, number uint64) {
		if !lost.Swap(true) {
			m.log.LogAttrs(ctx, slog.LevelWarn, "delivery lost, consumer is made again", slog.String("consumer", name),
				slog.String("why", why), slog.Uint64("got", last.Load()), slog.Uint64("number", number))
			stop()
		}
	}
	if before := at.CachedInfo().Delivered.Consumer; before > 0 {
		lose("it was there before", before) // Nobody knows what came of that.
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		m.watch(within, at, &last, lose)
	}()
	err := m.receive(within, at, most, func(msg jetstream.Msg) {
		meta, err := msg.Metadata()
		if err == nil && meta.Sequence.Consumer > last.Load()+1 {
			lose("a number is missing", meta.Sequence.Consumer)
		}
		if lost.Load() {
			return
		}
		if err == nil {
			last.Store(meta.Sequence.Consumer)
		}
		offer(msg)
	}, halt)
	stop()
	<-watching
	for pause := retryFirst; lost.Load() && ctx.Err() == nil; pause = min(2*pause, retryMost) {
		if m.deleteConsumer(ctx, name) == nil {
			return err
		}
		if !m.bus.pause(ctx, pause) {
			break
		}
	}
	return err
}

// watch finds out when a delivery was lost that has no successor: from time to
// time, when nothing came, it asks how much the server has delivered.
func (m *member) watch(ctx context.Context, at jetstream.Consumer, last *atomic.Uint64, lose func(why string, number uint64)) {
	ticker := time.NewTicker(lookAt)
	defer ticker.Stop()
	for seen := uint64(0); ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		got := last.Load()
		quiet := got == seen
		if seen = got; !quiet || !m.bus.conn.IsConnected() {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, lookAt)
		info, err := at.Info(limited)
		cancel()
		if err != nil || info.Delivered.Consumer <= got || !m.bus.pause(ctx, underWay) {
			continue // receive finds out what is wrong, or nothing is.
		}
		if last.Load() < info.Delivered.Consumer {
			lose("nothing came", info.Delivered.Consumer)
		}
	}
}
