// Package visitor reaches the tab that a visitor looks at. A [Gateway] holds the
// visitors' WebSocket connections, and a [Tab] is the visitor's own page as
// actions see it: it may be in another process than the connection.
//
// DESIGN.md explains the parts. What callers may rely on:
//
//   - A connection is let in by the site's key, its page's origin and a token or
//     an identity. From then on it is that one visitor's: no frame names another.
//   - A signal is acknowledged to the page when its fact is stored, and an event
//     of the page's analytics when it is accepted.
//   - A call is answered once for each id and key, across reconnections, reloads
//     and gateways: the page keeps what it has done.
package visitor

import (
	"context"
	"encoding/json"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// Source is the CloudEvents source of the facts that visitors' tabs tell.
const Source = "/parley/visitor"

// Site is a website whose visitors may connect.
type Site struct {
	Name     string
	Provider actions.Provider
	// Key is the publishable key that the site's pages carry.
	Key string
	// Origins are the pages that may connect: scheme, host and port, exactly.
	Origins []string
	// Identity are the secrets that the customer's backend signs identities with;
	// two while they are being changed. None means that nobody can be identified.
	Identity [][]byte
	// Config is what the pages are told.
	Config wire.Config
}

// Track is an event of a page's own analytics, of a visitor who is proved as far
// as Identified says.
type Track struct {
	Site    string
	Visitor event.Visitor
	// ID is the same however often the page sends the event.
	ID         string
	Name       string
	Properties json.RawMessage
	URL        string
	At         time.Time
	Consent    event.Consent
}

// Options are the settings of a gateway. Those of the first group are needed.
type Options struct {
	Bus   *bus.Bus
	Sites []Site
	// Secret signs visitors' tokens: the same for all gateways of a bus.
	Secret []byte
	// Publish stores a fact. It returns nil when the fact is durable; the same
	// envelope may be published again.
	Publish func(ctx context.Context, subject string, e event.Envelope) error

	// Name is the gateway's name; no two gateways of a bus have the same. "" is a
	// random one.
	Name string
	// Track stores an event. It returns nil when the event is stored, or will never
	// be. Nil drops them all.
	Track func(ctx context.Context, t Track) error
	// File returns a file of the snippet and its media type. Nil serves those of
	// this binary, packed, parley.js for the latest among them.
	File func(name string) (body []byte, media string, ok bool)
	// TokenLife is how long a token is good. 0 is 10 minutes.
	TokenLife time.Duration
	// Forwarded trusts the last address of X-Forwarded-For, which a proxy in front
	// adds.
	Forwarded bool
	// Drain is how long pages have to connect elsewhere when the gateway stops.
	// 0 is 5 s.
	Drain time.Duration
	// Limits bound what comes in.
	Limits Limits
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Limits bound what comes in. A value of 0 is its default.
type Limits struct {
	// Connections are the most that the gateway holds. 0 is 100,000.
	Connections int
	// PerIP are the most of one address. 0 is 500, since offices share one.
	PerIP int
	// Connects are how many connections of one address may begin each second, for
	// long; ten times as many at once. 0 is 20.
	Connects float64
	// Visitor, IP and Site are how many frames each second may come from one
	// visitor, one address and one site, for long; four times as many at once. 0 is
	// 100, 1,000 and 50,000.
	Visitor, IP, Site float64
	// Output is how many bytes may wait for one connection before a further frame
	// is one too many. 0 is 16 KiB.
	Output int
	// Idle closes a connection that has sent nothing for so long, and Hello one
	// that has not said hello. 0 is wire.IdleAfter and wire.HelloWithin.
	Idle, Hello time.Duration
	// Write is how long one frame may take to be written. 0 is 10 s.
	Write time.Duration
}

func orElse[T comparable](value, standard T) T {
	if value == *new(T) {
		return standard
	}
	return value
}

func (l Limits) withDefaults() Limits {
	l.Connections = orElse(l.Connections, 100_000)
	l.PerIP = orElse(l.PerIP, 500)
	l.Connects = orElse(l.Connects, 20)
	l.Visitor = orElse(l.Visitor, 100)
	l.IP = orElse(l.IP, 1_000)
	l.Site = orElse(l.Site, 50_000)
	l.Output = orElse(l.Output, 16<<10)
	l.Idle = orElse(l.Idle, wire.IdleAfter)
	l.Hello = orElse(l.Hello, wire.HelloWithin)
	l.Write = orElse(l.Write, 10*time.Second)
	return l
}

// checkSites refuses sites that cannot be told apart, or that anybody could
// speak for.
func checkSites(sites []Site) error {
	seen := map[string]string{}
	for _, site := range sites {
		switch other, twice := seen[site.Key]; {
		case len(site.Key) < minKey:
			return fault.New(fault.BadConfig, "the key of site %s has fewer than %d characters", site.Name, minKey)
		case twice:
			return fault.New(fault.BadConfig, "the sites %s and %s have the same key", other, site.Name)
		case len(site.Origins) == 0:
			return fault.New(fault.BadConfig, "site %s has no origins: no page of it could connect", site.Name)
		}
		seen[site.Key] = site.Name
		for _, secret := range site.Identity {
			if len(secret) < minSecret {
				return fault.New(fault.BadConfig, "the identity secret of site %s has fewer than %d bytes", site.Name, minSecret)
			}
		}
	}
	return nil
}

// minKey is the fewest characters of a publishable key.
const minKey = 8
