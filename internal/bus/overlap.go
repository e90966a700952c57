package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// clear finds the consumers of the queue that stand in the way of this one,
// because a command can go to one group of workers only. One that nobody uses
// any more is deleted: nothing is lost with it. One that is used is an error
// that names it.
func (c *consumer) clear(ctx context.Context) error {
	stream, err := c.bus.js.Stream(ctx, c.stream)
	if err != nil {
		return fmt.Errorf("looking at the stream %s: %w", c.stream, err)
	}
	list, own := stream.ListConsumers(ctx), filtersOf(c.config)
	for info := range list.Info() {
		filters := filtersOf(info.Config)
		if info.Name == c.config.Durable || !overlap(filters, own) {
			continue
		}
		unused, err := c.unused(ctx, stream, info.Name)
		if err != nil {
			return err
		}
		if !unused {
			return fault.New(fault.BusMisconfigured, "the consumer %s already takes %s, and this worker asks for %s: a command can go to one group of workers only",
				info.Name, strings.Join(filters, ", "), strings.Join(own, ", ")).
				WithFix("start all workers with the same `--actions`, or with ones that share no action; a group that was stopped is forgotten after %s", abandoned)
		}
		if err := stream.DeleteConsumer(ctx, info.Name); err != nil && !gone(err) {
			return fmt.Errorf("deleting the unused consumer %s: %w", info.Name, err)
		}
		c.log.LogAttrs(ctx, slog.LevelWarn, "unused consumer deleted", slog.String("unused", info.Name))
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("listing the consumers of %s: %w", c.stream, err)
	}
	return nil
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
