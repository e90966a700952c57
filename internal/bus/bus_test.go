package bus_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const action = "botstar.widget.open"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }

// command returns a command for the session, and the subject it goes to.
func command(t testing.TB, session string) (event.Envelope, string) {
	t.Helper()
	e, err := event.New("/test", event.CommandType(action), session, event.Command{
		Site: "shop", Visitor: event.Visitor{UserID: session},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.DataContentType = "application/json"
	return e, event.CommandSubject(event.ClassWrite, action, "shop", session)
}

// result returns the result of the command, and the subject it goes to.
func result(t testing.TB, of event.Envelope, status event.Status) (event.Envelope, string) {
	t.Helper()
	e, err := event.New("/test/worker", event.ResultType(action), of.Subject, event.Result{
		CommandID: of.ID, CommandSource: of.Source, Action: action, Site: "shop", Session: of.Subject, Status: status,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Extensions[event.ExtCausationID] = of.ID
	return e, event.ResultSubject(action, "shop", of.Subject)
}

// publish publishes a new command for the session.
func publish(t testing.TB, b *bus.Bus, session string) event.Envelope {
	t.Helper()
	e, subject := command(t, session)
	if _, err := b.Publish(t.Context(), subject, e); err != nil {
		t.Fatal(err)
	}
	return e
}

// wantReason fails the test unless the error has the reason.
func wantReason(t testing.TB, err error, reason fault.Reason) {
	t.Helper()
	if !errors.Is(err, fault.New(reason, "")) {
		t.Fatalf("the error is %v (reason %s), want reason %s", err, reasonOf(err), reason)
	}
}

func reasonOf(err error) fault.Reason {
	if err == nil {
		return "none"
	}
	return fault.From(err).Reason
}

// receive returns the next value, or fails the test.
func receive[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(30 * time.Second): // It only passes when the test fails.
		t.Fatalf("waiting for %s: nothing came", what)
		panic("not reached")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]bus.Options{
		"nothing":                     {},
		"embedded and outside":        {URL: "nats://127.0.0.1:1", Dir: "x"},
		"unknown durability":          {Dir: t.TempDir(), Durability: "sometimes"},
		"three copies in one process": {Dir: t.TempDir(), Replicas: 3},
		"an open door":                {Dir: t.TempDir(), Listen: "0.0.0.0:0"},
		"a name of another machine":   {Dir: t.TempDir(), Listen: "example.test:4222"},
		"no port":                     {Dir: t.TempDir(), Listen: "127.0.0.1"},
		"a strange port":              {Dir: t.TempDir(), Listen: "127.0.0.1:many"},
		"a file for a directory":      {Dir: filepath.Join(t.TempDir(), "\x00")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := bus.Open(t.Context(), bustest.Log(t), o)
			if err == nil {
				bustest.Close(t, b)
			}
			wantReason(t, err, fault.BadConfig)
		})
	}
}

func TestOneProcessAtATimeUsesADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := bustest.Connect(t, bus.Options{Dir: dir})
	_, err := bus.Open(t.Context(), bustest.Log(t), bus.Options{Dir: dir})
	wantReason(t, err, fault.BusUnavailable)
	bustest.Close(t, first)
	bustest.Close(t, bustest.Connect(t, bus.Options{Dir: dir}))
}

func TestAPortInUseIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	start := time.Now()
	_, err = bus.Open(t.Context(), bustest.Log(t), bus.Options{Dir: t.TempDir(), Listen: taken.Addr().String()})
	wantReason(t, err, fault.BusUnavailable)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s to find out", took)
	}
}

func TestTheEmbeddedServerAnswersOtherProcesses(t *testing.T) {
	t.Parallel()
	for _, durability := range []string{bus.DurabilityInterval, bus.DurabilityAlways} {
		b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: durability})
		other := bustest.Connect(t, bus.Options{URL: b.URL(), Name: "publisher"})
		e := publish(t, other, "s1")
		taken := make(chan string, 1)
		work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
			got, err := d.Envelope()
			taken <- got.ID
			return err
		})
		if got := receive(t, taken, "the command"); got != e.ID {
			t.Errorf("durability %s: the worker got %s, want %s", durability, got, e.ID)
		}
		if err := errors.Join(b.Healthy(t.Context()), other.Healthy(t.Context())); err != nil {
			t.Error(err)
		}
	}
}

func TestAnAbsentServerIsSaid(t *testing.T) {
	t.Parallel()
	_, err := bus.Open(t.Context(), bustest.Log(t), bus.Options{URL: "nats://127.0.0.1:1"})
	wantReason(t, err, fault.BusUnavailable)
}

func TestWrongCredentialsAreSaid(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t, bustest.User{Name: "a", Password: "b"})
	_, err := bus.Open(t.Context(), bustest.Log(t), bus.Options{URL: s.URL(bustest.User{Name: "a", Password: "c"})})
	wantReason(t, err, fault.BusDenied)
}

func TestAClosedBusIsNotHealthy(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	bustest.Close(t, b)
	wantReason(t, b.Healthy(t.Context()), fault.BusUnavailable)
	e, subject := command(t, "s1")
	_, err := b.Publish(t.Context(), subject, e)
	wantReason(t, err, fault.BusUnavailable)
}
