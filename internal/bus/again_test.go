package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
)

// lost is a question whose first answers get lost.
func lost(answers int, then error) (ask func(context.Context) error, asked *int) {
	asked = new(int)
	return func(ctx context.Context) error {
		if *asked++; *asked > answers {
			return then
		}
		<-ctx.Done()
		return ctx.Err()
	}, asked
}

func TestALostAnswerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	b := bustest.Serve(t).Bus()
	refusal := fault.New(fault.StaleFence, "no")
	for name, test := range map[string]struct {
		lost  int
		then  error
		done  bool
		asked int
	}{
		"answered":              {asked: 1},
		"refused":               {then: refusal, asked: 1},
		"lost once":             {lost: 1, asked: 2},
		"lost, then refused":    {lost: 1, then: refusal, asked: 2},
		"lost, but it was done": {lost: 1, then: refusal, done: true, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ask, asked := lost(test.lost, test.then)
			err := b.Repeat(t.Context(), func(context.Context) bool { return test.done }, ask)
			if want := test.then; !test.done && !errors.Is(err, want) || test.done && err != nil {
				t.Errorf("it returned %v, want %v", err, want)
			}
			if *asked != test.asked {
				t.Errorf("it asked %d times, want %d", *asked, test.asked)
			}
		})
	}
}

func TestALostAnswerDoesNotOutlastTheCaller(t *testing.T) {
	t.Parallel()
	b := bustest.Serve(t).Bus()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ask, asked := lost(1, nil)
	if err := b.Repeat(ctx, nil, ask); !errors.Is(err, fault.New(fault.BusUnavailable, "")) || *asked != 1 {
		t.Errorf("after %d questions: %v", *asked, err)
	}
}
