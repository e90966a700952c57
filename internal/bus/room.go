package bus

import (
	"context"
	"fmt"
	"math"

	"github.com/nats-io/nats.go/jetstream"
)

// Room returns how many bytes the stream takes until it is nearly full, which is
// at 95 % of its limit. It is negative beyond that, and math.MaxInt64 for a
// stream without a limit.
func (b *Bus) Room(ctx context.Context, stream string) (int64, error) {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	at, err := b.js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("asking how full %s is: %w", stream, classify(err))
	}
	return roomOf(at.CachedInfo()), nil
}

func roomOf(info *jetstream.StreamInfo) int64 {
	limit := info.Config.MaxBytes
	if limit <= 0 {
		return math.MaxInt64
	}
	return limit/100*95 - int64(info.State.Bytes) //nolint:gosec // No stream has so many.
}
