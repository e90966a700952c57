package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/standin/botstar"
)

const (
	demoSite  = "shop"
	demoUser  = "u-ada"
	demoEmail = "ada@example.test"
	// demoPatience bounds each thing that the demo waits for.
	demoPatience = 20 * time.Second
)

// show is one run of the demo.
type show struct {
	*cli
	keep  bool
	began time.Time
	view  view
	dir   string
	dev   *devSystem
	guest *person // the visitor, with a browser of their own; nil before they arrive

	mu     sync.Mutex // guards the fields below
	seen   []sight
	change chan struct{} // closed, and made anew, with each sight
}

// sight is a message that the demo saw on the bus.
type sight struct {
	subject string
	e       event.Envelope
	at      time.Duration // since the beginning
}

// demo shows the main job on real parts: a separate publisher tracks an event,
// a rule turns it into actions, a browser does them, and what was proved and
// what happened comes back as events. It returns nil when all of it was seen.
func demo(ctx context.Context, c *cli, keep bool) error {
	s := &show{
		cli: c, keep: keep, began: time.Now(), dir: filepath.Join(".parley", "demo"),
		view: view{colour: c.Terminal.Out}, change: make(chan struct{}),
	}
	s.view.since = s.began
	s.say("%s\n", s.view.paint(bold, "Parley demo: a tracked event becomes chat actions in a real browser"))
	if err := s.start(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	system := launch(ctx, stop, s.dev.Run)
	tail := launch(ctx, stop, s.follow)
	err := s.play(running)
	if err == nil && keep {
		s.goOn()
		<-running.Done()
	}
	if cause := context.Cause(running); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	if s.guest != nil {
		err = errors.Join(err, s.guest.Close(ctx))
	}
	err = errors.Join(err, tail.stop(), system.stop(), s.dev.Close(ctx))
	if err != nil {
		s.say("\n%s after %.1fs\n", s.view.paint(red, "The demo failed"), time.Since(s.began).Seconds())
	}
	return err
}

func (s *show) say(format string, args ...any) { _, _ = fmt.Fprintf(s.Stdout, format, args...) }

// start starts everything, and says what is up.
func (s *show) start(ctx context.Context) error {
	// The demo has streams of its own and begins with none, so that each run
	// shows the same.
	streams := filepath.Join(s.dir, "nats")
	if err := os.RemoveAll(streams); err != nil {
		return fault.New(fault.BadConfig, "emptying the demo's directory").Because(err)
	}
	if err := dirOf(s.dir); err != nil {
		return err
	}
	if _, err := os.Stat(publisherPath()); err != nil {
		return fault.New(fault.BadConfig, "the publisher is not beside the worker").Because(err).WithFix("run `make build`, or `make demo`, which does")
	}
	cfg, err := builtIn(Env{}, s.cli)
	if err != nil {
		return err
	}
	cfg.Bus.Dir, cfg.Bus.Listen, cfg.Telemetry.Level = streams, "127.0.0.1:0", "warn"
	cfg.Ingest.Listen = freeAddress(ctx, cfg.Ingest.Listen)
	if err := s.freshCRM(cfg); err != nil {
		return err
	}
	identity, err := letIn(cfg, s.dir)
	if err != nil {
		return err
	}
	s.dev, err = startDev(ctx, s.cli, cfg, true, identity, func(part, detail string) {
		s.say("%s  %s  %s\n", s.view.stamp(time.Now()), s.view.paint(green, pad("✓ "+part, 33)), s.view.paint(dim, detail))
	})
	return err
}

// follow shows what happens on the bus, and keeps it for await.
func (s *show) follow(ctx context.Context) error {
	return s.dev.follow(ctx, s.view, func(line, subject string, e event.Envelope) {
		s.say("%s\n", line)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, sight{subject, e, time.Since(s.began)})
		close(s.change)
		s.change = make(chan struct{})
	})
}

// await returns the first message that was seen and fits. what names it for a
// person.
func (s *show) await(ctx context.Context, what string, fits func(sight) bool) (sight, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience,
		fault.New(fault.NotConfirmed, "%s did not come within %s", what, demoPatience).WithFix("the lines above show how far it came; -v shows the log"))
	defer cancel()
	for {
		s.mu.Lock()
		i, change := slices.IndexFunc(s.seen, fits), s.change
		var found sight
		if i >= 0 {
			found = s.seen[i]
		}
		s.mu.Unlock()
		if i >= 0 {
			return found, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return sight{}, context.Cause(ctx)
		}
	}
}

