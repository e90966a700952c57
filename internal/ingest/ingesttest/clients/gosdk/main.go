// Command gosdk sends events of every kind with the Go client of a vendor, and
// prints the id of each as the client reports it: sent or given up.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	posthog "github.com/posthog/posthog-go"
	segment "gopkg.in/segmentio/analytics-go.v3"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: gosdk segment|posthog HOST KEY COUNT")
	}
	count, err := strconv.Atoi(args[3])
	if err != nil {
		return fmt.Errorf("reading the count: %w", err)
	}
	switch args[0] {
	case "segment":
		return sendSegment(args[1], args[2], count)
	case "posthog":
		return sendPostHog(args[1], args[2], count)
	}
	return fmt.Errorf("there is no client %q", args[0])
}

// ledger prints what became of each event, and knows when all are reported.
type ledger struct {
	mu  sync.Mutex
	all sync.WaitGroup
}

func (l *ledger) report(id, kind string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := map[string]any{"id": id, "kind": kind, "ok": err == nil, "error": ""}
	if err != nil {
		line["error"] = err.Error()
	}
	text, err := json.Marshal(line)
	if err == nil {
		fmt.Println(string(text))
	}
	l.all.Done()
}

type segmentCallback struct{ *ledger }

func (c segmentCallback) Success(m segment.Message)            { c.report(segmentID(m), "", nil) }
func (c segmentCallback) Failure(m segment.Message, err error) { c.report(segmentID(m), "", err) }

func segmentID(m segment.Message) string {
	switch m := m.(type) {
	case segment.Track:
		return m.MessageId
	case segment.Identify:
		return m.MessageId
	case segment.Page:
		return m.MessageId
	case segment.Screen:
		return m.MessageId
	case segment.Group:
		return m.MessageId
	case segment.Alias:
		return m.MessageId
	}
	return ""
}

func sendSegment(host, key string, count int) error {
	l := &ledger{}
	client, err := segment.NewWithConfig(key, segment.Config{
		Endpoint: host, BatchSize: 7, Interval: 20 * time.Millisecond, Callback: segmentCallback{l},
		Logger:     segment.StdLogger(log.New(io.Discard, "", 0)),
		RetryAfter: func(int) time.Duration { return 20 * time.Millisecond },
	})
	if err != nil {
		return err
	}
	for i := range count {
		user, anonymous := fmt.Sprintf("user-%d", i%3), fmt.Sprintf("anon-%d", i%3)
		context := &segment.Context{Page: segment.PageInfo{URL: "https://shop.test/pricing"}}
		for _, m := range []segment.Message{
			segment.Track{UserId: user, Event: "Pricing Viewed", Properties: segment.NewProperties().Set("i", i).SetPrice(19.99), Context: context},
			segment.Identify{UserId: user, AnonymousId: anonymous, Traits: segment.NewTraits().SetEmail(user + "@shop.test")},
			segment.Page{AnonymousId: anonymous, Name: "Pricing"},
			segment.Screen{UserId: user, Name: "Home"},
			segment.Group{UserId: user, GroupId: "acme", Traits: segment.NewTraits().SetName("Acme")},
			segment.Alias{UserId: fmt.Sprintf("alias-%d", i), PreviousId: fmt.Sprintf("before-%d", i)},
		} {
			l.all.Add(1)
			if err := client.Enqueue(m); err != nil {
				return err
			}
		}
	}
	l.all.Wait() // Closing gives up what is being tried again.
	return client.Close()
}

type postHogCallback struct{ *ledger }

func (c postHogCallback) Success(m posthog.APIMessage) { c.report(postHogID(m), "", nil) }

func (c postHogCallback) Failure(m posthog.APIMessage, err error) { c.report(postHogID(m), "", err) }

// postHogID returns the event's id, or its number: this client gives no ids.
func postHogID(m posthog.APIMessage) string {
	capture, ok := m.(posthog.CaptureInApi)
	switch {
	case !ok:
		return ""
	case capture.Uuid != "":
		return capture.Uuid
	}
	return fmt.Sprintf("i-%v", capture.Properties["i"])
}

func sendPostHog(host, key string, count int) error {
	l := &ledger{}
	client, err := posthog.NewWithConfig(key, posthog.Config{
		Endpoint: host, BatchSize: 7, Interval: 20 * time.Millisecond, Callback: postHogCallback{l},
		Logger:     posthog.StdLogger(log.New(io.Discard, "", 0)),
		RetryAfter: func(int) time.Duration { return 20 * time.Millisecond },
	})
	if err != nil {
		return err
	}
	for i := range count {
		id := "" // Every second event has one, as some callers do.
		if i%2 == 0 {
			id = fmt.Sprintf("e-%d", i)
		}
		l.all.Add(1)
		if err := client.Enqueue(posthog.Capture{
			Uuid: id, DistinctId: fmt.Sprintf("user-%d", i%3), Event: "Pricing Viewed",
			Properties: posthog.NewProperties().Set("i", i).Set("$current_url", "https://shop.test/pricing"),
		}); err != nil {
			return err
		}
	}
	l.all.Wait()
	return client.Close()
}
