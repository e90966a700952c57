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
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// The site whose visitors connect.
const (
	visitorKey    = "pk_bench_0123456789"
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
func (v *visitorIdle) Close() error { return errors.Join(v.Held.Close(), shut(v.bus)) }

// Open implements crowd.Server.
func (g *gate) Open() (crowd.Talk, error) {
	made, err := visitor.New(slog.New(slog.DiscardHandler), visitor.Options{
		Bus: g.bus, Secret: []byte("a secret of thirty-two characters"), Drain: 10 * time.Millisecond,
		Limits: visitor.Limits{Connects: 1e6, PerIP: 1e6, IP: 1e6}, // All come from one address here.
		Sites: []visitor.Site{{
			Name: siteName, Provider: botstar.Provider(), Key: visitorKey, Origins: []string{visitorOrigin}, Identity: [][]byte{[]byte(visitorSecret)},
			Config: wire.Config{Enabled: true, Driver: "botstar"},
		}},
		Publish: func(ctx context.Context, subject string, e event.Envelope) error {
			_, err := g.bus.Publish(ctx, subject, e)
			return err //nolint:wrapcheck // It says what it was doing.
		},
	})
	if err != nil {
		return crowd.Talk{}, fmt.Errorf("making the gateway: %w", err)
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
		T: wire.KindHello, V: wire.Version, Key: visitorKey, AnonymousID: "anonymous-visitor-%d-abcdef", Life: "life-%d", Tab: "tab-%d",
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
