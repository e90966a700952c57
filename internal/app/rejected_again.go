package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/telemetry"
)

// rejectedReplayCmd takes rejected events once more.
type rejectedReplayCmd struct {
	Numbers []uint64 `arg:"" help:"The numbers in the list; they are taken in this order."`
	Body    string   `placeholder:"FILE" help:"Take this in place of what came: the corrected event; - is the standard input."`
}

// Help is the long help.
func (*rejectedReplayCmd) Help() string {
	return `Takes the events as their source in parley.yaml would, with its site and mapping of today, and workflows act on them. You vouch for them: no secret is asked for. An event that is stored by now is a duplicate, so doing it twice does no harm. Of several events the first that fails is the last that is tried. The list keeps what it has. Example, to correct one:

  publisher rejected show 17 --body > event.json
  publisher rejected replay 17 --body event.json

Some cannot be taken from the list alone, because a part that they need was not kept: an event of GA4 without its request's client_id, a CloudEvent whose attributes were headers, and a body of more than 64 KiB. Give those whole with --body.`
}

// Run takes them.
func (r *rejectedReplayCmd) Run(ctx context.Context, c *cli) error {
	if r.Body != "" && len(r.Numbers) != 1 {
		return fault.New(fault.SchemaViolation, "--body corrects one event, and %d are named", len(r.Numbers)).WithFix("name one number")
	}
	cfg, err := c.config()
	if err == nil {
		cfg, err = c.orDemo(cfg)
	}
	if err != nil {
		return err
	}
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, b)
	for _, number := range r.Numbers {
		one, err := rejectedEvent(ctx, b, number)
		if err != nil {
			return err
		}
		if err := r.correct(c, &one); err != nil {
			return err
		}
		if err := again(ctx, c, cfg, b, one); err != nil {
			return fmt.Errorf("taking %d again: %w", number, err)
		}
	}
	return nil
}

// correct puts the corrected body in the place of what came.
func (r *rejectedReplayCmd) correct(c *cli, one *rejected) error {
	switch {
	case r.Body == "" && one.Bytes > len(one.Body):
		return fault.New(fault.TooLarge, "of %d bytes only the first %d were kept", one.Bytes, len(one.Body)).WithFix("give the whole event with --body FILE")
	case r.Body == "":
		return nil
	}
	var body []byte
	var err error
	if r.Body == "-" {
		body, err = io.ReadAll(c.Stdin)
	} else {
		body, err = os.ReadFile(r.Body)
	}
	if err != nil {
		return fault.New(fault.BadConfig, "reading the corrected event").Because(err)
	}
	one.Body = body
	return nil
}

// again takes one event as its source would, and says what became of it.
func again(ctx context.Context, c *cli, cfg *Config, b *bus.Bus, one rejected) error {
	request, err := requestOf(one)
	if err != nil {
		return err
	}
	from, ok := cfg.Ingest.Sources[one.Source]
	if !ok || from.Type != one.Provider {
		return fault.New(fault.BadConfig, "the configuration has no source %q of the type %s any more", one.Source, one.Provider).
			WithFix("send the event to another source: publisher rejected show %d --body", one.Number)
	}
	settings := ingest.Settings{Name: one.Source, Type: from.Type, Mapping: from.Mapping, Open: true}
	source, err := newSource(settings)
	if err != nil {
		return err
	}
	identities, err := b.KV(ctx, bus.BucketIdentities)
	if err != nil {
		return fmt.Errorf("opening the identities: %w", err)
	}
	edge, err := ingest.New(c.log, ingest.Options{
		Sources: []ingest.Mount{{Settings: settings, Source: source, Path: from.Path, Site: from.Site}},
		Store:   onList{ingest.OnBus(b)}, Identities: ingest.OnKV(identities), IdentityLife: cfg.Ingest.Remember,
		Site: cfg.FindSite, IsSite: func(name string) bool { _, ok := cfg.Sites[name]; return ok },
		Validate: c.schemas.Validate, Counter: telemetry.NewMetrics(),
	})
	if err != nil {
		return fmt.Errorf("preparing the source: %w", err)
	}
	results, err := edge.Again(ctx, one.Source, strconv.FormatUint(one.Number, 10), request)
	if err != nil {
		return err
	}
	var wrong []error
	for _, result := range results {
		switch {
		case result.Rejected != nil:
			wrong = append(wrong, result.Rejected)
		case result.Conflict:
			wrong = append(wrong, fault.New(fault.IDReused, "another event is stored under the id %s", result.ID).WithFix("give it an id of its own"))
		case result.Duplicate:
			_, _ = fmt.Fprintf(c.Stdout, "%d: %s is stored already\n", one.Number, result.ID)
		default:
			_, _ = fmt.Fprintf(c.Stdout, "%d: taken as %s\n", one.Number, result.ID)
		}
	}
	return errors.Join(wrong...)
}

// requestOf makes a request of what was kept: it may be one event of many.
func requestOf(one rejected) (ingest.Request, error) {
	r := ingest.Request{
		Method: http.MethodPost, Path: one.Path, Header: http.Header{}, Query: url.Values{},
		Type: ingest.MediaJSON, Body: one.Body, At: one.ReceivedAt,
	}
	var members map[string]json.RawMessage
	_ = json.Unmarshal(one.Body, &members) // What is wrong with it, the source says better.
	has := func(name string) bool { _, ok := members[name]; return ok }
	switch {
	case one.Provider == "tracking" && one.Path == "/v1/batch" && members != nil && !has("batch"):
		r.Body = append(append([]byte(`{"batch":[`), one.Body...), "]}"...)
	case one.Provider == "ga4" && members != nil && !has("events"):
		return r, fault.New(fault.SchemaViolation, "the event was kept without its request, which named the visitor").
			WithFix(`give the whole request with --body FILE: {"client_id": …, "events": […]}`)
	case one.Provider == "ga4" && has("app_instance_id"):
		r.Query.Set("firebase_app_id", "again")
	case one.Provider == "ga4":
		r.Query.Set("measurement_id", "again")
	case one.Provider == "cloudevents" && has("specversion"):
		r.Type = "application/cloudevents+json"
		r.Header.Set("Content-Type", r.Type)
	case one.Provider == "cloudevents" && !bytes.HasPrefix(bytes.TrimSpace(one.Body), []byte("[")):
		return r, fault.New(fault.SchemaViolation, "the attributes of the event were headers, which are not kept").
			WithFix("give the whole event, in the JSON format, with --body FILE")
	case one.Provider == "cloudevents":
		r.Type = "application/cloudevents-batch+json"
	case one.Provider == "plain" && !bytes.ContainsAny(bytes.TrimSpace(one.Body)[:min(1, len(bytes.TrimSpace(one.Body)))], "{["):
		query, err := url.ParseQuery(string(one.Body)) // It came in the address.
		if err != nil {
			return r, fault.New(fault.Malformed, "the event is neither JSON nor a query").Because(err)
		}
		r.Method, r.Query, r.Body, r.Type = http.MethodGet, query, nil, ""
	}
	return r, nil
}

// onList is a store that rejects nothing: what is wrong is on the list already.
type onList struct{ ingest.Store }

// Reject implements ingest.Store.
func (onList) Reject(context.Context, string, event.Envelope) error { return nil }
