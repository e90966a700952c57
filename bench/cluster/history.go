package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"sync"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// history follows the results and the dead letters of the commands.
type history struct {
	log *slog.Logger
	bus *bus.Bus

	mu      sync.Mutex // guards the fields below
	results map[string][]outcome
	dead    map[string]bool
	facts   map[string]int // by name
}

func newHistory(log *slog.Logger, on *bus.Bus) *history {
	return &history{log: log, bus: on, results: map[string][]outcome{}, dead: map[string]bool{}, facts: map[string]int{}}
}

// run follows until ctx ends.
func (h *history) run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { h.follow(ctx, h.event, "res.>", "evt.>") })
	work.Go(func() { h.follow(ctx, h.letter, "dead.>") })
	work.Wait()
}

// follow reads subjects of one stream from its beginning, and goes on where it
// was when something breaks.
func (h *history) follow(ctx context.Context, take func(*bus.Delivery), subjects ...string) {
	from := bus.TailOptions{Subjects: subjects, All: true}
	for ctx.Err() == nil {
		for d, err := range h.bus.Tail(ctx, from) {
			if err != nil {
				h.log.LogAttrs(ctx, slog.LevelWarn, "following the streams", slog.Any("err", err))
				break
			}
			take(d)
			from = bus.TailOptions{Subjects: subjects, Sequence: d.Sequence + 1}
		}
		rest(ctx, resend)
	}
}

// event takes a result or a fact.
func (h *history) event(d *bus.Delivery) {
	e, err := d.Envelope()
	if err != nil {
		h.log.LogAttrs(context.Background(), slog.LevelWarn, "message is no event", slog.String("subject", d.Subject), slog.Any("err", err))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := event.ActionOfType(e.Type); !ok {
		h.facts[e.Type]++
		return
	}
	var r event.Result
	if err := json.Unmarshal(e.Data, &r); err != nil {
		h.log.LogAttrs(context.Background(), slog.LevelWarn, "result is no result", slog.String("subject", d.Subject), slog.Any("err", err))
		return
	}
	one := outcome{ID: r.CommandID, Worker: r.Worker, Status: string(r.Status), Fence: r.Fence, Attempt: r.Attempt, At: d.StoredAt}
	if r.Problem != nil {
		one.Reason = r.Problem.Reason
	}
	h.results[r.CommandID] = append(h.results[r.CommandID], one)
}

// letter takes a dead letter.
func (h *history) letter(d *bus.Delivery) {
	e, err := d.Envelope()
	var dead event.DeadLetter
	if err == nil {
		err = json.Unmarshal(e.Data, &dead)
	}
	if err == nil {
		e, err = event.Decode(dead.Headers, dead.Body)
	}
	if err != nil {
		h.log.LogAttrs(context.Background(), slog.LevelWarn, "dead letter cannot be read", slog.String("subject", d.Subject), slog.Any("err", err))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead[e.ID] = true
}

// open returns how many of the commands have neither a result nor a dead letter.
func (h *history) open(commands []sent) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, c := range commands {
		if c.Stored && len(h.results[c.ID]) == 0 && !h.dead[c.ID] {
			n++
		}
	}
	return n
}

// all returns what was heard.
func (h *history) all() (results map[string][]outcome, dead map[string]bool, facts map[string]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.results), maps.Clone(h.dead), maps.Clone(h.facts)
}

// deedsOf returns the moment of the first result of each command that succeeded.
func deedsOf(results map[string][]outcome) []deed {
	var all []deed
	for id, list := range results {
		for _, r := range list {
			if r.Status == string(event.Succeeded) {
				all = append(all, deed{ID: id, Worker: r.Worker, At: r.At})
				break
			}
		}
	}
	return all
}
