package ours

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/bench/contend"
)

// cold boots the widget for visitors whom nobody has seen.
type cold struct{ *rig }

func startCold(ctx context.Context, s contend.Setup, full bool) (cold, error) {
	r, err := startRig(ctx, s, rigOptions{full: full})
	return cold{r}, err
}

// Round boots one visitor after another, and closes each one's page.
func (c cold) Round(o contend.Order) (contend.Report, error) {
	ctx := context.Background() // Each command has its own deadline.
	return inTurns(o.Jobs, func(i int) (func() error, error) {
		visitor := fmt.Sprintf("cold-%d-%d", o.Round, i)
		if err := c.do(ctx, "botstar.widget.boot", visitor, i); err != nil {
			return nil, err
		}
		return func() error { return c.drop(ctx, visitor) }, nil
	})
}
