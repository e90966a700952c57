package ours

import (
	"context"
	"path/filepath"
	"strconv"

	"github.com/parley-chat/parley/bench/contend"
)

// memory holds more and more sessions, in a browser that is new in every round,
// and sees that they still answer.
type memory struct {
	setup contend.Setup
	warm  *warm // nil between rounds
}

// prepare starts the browser, with no session.
func (m *memory) prepare(o contend.Order) error {
	own := m.setup
	own.Dir = filepath.Join(own.Dir, strconv.Itoa(o.Round))
	r, err := startRig(context.Background(), own, rigOptions{})
	if err != nil {
		return err
	}
	m.warm = &warm{rig: r, window: own.Window}
	return nil
}

// Round holds one session and sends it the commands, then holds the others and
// sends commands to all of them.
func (m *memory) Round(o contend.Order) (contend.Report, error) {
	switch {
	case o.Prepare:
		return contend.Report{}, m.prepare(o)
	case o.Clear:
		return contend.Report{}, m.Close()
	}
	ctx := context.Background() // Each command has its own deadline.
	if err := m.warm.hold(ctx, 1); err != nil {
		return contend.Report{}, err
	}
	one, err := inTurns(o.Jobs, func(i int) (func() error, error) { return nil, m.warm.toggle(ctx, 0, i) })
	if err != nil {
		return contend.Report{}, err
	}
	if err := m.warm.hold(ctx, m.setup.Sessions); err != nil {
		return contend.Report{}, err
	}
	all, err := m.warm.Round(o)
	all.Values = map[string]float64{contend.P99One: contend.Percentile(one.LatenciesUS, 99)}
	return all, err
}

// Close ends the browser with all sessions.
func (m *memory) Close() error {
	if m.warm == nil {
		return nil
	}
	err := m.warm.Close()
	m.warm = nil
	return err
}
