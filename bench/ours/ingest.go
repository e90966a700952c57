package ours

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/tracking"
	"github.com/parley-chat/parley/schemas"
)

// writeKey is the key that the senders have.
const writeKey = "wk-bench"

// ingesting is the edge, over HTTP on loopback, in front of a bus that flushes
// every publish. Its senders are in the same process.
type ingesting struct {
	bus      *bus.Bus
	stop     context.CancelFunc
	ended    chan error
	address  string
	window   int // senders
	batch    int // events in a request
	requests [][]byte
	counts   counts
	sent     int
}

// counts is what the edge says that it did.
type counts struct{ accepted, other atomic.Int64 }

// Ingested counts the events.
func (c *counts) Ingested(_, outcome string, events int) {
	if outcome == "accepted" {
		c.accepted.Add(int64(events))
	} else {
		c.other.Add(int64(events))
	}
}

// IngestRejected counts what nobody should have refused.
func (c *counts) IngestRejected(_, _ string, events int) { c.other.Add(int64(events)) }

// IngestAnswered has nothing to count.
func (*counts) IngestAnswered(string, int, time.Duration) {}

// startIngest starts an edge; batch is how many events come in a request.
func startIngest(ctx context.Context, s contend.Setup, batch int) (*ingesting, error) {
	b, err := openBus(ctx, bus.Options{Dir: s.Dir, Durability: bus.DurabilityAlways})
	if err != nil {
		return nil, err
	}
	i := &ingesting{bus: b, window: s.Window, batch: batch, ended: make(chan error, 1)}
	edge, err := i.edge(ctx)
	if err != nil {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	i.address = listener.Addr().String()
	ctx, i.stop = context.WithCancel(ctx)
	go func() { i.ended <- edge.Serve(ctx, listener, ingest.Limits{}) }()
	return i, nil
}

func (i *ingesting) edge(ctx context.Context) (*ingest.Edge, error) {
	settings := ingest.Settings{Name: "web", Type: tracking.Provider, Secrets: [][]byte{[]byte(writeKey)}}
	source, err := tracking.New(settings)
	if err != nil {
		return nil, fmt.Errorf("making the source: %w", err)
	}
	identities, err := i.bus.KV(ctx, bus.BucketIdentities)
	if err != nil {
		return nil, fmt.Errorf("opening the identities: %w", err)
	}
	checks, err := event.NewSchemas(schemas.FS)
	if err != nil {
		return nil, fmt.Errorf("reading the schemas: %w", err)
	}
	edge, err := ingest.New(slog.New(slog.DiscardHandler), ingest.Options{
		Sources: []ingest.Mount{{Settings: settings, Source: source, Path: "/", Site: message.Site}},
		Store:   ingest.OnBus(i.bus), Identities: ingest.OnKV(identities), Validate: checks.Validate, Counter: &i.counts,
	})
	if err != nil {
		return nil, fmt.Errorf("making the edge: %w", err)
	}
	return edge, nil
}

// Round makes the requests, or sends them.
func (i *ingesting) Round(o contend.Order) (contend.Report, error) {
	if o.Prepare {
		i.prepare(o)
		return contend.Report{}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	accepted, other := i.counts.accepted.Load(), i.counts.other.Load()
	latencies, wall, err := i.send(ctx)
	if err != nil {
		return contend.Report{}, err
	}
	stored, rest := int(i.counts.accepted.Load()-accepted), i.counts.other.Load()-other
	if rest > 0 {
		err = fmt.Errorf("%d events were stored, and %d were not", stored, rest)
	}
	return contend.Report{Jobs: stored, WallUS: wall, LatenciesUS: latencies}, err
}

// prepare makes the requests of a round: picks are the events' visitors.
func (i *ingesting) prepare(o contend.Order) {
	i.requests = nil
	for from := 0; from < o.Jobs; from += i.batch {
		var calls []string
		for _, visitor := range o.Picks[from:min(from+i.batch, o.Jobs)] {
			i.sent++
			calls = append(calls, message.Call(fmt.Sprintf("node-next-%d", i.sent), visitor, time.Now().UTC()))
		}
		path, body := "/v1/track", calls[0]
		if i.batch > 1 {
			path, body = "/v1/batch", `{"batch":[`+strings.Join(calls, ",")+`]}`
		}
		i.requests = append(i.requests, fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			path, i.address, base64.StdEncoding.EncodeToString([]byte(writeKey+":")), len(body), body))
	}
}

// Close ends the edge and the server.
func (i *ingesting) Close() error {
	i.stop()
	return errors.Join(<-i.ended, shut(context.Background(), i.bus))
}
