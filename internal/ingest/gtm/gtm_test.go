package gtm_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/gtm"
)

var now = time.Date(2026, 11, 25, 9, 0, 30, 0, time.UTC)

// sample is what the tag sends for a purchase.
const sample = `{"x-ga-measurement_id":"G-1","x-ga-protocol_version":"2","x-ga-page_id":761826058,"x-ga-request_count":5,
	"x-ga-js_client_id":"17.15","x-sst-system_properties":{"request_start_time_ms":1747422524851},"x-ga-gcs":"G110",
	"event_name":"purchase","client_id":"17.15","user_id":"u-42","ip_override":"192.0.2.1","language":"de",
	"page_location":"https://shop.example.com/thanks?o=1","page_title":"Thanks","value":12.5,"currency":"EUR",
	"ga_session_id":"163","items":[{"item_id":"s1"}],
	"user_data":{"email_address":"Ada@example.test","sha256_email_address":"ab","address":{"country":"DE"}},
	"x-ga-mp2-user_properties":{"tier":{"value":"gold"}},"user_properties":{"seats":12}}`

func source(t *testing.T, s ingest.Settings) ingest.Source {
	t.Helper()
	src, err := gtm.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func receive(t *testing.T, body string, at time.Time) []ingest.Item {
	t.Helper()
	got, err := source(t, ingest.Settings{Secrets: [][]byte{[]byte("s3cret")}}).Receive(t.Context(), &ingest.Request{
		Header: http.Header{"X-Parley-Secret": {"s3cret"}}, Body: []byte(body), At: at,
	})
	if err != nil {
		t.Fatal(err)
	}
	return got.Items
}

func TestAllEventDataBecomesATrigger(t *testing.T) {
	t.Parallel()
	got := receive(t, sample, now)
	if len(got) != 1 || got[0].Err != nil {
		t.Fatalf("the items are %+v", got)
	}
	yes, no := true, false
	want := event.Trigger{
		Visitor: event.Visitor{UserID: "u-42", Email: "Ada@example.test", AnonymousID: "17.15"}, Event: "purchase",
		Properties: map[string]any{
			"language": "de", "page_location": "https://shop.example.com/thanks?o=1", "page_title": "Thanks",
			"value": json.Number("12.5"), "currency": "EUR", "ga_session_id": "163", "items": []any{ingest.Object{"item_id": "s1"}},
		},
		Traits: map[string]any{
			"email_address": "Ada@example.test", "address": ingest.Object{"country": "DE"}, "tier": "gold", "seats": json.Number("12"),
		},
		URL: "https://shop.example.com/thanks?o=1", Consent: &event.Consent{Advertising: &yes, Analytics: &no},
	}
	if diff := cmp.Diff(want, got[0].Trigger); diff != "" {
		t.Errorf("the trigger (-want +got):\n%s", diff)
	}
	if got[0].Kind != event.KindTrack || got[0].Authenticated != event.AuthenticPath || got[0].ID == "" {
		t.Errorf("the item is %+v", got[0])
	}
	wrapped := receive(t, "["+sample+"]", now)
	if diff := cmp.Diff(got, wrapped); diff != "" {
		t.Errorf("wrapped in an array it differs:\n%s", diff)
	}
}

// What names an event is the page's request, whatever else changes on the way.
func TestIDs(t *testing.T) {
	t.Parallel()
	id := func(body string, at time.Time) string { return receive(t, body, at)[0].ID }
	const base = `{"event_name":"a","client_id":"c","x-ga-page_id":7,"x-ga-request_count":1}`
	same := map[string]string{
		"ids as texts":      `{"event_name":"a","client_id":"c","x-ga-page_id":"7","x-ga-request_count":"1"}`,
		"other system data": `{"event_name":"a","client_id":"c","x-ga-page_id":7,"x-ga-request_count":1,"x-ga-tfd":99}`,
	}
	for name, body := range same {
		if id(body, now.Add(72*time.Hour)) != id(base, now) {
			t.Errorf("%s make another event", name)
		}
	}
	other := map[string]string{
		"page":    `{"event_name":"a","client_id":"c","x-ga-page_id":8,"x-ga-request_count":1}`,
		"request": `{"event_name":"a","client_id":"c","x-ga-page_id":7,"x-ga-request_count":2}`,
		"client":  `{"event_name":"a","client_id":"d","x-ga-page_id":7,"x-ga-request_count":1}`,
		"name":    `{"event_name":"b","client_id":"c","x-ga-page_id":7,"x-ga-request_count":1}`,
		// 7 and 11 must not be 71 and 1.
		"digits": `{"event_name":"a","client_id":"c","x-ga-page_id":71,"x-ga-request_count":""}`,
	}
	for name, body := range other {
		if id(body, now) == id(base, now) {
			t.Errorf("another %s is the same event", name)
		}
	}
	const bare = `{"event_name":"a","client_id":"c"}`
	if id(bare, now) != id(bare, now.Add(20*time.Second)) || id(bare, now) == id(bare, now.Add(time.Minute)) {
		t.Error("without page and request, the minute does not decide")
	}
	if got := id(`{"event_name":"a","client_id":"c","event_id":"e-1","x-ga-page_id":7,"x-ga-request_count":1}`, now); got != "e-1" {
		t.Errorf("the event's own id became %q", got)
	}
	if got := id(`{"event_name":"a","client_id":"c","event_id":"`+strings.Repeat("x", 257)+`"}`, now); len(got) > 256 {
		t.Errorf("the id has %d characters", len(got))
	}
}

func TestConsent(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	tests := map[string]struct {
		members string
		want    *event.Consent
	}{
		"nothing":           {`"x-ga-gcd":"11l1"`, nil},
		"mode not used":     {`"x-ga-gcs":"G1--"`, nil},
		"all denied":        {`"x-ga-gcs":"G100"`, &event.Consent{Advertising: &no, Analytics: &no}},
		"an object":         {`"consent_state":{"ad_storage":"granted","analytics_storage":true,"functionality_storage":"denied","personalization_storage":"granted"}`, &event.Consent{Advertising: &yes, Analytics: &yes, Functionality: &no, Personalization: &yes}},
		"a no wins":         {`"consent":{"ad_storage":"granted","ad_user_data":"denied"}`, &event.Consent{Advertising: &no}},
		"a no of gcs wins":  {`"x-ga-gcs":"G101","consent":{"ad_storage":"granted"}`, &event.Consent{Advertising: &no, Analytics: &yes}},
		"GPC":               {`"gpc":1`, &event.Consent{GPC: &yes}},
		"GPC in words":      {`"global_privacy_control":true`, &event.Consent{GPC: &yes}},
		"no GPC":            {`"gpc":"0"`, &event.Consent{GPC: &no}},
		"what is no answer": {`"consent":{"ad_storage":"maybe","analytics_storage":7},"gpc":[]`, nil},
	}
	for name, test := range tests {
		got := receive(t, `{"event_name":"a","client_id":"c",`+test.members+`}`, now)[0]
		if diff := cmp.Diff(test.want, got.Trigger.Consent); diff != "" || got.Err != nil {
			t.Errorf("%s (-want +got): %v\n%s", name, got.Err, diff)
		}
	}
}

func TestTheVisitorsAddress(t *testing.T) {
	t.Parallel()
	for members, want := range map[string]string{
		`"user_data":{"email_address":"a@example.test"}`:                    "a@example.test",
		`"user_data":{"email_address":["a@example.test","b@example.test"]}`: "a@example.test",
		`"user_data":{"email":"a@example.test"}`:                            "a@example.test",
		`"user_data.email_address":"a@example.test"`:                        "a@example.test",
		`"user_data_email_address":"a@example.test"`:                        "a@example.test",
		`"user_data":{"sha256_email_address":"ab"}`:                         "",
		`"user_data":{"email_address":[]}`:                                  "",
		`"user_data":{"email_address":[{}]}`:                                "",
		`"user_data":"a@example.test"`:                                      "",
	} {
		got := receive(t, `{"event_name":"a","client_id":"c",`+members+`}`, now)[0].Trigger
		if got.Visitor.Email != want {
			t.Errorf("%s names %q, want %q", members, got.Visitor.Email, want)
		}
		if _, leaked := got.Properties["user_data_email_address"]; leaked {
			t.Errorf("%s: the address is a property", members)
		}
	}
}

func TestWhatIsWrongIsRejected(t *testing.T) {
	t.Parallel()
	for body, field := range map[string]string{
		`{"client_id":"c"}`:                                      "/event_name",
		`{"client_id":"c","event_name":7}`:                       "/event_name",
		`{"event_name":"a"}`:                                     "/client_id",
		`[{"event_name":"a","client_id":"c"},{"event_name":""}]`: "/1/event_name",
		`[{"event_name":"a","client_id":"c"},7]`:                 "/1",
		`[{"event_name":"a","client_id":"c"},{"a":1,"a":2}]`:     "/1/a",
		`null`:           "",
		`{"event_name":`: "",
	} {
		items := receive(t, body, now)
		last := items[len(items)-1]
		if e := fault.From(last.Err); e == nil || e.Field != field || e.Code != fault.Invalid || len(last.Raw) == 0 {
			t.Errorf("%s is answered with %v for %s, want %q", body, last.Err, last.Raw, field)
		}
		if len(items) > 1 && items[0].Err != nil {
			t.Errorf("%s spoils the good event: %v", body, items[0].Err)
		}
	}
	for _, body := range []string{`[{"event_name":`, "[" + strings.Repeat("1,", 500) + "1]"} {
		if items := receive(t, body, now); len(items) != 1 || fault.CodeOf(items[0].Err) != fault.Invalid || string(items[0].Raw) != body {
			t.Errorf("%.20s… gives %d items", body, len(items))
		}
	}
}

// Forged secrets, from a ledger: of all that are tried none is accepted.
func TestForgedSecretsAreRefused(t *testing.T) {
	t.Parallel()
	src := source(t, ingest.Settings{Secrets: [][]byte{[]byte("s3cret"), []byte("next")}})
	try := func(h http.Header) bool {
		got, err := src.Receive(t.Context(), &ingest.Request{Header: h, Token: true, Body: []byte(sample), At: now})
		if err != nil && fault.From(err).Reason != fault.NotAuthentic {
			t.Errorf("the refusal is %v", err)
		}
		return err == nil && len(got.Items) > 0
	}
	tried, accepted := 0, 0
	for i := range len("s3cret") {
		for c := range 256 {
			forged := []byte("s3cret")
			if forged[i] == byte(c) {
				continue
			}
			forged[i] = byte(c)
			for _, h := range []http.Header{{"X-Parley-Secret": {string(forged)}}, {"Authorization": {"Bearer " + string(forged)}}} {
				tried++
				if try(h) {
					accepted++
				}
			}
		}
	}
	for _, h := range []http.Header{{}, {"Authorization": {"Basic s3cret"}}, {"X-Parley-Secret": {""}}} {
		tried++
		if try(h) {
			accepted++
		}
	}
	if tried < 3000 || accepted != 0 {
		t.Errorf("%d tried, %d accepted", tried, accepted)
	}
	for _, h := range []http.Header{{"X-Parley-Secret": {"next"}}, {"Authorization": {"Bearer s3cret"}}} {
		if !try(h) {
			t.Errorf("%v is refused", h)
		}
	}
}

func TestTheTokenProvesWhereThereIsNoSecret(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ token, open, accepted bool }{{true, false, true}, {false, true, true}, {false, false, false}} {
		_, err := source(t, ingest.Settings{Open: test.open}).Receive(t.Context(), &ingest.Request{Token: test.token, Body: []byte(sample), At: now})
		if (err == nil) != test.accepted {
			t.Errorf("token %t, open %t: %v", test.token, test.open, err)
		}
	}
}