// play goes through the steps.
func (s *show) play(ctx context.Context) error {
	if err := s.arrive(ctx); err != nil {
		return err
	}
	if err := s.publisher(ctx, "track", "Pricing Viewed", "--site", demoSite, "--visitor", demoUser, "--email", demoEmail, "-p", "plan=pro"); err != nil {
		return err
	}
	for _, action := range []string{"botstar.widget.boot", "botstar.widget.update", "botstar.widget.open"} {
		if err := s.result(ctx, action); err != nil {
			return err
		}
	}
	opened, err := s.fact(ctx, event.FactWidgetOpened)
	if err != nil {
		return err
	}
	if err := s.ledger(ctx); err != nil {
		return err
	}
	picture, err := s.picture(ctx)
	if err != nil {
		return err
	}
	if err := s.publisher(ctx, "send", "botstar.widget.close", "--site", demoSite, "--visitor", demoUser, "--wait"); err != nil {
		return err
	}
	if err := s.result(ctx, "botstar.widget.close"); err != nil {
		return err
	}
	if _, err := s.fact(ctx, event.FactWidgetClosed); err != nil {
		return err
	}
	if err := s.row(ctx); err != nil {
		return err
	}
	s.say("\n%s in %.1fs; the widget was open after %.1fs\n", s.view.paint(green, "It works"), time.Since(s.began).Seconds(), opened.at.Seconds())
	s.say("  picture of the open widget: %s\n", picture)
	return nil
}

// publisher runs the publisher as a process of its own.
func (s *show) publisher(ctx context.Context, args ...string) error {
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = arg
		if strings.Contains(arg, " ") {
			shown[i] = "'" + arg + "'"
		}
	}
	s.say("\n%s\n", s.view.paint(bold, "$ publisher "+strings.Join(shown, " ")))
	ctx, cancel := context.WithTimeout(ctx, 2*demoPatience)
	defer cancel()
	command := exec.CommandContext(ctx, publisherPath(), append(args, "--nats", s.dev.bus.URL())...) //nolint:gosec // our own binary.
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		return fault.New(fault.NotConfirmed, "the publisher ended with %s", err).Because(errors.New(strings.TrimSpace(problems.String() + out.String())))
	}
	return nil
}

// result waits for the action's result, and checks that it is good.
func (s *show) result(ctx context.Context, action string) error {
	at, err := s.await(ctx, "the result of "+action, func(m sight) bool { return m.e.Type == event.ResultType(action) })
	if err != nil {
		return err
	}
	var r event.Result
	if err := json.Unmarshal(at.e.Data, &r); err != nil {
		return fault.New(fault.Malformed, "reading the result of %s", action).Because(err)
	}
	if text, colour := verdict(r); colour != green {
		return fault.New(fault.NotConfirmed, "%s: %s", action, text)
	}
	if r.Executor != session.ExecutorVisitor {
		return fault.New(fault.NotConfirmed, "%s ran in the executor %s (%s), and not in the visitor's own tab", action, r.Executor, r.ExecutorWhy)
	}
	return nil
}

func (s *show) fact(ctx context.Context, fact string) (sight, error) {
	return s.await(ctx, "the event "+fact, func(m sight) bool { return m.e.Type == event.FactType("botstar", fact) })
}

// ledger asks the vendor itself what it knows of the visitor: an update cannot
// be seen on the page.
func (s *show) ledger(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	at, err := s.dev.vendor.Ledger().Wait(ctx, func(l botstar.Snapshot) bool { return l.Count(demoUser, botstar.Updated) > 0 })
	if err != nil {
		return fault.New(fault.NotConfirmed, "the update did not reach the vendor").Because(err)
	}
	entries := at.Of(demoUser)
	s.say("%s  %s  %s\n", s.view.stamp(time.Now()), s.view.paint(green, "✓ the vendor's own ledger has the update"),
		s.view.paint(dim, pairs(entries[len(entries)-1].After.Attributes)))
	return nil
}

// arrive opens the shop in the visitor's own browser, and waits until their tab is
// connected.
func (s *show) arrive(ctx context.Context) (err error) {
	if s.guest, err = s.dev.visit(ctx, demoPage); err != nil {
		return err
	}
	here, err := s.dev.arrives(ctx, demoSite, event.SessionKey(demoSite, event.Visitor{UserID: demoUser}))
	if err != nil {
		return err
	}
	s.say("%s  %s  %s\n", s.view.stamp(time.Now()), s.view.paint(green, pad("✓ a visitor opens the shop", 33)),
		s.view.paint(dim, "in a browser of their own, at "+here.URL))
	return nil
}

// picture takes a picture of the visitor's own tab, and returns its path.
func (s *show) picture(ctx context.Context) (string, error) {
	png, err := s.guest.tab.Screenshot(ctx)
	if err != nil {
		return "", fmt.Errorf("taking the picture: %w", err)
	}
	file := filepath.Join(s.dir, "widget-opened.png")
	if err := os.WriteFile(file, png, 0o644); err != nil { //nolint:gosec // a picture to look at.
		return "", fmt.Errorf("writing the picture: %w", err)
	}
	return file, nil
}

// goOn says what to do while the demo stays up.
func (s *show) goOn() {
	s.say("\nIt stays up; Ctrl-C ends. Go on in another terminal:\n")
	s.say("  export PARLEY_BUS_URL=%s\n", s.dev.bus.URL())
	for _, line := range tryOut(s.dev.cfg) {
		s.say("  %s\n", line)
	}
	s.say("\n")
}
