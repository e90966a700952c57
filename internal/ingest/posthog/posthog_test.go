package posthog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

const (
	key     = "phc_key"
	webhook = `{"event":{"uuid":"e-1","event":"Pricing Viewed","distinct_id":"u-1","properties":{"$is_identified":true,"$device_id":"d-1","$current_url":"https://shop.test/p","plan":"pro"},
		"timestamp":"2026-11-25T09:00:00.000Z","elements_chain":"","url":"https://posthog.test/e"},
		"person":{"id":"p-1","name":"Ann","properties":{"email":"ann@shop.test","plan":"pro"},"url":"https://posthog.test/p"}}`
	one = `{"uuid":"e-1","event":"E","distinct_id":"u","properties":{"a":1},"timestamp":"2026-11-25T09:00:00Z"}`
)

func newSource(t testing.TB, mapping map[string]string, keys ...string) *Source {
	t.Helper()
	settings := ingest.Settings{Name: "ph", Type: Provider, Mapping: mapping}
	for _, k := range keys {
		settings.Secrets = append(settings.Secrets, []byte(k))
	}
	source, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func request(path, body string) *ingest.Request {
	return &ingest.Request{
		Method: http.MethodPost, Path: path, Header: http.Header{}, Query: url.Values{}, Type: ingest.MediaJSON, Body: []byte(body), At: time.Now(),
	}
}

func withKey(text string) string { return `{"api_key":"` + key + `",` + text[1:] }

func TestRead(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		mapping map[string]string
		body    string
		want    ingest.Item
	}{
		"a webhook": {nil, webhook, ingest.Item{ID: "e-1", Kind: "track", Trigger: event.Trigger{
			Visitor: event.Visitor{UserID: "u-1", Email: "ann@shop.test", AnonymousID: "d-1"}, Event: "Pricing Viewed", URL: "https://shop.test/p", OccurredAt: at,
			Properties: map[string]any{"$is_identified": true, "$device_id": "d-1", "$current_url": "https://shop.test/p", "plan": "pro"},
			Traits:     map[string]any{"email": "ann@shop.test", "plan": "pro"},
		}}},
		"nobody is identified": {nil, `{"uuid":"e","event":"E","distinct_id":"d-1","properties":{"$device_id":"d-1"}}`, ingest.Item{ID: "e", Kind: "track", Trigger: event.Trigger{
			Visitor: event.Visitor{AnonymousID: "d-1"}, Event: "E", Properties: map[string]any{"$device_id": "d-1"},
		}}},
		"a server, as it is": {nil, `{"uuid":"e","event":"E","distinct_id":"u"}`, ingest.Item{ID: "e", Kind: "track", Trigger: event.Trigger{
			Visitor: event.Visitor{AnonymousID: "u"}, Event: "E",
		}}},
		"a server, mapped": {map[string]string{"distinct_id": "user_id"}, `{"uuid":"e","event":"E","distinct_id":"u"}`, ingest.Item{ID: "e", Kind: "track", Trigger: event.Trigger{
			Visitor: event.Visitor{UserID: "u"}, Event: "E",
		}}},
		"a browser beside a server that is mapped": {
			map[string]string{"distinct_id": "user_id"},
			`{"uuid":"e","event":"E","distinct_id":"d","properties":{"$device_id":"d"}}`,
			ingest.Item{ID: "e", Kind: "track", Trigger: event.Trigger{
				Visitor: event.Visitor{AnonymousID: "d"}, Event: "E", Properties: map[string]any{"$device_id": "d"},
			}},
		},
		"identify": {
			nil, `{"uuid":"e","event":"$identify","distinct_id":"u","$set":{"email":"u@shop.test"},"$set_once":{"first":1},"properties":{"$anon_distinct_id":"a"}}`,
			ingest.Item{ID: "e", Kind: "identify", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "u", Email: "u@shop.test", AnonymousID: "a"}, Event: "$identify",
				Properties: map[string]any{"$anon_distinct_id": "a"}, Traits: map[string]any{"email": "u@shop.test", "first": num("1")},
			}},
		},
		"alias": {nil, `{"uuid":"e","event":"$create_alias","distinct_id":"u","properties":{"distinct_id":"u","alias":"a"}}`, ingest.Item{ID: "e", Kind: "alias", Trigger: event.Trigger{
			Visitor: event.Visitor{UserID: "u"}, Previous: &event.Visitor{UserID: "a", AnonymousID: "a"}, Event: "$create_alias",
			Properties: map[string]any{"distinct_id": "u", "alias": "a"},
		}}},
		"group": {nil, `{"uuid":"e","event":"$groupidentify","distinct_id":"u","properties":{"$group_type":"company","$group_key":"acme","$group_set":{"name":"Acme","email":"info@acme.test"}}}`, ingest.Item{ID: "e", Kind: "group", Trigger: event.Trigger{
			Visitor: event.Visitor{AnonymousID: "u"}, Event: "$groupidentify", Group: "acme",
			Properties: map[string]any{"$group_type": "company", "$group_key": "acme", "$group_set": ingest.Object{"name": "Acme", "email": "info@acme.test"}},
			Traits:     map[string]any{"name": "Acme", "email": "info@acme.test"},
		}}},
		"an event of a group": {nil, `{"uuid":"e","event":"$pageview","properties":{"distinct_id":"u","$groups":{"company":"acme"}}}`, ingest.Item{ID: "e", Kind: "page", Trigger: event.Trigger{
			Visitor: event.Visitor{AnonymousID: "u"}, Event: "$pageview", Group: "acme",
			Properties: map[string]any{"distinct_id": "u", "$groups": ingest.Object{"company": "acme"}},
		}}},
		"an older id": {nil, `{"event":"$screen","distinct_id":"u","properties":{"$insert_id":"i-1"}}`, ingest.Item{ID: "i-1", Kind: "screen", Trigger: event.Trigger{
			Visitor: event.Visitor{AnonymousID: "u"}, Event: "$screen", Properties: map[string]any{"$insert_id": "i-1"},
		}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request("", test.body)
			r.Token = true
			got, err := newSource(t, test.mapping).Receive(t.Context(), r)
			if err != nil || len(got.Items) != 1 {
				t.Fatalf("%+v, %v", got, err)
			}
			item := got.Items[0]
			if item.Authenticated != event.AuthenticPath || string(item.Raw) != test.body {
				t.Errorf("it is proved as %q, and shows %s", item.Authenticated, item.Raw)
			}
			item.Raw, item.Authenticated = nil, ""
			if diff := cmp.Diff(test.want, item); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWebhookRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 257)
	for body, pointer := range map[string]string{
		`{"event":{"event":"E","distinct_id":"u"}}`:                            "/event/uuid",
		`{"event":{"uuid":"e","distinct_id":"u"}}`:                             "/event/event",
		`{"event":{"uuid":"e","event":"E"}}`:                                   "/event/distinct_id",
		`{"event":{"uuid":"e","event":"E","distinct_id":"u","timestamp":"x"}}`: "/event/timestamp",
		`{"event":{"uuid":"e","event":"E","distinct_id":"u","properties":[]}}`: "/event/properties",
		`{"event":{"uuid":"e","event":"E","distinct_id":"` + long + `"}}`:      "/event/distinct_id",
		`{"event":{"uuid":"` + long + `","event":"E","distinct_id":"u"}}`:      "/event/uuid",
		`{"uuid":"e","event":"$create_alias","distinct_id":"u"}`:               "/properties",
		`{"uuid":"e","event":"$groupidentify","distinct_id":"u"}`:              "/properties",
		`{"event":{"uuid":"e","event":"E","distinct_id":"u","a":1,"a":2}}`:     "/event/a",
		`[]`: "",
	} {
		r := request("", body)
		r.Token = true
		got, err := newSource(t, nil).Receive(t.Context(), r)
		if err != nil || len(got.Items) != 1 {
			t.Fatalf("%s: %+v, %v", body, got, err)
		}
		if e := fault.From(got.Items[0].Err); e == nil || e.Field != pointer || e.Fix == "" {
			t.Errorf("%s: the error is %+v, want one at %q", body, e, pointer)
		}
	}
}

