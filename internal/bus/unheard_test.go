package bus_test

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// TestUnheardConfirmations loses the confirmation of every other publish. All is
// stored once, and its publisher knows.
func TestUnheardConfirmations(t *testing.T) {
	t.Parallel()
	var count, lost atomic.Int64
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Unheard: func(string) bool {
		if count.Add(1)%2 == 0 {
			return false
		}
		lost.Add(1)
		return true
	}})
	const n = 20
	for i := range n {
		e, err := event.New("/test", "chat.parley.test", "s", map[string]int{"n": i})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Publish(t.Context(), "evt.test.thing.done.shop.s1", e); err != nil {
			t.Errorf("publish %d: %v", i, err)
		}
		subject := event.EffectSubject("shop", "s1", "k"+strconv.Itoa(i))
		effect, err := b.Begin(t.Context(), subject, []byte(`{}`))
		if err != nil || !effect.New {
			t.Errorf("record %d: %+v, %v", i, effect, err)
		}
		if _, err := b.Finish(t.Context(), subject, effect.Revision, []byte(`{"done":true}`)).Wait(t.Context()); err != nil {
			t.Errorf("overwriting record %d: %v", i, err)
		}
	}
	stored := 0
	for _, err := range b.Tail(t.Context(), bus.TailOptions{Subjects: []string{"evt.>"}, All: true, ToEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		stored++
	}
	if stored != n || lost.Load() < n {
		t.Errorf("%d events are stored, want %d; %d confirmations were lost", stored, n, lost.Load())
	}
}
