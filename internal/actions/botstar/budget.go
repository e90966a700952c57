package botstar

import (
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
)

// BotStar takes at most 20 updates in 30 minutes and, as far as anybody knows,
// ignores the rest without a word. So we count ourselves.
const (
	updateCalls  = 20
	updateWindow = 1800 * time.Second
	// updateMargin keeps a distance between our clock and BotStar's.
	updateMargin = time.Second
)

// budget is the sliding window over the calls of one visitor on one site.
type budget struct {
	profile *actions.Profile
	action  string
}

// left returns how many calls may be made now.
func (b budget) left(now time.Time) int {
	return max(updateCalls-len(b.recent(now)), 0)
}

// freeAt returns when the next call may be made: now, or when the oldest one
// leaves the window.
func (b budget) freeAt(now time.Time) time.Time {
	recent := b.recent(now)
	if len(recent) < updateCalls {
		return now
	}
	return recent[len(recent)-updateCalls].Add(updateWindow + updateMargin)
}

// spend notes the call of the effect key, once, and drops what has left the
// window.
func (b budget) spend(now time.Time, key string) {
	if b.profile.SentFor == key {
		return
	}
	b.profile.SentFor = key
	recent := b.recent(now)
	if b.profile.Sent == nil {
		b.profile.Sent = map[string][]time.Time{}
	}
	b.profile.Sent[b.action] = append(slices.Clip(recent), now)
}

func (b budget) recent(now time.Time) []time.Time {
	sent := b.profile.Sent[b.action]
	for len(sent) > 0 && !now.Before(sent[0].Add(updateWindow+updateMargin)) {
		sent = sent[1:]
	}
	return sent
}
