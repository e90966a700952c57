package bus_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

func TestTheSameEventIsStoredOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	e, subject := command(t, "s1")
	first, err := b.Publish(t.Context(), subject, e)
	if err != nil || first != (bus.Receipt{Stream: "CMD", Sequence: 1}) {
		t.Fatalf("first: %+v, %v", first, err)
	}
	again, err := b.PublishAsync(subject, e).Wait(t.Context())
	if err != nil || again != (bus.Receipt{Stream: "CMD", Sequence: 1, Duplicate: true}) {
		t.Fatalf("again: %+v, %v", again, err)
	}
	// The id alone does not make an event: another source may use it too.
	e.Source = "/other"
	other, err := b.Publish(t.Context(), subject, e)
	if err != nil || other.Duplicate {
		t.Fatalf("other source: %+v, %v", other, err)
	}
}

func TestAMessageThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	e, subject := command(t, "s1")
	e.Data = []byte(`"` + strings.Repeat("x", 256<<10) + `"`)
	_, err := b.Publish(t.Context(), subject, e)
	wantReason(t, err, fault.TooLarge)
	// A big header counts as well.
	e.Data = []byte(`"` + strings.Repeat("x", 200<<10) + `"`)
	e.Extensions["big"] = strings.Repeat("y", 60<<10)
	_, err = b.Publish(t.Context(), subject, e)
	wantReason(t, err, fault.TooLarge)
	delete(e.Extensions, "big")
	if _, err := b.Publish(t.Context(), subject, e); err != nil {
		t.Fatalf("a message within the limit: %v", err)
	}
}

func TestAFullSessionIsRefusedAndOthersAreNot(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for range 64 {
		publish(t, b, "full")
	}
	e, subject := command(t, "full")
	start := time.Now()
	_, err := b.Publish(t.Context(), subject, e)
	wantReason(t, err, fault.QueueFull)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the refusal took %s", took)
	}
	publish(t, b, "other")
}

func TestASubjectWithoutAStreamIsSaid(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	e, _ := command(t, "s1")
	_, err := b.Publish(ctx, "nowhere.at.all", e)
	wantReason(t, err, fault.BusUnavailable)
	if !strings.Contains(err.Error(), "nowhere.at.all") {
		t.Errorf("the error does not name the subject: %v", err)
	}
}

func TestADeniedPublishIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	reader := bustest.User{
		Name: "reader", Password: "secret",
		Publish: []string{"cmd.r.>", "$JS.API.STREAM.INFO.>"}, Listen: []string{"_INBOX.>"},
	}
	s := bustest.Serve(t, bustest.User{Name: "root", Password: "secret"}, reader)
	bustest.Open(t, bus.Options{URL: s.URL(bustest.User{Name: "root", Password: "secret"})})
	b := bustest.Connect(t, bus.Options{URL: s.URL(reader)})

	e, subject := command(t, "s1")
	allowed := event.CommandSubject(event.ClassRead, "botstar.session.get_state", "shop", "s1")
	if _, err := b.Publish(t.Context(), allowed, e); err != nil {
		t.Fatalf("the allowed publish: %v", err)
	}
	for name, ask := range map[string]func(context.Context) error{
		"publish": func(ctx context.Context) error { _, err := b.Publish(ctx, subject, e); return err },
		"send":    func(ctx context.Context) error { _, err := b.Send(ctx, subject, e); return err },
		"begin":   func(ctx context.Context) error { _, err := b.Begin(ctx, "jrn.shop.s1.k", nil); return err },
		"cancel":  func(ctx context.Context) error { return b.Cancel(ctx, "timer.shop.s1.x") },
		"commands": func(ctx context.Context) error {
			return b.Commands(ctx, bus.CommandOptions{}, func(context.Context, *bus.Delivery) error { return nil })
		},
	} {
		start := time.Now()
		err := ask(t.Context())
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: the refusal took %s", name, took)
		}
		wantReason(t, err, fault.BusDenied)
	}
	// A denial is about its own subject: what is allowed goes on.
	e.ID = "another"
	if _, err := b.Publish(t.Context(), allowed, e); err != nil {
		t.Fatalf("the allowed publish after the denials: %v", err)
	}
}

func TestAnInboxThatIsDeniedIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	deaf := bustest.User{Name: "deaf", Password: "secret", Listen: []string{"nothing"}}
	s := bustest.Serve(t, bustest.User{Name: "root", Password: "secret"}, deaf)
	bustest.Open(t, bus.Options{URL: s.URL(bustest.User{Name: "root", Password: "secret"})})
	b := bustest.Connect(t, bus.Options{URL: s.URL(deaf)})
	for range 2 { // The second one makes no subscription of its own.
		start := time.Now()
		e, subject := command(t, "s1")
		_, err := b.Publish(t.Context(), subject, e)
		wantReason(t, err, fault.BusDenied)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("the refusal took %s", took)
		}
	}
}

func TestAPublishOutlastsARestartOfTheServer(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	publish(t, b, "s1")
	s.Stop()
	type answer struct {
		receipt bus.Receipt
		err     error
	}
	answers := make(chan answer, 2)
	for range 2 {
		e, subject := command(t, "s1")
		go func() {
			r, err := b.PublishAsync(subject, e).Wait(t.Context())
			answers <- answer{r, err}
		}()
	}
	s.Start()
	for range 2 {
		if a := receive(t, answers, "the receipt"); a.err != nil || a.receipt.Sequence < 2 || a.receipt.Duplicate {
			t.Errorf("after the restart: %+v, %v", a.receipt, a.err)
		}
	}
}

func TestAPublishGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	e, subject := command(t, "s1")
	_, err := b.Publish(ctx, subject, e)
	wantReason(t, err, fault.BusUnavailable)
	wantReason(t, b.Healthy(t.Context()), fault.BusUnavailable)
}
