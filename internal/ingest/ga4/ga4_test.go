package ga4_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/ga4"
)

var (
	now   = time.Date(2026, 11, 25, 9, 0, 30, 0, time.UTC)
	valid = url.Values{"measurement_id": {"G-1"}, "api_secret": {"s3cret"}}
)

func source(t *testing.T, s ingest.Settings) ingest.Source {
	t.Helper()
	if s.Secrets == nil {
		s.Secrets = [][]byte{[]byte("s3cret"), []byte("the-next-one")}
	}
	src, err := ga4.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func receive(t *testing.T, src ingest.Source, query url.Values, body string) ingest.Received {
	t.Helper()
	got, err := src.Receive(t.Context(), &ingest.Request{Method: "POST", Path: "/mp/collect", Query: query, Body: []byte(body), At: now})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// debug returns what the validation server says of the body, a line for each
// message.
func debug(t *testing.T, src ingest.Source, query url.Values, body string) []string {
	t.Helper()
	got, err := src.Receive(t.Context(), &ingest.Request{Method: "POST", Path: "/debug/mp/collect", Query: query, Body: []byte(body), At: now})
	if err != nil || got.Reply == nil || got.Reply.Status != http.StatusOK || len(got.Items) != 0 {
		t.Fatalf("the validation server answers %+v, %v, and stores", got, err)
	}
	var answer struct{ ValidationMessages []ga4.Message }
	if err := json.Unmarshal(got.Reply.Body, &answer); err != nil || answer.ValidationMessages == nil {
		t.Fatalf("the answer is %s: %v", got.Reply.Body, err)
	}
	lines := []string{}
	for _, m := range answer.ValidationMessages {
		if m.Description == "" {
			t.Errorf("the message %+v describes nothing", m)
		}
		lines = append(lines, m.FieldPath+" "+m.ValidationCode)
	}
	return lines
}

func TestAnEventBecomesATrigger(t *testing.T) {
	t.Parallel()
	at := now.Add(-time.Hour).UnixMicro()
	body := fmt.Sprintf(`{"client_id":"c.1","user_id":"u-42","timestamp_micros":"%d",
		"user_properties":{"tier":{"value":"gold"},"seats":{"value":12}},
		"consent":{"ad_user_data":"GRANTED","ad_personalization":"DENIED"},
		"events":[{"name":"pricing_viewed","params":{"plan":"pro","value":9007199254740993,"page_location":"https://shop.example.com/pricing"}},
		          {"name":"page_view","params":{"event_id":"e-7"},"timestamp_micros":%d}]}`, at, at+1)
	got := receive(t, source(t, ingest.Settings{}), valid, body).Items
	if len(got) != 2 || got[0].Err != nil || got[1].Err != nil {
		t.Fatalf("the items are %+v", got)
	}
	yes, no := true, false
	want := event.Trigger{
		Visitor: event.Visitor{UserID: "u-42", AnonymousID: "c.1"}, Event: "pricing_viewed",
		Properties: map[string]any{"plan": "pro", "value": json.Number("9007199254740993"), "page_location": "https://shop.example.com/pricing"},
		Traits:     map[string]any{"tier": "gold", "seats": json.Number("12")},
		URL:        "https://shop.example.com/pricing", OccurredAt: time.UnixMicro(at).UTC(),
		Consent: &event.Consent{Advertising: &yes, Personalization: &no},
	}
	if diff := cmp.Diff(want, got[0].Trigger); diff != "" {
		t.Errorf("the trigger (-want +got):\n%s", diff)
	}
	if got[0].Kind != event.KindTrack || got[1].Kind != event.KindPage || got[0].Authenticated != event.AuthenticPath {
		t.Errorf("the kinds are %s and %s, the proof is %q", got[0].Kind, got[1].Kind, got[0].Authenticated)
	}
	if got[1].ID != "e-7" || got[1].Trigger.OccurredAt.UnixMicro() != at+1 {
		t.Errorf("the second event is %s at %s", got[1].ID, got[1].Trigger.OccurredAt)
	}
	if !strings.HasPrefix(string(got[0].Raw), `{"name":"pricing_viewed"`) {
		t.Errorf("the raw event is %s", got[0].Raw)
	}
}

func TestAnAppIsNamedByItsInstance(t *testing.T) {
	t.Parallel()
	query := url.Values{"firebase_app_id": {"1:2:web:3"}, "api_secret": {"the-next-one"}}
	got := receive(t, source(t, ingest.Settings{}), query, `{"app_instance_id":"a1","events":[{"name":"screen_view"}]}`).Items
	if len(got) != 1 || got[0].Err != nil || got[0].Trigger.Visitor.AnonymousID != "a1" || got[0].Kind != event.KindScreen {
		t.Errorf("the items are %+v", got)
	}
}

// A repetition must have the id that it had, and what is another event another
// one.
func TestIDs(t *testing.T) {
	t.Parallel()
	src := source(t, ingest.Settings{})
	ids := func(at time.Time, body string) []string {
		got, err := src.Receive(t.Context(), &ingest.Request{Path: "/mp/collect", Query: valid, Body: []byte(body), At: at})
		if err != nil {
			t.Fatal(err)
		}
		all := []string{}
		for _, item := range got.Items {
			all = append(all, item.ID)
		}
		return all
	}
	stamped := fmt.Sprintf(`{"client_id":"c","timestamp_micros":%d,"events":[{"name":"a"},{"name":"a"},{"name":"b"}]}`, now.UnixMicro())
	first := ids(now, stamped)
	if diff := cmp.Diff(first, ids(now.Add(71*time.Hour), stamped)); diff != "" {
		t.Errorf("three days later the ids differ:\n%s", diff)
	}
	if first[0] == first[1] || first[0] == first[2] {
		t.Errorf("three events have the ids %v", first)
	}
	bare := `{"client_id":"c","events":[{"name":"a"}]}`
	soon, later := ids(now.Add(10*time.Second), bare), ids(now.Add(time.Minute), bare)
	if same := ids(now, bare); same[0] != soon[0] || same[0] == later[0] {
		t.Errorf("without a time the ids are %v, %v soon after and %v a minute later", same, soon, later)
	}
	if other := ids(now, strings.Replace(stamped, `"c"`, `"d"`, 1)); other[0] == first[0] {
		t.Error("two clients have one id")
	}
	long := ids(now, `{"client_id":"c","events":[{"name":"a","params":{"event_id":"`+strings.Repeat("x", 100)+`"}}]}`)
	if len(long[0]) > 256 {
		t.Errorf("the id has %d characters", len(long[0]))
	}
}

// The protocol's limits: at the limit nothing is said, one beyond it is.
func TestLimits(t *testing.T) {
	t.Parallel()
	members := func(n int, value string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`"m%d":%s`, i, value)
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	events := func(n int) string {
		return `{"client_id":"c","events":[` + strings.TrimSuffix(strings.Repeat(`{"name":"a"},`, n), ",") + `]}`
	}
	one := func(format string, args ...any) string {
		return `{"client_id":"c","events":[` + fmt.Sprintf(format, args...) + `]}`
	}
	text := func(n int) string { return `"` + strings.Repeat("ü", n) + `"` }
	name := func(n int) string { return strings.Repeat("n", n) }
	tests := []struct {
		name      string
		good, bad string
		want      string
	}{
		{"events", events(25), events(26), "events EXCEEDED_MAX_ENTITIES"},
		{"no events", events(1), `{"client_id":"c","events":[]}`, "events VALUE_REQUIRED"},
		{"no list of events", events(1), `{"client_id":"c"}`, "events VALUE_REQUIRED"},
		{"parameters", one(`{"name":"a","params":%s}`, members(25, "1")), one(`{"name":"a","params":%s}`, members(26, "1")), "events.params EXCEEDED_MAX_ENTITIES"},
		{
			"user properties", `{"client_id":"c","user_properties":` + members(25, `{"value":1}`) + `,"events":[{"name":"a"}]}`,
			`{"client_id":"c","user_properties":` + members(26, `{"value":1}`) + `,"events":[{"name":"a"}]}`, "user_properties EXCEEDED_MAX_ENTITIES",
		},
		{"an event's name", one(`{"name":%q}`, name(40)), one(`{"name":%q}`, name(41)), "events NAME_INVALID"},
		{"a name's first letter", one(`{"name":"a_1"}`), one(`{"name":"_badEventName"}`), "events NAME_INVALID"},
		{"a name's letters", one(`{"name":"a_1"}`), one(`{"name":"a-1"}`), "events NAME_INVALID"},
		{"no name", one(`{"name":"a"}`), one(`{"params":{}}`), "events VALUE_REQUIRED"},
		{"a number for a name", one(`{"name":"a"}`), one(`{"name":7}`), "events NAME_INVALID"},
		{"a reserved name", one(`{"name":"gained"}`), one(`{"name":"ga_ined"}`), "events NAME_RESERVED"},
		{"gtag", one(`{"name":"gtag"}`), one(`{"name":"gtag.config"}`), "events NAME_RESERVED"},
		{"a parameter's name", one(`{"name":"a","params":{%q:1}}`, name(40)), one(`{"name":"a","params":{%q:1}}`, name(41)), "events.params NAME_INVALID"},
		{"a reserved parameter", one(`{"name":"a","params":{"session_id":"1"}}`), one(`{"name":"a","params":{"firebase_x":"1"}}`), "events.params NAME_RESERVED"},
		{"a value", one(`{"name":"a","params":{"p":%s}}`, text(100)), one(`{"name":"a","params":{"p":%s}}`, text(101)), "events.params.p VALUE_OUT_OF_BOUNDS"},
		{"a title", one(`{"name":"a","params":{"page_title":%s}}`, text(300)), one(`{"name":"a","params":{"page_title":%s}}`, text(301)), "events.params.page_title VALUE_OUT_OF_BOUNDS"},
		{"a referrer", one(`{"name":"a","params":{"page_referrer":%s}}`, text(420)), one(`{"name":"a","params":{"page_referrer":%s}}`, text(421)), "events.params.page_referrer VALUE_OUT_OF_BOUNDS"},
		{"an address", one(`{"name":"a","params":{"page_location":%s}}`, text(1000)), one(`{"name":"a","params":{"page_location":%s}}`, text(1001)), "events.params.page_location VALUE_OUT_OF_BOUNDS"},
		{"an object as a value", one(`{"name":"a","params":{"p":true}}`), one(`{"name":"a","params":{"p":{}}}`), "events.params.p VALUE_INVALID"},
		{"a list as a value", one(`{"name":"a","params":{"items":[{}]}}`), one(`{"name":"a","params":{"p":[]}}`), "events.params.p VALUE_INVALID"},
		{"an item", one(`{"name":"a","params":{"items":[{"item_id":"1"}]}}`), one(`{"name":"a","params":{"items":["1"]}}`), "events.params.items VALUE_INVALID"},
		{"an item's own parameters", one(`{"name":"a","params":{"items":[%s]}}`, members(10, "1")), one(`{"name":"a","params":{"items":[%s]}}`, members(11, "1")), "events.params.items EXCEEDED_MAX_ENTITIES"},
		{"parameters that are a list", one(`{"name":"a","params":{}}`), one(`{"name":"a","params":[]}`), "events.params VALUE_INVALID"},
		{"an event that is a text", one(`{"name":"a"}`), one(`"a"`), "events.0 VALUE_INVALID"},
		{
			"a user property's name", `{"client_id":"c","user_properties":{"` + name(24) + `":{"value":"x"}},"events":[{"name":"a"}]}`,
			`{"client_id":"c","user_properties":{"` + name(25) + `":{"value":"x"}},"events":[{"name":"a"}]}`, "user_properties." + name(25) + " NAME_INVALID",
		},
		{
			"a user property's value", `{"client_id":"c","user_properties":{"p":{"value":` + text(36) + `}},"events":[{"name":"a"}]}`,
			`{"client_id":"c","user_properties":{"p":{"value":` + text(37) + `}},"events":[{"name":"a"}]}`, "user_properties.p.value VALUE_OUT_OF_BOUNDS",
		},
		{"a user property without a value", events(1), `{"client_id":"c","user_properties":{"p":{}},"events":[{"name":"a"}]}`, "user_properties.p.value VALUE_REQUIRED"},
		{"a bare user property", events(1), `{"client_id":"c","user_properties":{"p":"x"},"events":[{"name":"a"}]}`, "user_properties.p VALUE_INVALID"},
		{
			"a back-dated request", fmt.Sprintf(`{"client_id":"c","timestamp_micros":%d,"events":[{"name":"a"}]}`, now.Add(-72*time.Hour).UnixMicro()),
			fmt.Sprintf(`{"client_id":"c","timestamp_micros":%d,"events":[{"name":"a"}]}`, now.Add(-72*time.Hour-time.Second).UnixMicro()), "timestamp_micros VALUE_INVALID",
		},
		{
			"a time to come", fmt.Sprintf(`{"client_id":"c","timestamp_micros":%d,"events":[{"name":"a"}]}`, now.Add(time.Minute).UnixMicro()),
			fmt.Sprintf(`{"client_id":"c","timestamp_micros":%d,"events":[{"name":"a"}]}`, now.Add(time.Hour).UnixMicro()), "timestamp_micros VALUE_INVALID",
		},
		{"a time that is none", events(1), `{"client_id":"c","timestamp_micros":"soon","events":[{"name":"a"}]}`, "timestamp_micros VALUE_INVALID"},
		{
			"consent", `{"client_id":"c","consent":{"ad_user_data":"DENIED"},"events":[{"name":"a"}]}`,
			`{"client_id":"c","consent":{"ad_user_data":"denied"},"events":[{"name":"a"}]}`, "consent.ad_user_data VALUE_INVALID",
		},
		{"an unknown consent", events(1), `{"client_id":"c","consent":{"ad_storage":"GRANTED"},"events":[{"name":"a"}]}`, "consent.ad_storage VALUE_INVALID"},
		{"no client", events(1), `{"events":[{"name":"a"}]}`, "client_id VALUE_REQUIRED"},
		{"a client that is a list", events(1), `{"client_id":[],"app_instance_id":1,"user_id":{},"events":[{"name":"a"}]}`, "user_id VALUE_INVALID"},
		{"a name twice", events(1), `{"client_id":"c","events":[{"name":"a","params":{"p":1,"p":2}}]}`, "events.0.params.p NAME_DUPLICATED"},
		{"no JSON", events(1), `{"client_id":`, " VALUE_INVALID"},
		{"a large body", one(`{"name":"a"}`) + strings.Repeat(" ", 129_000), one(`{"name":"a"}`) + strings.Repeat(" ", 130_000), " VALUE_OUT_OF_BOUNDS"},
	}
	src := source(t, ingest.Settings{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if said := debug(t, src, valid, test.good); len(said) != 0 {
				t.Errorf("what is allowed is answered with %v", said)
			}
			said := debug(t, src, valid, test.bad)
			if !strings.Contains(strings.Join(said, "\n")+"\n", test.want+"\n") {
				t.Errorf("the validation says %q, want %q", said, test.want)
			}
			for _, item := range receive(t, src, valid, test.good).Items {
				if item.Err != nil {
					t.Errorf("a good event is rejected: %v", item.Err)
				}
			}
			items := receive(t, src, valid, test.bad).Items
			if len(items) == 0 {
				t.Fatal("what is wrong vanishes")
			}
			for _, item := range items {
				if e := fault.From(item.Err); e == nil || e.Code != fault.Invalid || len(item.Raw) == 0 && test.bad != "" {
					t.Errorf("the item %s has the error %v", item.Raw, item.Err)
				}
			}
		})
	}
}

func TestARequestForNobodyIsRejected(t *testing.T) {
	t.Parallel()
	items := receive(t, source(t, ingest.Settings{}), url.Values{"api_secret": {"s3cret"}}, `{"client_id":"c","events":[{"name":"a"}]}`).Items
	if len(items) != 1 || fault.CodeOf(items[0].Err) != fault.Invalid || len(items[0].Raw) == 0 {
		t.Errorf("the items are %+v", items)
	}
}

// One wrong event of a request spoils itself only, and points at its place.
func TestAWrongEventSpoilsNoOther(t *testing.T) {
	t.Parallel()
	for wrong, field := range map[string]string{
		`{"name":"b","params":{"x/y":1}}`:     "/events/1/params/x~1y",
		`{"name":"b","params":{"x":1,"x":2}}`: "/events/1/params/x",
		`"b"`:                                 "/events/1",
	} {
		items := receive(t, source(t, ingest.Settings{}), valid, `{"client_id":"c","events":[{"name":"a"},`+wrong+`,{"name":"c"}]}`).Items
		if len(items) != 3 || items[0].Err != nil || items[2].Err != nil {
			t.Fatalf("the items are %+v", items)
		}
		if e := fault.From(items[1].Err); e == nil || e.Field != field || e.Reason != fault.SchemaViolation || string(items[1].Raw) != wrong {
			t.Errorf("the error of %s is %v", wrong, items[1].Err)
		}
	}
}

func TestLongerValuesOfAnalytics360(t *testing.T) {
	t.Parallel()
	body := func(n int) string {
		return `{"client_id":"c","events":[{"name":"a","params":{"p":"` + strings.Repeat("x", n) + `","page_title":"` + strings.Repeat("x", n) + `"}}]}`
	}
	src := source(t, ingest.Settings{Mapping: map[string]string{"max_value": "500"}})
	if said := debug(t, src, valid, body(500)); len(said) != 0 {
		t.Errorf("500 characters are answered with %v", said)
	}
	if said := debug(t, src, valid, body(501)); len(said) != 2 {
		t.Errorf("501 characters are answered with %v", said)
	}
	for _, wrong := range []map[string]string{{"max_value": "99"}, {"max_value": "many"}, {"event": "x"}} {
		if _, err := ga4.New(ingest.Settings{Name: "ga", Mapping: wrong}); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("the mapping %v is taken: %v", wrong, err)
		}
	}
}

