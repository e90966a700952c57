package ours

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/crowd"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/snippet"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// The site whose visitors connect, by its publishable key, and where their
// browsers find the gateway.
const (
	VisitorKey = "pk_bench_0123456789"
	ChatHost   = "chat.example.test"
)

const (
	visitorOrigin = "https://shop.example.test"
	visitorSecret = "what the shop's own backend signs with"
)

// gate is the gateway of visitors' tabs, with the bus in the same process.
type gate struct {
	bus   *bus.Bus
	made  *visitor.Gateway // once it is open
	stop  context.CancelFunc
	ended chan error
}

// visitorIdle holds idle visitors, and ends with its bus.
type visitorIdle struct {
	*crowd.Held
	bus *bus.Bus
}

func startVisitorIdle(ctx context.Context, s contend.Setup) (*visitorIdle, error) {
	b, err := openBus(ctx, bus.Options{Dir: filepath.Join(s.Dir, "nats")})
	if err != nil {
		return nil, err
	}
	held, err := crowd.Hold(s, &gate{bus: b})
	return &visitorIdle{held, b}, err //nolint:wrapcheck // It says what it was doing.
}

// Close ends the crowd and the bus.
func (v *visitorIdle) Close() error {
	return errors.Join(v.Held.Close(), shut(context.Background(), v.bus))
}

// newGateway returns the gateway of the site. All visitors come from one address
// here.
func newGateway(on *bus.Bus) (*visitor.Gateway, error) {
	made, err := visitor.New(slog.New(slog.DiscardHandler), visitor.Options{
		Bus: on, Secret: []byte("a secret of thirty-two characters"), Drain: 10 * time.Millisecond,
		Limits: visitor.Limits{Connects: 1e6, PerIP: 1e6, IP: 1e6},
		Sites: []visitor.Site{{
			Name: siteName, Provider: botstar.Provider(), Key: VisitorKey, Origins: []string{visitorOrigin}, Identity: [][]byte{[]byte(visitorSecret)},
			Config: wire.Config{Enabled: true, Driver: "botstar"},
		}},
		Publish: func(ctx context.Context, subject string, e event.Envelope) error {
			if _, err := on.Publish(ctx, subject, e); err != nil {
				return fmt.Errorf("publishing what a visitor did: %w", err)
			}
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making the gateway: %w", err)
	}
	return made, nil
}

// Gateway is the gateway of the site with a bus of its own, for pages that another
// server serves.
type Gateway struct {
	*visitor.Gateway

	bus *bus.Bus
}

// OpenGateway opens the gateway; dir is for its bus.
func OpenGateway(ctx context.Context, dir string) (*Gateway, error) {
	b, err := openBus(ctx, bus.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	made, err := newGateway(b)
	if err != nil {
		return nil, errors.Join(err, shut(ctx, b))
	}
	return &Gateway{made, b}, nil
}

// Close ends the bus. The connections are the server's.
func (g *Gateway) Close() error { return shut(context.Background(), g.bus) }

// Tag is what the site's pages carry, for a gateway that is at ChatHost.
func Tag() (string, error) {
	tag, err := snippet.Tag(snippet.Site{Key: VisitorKey, Gateway: "https://" + ChatHost, Provider: "botstar", Consent: snippet.ConsentGiven})
	if err != nil {
		return "", fmt.Errorf("making the tag: %w", err)
	}
	return tag, nil
}

// Open implements crowd.Server.
func (g *gate) Open() (crowd.Talk, error) {
	made, err := newGateway(g.bus)
	if err != nil {
		return crowd.Talk{}, err
	}
	ctx, stop := context.WithCancel(context.Background())
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		stop()
		return crowd.Talk{}, fmt.Errorf("listening for visitors: %w", err)
	}
	g.made, g.stop, g.ended = made, stop, make(chan error, 1)
	go func() { g.ended <- made.Serve(ctx, l) }()
	return talk(l.Addr().String())
}

// talk is what a page of ours says.
func talk(address string) (crowd.Talk, error) {
	hello, err := json.Marshal(wire.Hello{
		T: wire.KindHello, V: wire.Version, Key: VisitorKey, AnonymousID: "anonymous-visitor-%d-abcdef", Life: "life-%d", Tab: "tab-%d",
		URL: visitorOrigin + "/pricing", Focused: true,
	})
	return crowd.Talk{
		Address: address, Path: wire.SocketPath, Origin: visitorOrigin, Hello: string(hello), Welcome: `"t":"welcome"`,
		Ask: `{"t":"ping"}`, Answer: `"t":"pong"`,
	}, err //nolint:wrapcheck // It cannot fail.
}

// Shut implements crowd.Server.
func (g *gate) Shut() error {
	g.stop()
	return <-g.ended
}
