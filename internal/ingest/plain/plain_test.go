package plain_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/plain"
)

func receive(t *testing.T, s ingest.Settings, r *ingest.Request) ([]ingest.Item, error) {
	t.Helper()
	source, err := plain.New(s)
	if err != nil {
		t.Fatal(err)
	}
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	received, err := source.Receive(t.Context(), r)
	return received.Items, err
}

func TestMapping(t *testing.T) {
	t.Parallel()
	yes := true
	at := time.Date(2026, 11, 25, 9, 30, 0, 0, time.UTC)
	tests := map[string]struct {
		mapping map[string]string
		body    string
		want    ingest.Item
	}{
		"own names": {
			nil,
			`{"id":"m-1","kind":"identify","event":"E","site":"shop","user_id":"u","email":"e@example.test","anonymous_id":"a","url":"https://x.example.test/",
			"time":"2026-11-25T09:30:00Z","group":"g","properties":{"a":1},"traits":{"b":[true]},"consent":{"analytics":true}}`,
			ingest.Item{ID: "m-1", Kind: "identify", Trigger: event.Trigger{
				Site: "shop", Visitor: event.Visitor{UserID: "u", Email: "e@example.test", AnonymousID: "a"}, Event: "E",
				URL: "https://x.example.test/", OccurredAt: at, Group: "g",
				Properties: map[string]any{"a": json.Number("1")}, Traits: map[string]any{"b": []any{true}}, Consent: &event.Consent{Analytics: &yes},
			}},
		},
		"pointers, dots, lists, constants and the whole": {
			map[string]string{
				"event": "=Order Placed", "user_id": "/customer/id", "email": "customer.mails.0", "id": "/a~1b", "time": "at", "properties": ".", "site": "=shop",
			},
			`{"customer":{"id":42,"mails":["e@example.test"]},"a/b":"o-1","at":1795599000}`,
			ingest.Item{ID: "o-1", Kind: "track", Trigger: event.Trigger{
				Site: "shop", Visitor: event.Visitor{UserID: "42", Email: "e@example.test"}, Event: "Order Placed", OccurredAt: at,
				Properties: map[string]any{
					"customer": ingest.Object{"id": json.Number("42"), "mails": []any{"e@example.test"}}, "a/b": "o-1", "at": json.Number("1795599000"),
				},
			}},
		},
		"milliseconds as a text": {
			nil,
			`{"event":"E","user_id":"u","time":"1795599000000"}`,
			ingest.Item{Kind: "track", Trigger: event.Trigger{Visitor: event.Visitor{UserID: "u"}, Event: "E", OccurredAt: at}},
		},
		"an alias": {
			nil,
			`{"kind":"alias","user_id":"new","previous_id":"anon","previous_user_id":"old"}`,
			ingest.Item{Kind: "alias", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "new"}, Previous: &event.Visitor{UserID: "old", AnonymousID: "anon"},
			}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			items, err := receive(t, ingest.Settings{Mapping: test.mapping}, &ingest.Request{Body: []byte(test.body), Token: true})
			if err != nil || len(items) != 1 {
				t.Fatalf("received %v, %v", items, err)
			}
			test.want.Raw, test.want.Authenticated = json.RawMessage(test.body), event.AuthenticPath
			if diff := cmp.Diff(test.want, items[0]); diff != "" {
				t.Errorf("the item differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrongFields(t *testing.T) {
	t.Parallel()
	mapping := map[string]string{"user_id": "/who/id"}
	for body, pointer := range map[string]string{
		`{"event":"E","who":{"id":[1]}}`:                          "/who/id",
		`{"event":"E","who":{"id":true}}`:                         "/who/id",
		`{"event":{},"who":{"id":"u"}}`:                           "/event",
		`{"who":{"id":"u"}}`:                                      "/event",
		`{"event":"E","time":"12:00"}`:                            "/time",
		`{"event":"E","time":-5}`:                                 "/time",
		`{"event":"E","time":1e300}`:                              "/time",
		`{"event":"E","time":{}}`:                                 "/time",
		`{"event":"E","properties":"x"}`:                          "/properties",
		`{"event":"E","traits":[]}`:                               "/traits",
		`{"event":"E","consent":true}`:                            "/consent",
		`{"event":"E","kind":"alias","who":{"id":"u"}}`:           "/previous_id",
		`[{"event":"E"},{"event":"E","time":"x"},"no","{}",[{}]]`: "/1/time",
	} {
		items, err := receive(t, ingest.Settings{Mapping: mapping}, &ingest.Request{Body: []byte(body)})
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		got := ""
		for _, item := range items {
			if e := fault.From(item.Err); e != nil && got == "" {
				got = e.Field
			}
		}
		if got != pointer {
			t.Errorf("%s is wrong at %q, want %q", body, got, pointer)
		}
	}
	for _, mapping := range []map[string]string{{"evnt": "x"}, {"event": ""}, {"event": "a..b"}} {
		if _, err := plain.New(ingest.Settings{Mapping: mapping}); fault.From(err) == nil || fault.From(err).Reason != fault.BadConfig {
			t.Errorf("the mapping %v: %v", mapping, err)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	query, err := url.ParseQuery("event=E&user_id=u&plan=pro&properties.seats=12&time=2026-11-25T09:30:00Z&id=m-1&url=https://x.example.test/")
	if err != nil {
		t.Fatal(err)
	}
	items, err := receive(t, ingest.Settings{}, &ingest.Request{Method: http.MethodGet, Query: query, Token: true})
	if err != nil || len(items) != 1 || items[0].Err != nil {
		t.Fatalf("received %+v, %v", items, err)
	}
	want := event.Trigger{
		Visitor: event.Visitor{UserID: "u"}, Event: "E", URL: "https://x.example.test/", OccurredAt: time.Date(2026, 11, 25, 9, 30, 0, 0, time.UTC),
		Properties: map[string]any{"plan": "pro", "seats": "12"},
	}
	if diff := cmp.Diff(want, items[0].Trigger); diff != "" || items[0].ID != "m-1" {
		t.Errorf("the trigger differs (-want +got):\n%s", diff)
	}
	if _, err := receive(t, ingest.Settings{}, &ingest.Request{Method: http.MethodGet, Query: url.Values{"event": {"E", "F"}}}); fault.From(err) == nil || fault.From(err).Field != "/event" {
		t.Errorf("two events in a query: %v", err)
	}
}

func TestTooMany(t *testing.T) {
	t.Parallel()
	body := []byte("[{}")
	for range 1000 {
		body = append(body, ",{}"...)
	}
	if _, err := receive(t, ingest.Settings{}, &ingest.Request{Body: append(body, ']')}); fault.From(err) == nil || fault.From(err).Reason != fault.TooLarge {
		t.Errorf("1001 events: %v", err)
	}
}
