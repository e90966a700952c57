package bigquery_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/bigquery"
)

// sample is a row as `bq extract` writes it.
const sample = `{"event_date":"20261120","event_timestamp":"1795168800123456","event_name":"page_view",` +
	`"event_params":[{"key":"page_location","value":{"string_value":"https://shop.example.com/pricing","int_value":null,"float_value":null,"double_value":null}},` +
	`{"key":"ga_session_id","value":{"int_value":"1795168790"}},{"key":"score","value":{"double_value":0.25}},{"key":"empty","value":{}}],` +
	`"event_bundle_sequence_id":"17","user_id":null,"user_pseudo_id":"17.15",` +
	`"privacy_info":{"analytics_storage":"Yes","ads_storage":"No","uses_transient_token":"No"},` +
	`"user_properties":[{"key":"tier","value":{"string_value":"gold","set_timestamp_micros":"1795168800000000"}}],` +
	`"device":{"category":"mobile"},"geo":{"country":"Germany"},"platform":"WEB","stream_id":"123","items":[],"batch_event_index":"1"}`

func TestARowBecomesATrigger(t *testing.T) {
	t.Parallel()
	got := bigquery.Read([]byte(sample))
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	yes, no := true, false
	want := event.Trigger{
		Visitor: event.Visitor{AnonymousID: "17.15"}, Event: "page_view", URL: "https://shop.example.com/pricing",
		Properties: map[string]any{
			"page_location": "https://shop.example.com/pricing", "ga_session_id": json.Number("1795168790"), "score": json.Number("0.25"),
			"device": ingest.Object{"category": "mobile"}, "geo": ingest.Object{"country": "Germany"}, "platform": "WEB", "stream_id": "123",
		},
		Traits:     map[string]any{"tier": "gold"},
		OccurredAt: time.UnixMicro(1795168800123456).UTC(),
		Consent:    &event.Consent{Analytics: &yes, Advertising: &no},
	}
	if diff := cmp.Diff(want, got.Trigger); diff != "" {
		t.Errorf("the trigger (-want +got):\n%s", diff)
	}
	if got.Kind != event.KindPage || got.ID == "" || string(got.Raw) != sample {
		t.Errorf("the item is %+v", got)
	}
}

