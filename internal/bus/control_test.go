package bus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
)

// serve answers questions to the worker until the returned function is called,
// which returns when all are answered.
func serve(t *testing.T, b *bus.Bus, worker string, handle func(ctx context.Context, verb string, body []byte) ([]byte, error)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, worker, handle) }()
	bustest.Until(t, "the worker answers", func() bool {
		_, err := b.Ask(t.Context(), worker, "hello", nil)
		return reasonOf(err) != fault.NoWorker
	})
	return func() {
		cancel()
		if err := receive(t, done, "the end of Serve"); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

func TestAWorkerIsAsked(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	stop := serve(t, s.Bus(), "one", func(_ context.Context, verb string, body []byte) ([]byte, error) {
		switch verb {
		case "echo":
			return body, nil
		case "fail":
			return nil, fmt.Errorf("looking: %w", fault.New(fault.UnknownSite, "no site %s", body).At("/site").WithFix("add it"))
		default:
			return nil, nil
		}
	})
	b := s.Bus()
	type question struct{ Site string }
	answer, err := b.Ask(t.Context(), "one", "echo", question{"shop"})
	var got question
	if err != nil || json.Unmarshal(answer, &got) != nil || got.Site != "shop" {
		t.Errorf("answer: %s, %v", answer, err)
	}
	_, err = b.Ask(t.Context(), "one", "fail", "docs")
	wantReason(t, err, fault.UnknownSite)
	if f := fault.From(err); f.Field != "/site" || f.Fix != "add it" || f.Code != fault.NotFound {
		t.Errorf("the error lost something on its way: %+v", f)
	}
	_, err = b.Ask(t.Context(), "two", "echo", nil)
	wantReason(t, err, fault.NoWorker)
	for _, name := range []string{"", "a.b", "*", ">", "a b", "a\r\nPUB"} {
		_, err = b.Ask(t.Context(), name, "echo", nil)
		wantReason(t, err, fault.BadConfig)
		_, err = b.Ask(t.Context(), "one", name, nil)
		wantReason(t, err, fault.BadConfig)
		wantReason(t, b.Serve(t.Context(), name, nil), fault.BadConfig)
		wantReason(t, b.Commands(t.Context(), bus.CommandOptions{Worker: orDot(name)}, nil), fault.BadConfig)
	}
	stop()
	_, err = b.Ask(t.Context(), "one", "echo", nil)
	wantReason(t, err, fault.NoWorker)
}

// orDot returns a wrong name also for "", which makes one up.
func orDot(name string) string {
	if name == "" {
		return "."
	}
	return name
}

func TestTheEndOfServeWaitsForItsAnswers(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	begun, release := make(chan struct{}), make(chan struct{})
	stop := serve(t, b, "one", func(_ context.Context, verb string, _ []byte) ([]byte, error) {
		if verb == "slow" {
			close(begun)
			<-release
		}
		return []byte("done"), nil
	})
	answered := make(chan string, 1)
	go func() {
		answer, err := b.Ask(t.Context(), "one", "slow", nil)
		answered <- fmt.Sprintf("%s %v", answer, err)
	}()
	receive(t, begun, "the question")
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("Serve ended before its answer")
	case <-time.After(50 * time.Millisecond): // It passes when the test does.
	}
	close(release)
	receive(t, stopped, "the end of Serve")
	if got := receive(t, answered, "the answer"); got != "done <nil>" {
		t.Errorf("answer: %s", got)
	}
}
