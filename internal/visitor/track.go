package visitor

import (
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

const (
	// maxAge is how long ago an event of a page may have happened.
	maxAge = 7 * 24 * time.Hour
	// perMinute is how many events of one visitor are taken each minute where the
	// site says nothing, and documents how many pages' worth of them at once: each
	// page begins to count anew.
	perMinute, documents = 60, 4
)

// track makes the event of a page's analytics.
func (g *Gateway) track(e *entry, p *parcel, t *wire.Track) {
	if g.o.Track == nil || !e.admits(t, g.o.Now()) {
		g.seen.dropped.Add(1)
		return
	}
	age := min(max(t.AgeMS, 0), maxAge.Milliseconds())
	c := e.consent
	p.track = &Track{
		Site: e.site.Name, Visitor: e.visitor, ID: event.DerivedID("track", e.session, p.life.name, strconv.FormatInt(p.n, 10)),
		Name: t.Name, Properties: t.Properties, URL: t.URL, At: g.o.Now().Add(-time.Duration(age) * time.Millisecond).UTC(),
		Consent: event.Consent{
			Analytics: c.Analytics, Advertising: c.Advertising, Functionality: c.Functionality,
			Personalization: c.Personalization, GPC: c.GPC,
		},
	}
}

// admits reports whether an event may be taken: it looks like one, its visitor
// has not said no, and it is not one too many. The caller holds the lock.
func (e *entry) admits(t *wire.Track, now time.Time) bool {
	if t.Name == "" || len(t.Name) > wire.MaxName || len(t.URL) > wire.MaxURL {
		return false
	}
	if yes := e.consent.Analytics; yes != nil && !*yes {
		return false
	}
	most := float64(perMinute)
	if a := e.site.Config.Analytics; a != nil && a.PerMinute > 0 {
		most = float64(a.PerMinute)
	}
	return e.tracks.take(now, most/60, documents*most)
}