func TestProof(t *testing.T) {
	t.Parallel()
	bearer := func(path, body, token string) *ingest.Request {
		r := request(path, body)
		r.Header.Set("Authorization", "Bearer "+token)
		return r
	}
	token := func(path, body string) *ingest.Request {
		r := request(path, body)
		r.Token = true
		return r
	}
	tests := map[string]struct {
		keys    []string
		open    bool
		request *ingest.Request
		passes  bool
	}{
		"api_key":                            {[]string{key}, false, request("/capture", withKey(one)), true},
		"token":                              {[]string{key}, false, request("/e", `{"token":"`+key+`",`+one[1:]), true},
		"a token among the properties":       {[]string{key}, false, request("/e", `[{"event":"E","properties":{"distinct_id":"u","token":"`+key+`"}}]`), true},
		"a batch":                            {[]string{key}, false, request("/batch", `{"api_key":"`+key+`","batch":[`+one+`]}`), true},
		"the old key in a rotation":          {[]string{"new", key}, false, request("/capture", withKey(one)), true},
		"the old key after it":               {[]string{"new"}, false, request("/capture", withKey(one)), false},
		"no key":                             {[]string{key}, false, request("/capture", one), false},
		"no key in a batch":                  {[]string{key}, false, request("/batch", `{"batch":[`+one+`]}`), false},
		"no events in a batch":               {[]string{key}, false, request("/batch", `{"batch":[]}`), false},
		"a key that is an object":            {[]string{key}, false, request("/capture", `{"api_key":{},`+one[1:]), false},
		"an event of another project":        {[]string{key}, false, request("/batch", `{"api_key":"`+key+`","batch":[{"token":"other",`+one[1:]+`]}`), false},
		"two events of two projects":         {[]string{key}, false, request("/e", `[`+withKey(one)+`,{"api_key":"other",`+one[1:]+`]`), false},
		"a token where there are keys":       {[]string{key}, false, token("/capture", one), false},
		"a token without keys":               {nil, false, token("/capture", one), true},
		"a webhook with the token":           {[]string{key}, false, token("", webhook), true},
		"a webhook with a Bearer":            {[]string{key}, false, bearer("", webhook, key), true},
		"a webhook with another Bearer":      {[]string{key}, false, bearer("", webhook, "other"), false},
		"a webhook with the key in its body": {[]string{key}, false, request("", withKey(one)), false},
		"a webhook with nothing":             {[]string{key}, false, request("", webhook), false},
		"an open source":                     {nil, true, request("", webhook), true},
		"an open source with keys":           {[]string{key}, true, request("/capture", one), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t, nil, test.keys...)
			s.settings.Open = test.open
			got, err := s.Receive(t.Context(), test.request)
			if !test.passes {
				if e := fault.From(err); e == nil || e.Reason != fault.NotAuthentic || strings.Contains(e.Error()+e.Fix, key) {
					t.Errorf("the error is %v, the items are %+v; want not_authentic", err, got.Items)
				}
				return
			}
			if err != nil || len(got.Items) != 1 || got.Items[0].Err != nil || (got.Items[0].Authenticated == "") != test.open {
				t.Errorf("the items are %+v: %v", got.Items, err)
			}
		})
	}
}

