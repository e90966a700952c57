//go:build browser

package botstar_test

import (
	"crypto/rand"
	"slices"
	"testing"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// BenchmarkWindow opens and closes the window of a held session: the driver's
// function alone, and the whole action with its verification.
func BenchmarkWindow(b *testing.B) {
	w := setup(b, vendor.Options{ReportEvery: -1})
	s := w.open(b, site(), event.Visitor{UserID: "bench"})
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	names := []string{"open", "close"}
	var specs []actions.Spec
	for _, name := range names {
		i := slices.IndexFunc(botstar.Provider().Actions, func(spec actions.Spec) bool { return spec.Name == "botstar.widget."+name })
		specs = append(specs, botstar.Provider().Actions[i])
	}
	arg := map[string]int{"wait_ms": 5000}
	b.Run("driver", func(b *testing.B) {
		i := 0
		for b.Loop() {
			env := s.env
			env.Key = rand.Text()
			if err := env.Do(b.Context(), names[i%2], arg, nil); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("driver then look", func(b *testing.B) {
		i := 0
		for b.Loop() {
			env := s.env
			env.Key = rand.Text()
			if err := env.Do(b.Context(), names[i%2], arg, nil); err != nil {
				b.Fatal(err)
			}
			if err := env.Look(b.Context(), "look.widget", map[string]any{}, nil); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("action", func(b *testing.B) {
		i, quick := 0, 0
		for b.Loop() {
			spec, env := specs[i%2], s.env
			env.Key = rand.Text()
			outcome, err := spec.Run(b.Context(), env, nil)
			if err != nil {
				b.Fatal(err)
			}
			s.catchUp()
			if s.env.State.Sight.Key == env.KeyOf(names[i%2]) {
				quick++
			}
			proof, err := spec.Verify(b.Context(), env, nil, outcome)
			if err != nil || proof.Verdict != event.Confirmed {
				b.Fatal(proof, err)
			}
			i++
		}
		b.ReportMetric(float64(quick)/float64(i), "seen/op")
	})
	b.Run("trivial", func(b *testing.B) {
		for b.Loop() {
			if err := s.env.Look(b.Context(), "look.abandon", nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			if err := s.env.Look(b.Context(), "look.widget", map[string]string{}, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
