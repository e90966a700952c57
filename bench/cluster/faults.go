package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"
)

// How long things stay broken.
const (
	absent   = 2 * time.Second // a killed worker
	paused   = 5 * time.Second // a stopped one
	cutFor   = 4 * time.Second // a worker without a bus
	nodeDown = 3 * time.Second // a NATS server
	hangFor  = 6 * time.Second // a site whose tabs hang
)

// surgeon does the faults, one after another.
type surgeon struct {
	log  *slog.Logger
	s    settings
	crew *crew
	nats *nats
	load *load
	say  func(string) // is told of each fault
}

// operate does faults until ctx ends, and returns them. What it began, it ends.
// An error says that the run is broken, as when a worker does not start.
func (o *surgeon) operate(ctx context.Context) ([]hurt, error) {
	var hurts []hurt
	for b := range o.s.plan() {
		if !rest(ctx, o.s.Calm) {
			break
		}
		h, err := o.strike(context.WithoutCancel(ctx), b)
		if err != nil {
			return hurts, fmt.Errorf("doing the fault %s: %w", b.Kind, err)
		}
		if n := len(hurts); n > 0 {
			hurts[n-1].Until = h.At
		}
		hurts = append(hurts, h)
		o.say(fmt.Sprintf("%-8s %s %s", h.Kind, h.Victim, h.Detail))
		o.log.LogAttrs(ctx, slog.LevelInfo, "fault done", slog.String("kind", string(h.Kind)),
			slog.String("victim", h.Victim), slog.String("detail", h.Detail), slog.Time("at", h.At))
	}
	if n := len(hurts); n > 0 {
		hurts[n-1].Until = time.Now()
	}
	return hurts, nil
}

// rest waits, and reports whether ctx still lives.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// strike does one fault, and repairs what a machine would repair by itself.
func (o *surgeon) strike(ctx context.Context, b blow) (hurt, error) {
	h := hurt{Kind: b.Kind, At: time.Now()}
	living := o.crew.living()
	if len(living) == 0 {
		return h, errors.New("no worker is left")
	}
	victim := living[b.Pick%uint64(len(living))]
	switch b.Kind {
	case addWorker:
		return o.add(ctx, h, living)
	case killNode:
		return o.killNode(ctx, h, b)
	case hangSite:
		o.load.doom(true)
		rest(ctx, hangFor)
		o.load.doom(false)
		return h, nil
	case killWorker, stopWorker, pauseWorker, cutWorker, killBrowser, killPage:
		h.Victim = victim.name
	}
	return o.hurt(ctx, h, b, victim)
}

// hurt does a fault to a worker.
func (o *surgeon) hurt(ctx context.Context, h hurt, b blow, victim *member) (hurt, error) {
	switch b.Kind { //nolint:exhaustive // The others hit no worker.
	case killWorker:
		victim.kill()
		if err := victim.wait(ctx); err != nil {
			return h, err
		}
		victim.proxy.close()
		rest(ctx, absent)
		return h, o.replace(ctx, &h, b.Twist, victim)
	case stopWorker:
		if err := victim.signal(syscall.SIGTERM); err != nil {
			return h, err
		}
		bounded, cancel := context.WithTimeoutCause(ctx, stopLimit, errors.New("it did not end"))
		defer cancel()
		if err := victim.wait(bounded); err != nil {
			return h, err
		}
		h.Detail = "ended after " + time.Since(h.At).Round(time.Millisecond).String()
		victim.proxy.close()
		return h, o.replace(ctx, &h, b.Twist, victim)
	case pauseWorker:
		if err := victim.signal(syscall.SIGSTOP); err != nil {
			return h, err
		}
		rest(ctx, paused)
		return h, victim.signal(syscall.SIGCONT)
	case cutWorker:
		state := silent
		if h.Detail = "silent"; b.Twist {
			h.Detail, state = "reset", broken
		}
		victim.proxy.set(state)
		rest(ctx, cutFor)
		victim.proxy.set(whole)
		return h, nil
	default:
		return o.killChild(h, b, victim)
	}
}

// replace starts a worker in the place of one that is gone, under its name or a
// new one.
func (o *surgeon) replace(ctx context.Context, h *hurt, same bool, victim *member) error {
	if len(o.crew.living()) >= o.s.Workers {
		return nil // One had been added.
	}
	name := victim.name
	if !same {
		name = o.crew.name()
	}
	h.Detail += " replaced by " + name
	return o.crew.add(ctx, name)
}

// add adds a worker. When there are two more than at the start, the oldest
// leaves first.
func (o *surgeon) add(ctx context.Context, h hurt, living []*member) (hurt, error) {
	if len(living) > o.s.Workers {
		if err := living[0].signal(syscall.SIGTERM); err != nil {
			return h, err
		}
		if err := living[0].wait(ctx); err != nil {
			return h, err
		}
		living[0].proxy.close()
		h.Detail = living[0].name + " left before"
		h.At = time.Now()
	}
	h.Victim = o.crew.name()
	return h, o.crew.add(ctx, h.Victim)
}

// killChild kills a browser of the worker, or a renderer.
func (o *surgeon) killChild(h hurt, b blow, victim *member) (hurt, error) {
	targets := below(victim.pid(), tasks())
	if b.Kind == killBrowser {
		targets = browsers(targets)
	} else {
		targets = renderers(targets)
	}
	if len(targets) == 0 {
		h.Detail = "there was none"
		return h, nil
	}
	h.Detail = fmt.Sprintf("%d there", len(targets))
	h.At = time.Now()
	return h, hit(targets[b.Pick/7%uint64(len(targets))].pid)
}

// killNode kills a NATS server, and starts it again.
func (o *surgeon) killNode(ctx context.Context, h hurt, b blow) (hurt, error) {
	at := o.nats.choose(ctx, b.Pick, b.Twist)
	h.Detail = at.name
	if b.Twist {
		h.Detail += ", which led the queue"
	}
	h.At = time.Now()
	at.process.kill()
	if err := at.process.wait(ctx); err != nil {
		return h, err
	}
	rest(ctx, nodeDown)
	if err := o.nats.start(ctx, at); err != nil {
		return h, err
	}
	return h, o.nats.ready(ctx, at)
}
