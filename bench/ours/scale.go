package ours

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
)

// scale gives a crew more to do than it can do at once.
type scale struct {
	*crew
	workers  int
	visitors []int
	sent     int
}

func startScale(ctx context.Context, s contend.Setup, workers int) (*scale, error) {
	c, err := startCrew(ctx, s.Dir, workers, s.Window)
	if err != nil {
		return nil, err
	}
	return &scale{crew: c, workers: workers, visitors: spread(2)}, nil
}

// Round has every worker do so many actions. All commands are there at once, as
// many for each partition.
func (s *scale) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ids := make([]string, 0, o.Jobs*s.workers)
	under := make([]*bus.Future, 0, cap(ids))
	begun := time.Now()
	for i := range cap(ids) {
		command := message.Command(2*s.sent, s.visitors[i%len(s.visitors)])
		s.sent++
		ids = append(ids, command.ID)
		under = append(under, s.bus.PublishAsync(message.CommandSubject(command), command))
	}
	for _, future := range under {
		if _, err := future.Wait(ctx); err != nil {
			return contend.Report{}, fmt.Errorf("publishing a command: %w", err)
		}
	}
	last, err := s.deeds.wait(ctx, ids)
	if err != nil {
		return contend.Report{}, err
	}
	took := last.Sub(begun)
	return contend.Report{Jobs: o.Jobs, Values: map[string]float64{
		contend.PerWorker: float64(o.Jobs) / took.Seconds(),
	}}, nil
}
