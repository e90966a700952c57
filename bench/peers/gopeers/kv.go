package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
)

// variants is how many different values are stored in turns.
const variants = 16

// rawKV puts values and gets them again, with nats.go alone. It seals nothing,
// compresses nothing, and does not look whether the key has changed.
type rawKV struct {
	*broker
	kv     jetstream.KeyValue
	values [][]byte
	put    int
}

// startRawKV makes a bucket as it is by default: any copy of it answers a get.
// leading makes one whose leader answers, so that a get sees every put before
// it, as Parley's do.
func startRawKV(s contend.Setup, leading bool) (*rawKV, error) {
	ctx := context.Background()
	b, err := startBroker(ctx, s.Dir, "cmd.>")
	if err != nil {
		return nil, err
	}
	r := &rawKV{broker: b}
	if r.kv, err = b.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "sessions", History: 1}); err != nil {
		return nil, fmt.Errorf("making the bucket: %w", err)
	}
	if leading {
		stream, err := b.js.Stream(ctx, "KV_sessions")
		if err != nil {
			return nil, fmt.Errorf("looking at the bucket: %w", err)
		}
		config := stream.CachedInfo().Config
		config.AllowDirect = false
		if _, err := b.js.UpdateStream(ctx, config); err != nil {
			return nil, fmt.Errorf("having the leader answer: %w", err)
		}
		if r.kv, err = b.js.KeyValue(ctx, "sessions"); err != nil {
			return nil, fmt.Errorf("opening the bucket: %w", err)
		}
	}
	for n := range variants {
		value, err := json.Marshal(message.Storage(n))
		if err != nil {
			return nil, fmt.Errorf("encoding a value: %w", err)
		}
		r.values = append(r.values, value)
	}
	return r, nil
}

// Round puts and gets one value after another.
func (r *rawKV) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	latencies := make([]float64, 0, o.Jobs)
	begun := time.Now()
	for i := range o.Jobs {
		r.put++
		start := time.Now()
		key, value := fmt.Sprintf("shop.u-%d", o.Picks[i]), r.values[r.put%variants]
		if _, err := r.kv.Put(ctx, key, value); err != nil {
			return contend.Report{}, fmt.Errorf("putting: %w", err)
		}
		entry, err := r.kv.Get(ctx, key)
		if err != nil || !bytes.Equal(entry.Value(), value) {
			return contend.Report{}, fmt.Errorf("getting %s: another value, or %w", key, err)
		}
		latencies = append(latencies, float64(time.Since(start).Nanoseconds())/1000)
	}
	return contend.Report{Jobs: o.Jobs, WallUS: float64(time.Since(begun).Microseconds()), LatenciesUS: latencies}, nil
}