func TestTheTagTakesA2xxForSuccess(t *testing.T) {
	t.Parallel()
	src := source(t, ingest.Settings{})
	for status, o := range map[int]ingest.Outcome{
		202: {Results: []ingest.Result{{ID: "1"}}},
		200: {Results: []ingest.Result{{ID: "1", Duplicate: true}}},
		401: {Err: ingest.Forbidden("x")},
	} {
		if got := src.Answer(&ingest.Request{}, o); got.Status != status {
			t.Errorf("%+v is answered with %d, want %d", o, got.Status, status)
		}
	}
	if routes := src.Routes(); len(routes) != 1 || routes[0].Method != http.MethodPost {
		t.Errorf("the routes are %+v", routes)
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(sample)
	f.Add(`[{"event_name":"a","client_id":"c","user_data":{"email_address":[1]},"consent":{"ad_storage":"denied"}},null]`)
	src, err := gtm.New(ingest.Settings{Open: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		request := &ingest.Request{Body: []byte(body), At: now}
		got, err := src.Receive(t.Context(), request)
		if err != nil {
			return
		}
		again, err := src.Receive(t.Context(), request)
		if err != nil || len(again.Items) != len(got.Items) {
			t.Fatalf("the second time it gives %+v, %v", again, err)
		}
		for i, item := range got.Items {
			if item.ID != again.Items[i].ID {
				t.Errorf("the id of %s changes", item.Raw)
			}
			if item.Err == nil && (item.ID == "" || item.Trigger.Visitor.Key() == "" || item.Trigger.Event == "") {
				t.Errorf("the event %s is accepted as %+v", item.Raw, item)
			}
		}
	})
}
