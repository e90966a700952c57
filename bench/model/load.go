package model

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// The streams of random numbers that come from one seed. Each part has its own,
// so that a change in one part leaves the others as they are.
const (
	streamLoad uint64 = iota + 1
	streamPopularity
	streamFaults
	streamCosts
)

func dice(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream))
}

// Load says which commands come when.
type Load struct {
	Seed   uint64
	Length time.Duration
	// PerSecond is the mean of commands per second, of all sites together.
	PerSecond float64
	Sites     []Site
	// Most ends the load after so many commands. 0 means no such end.
	Most int
	// Day is how long a day takes: the load of a site goes up and down by Swing
	// once a day. 0 means a steady load.
	Day   time.Duration
	Swing float64
	// Storm makes the first site send many times as much, in the middle of the
	// run, for StormLength. 0 means none.
	Storm       float64
	StormLength time.Duration
}

// Site is a part of the load.
type Site struct {
	Name string
	// Sessions of the site; their commands are distributed by Zipf's law with the
	// Exponent: the n-th most used session has 1/n^Exponent of the first one's.
	Sessions int
	Exponent float64
	// Share of the commands of all sites. The shares need no sum.
	Share float64
	// Tab is how many bytes one tab of the site uses.
	Tab int64
	// Weight is the site's in what is opened when openings wait. 0 means 1.
	Weight int
}

// Command is one that comes.
type Command struct {
	At time.Duration
	// Site is the index of the site, Session counts over all sites.
	Site, Session int
}

// Each calls yield with the commands in the order of their times.
func (l Load) Each(yield func(Command) bool) {
	next := l.next()
	for c, ok := next(); ok; c, ok = next() {
		if !yield(c) {
			return
		}
	}
}

// next returns a function that gives one command after another, and false after
// the last.
func (l Load) next() func() (Command, bool) {
	random := dice(l.Seed, streamLoad)
	popular := l.popularity()
	most := 0.0
	for i := range l.Sites {
		most += l.share(i) * l.PerSecond * (1 + l.Swing) * max(1, l.storm(i, l.Length/2))
	}
	var now time.Duration
	count := 0
	return func() (Command, bool) {
		if count++; l.Most > 0 && count > l.Most {
			return Command{}, false
		}
		for { // A Poisson process of the highest rate, thinned out to the rate of the moment.
			now += time.Duration(random.ExpFloat64() / most * float64(time.Second))
			if now >= l.Length {
				return Command{}, false
			}
			left := random.Float64() * most
			for i := range l.Sites {
				if left -= l.rate(i, now); left < 0 {
					return Command{At: now, Site: i, Session: popular[i].pick(random)}, true
				}
			}
		}
	}
}

// rate is the site's commands per second at the time.
func (l Load) rate(i int, at time.Duration) float64 {
	rate := l.share(i) * l.PerSecond * l.storm(i, at)
	if l.Day > 0 {
		phase := float64(at)/float64(l.Day) + float64(i)/float64(len(l.Sites))
		rate *= 1 + l.Swing*math.Sin(2*math.Pi*phase)
	}
	return rate
}

func (l Load) share(i int) float64 {
	all := 0.0
	for _, s := range l.Sites {
		all += s.Share
	}
	return l.Sites[i].Share / all
}

// storm is how many times as much the site sends at the time.
func (l Load) storm(i int, at time.Duration) float64 {
	from := (l.Length - l.StormLength) / 2
	if i > 0 || l.Storm == 0 || at < from || at >= from+l.StormLength {
		return 1
	}
	return l.Storm
}

// popularity is who sends how much in one site.
type popularity struct {
	sums []float64 // of the weights, up to and with the rank
	who  []int     // the session of the rank
}

func (l Load) popularity() []popularity {
	random := dice(l.Seed, streamPopularity)
	all := make([]popularity, len(l.Sites))
	first := 0
	for i, site := range l.Sites {
		p := popularity{sums: make([]float64, site.Sessions), who: random.Perm(site.Sessions)}
		sum := 0.0
		for rank := range p.sums {
			sum += math.Pow(float64(rank+1), -site.Exponent)
			p.sums[rank] = sum
			p.who[rank] += first
		}
		first += site.Sessions
		all[i] = p
	}
	return all
}

func (p popularity) pick(random *rand.Rand) int {
	at := random.Float64() * p.sums[len(p.sums)-1]
	rank, _ := slices.BinarySearchFunc(p.sums, at, cmp.Compare[float64])
	return p.who[min(rank, len(p.who)-1)]
}
