package ours

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// send has every sender send one request after another, on a connection of its
// own.
func (i *ingesting) send(ctx context.Context) (latencies []float64, wall float64, err error) {
	var next atomic.Int64
	times, failed := make([]float64, len(i.requests)), make(chan error, i.window)
	var senders sync.WaitGroup
	begun := time.Now()
	for range min(i.window, len(i.requests)) {
		senders.Go(func() {
			failed <- i.sender(ctx, func() (int, bool) {
				n := int(next.Add(1)) - 1
				return n, n < len(i.requests)
			}, times)
		})
	}
	senders.Wait()
	wall = float64(time.Since(begun).Microseconds())
	close(failed)
	for one := range failed {
		err = errors.Join(err, one)
	}
	return times, wall, err
}

// sender is one connection.
func (i *ingesting) sender(ctx context.Context, next func() (int, bool), times []float64) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", i.address)
	if err != nil {
		return fmt.Errorf("connecting to the edge: %w", err)
	}
	defer func() { _ = conn.Close() }() // Nothing is under way any more.
	answers := bufio.NewReader(conn)
	for n, ok := next(); ok; n, ok = next() {
		begun := time.Now()
		if _, err := conn.Write(i.requests[n]); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			return fmt.Errorf("reading an answer: %w", err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close() // All of it is read.
		if err != nil || answer.StatusCode != http.StatusOK || bytes.Contains(body, []byte("error")) {
			return fmt.Errorf("the answer was %s %s, %w", answer.Status, body, err)
		}
		times[n] = float64(time.Since(begun).Nanoseconds()) / 1000
	}
	return nil
}