// Forged secrets, from a ledger: of all that are tried none is accepted.
func TestForgedSecretsAreRefused(t *testing.T) {
	t.Parallel()
	src := source(t, ingest.Settings{})
	tried, accepted := 0, 0
	try := func(query url.Values, token bool) {
		tried++
		got, err := src.Receive(t.Context(), &ingest.Request{Path: "/mp/collect", Query: query, Token: token, At: now, Body: []byte(`{"client_id":"c","events":[{"name":"a"}]}`)})
		if err == nil || len(got.Items) > 0 {
			accepted++
			t.Errorf("%v is accepted", query)
		}
	}
	for i := range len("s3cret") {
		for c := range 256 {
			forged := []byte("s3cret")
			if forged[i] == byte(c) {
				continue
			}
			forged[i] = byte(c)
			try(url.Values{"measurement_id": {"G-1"}, "api_secret": {string(forged)}}, true)
		}
		try(url.Values{"measurement_id": {"G-1"}, "api_secret": {"s3cret"[:i]}}, false)
	}
	try(url.Values{"measurement_id": {"G-1"}}, true)
	try(url.Values{}, false)
	if tried < 1500 || accepted != 0 {
		t.Errorf("%d tried, %d accepted", tried, accepted)
	}
}

// Without an api_secret in the configuration, the token proves, or nothing does.
func TestTheTokenProvesWhereThereIsNoSecret(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		token, open, accepted bool
		by                    event.Authenticity
	}{{true, false, true, event.AuthenticPath}, {false, false, false, ""}, {false, true, true, ""}} {
		src := source(t, ingest.Settings{Secrets: [][]byte{}, Open: test.open})
		got, err := src.Receive(t.Context(), &ingest.Request{
			Path: "/mp/collect", Query: valid, Token: test.token, At: now, Body: []byte(`{"client_id":"c","events":[{"name":"a"}]}`),
		})
		if (err == nil) != test.accepted || test.accepted && got.Items[0].Authenticated != test.by {
			t.Errorf("token %t, open %t: %+v, %v", test.token, test.open, got, err)
		}
	}
}

