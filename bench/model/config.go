package model

import "time"

// Large is what one machine cannot hold: 100,000 sessions of eight sites on 200
// workers, for an hour with a day's ups and downs, one storm of the largest site,
// and a fault every twelve seconds.
func Large(seed uint64) Config {
	return Config{
		Load: Load{
			Seed: seed, Length: time.Hour, PerSecond: 500, Sites: sites(100_000),
			Day: time.Hour, Swing: 0.6, Storm: 12, StormLength: time.Minute,
		},
		Workers: 200, Partitions: 256, Places: 60, Idle: 10 * time.Minute,
		Memory: 1 << 30, Base: 120 << 20, MeasureEach: 5 * time.Second,
		Deadline: 10 * time.Second, HangLength: time.Minute, HangTime: 8 * time.Second,
		Faults: 5, Costs: Measured(),
	}
}

// Quick is the same in small: it takes a second.
func Quick(seed uint64) Config {
	c := Large(seed)
	c.Sites, c.Workers, c.Partitions = sites(10_000), 20, 64
	c.Length, c.Day, c.StormLength = 5*time.Minute, 5*time.Minute, 20*time.Second
	c.HangLength, c.PerSecond, c.Faults = 20*time.Second, 300, 10
	return c
}

// sites shares the sessions and the commands among eight sites, the first one
// with a third of them.
func sites(sessions int) []Site {
	shares := []struct {
		name     string
		share    float64
		exponent float64
		tab      int64 // MiB: a light page or the whole one
	}{
		{"fashion", 0.34, 0.9, 16},
		{"travel", 0.20, 0.8, 41},
		{"bank", 0.14, 1.0, 16},
		{"games", 0.11, 1.1, 16},
		{"books", 0.08, 0.9, 16},
		{"garden", 0.06, 0.8, 41},
		{"music", 0.04, 1.0, 16},
		{"museum", 0.03, 0.7, 16},
	}
	all := make([]Site, len(shares))
	for i, s := range shares {
		all[i] = Site{Name: s.name, Share: s.share, Exponent: s.exponent, Sessions: int(s.share * float64(sessions)), Tab: s.tab << 20}
	}
	return all
}

// Logical is one worker with steady load and no fault: what is left is the choice
// of the sessions that keep a tab. Nobody is refused, and all sessions hibernate
// at the begin.
func Logical(seed uint64, length time.Duration) Config {
	costs := Measured()
	costs.SlowPart = 0
	return Config{
		Load: Load{
			Seed: seed, Length: length, PerSecond: 50,
			Sites: []Site{{Name: "shop", Sessions: 20_000, Exponent: 1, Share: 1}},
		},
		Workers: 1, Partitions: 64, Places: 100, Waiting: 1 << 30, Idle: 10 * time.Minute,
		Costs: costs, Hibernated: true,
	}
}

// Trace returns the sessions of the load's commands, in their order.
func (l Load) Trace() []int {
	var all []int
	for c := range l.Each {
		all = append(all, c.Session)
	}
	return all
}
