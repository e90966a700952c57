package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// A live worker has a pull at the server, except for moments, and for up to two
// heartbeats when nats.go stumbles. The looks span more than that.
const (
	looks     = 6
	lookPause = pullHeartbeat / 2
)

// clear makes our consumer when others stand in its way, because a command can
// go to one consumer only. What an earlier term left behind, a group that is
// gone, or a worker of an older version that is gone, is deleted: nothing is
// lost with it. One that is used is an error that names it. One goroutine at a
// time does this. The fence of a partition is that of its present term.
func (m *member) clear(ctx context.Context, fence func(partition int) uint64, config jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	select {
	case m.way <- struct{}{}:
		defer func() { <-m.way }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	// The one before us may have cleared our way too.
	at, err := m.bus.js.CreateOrUpdateConsumer(ctx, StreamCommands, config)
	if !inTheWay(err) {
		return at, err
	}
	stream, err := m.bus.js.Stream(ctx, StreamCommands)
	if err != nil {
		return nil, fmt.Errorf("looking at the stream %s: %w", StreamCommands, err)
	}
	var all []*jetstream.ConsumerInfo // First all of them: a list that is left early never ends.
	list, own := stream.ListConsumers(ctx), filtersOf(config)
	for info := range list.Info() {
		all = append(all, info)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("listing the consumers of %s: %w", StreamCommands, err)
	}
	for _, info := range all {
		if info.Name == config.Durable || !overlap(filtersOf(info.Config), own) {
			continue
		}
		if err := m.mayDelete(ctx, fence, stream, info); err != nil {
			return nil, err
		}
		if err := stream.DeleteConsumer(ctx, info.Name); err != nil && !gone(err) {
			return nil, fmt.Errorf("deleting the unused consumer %s: %w", info.Name, err)
		}
		m.log.LogAttrs(ctx, slog.LevelInfo, "unused consumer deleted", slog.String("unused", info.Name))
	}
	return m.bus.js.CreateOrUpdateConsumer(ctx, StreamCommands, config)
}

// inTheWay reports whether another consumer takes the same commands.
func inTheWay(err error) bool {
	code := apiCode(err)
	return code == codeConsumerOverlap || code == codeConsumerUnbound
}

// mayDelete returns nil when the consumer, which takes what ours does, is used
// by nobody.
func (m *member) mayDelete(ctx context.Context, fence func(partition int) uint64, stream jetstream.Stream, info *jetstream.ConsumerInfo) error {
	t, ok := parseConsumer(info.Name)
	if ok && t.group == m.group {
		if t.partition >= 0 && t.epoch > fence(t.partition) {
			return errTaken
		}
		return nil
	}
	if ok {
		workers, err := m.kv.Keys(ctx, workerKey(t.group, "*"))
		if err == nil && len(workers) > 0 {
			_, _, name, _ := parseKey(workers[0])
			err = m.rivalry(name, filtersOf(info.Config))
		}
		return err
	}
	unused, err := m.unused(ctx, stream, info.Name)
	if err == nil && !unused {
		err = fault.New(fault.BusMisconfigured, "the consumer %s already takes %s, and this worker asks for %s: a command can go to one group of workers only",
			info.Name, strings.Join(filtersOf(info.Config), ", "), strings.Join(m.filters, ", ")).
			WithFix("stop the workers of the older version, or whoever else uses the consumer; it is forgotten %s later", abandoned)
	}
	return err
}

// unused reports whether nobody uses the consumer.
func (m *member) unused(ctx context.Context, stream jetstream.Stream, name string) (bool, error) {
	for look := range looks {
		at, err := stream.Consumer(ctx, name)
		switch {
		case gone(err):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("looking at the consumer %s: %w", name, err)
		case at.CachedInfo().NumWaiting > 0:
			return false, nil
		}
		if look < looks-1 && !m.bus.pause(ctx, lookPause) {
			return false, context.Cause(ctx)
		}
	}
	return true, nil
}

// filtersOf returns what the consumer of the queue takes.
func filtersOf(config jetstream.ConsumerConfig) []string {
	switch {
	case len(config.FilterSubjects) > 0:
		return config.FilterSubjects
	case config.FilterSubject != "":
		return []string{config.FilterSubject}
	default:
		return []string{everyCommand}
	}
}

// overlap reports whether a subject exists that a filter of each side takes.
func overlap(a, b []string) bool {
	for _, one := range a {
		for _, other := range b {
			if meet(strings.Split(one, "."), strings.Split(other, ".")) {
				return true
			}
		}
	}
	return false
}

// meet reports whether a subject exists that both filters take.
func meet(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == ">" || b[i] == ">":
			return true
		case a[i] != b[i] && a[i] != "*" && b[i] != "*":
			return false
		}
	}
	return len(a) == len(b)
}
