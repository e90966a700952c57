package bus_test

import (
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// TestCommitOnly shows that a record takes the place of the one before, also in
// a batch, and with a guard and a life of its own.
func TestCommitOnly(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	subject := event.RunsSubject("shop", "s1")
	var last uint64
	for _, text := range []string{"one", "two", "three"} {
		sequences, err := b.Commit(t.Context(), []bus.FlowMsg{
			{Subject: event.RunsSubject("shop", "s2"), Data: []byte(text), Only: true, TTL: time.Hour},
			{Subject: subject, Data: []byte(text), Only: true, At: &last},
		})
		if err != nil {
			t.Fatal(err)
		}
		last = sequences[1]
	}
	for _, filter := range []string{subject, event.RunsSubject("shop", "s2")} {
		var got []string
		for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{filter}}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(d.Body))
		}
		if len(got) != 1 || got[0] != "three" {
			t.Errorf("%s holds %v, want the last one only", filter, got)
		}
	}
}