func pack(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestUnwrap(t *testing.T) {
	t.Parallel()
	body := withKey(strings.Replace(one, `"E"`, `"ü>?~"`, 1))
	encoded := base64.StdEncoding.EncodeToString([]byte(body))
	packed := pack(t, body)
	tests := map[string]struct{ body, media, compression string }{
		"JSON":                                  {body, ingest.MediaJSON, ""},
		"base64":                                {encoded, ingest.MediaJSON, "base64"},
		"a form of base64":                      {"data=" + url.QueryEscape(encoded), mediaForm, ""},
		"a form of base64, as browsers send it": {"data=" + url.QueryEscape(encoded) + "&compression=base64", mediaForm, ""},
		"a form whose plus signs are not escaped": {"data=" + encoded, mediaForm, "base64"},
		"a form that is called text":              {"data=" + url.QueryEscape(encoded), ingest.MediaJSON, ""},
		"a form of JSON":                          {"data=" + url.QueryEscape(body), mediaForm, ""},
		"a form of packed base64":                 {"data=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(packed))), mediaForm, "gzip-js"},
		"gzip, as the address says":               {packed, ingest.MediaJSON, "gzip-js"},
		"gzip, and nothing says so":               {packed, ingest.MediaJSON, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request("/e", test.body)
			r.Type = test.media
			if test.compression != "" {
				r.Query.Set("compression", test.compression)
			}
			got, err := newSource(t, nil, key).Receive(t.Context(), r)
			if err != nil || len(got.Items) != 1 || got.Items[0].Trigger.Event != "ü>?~" || string(got.Items[0].Raw) != body {
				t.Errorf("%+v, %v", got.Items, err)
			}
		})
	}
}

func TestUnwrapRefuses(t *testing.T) {
	t.Parallel()
	packed := pack(t, withKey(one))
	tests := map[string]struct {
		body, media, compression string
		reason                   fault.Reason
	}{
		"no field data":       {"a=b", mediaForm, "", fault.Malformed},
		"two fields data":     {"data=e30&data=e30", mediaForm, "", fault.Malformed},
		"no base64":           {"data=%21%21", mediaForm, "", fault.Malformed},
		"lz64":                {"data=N4Ig", mediaForm, "lz64", fault.Malformed},
		"no gzip":             {withKey(one), ingest.MediaJSON, "gzip-js", fault.Malformed},
		"a broken gzip":       {packed[:len(packed)-9], ingest.MediaJSON, "gzip-js", fault.Malformed},
		"a beginning of gzip": {packed[:3], ingest.MediaJSON, "", fault.Malformed},
		"a bomb":              {pack(t, strings.Repeat(" ", 64<<20)), ingest.MediaJSON, "gzip-js", fault.TooLarge},
		"too many events":     {`{"api_key":"` + key + `","batch":[` + strings.Repeat("1,", maxEvents) + "1]}", ingest.MediaJSON, "", fault.TooLarge},
		"nothing":             {"", ingest.MediaJSON, "", fault.Malformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request("/e", test.body)
			r.Type = test.media
			if test.compression != "" {
				r.Query.Set("compression", test.compression)
			}
			got, err := newSource(t, nil, key).Receive(t.Context(), r)
			if e := fault.From(err); e == nil || e.Reason != test.reason || e.Fix == "" {
				t.Errorf("the error is %+v, the items are %+v; want %s", e, got.Items, test.reason)
			}
		})
	}
}