// A parameter's name wins over a column's.
func TestAParameterWinsOverAColumn(t *testing.T) {
	t.Parallel()
	got := bigquery.Read([]byte(`{"event_timestamp":1,"event_name":"a","user_id":"u","platform":"WEB","event_params":[{"key":"platform","value":{"string_value":"own"}}]}`))
	if got.Err != nil || got.Trigger.Properties["platform"] != "own" || got.Trigger.Visitor.UserID != "u" {
		t.Errorf("the item is %+v", got)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	id := func(row string) string {
		item := bigquery.Read([]byte(row))
		if item.Err != nil {
			t.Fatalf("%s: %v", row, item.Err)
		}
		return item.ID
	}
	const base = `{"event_timestamp":"1795168800000001","event_name":"a","user_pseudo_id":"c","event_bundle_sequence_id":"3"}`
	if id(strings.Replace(base, `"1795168800000001"`, `1795168800000001`, 1)) != id(base) {
		t.Error("a number for a text makes another row")
	}
	if id(strings.Replace(base, `{`, `{"geo":{"country":"FR"},`, 1)) != id(base) {
		t.Error("what is not in the key makes another row")
	}
	for column, other := range map[string]string{
		"event_timestamp":          strings.Replace(base, "0001", "0002", 1),
		"event_name":               strings.Replace(base, `"a"`, `"b"`, 1),
		"user_pseudo_id":           strings.Replace(base, `"c"`, `"d"`, 1),
		"event_bundle_sequence_id": strings.Replace(base, `"3"`, `"4"`, 1),
		"batch_event_index":        strings.Replace(base, "{", `{"batch_event_index":"2",`, 1),
		"batch_ordering_id":        strings.Replace(base, "{", `{"batch_ordering_id":"2",`, 1),
		"visitor":                  strings.Replace(base, `"user_pseudo_id":"c"`, `"user_id":"c"`, 1),
	} {
		if id(other) == id(base) {
			t.Errorf("another %s is the same row", column)
		}
	}
}

func TestWhatIsWrongIsRejected(t *testing.T) {
	t.Parallel()
	const rest = `"event_timestamp":"1","user_pseudo_id":"c"`
	for row, field := range map[string]string{
		`{` + rest + `}`: "/event_name",
		`{"event_name":"a","event_timestamp":"1"}`:                                                     "/user_pseudo_id",
		`{"event_name":"a","user_pseudo_id":"c"}`:                                                      "/event_timestamp",
		`{"event_name":"a","user_pseudo_id":"c","event_timestamp":"soon"}`:                             "/event_timestamp",
		`{"event_name":"a","user_pseudo_id":"c","event_timestamp":"-1"}`:                               "/event_timestamp",
		`{"event_name":"a",` + rest + `,"event_params":{}}`:                                            "/event_params",
		`{"event_name":"a",` + rest + `,"event_params":[{"value":{}}]}`:                                "/event_params/0/key",
		`{"event_name":"a",` + rest + `,"event_params":[{"key":"b"},7]}`:                               "/event_params/1/key",
		`{"event_name":"a",` + rest + `,"user_properties":[{"key":"b","value":{"int_value":"many"}}]}`: "/user_properties/0/value/int_value",
		`{"event_name":"a",` + rest + `,"user_properties":[{"key":"b","value":{"int_value":"1 2"}}]}`:  "/user_properties/0/value/int_value",
		`{"event_name":"a","event_name":"b",` + rest + `}`:                                             "/event_name",
		`[]`: "",
		`{`:  "",
		``:   "",
	} {
		item := bigquery.Read([]byte(row))
		if e := fault.From(item.Err); e == nil || e.Field != field || e.Code != fault.Invalid || string(item.Raw) != row {
			t.Errorf("%s is answered with %v, want a fault at %q", row, item.Err, field)
		}
	}
}

func TestConsentInOldAndNewExports(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for info, want := range map[string]*event.Consent{
		`{"analytics_storage":"No","ads_storage":"Yes"}`:   {Analytics: &no, Advertising: &yes},
		`{"analytics_storage":1,"ads_storage":0}`:          {Analytics: &yes, Advertising: &no},
		`{"analytics_storage":true}`:                       {Analytics: &yes},
		`{"analytics_storage":"Unset","ads_storage":null}`: nil,
		`null`: nil,
	} {
		got := bigquery.Read([]byte(`{"event_name":"a","event_timestamp":"1","user_pseudo_id":"c","privacy_info":` + info + `}`))
		if diff := cmp.Diff(want, got.Trigger.Consent); diff != "" || got.Err != nil {
			t.Errorf("%s (-want +got): %v\n%s", info, got.Err, diff)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sample)
	f.Add(`{"event_name":"a","event_timestamp":1,"user_pseudo_id":"c","event_params":[{"key":"k","value":{"float_value":"1e3"}}]}`)
	f.Fuzz(func(t *testing.T, line string) {
		item := bigquery.Read([]byte(line))
		if item.Err != nil {
			if fault.CodeOf(item.Err) != fault.Invalid {
				t.Errorf("%s is answered with %v", line, item.Err)
			}
			return
		}
		if item.ID == "" || item.Trigger.Event == "" || item.Trigger.Visitor.Key() == "" || item.Trigger.OccurredAt.IsZero() {
			t.Errorf("%s is accepted as %+v", line, item)
		}
		if _, err := json.Marshal(item.Trigger.Properties); err != nil {
			t.Errorf("the properties of %s cannot be stored: %v", line, err)
		}
	})
}
