package bus

import (
	"context"
	"errors"
	"time"
)

// A server that dies takes the questions along that it had not answered, and
// nobody tells. So an answer is waited for no longer than this at first, and
// then twice as long each time.
const (
	askFirst = time.Second
	askMost  = 8 * time.Second
)

// repeat is guard for what may be asked again: while an answer does not come in
// time, and ctx lasts, it asks once more. Before that it calls done, unless that
// is nil, which may find out that an earlier attempt succeeded.
func (b *Bus) repeat(ctx context.Context, prefix string, done func(ctx context.Context) bool, ask func(ctx context.Context) error) error {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	for limit := askFirst; ; limit = min(2*limit, askMost) {
		bounded, stop := context.WithTimeout(ctx, limit)
		err := b.guard(bounded, prefix, ask)
		late := errors.Is(bounded.Err(), context.DeadlineExceeded)
		stop()
		if err == nil || !late || ctx.Err() != nil {
			return err
		}
		if done != nil && done(ctx) {
			return nil
		}
	}
}
