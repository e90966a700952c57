package visitor_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// track makes the n-th frame of a page, an event of its analytics.
func track(n int64, name string) wire.Track {
	return wire.Track{T: wire.KindTrack, N: n, Name: name, URL: origin + "/"}
}

// acked waits until all up to n is acknowledged.
func (p *page) acked(n int64) bool {
	p.t.Helper()
	want := fmt.Sprintf(`"n":%d}`, n)
	return p.until(func() bool { return strings.Contains(fmt.Sprintf("%s", p.all(wire.KindAck)), want) })
}

// names returns the names of the events that were stored.
func (r *rig) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, one := range r.tracks {
		all = append(all, one.Name)
	}
	return all
}

// However many events a visitor's pages send, so many are taken and no more: also
// when he loads the page again and again, at one gateway. The others are
// acknowledged, so that no page sends them for ever, and counted.
func TestTracksAreLimited(t *testing.T) {
	t.Parallel()
	const perMinute, pages, each = 5, 8, 10
	now := time.Now()
	r := setup(t, func(o *visitor.Options) {
		o.Now = func() time.Time { return now }
		o.Sites[0].Config.Analytics = &wire.Analytics{Events: map[string]string{}, PerMinute: perMinute}
	})
	for i := range pages {
		p := r.connect(t, hello(fmt.Sprintf("page-%d", i)))
		for n := range int64(each) {
			p.say(track(n+1, fmt.Sprintf("e-%d-%d", i, n)))
		}
		if !p.acked(each) {
			t.Fatalf("page %d is not acknowledged, and closed with %d", i, p.closedWith())
		}
	}
	other := r.connect(t, hello("other", func(h *wire.Hello) { h.AnonymousID = anonymous(2) }))
	other.say(track(1, "of another visitor"))
	if !other.acked(1) {
		t.Fatal("the other visitor is not heard")
	}
	want := []string{}
	for i := range 4 * perMinute {
		want = append(want, fmt.Sprintf("e-%d-%d", i/each, i%each))
	}
	if diff := cmp.Diff(append(want, "of another visitor"), r.names()); diff != "" {
		t.Errorf("the events (-want +got):\n%s", diff)
	}
	if s := r.gateway.Stats(); s.Tracks != pages*each+1 || s.Dropped != pages*each-4*perMinute {
		t.Errorf("%d came, %d were dropped", s.Tracks, s.Dropped)
	}
}

// A visitor who has said no to analytics is not tracked, whatever the page sends,
// from the moment on that he says it.
func TestTracksNeedConsent(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	r := setup(t)
	p := r.connect(t, hello("one", func(h *wire.Hello) { h.Consent.Analytics = &yes }))
	p.say(track(1, "granted"))
	p.say(wire.ConsentFrame{T: wire.KindConsent, Consent: wire.Consent{Functionality: &yes, Analytics: &no}})
	p.say(track(2, "denied"))
	p.say(wire.ConsentFrame{T: wire.KindConsent, Consent: wire.Consent{Functionality: &yes}})
	p.say(track(3, "not told"))
	if !p.acked(3) {
		t.Fatalf("not acknowledged, and closed with %d", p.closedWith())
	}
	again := r.connect(t, hello("two", func(h *wire.Hello) { h.Consent.Analytics = &no }))
	again.say(track(1, "denied with the hello"))
	if !again.acked(1) {
		t.Fatalf("not acknowledged, and closed with %d", again.closedWith())
	}
	if diff := cmp.Diff([]string{"granted", "not told"}, r.names()); diff != "" {
		t.Errorf("the events (-want +got):\n%s", diff)
	}
	if r.tracks[0].Consent.Analytics == nil || !*r.tracks[0].Consent.Analytics || r.tracks[1].Consent.Analytics != nil {
		t.Errorf("the consents are %+v", r.tracks)
	}
}

// What does not look like an event comes to nothing, and holds nobody up.
func TestTracksAreChecked(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := r.connect(t, hello("one"))
	long := strings.Repeat("x", wire.MaxURL+1)
	for i, one := range []wire.Track{
		{Name: ""},
		{Name: long[:wire.MaxName+1]},
		{Name: "x", URL: long},
		{Name: "old", AgeMS: 1 << 60},
		{Name: "of the future", AgeMS: -5000},
	} {
		one.T, one.N = wire.KindTrack, int64(i+1)
		p.say(one)
	}
	if !p.acked(5) {
		t.Fatalf("not acknowledged, and closed with %d", p.closedWith())
	}
	if diff := cmp.Diff([]string{"old", "of the future"}, r.names()); diff != "" {
		t.Fatalf("the events (-want +got):\n%s", diff)
	}
	if age := time.Since(r.tracks[0].At); age < 7*24*time.Hour-time.Minute || age > 7*24*time.Hour+time.Hour {
		t.Errorf("an old event happened %s ago", age)
	}
	if r.tracks[1].At.After(time.Now()) {
		t.Errorf("an event will happen at %s", r.tracks[1].At)
	}
}

// While events cannot be stored they wait, in order, and are acknowledged when
// they are stored; a page that comes again meanwhile sends them in vain.
func TestTracksWaitForTheirStore(t *testing.T) {
	t.Parallel()
	const events = 20
	var open atomic.Bool
	r := setup(t, func(o *visitor.Options) {
		take := o.Track
		o.Track = func(ctx context.Context, one visitor.Track) error {
			if !open.Load() {
				return fault.New(fault.BusUnavailable, "the store is away")
			}
			return take(ctx, one)
		}
	})
	send := func(p *page) {
		for n := range int64(events) {
			p.say(track(n+1, fmt.Sprintf("e-%02d", n)))
		}
		p.say(wire.Head{T: wire.KindPing})
		if !p.wait(wire.KindPong, 1) {
			t.Fatalf("closed with %d", p.closedWith())
		}
	}
	p := r.connect(t, hello("one"))
	send(p)
	p.leave()
	p = r.connect(t, hello("one"))
	send(p)
	if acks := p.all(wire.KindAck); len(acks) > 0 || p.welcome.N != 0 {
		t.Errorf("acknowledged %s, and %d with the welcome", acks, p.welcome.N)
	}
	open.Store(true)
	if !p.acked(events) {
		t.Fatalf("not acknowledged, and closed with %d", p.closedWith())
	}
	var want []string
	for n := range events {
		want = append(want, fmt.Sprintf("e-%02d", n))
	}
	if diff := cmp.Diff(want, r.names()); diff != "" {
		t.Errorf("the events (-want +got):\n%s", diff)
	}
}
