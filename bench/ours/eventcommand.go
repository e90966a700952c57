package ours

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// waits is how many runs wait for something that does not happen.
const waits = 10_000

// eventCommand runs many workflows, each with an event of its own.
type eventCommand struct {
	bus   *bus.Bus
	rules *rules
	many  int
	sent  int
}

// startEventCommand compiles so many workflows, and has runs of them wait, of
// visitors who do nothing else.
func startEventCommand(ctx context.Context, s contend.Setup, many int) (*eventCommand, error) {
	texts := make([]string, many)
	for i := range texts {
		texts[i] = fmt.Sprintf(`
on: {trigger: track, event: Event %d}
if: trigger.properties.size > 10
steps:
  - branch:
      - if: trigger.properties.size > 100
        steps: [{wait_for: {event: widget.opened, timeout: 24h}}]
      - else: true
        steps: [{action: botstar.widget.open}]
`, i)
	}
	compiled, err := compile(texts...)
	if err != nil {
		return nil, err
	}
	b, err := openBus(ctx, bus.Options{Dir: s.Dir})
	if err != nil {
		return nil, err
	}
	c := &eventCommand{bus: b, rules: compiled, many: many}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	held := waits * s.Sessions / 10_000 // Fewer in a look whether it runs at all.
	if err := publish(ctx, b, held, func(i int) (string, event.Trigger) { return c.event(-1-i, 200) }); err != nil {
		return nil, err
	}
	e := compiled.run(ctx, b)
	_, err = e.folded(ctx, held)
	return c, errors.Join(err, e.stop())
}

// event returns the next event, of one workflow after another.
func (c *eventCommand) event(visitor, size int) (string, event.Trigger) {
	c.sent++
	id := "m-" + strconv.Itoa(c.sent)
	data := message.Viewed(id, visitor, size, time.Now().UTC())
	data.Event = fmt.Sprintf("Event %d", c.sent%c.many)
	return id, data
}

// Close ends the server.
func (c *eventCommand) Close() error { return shut(context.Background(), c.bus) }