// TestBatch tests that a wrong event spoils no other, and that a repetition has
// the same id.
func TestBatch(t *testing.T) {
	t.Parallel()
	ids := func(sent string) []string {
		body := `{"api_key":"` + key + `","sent_at":"` + sent + `","historical_migration":false,"batch":[` + one +
			`,{"event":"E"},7,{"event":"E","distinct_id":"u","timestamp":"2026-11-25T09:00:00Z","offset":` + sent[:4] + `},{"event":"E","distinct_id":"u"}]}`
		got, err := newSource(t, nil, key).Receive(t.Context(), request("/batch", body))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, item := range got.Items {
			if item.Err != nil {
				out = append(out, fault.From(item.Err).Field)
				continue
			}
			out = append(out, item.ID)
		}
		return out
	}
	first := ids("2026-11-25T09:00:00Z")
	want := []string{"e-1", "/batch/1/distinct_id", "/batch/2", first[3], ""}
	if diff := cmp.Diff(want, first); diff != "" || len(first[3]) != 32 {
		t.Errorf("ids and pointers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(first, ids("2027-11-25T09:00:00Z")); diff != "" {
		t.Errorf("the second try differs (-first +second):\n%s", diff)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, mapping := range []map[string]string{{"id": "x"}, {"distinct_id": "email"}} {
		_, err := New(ingest.Settings{Name: "ph", Mapping: mapping})
		if e := fault.From(err); e == nil || e.Reason != fault.BadConfig {
			t.Errorf("%v: the error is %v, want bad_config", mapping, err)
		}
	}
	paths := map[string]bool{}
	for _, route := range newSource(t, nil).Routes() {
		paths[route.Method+" "+route.Path] = route.Lenient
	}
	want := map[string]bool{
		"POST ": false, "PUT ": false, "PATCH ": false, "POST /batch": true, "POST /capture": true, "POST /e": true, "POST /i/v0/e": true, "POST /track": true,
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	wrong := fault.New(fault.SchemaViolation, "no name").At("/event")
	tests := map[string]struct {
		path    string
		outcome ingest.Outcome
		status  int
		body    string
		after   string
	}{
		"stored":       {"/batch", ingest.Outcome{Results: []ingest.Result{{ID: "e"}}}, 200, `{"status":"Ok"}`, ""},
		"a duplicate":  {"/i/v0/e", ingest.Outcome{Results: []ingest.Result{{ID: "e", Duplicate: true}}}, 200, `{"status":"Ok"}`, ""},
		"the old way":  {"/e", ingest.Outcome{Results: []ingest.Result{{ID: "e"}}}, 200, `{"status":1}`, ""},
		"one is wrong": {"/batch", ingest.Outcome{Results: []ingest.Result{{ID: "e"}, {ID: "f", Rejected: wrong}}}, 200, `{"rejected":[{"detail":"/event: no name","index":1,"uuid":"f"}],"status":"Ok"}`, ""},
		"it is wrong":  {"/capture", ingest.Outcome{Results: []ingest.Result{{ID: "e", Rejected: wrong}}}, 400, `{"attr":null,"code":"invalid_payload","detail":"/event: no name","type":"validation_error"}`, ""},
		"a wrong key":  {"/batch", ingest.Outcome{Err: ingest.Forbidden("no")}, 401, `{"attr":null,"code":"invalid_api_key","detail":"no","type":"authentication_error"}`, ""},
		"no JSON":      {"/batch", ingest.Outcome{Err: fault.New(fault.SchemaViolation, "no")}, 400, `{"attr":null,"code":"invalid_payload","detail":"no","type":"validation_error"}`, ""},
		"too large":    {"/batch", ingest.Outcome{Err: fault.New(fault.TooLarge, "no")}, 413, `{"attr":null,"code":"invalid_payload","detail":"no","type":"validation_error"}`, ""},
		"over quota":   {"/batch", ingest.Outcome{Err: ingest.Later(fault.QuotaExhausted, 2*time.Second, "no")}, 429, `{"attr":null,"code":"throttled","detail":"no","type":"throttled_error"}`, "2"},
		"maintenance":  {"/batch", ingest.Outcome{Err: ingest.Later(fault.Maintenance, time.Minute, "no")}, 503, `{"attr":null,"code":"server_error","detail":"no","type":"server_error"}`, "60"},
		"a webhook":    {"", ingest.Outcome{Results: []ingest.Result{{ID: "e"}}}, 202, `{"results":[{"id":"e","status":"accepted"}]}`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newSource(t, nil).Answer(request(test.path, ""), test.outcome)
			if body := strings.TrimSpace(string(got.Body)); got.Status != test.status || body != test.body || got.Header.Get("Retry-After") != test.after {
				t.Errorf("the answer is %d %s, %q; want %d %s, %q", got.Status, body, got.Header.Get("Retry-After"), test.status, test.body, test.after)
			}
		})
	}
}

func FuzzReceive(f *testing.F) {
	f.Add("", []byte(webhook), "", false)
	f.Add("/batch", []byte(`{"api_key":"phc_key","batch":[`+one+`]}`), "", false)
	f.Add("/e", []byte("data="+base64.StdEncoding.EncodeToString([]byte(withKey(one)))), "base64", true)
	f.Add("/e", []byte(pack(f, withKey(one))), "gzip-js", false)
	f.Fuzz(func(t *testing.T, path string, body []byte, compression string, form bool) {
		r := request(path, string(body))
		r.Query.Set("compression", compression)
		if form {
			r.Type = mediaForm
		}
		got, err := newSource(t, nil, key).Receive(t.Context(), r)
		if err != nil {
			return
		}
		if path == "" {
			t.Fatal("a webhook passed without its secret")
		}
		for i, item := range got.Items {
			if item.Err == nil && (item.Trigger.Visitor.Key() == "" || item.Trigger.Event == "") {
				t.Fatalf("item %d passed without a visitor or a name", i)
			}
		}
	})
}

func num(text string) any { return json.Number(text) }
