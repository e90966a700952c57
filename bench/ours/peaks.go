package ours

import (
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/internal/workflow/backtest"
)

// peaks are the most memory of the process until the half of the events, and
// after it.
type peaks struct {
	half int64
	most [2]float64
	last time.Time
	err  error
}

func newPeaks(half int64) *peaks { return &peaks{half: half} }

// look measures, not more often than every 50 ms: it costs.
func (p *peaks) look(now backtest.Progress) {
	if time.Since(p.last) < 50*time.Millisecond {
		return
	}
	p.last = time.Now()
	memory, err := contend.OwnMemory()
	if err != nil {
		p.err = err
		return
	}
	at := 0
	if now.Events > p.half {
		at = 1
	}
	p.most[at] = max(p.most[at], float64(memory))
}
