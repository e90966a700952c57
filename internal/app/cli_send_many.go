package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// maxLine bounds a line of stdin, in bytes.
	maxLine = 1 << 20
	// maxWaiting bounds the results that are waited for at the same time.
	maxWaiting = 256
)

// answer is one line of the output, for one line of the input.
type answer struct {
	Line    int            `json:"line"`
	ID      string         `json:"id,omitempty"`
	Sent    *sent          `json:"sent,omitempty"`
	Result  *event.Result  `json:"result,omitempty"`
	Problem *event.Problem `json:"problem,omitempty"`
	Event   any            `json:"event,omitempty"`
}

// many sends the lines of stdin in their order, and prints an answer for each
// as it comes. A line that cannot be sent does not stop the others.
func (s *sendCmd) many(ctx context.Context, c *cli, cfg *Config) error {
	m := &batch{cli: c, cfg: cfg, cmd: s}
	if !s.DryRun {
		b, err := c.connect(ctx, cfg)
		if err != nil {
			return err
		}
		defer c.close(ctx, b)
		m.bus = b
	}
	m.group.SetLimit(maxWaiting)
	lines := bufio.NewScanner(c.Stdin)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan() && ctx.Err() == nil; n++ {
		if text := bytes.TrimSpace(lines.Bytes()); len(text) > 0 {
			m.line(ctx, n, text)
		}
	}
	_ = m.group.Wait() // An answer tells what went wrong with its line.
	m.progress(true)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case lines.Err() != nil:
		return fault.New(fault.TooLarge, "reading stdin: %s", lines.Err()).WithFix("write one JSON object of at most 1 MiB per line")
	case m.failed > 0:
		return silentError{1}
	}
	return nil
}

// batch is one run of many.
type batch struct {
	*cli
	cfg   *Config
	cmd   *sendCmd
	bus   *bus.Bus
	group errgroup.Group

	mu                 sync.Mutex // guards the fields below, and the outputs
	sent, done, failed int
}

// line sends one line. It returns when the command is stored, so that the
// commands of one visitor keep their order.
func (m *batch) line(ctx context.Context, n int, text []byte) {
	order, err := m.read(text)
	if err != nil {
		m.say(answer{Line: n, Problem: problemOf(err)}, true)
		return
	}
	at := answer{Line: n, ID: order.Envelope.ID}
	m.mu.Lock()
	m.sent++
	m.mu.Unlock()
	m.progress(false)
	switch {
	case m.cmd.DryRun:
		_, body := event.EncodeStructured(order.Envelope)
		at.Event = json.RawMessage(body)
		m.say(at, false)
	case m.cmd.Wait:
		m.wait(ctx, at, order)
	default:
		future := m.bus.PublishAsync(order.Subject, order.Envelope)
		m.group.Go(func() error {
			m.stored(ctx, at, future)
			return nil
		})
	}
}

// wait sends the command, and waits for its result beside the next lines.
func (m *batch) wait(ctx context.Context, at answer, order order) {
	pending, err := m.send(ctx, m.bus, order)
	if err != nil {
		at.Problem = problemOf(err)
		m.say(at, true)
		return
	}
	m.group.Go(func() error {
		m.answered(ctx, at, pending)
		return nil
	})
}

// stored says where the command of a line is stored.
func (m *batch) stored(ctx context.Context, at answer, future *bus.Future) {
	receipt, err := future.Wait(ctx)
	if err != nil {
		at.Problem = problemOf(err)
	} else {
		at.Sent = &sent{at.ID, receipt.Stream, receipt.Sequence, receipt.Duplicate}
	}
	m.say(at, err != nil)
}

// answered says what became of the command of a line.
func (m *batch) answered(ctx context.Context, at answer, pending pending) {
	result, err := pending.result(ctx)
	if err != nil {
		at.Problem = problemOf(err)
	} else {
		at.Result = &result
	}
	m.say(at, err != nil || outcome(result) != nil)
}

// read reads one line strictly; the flags stand in for what it leaves out.
func (m *batch) read(text []byte) (order, error) {
	ask, err := m.cmd.defaults()
	if err != nil {
		return order{}, err
	}
	if m.cmd.Action != "-" {
		ask.Action = m.cmd.Action
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&ask); err != nil {
		return order{}, fault.New(fault.Malformed, "reading the line: %s", err).
			WithFix(`write {"action": "botstar.widget.open", "site": "shop", "visitor": {"user_id": "u-42"}, "params": {}}`)
	}
	if ask.Site, err = m.site(m.cfg, ask.Site); err != nil {
		return order{}, err
	}
	return m.order(ask)
}

// say prints one answer.
func (m *batch) say(a answer, failed bool) {
	m.mu.Lock()
	m.done++
	if failed {
		m.failed++
	}
	if m.Terminal.Err {
		_, _ = fmt.Fprint(m.Stderr, "\r\x1b[K")
	}
	_ = writeJSON(m.Stdout, a, "") // A closed pipe ends us anyway.
	m.mu.Unlock()
	m.progress(false)
}

// progress shows on a terminal how far it is.
func (m *batch) progress(last bool) {
	if !m.Terminal.Err {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _ = fmt.Fprintf(m.Stderr, "\r\x1b[Ksent %d, answered %d, failed %d", m.sent, m.done, m.failed)
	if last {
		_, _ = fmt.Fprintln(m.Stderr)
	}
}

// problemOf returns the error as it stands on the wire.
func problemOf(err error) *event.Problem {
	e := fault.From(err)
	return &event.Problem{
		Code: string(e.Code), Reason: string(e.Reason), Message: e.Message, Field: e.Field, Fix: e.Fix,
		Retryable: fault.Retryable(err),
	}
}