func TestTheAnswerIsNoContent(t *testing.T) {
	t.Parallel()
	src := source(t, ingest.Settings{})
	for name, test := range map[string]struct {
		outcome ingest.Outcome
		status  int
	}{
		"stored":     {ingest.Outcome{Results: []ingest.Result{{ID: "1"}}}, 204},
		"duplicate":  {ingest.Outcome{Results: []ingest.Result{{ID: "1", Duplicate: true}}}, 204},
		"rejected":   {ingest.Outcome{Results: []ingest.Result{{Rejected: fault.New(fault.SchemaViolation, "x")}}}, 204},
		"not proved": {ingest.Outcome{Err: ingest.Forbidden("x")}, 204},
		"away":       {ingest.Outcome{Err: fault.New(fault.BusUnavailable, "x").WithAfter(2 * time.Second)}, 503},
	} {
		got := src.Answer(&ingest.Request{}, test.outcome)
		if got.Status != test.status || test.status == 204 && got.Body != nil || test.status == 503 && got.Header.Get("Retry-After") != "2" {
			t.Errorf("%s is answered with %+v", name, got)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(`{"client_id":"c","user_properties":{"p":{"value":1}},"consent":{"ad_user_data":"DENIED"},"events":[{"name":"a","params":{"items":[{}]}}]}`)
	f.Add(`{"events":[1,null,{}],"user_properties":[],"timestamp_micros":{}}`)
	src, err := ga4.New(ingest.Settings{Secrets: [][]byte{[]byte("s3cret")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		request := &ingest.Request{Path: "/mp/collect", Query: valid, Body: []byte(body), At: now}
		got, err := src.Receive(t.Context(), request)
		if err != nil || len(got.Items) == 0 {
			t.Fatalf("a body of a proved sender gives %+v, %v", got, err)
		}
		request.Path = "/debug/mp/collect"
		checked, err := src.Receive(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		wrong := 0
		for _, item := range got.Items {
			if item.Err != nil {
				wrong++
			} else if item.ID == "" || item.Trigger.Visitor.Key() == "" || item.Trigger.Event == "" {
				t.Errorf("the event %s is accepted as %+v", item.Raw, item)
			}
		}
		if (wrong > 0) == strings.Contains(string(checked.Reply.Body), `"validationMessages":[]`) {
			t.Errorf("%d events are wrong, and the validation says %s", wrong, checked.Reply.Body)
		}
	})
}
