package bus

import "sync/atomic"

// Stats are the numbers of a process's ownership of partitions. All but Owned
// and Served only rise.
type Stats struct {
	Owned     int64  // Partitions that this process owns now.
	Served    int64  // Of them, those whose commands come.
	Takeovers uint64 // Partitions taken from a worker that was gone.
	Claims    uint64 // Partitions taken that nobody owned.
	Handovers uint64 // Partitions given up to plan.
	Lost      uint64 // Partitions that were taken from us.
	Evictions uint64 // Times that this process was thought dead, and came back.
	Declared  uint64 // Other workers that this process found dead, by the fast path.
	Fences    uint64 // Times that Delivery.Owned said no.
	// StaleRefused counts what a former owner had to say about a message, and
	// was not heard: its results were refused, or its last word was.
	StaleRefused uint64
}

// counters are what Stats is read from.
type counters struct {
	owned, served                                                               atomic.Int64
	takeovers, claims, handovers, lost, evictions, declared, fences, staleWrite atomic.Uint64
}

// Stats returns the numbers, of all calls of Commands on this bus.
func (b *Bus) Stats() Stats {
	c := &b.counters
	return Stats{
		Owned: c.owned.Load(), Served: c.served.Load(), Takeovers: c.takeovers.Load(), Claims: c.claims.Load(),
		Handovers: c.handovers.Load(), Lost: c.lost.Load(), Evictions: c.evictions.Load(),
		Declared: c.declared.Load(), Fences: c.fences.Load(), StaleRefused: c.staleWrite.Load(),
	}
}
