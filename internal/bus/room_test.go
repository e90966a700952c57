package bus_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// TestRoom shows how much a stream takes: less with every message, and without
// end where it has no limit.
func TestRoom(t *testing.T) {
	t.Parallel()
	server := bustest.Serve(t)
	b := server.Bus()
	const limit = 1_000_000
	server.Limit(bus.StreamFlow, limit)
	before, err := b.Room(t.Context(), bus.StreamFlow)
	if err != nil || before > limit/100*95 || before < limit/2 {
		t.Fatalf("an empty stream has room for %d, %v", before, err)
	}
	const size = 200_000
	e, err := event.New("/test", event.TriggerType(event.KindTrack), "s", map[string]string{"text": string(bytes.Repeat([]byte("x"), size))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), event.TriggerSubject("test", event.KindTrack, "shop", "s"), e); err != nil {
		t.Fatal(err)
	}
	if after, err := b.Room(t.Context(), bus.StreamFlow); err != nil || after > before-size || after < before-2*size {
		t.Errorf("%d bytes more leave room for %d of %d, %v", size, after, before, err)
	}
	server.Limit(bus.StreamFlow, -1)
	if endless, err := b.Room(t.Context(), bus.StreamFlow); err != nil || endless != math.MaxInt64 {
		t.Errorf("a stream without a limit has room for %d, %v", endless, err)
	}
	server.Delete(bus.StreamFlow)
	if room, err := b.Room(t.Context(), bus.StreamFlow); fault.From(err) == nil {
		t.Errorf("no stream has room for %d", room)
	}
}
