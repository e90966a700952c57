package tracking

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

const key = "write-key"

func newSource(t testing.TB, keys ...string) *Source {
	t.Helper()
	settings := ingest.Settings{Name: "sdk", Type: Provider}
	for _, k := range keys {
		settings.Secrets = append(settings.Secrets, []byte(k))
	}
	source, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func request(path, body, authorization string) *ingest.Request {
	h := http.Header{"Content-Type": {"application/json"}}
	if authorization != "" {
		h.Set("Authorization", authorization)
	}
	return &ingest.Request{
		Method: http.MethodPost, Path: path, Header: h, Query: url.Values{}, Type: ingest.MediaJSON, Body: []byte(body), At: time.Now(),
	}
}

// TestWriteKey tests the ways to send a write key. Whatever is sent has to be
// right: a wrong key beside a right one is a mistake that should show.
func TestWriteKey(t *testing.T) {
	t.Parallel()
	const call = `{"messageId":"m","userId":"u","event":"E"`
	bare, own, other := call+"}", call+`,"writeKey":"`+key+`"}`, call+`,"writeKey":"other"}`
	inQuery := func(key string) *ingest.Request {
		r := request("/beacon/v1/batch", `{"batch":[`+call+`,"type":"track"}]}`, "")
		r.Query.Set("writeKey", key)
		return r
	}
	token := request("/v1/track", bare, "")
	token.Token = true
	tests := map[string]struct {
		keys    []string
		open    bool
		request *ingest.Request
		passes  bool
		want    event.Authenticity
	}{
		"in the body":                      {[]string{key}, false, request("/v1/track", own, ""), true, event.AuthenticPath},
		"as the user of Basic":             {[]string{key}, false, request("/v1/track", bare, basic(key, "")), true, event.AuthenticPath},
		"both":                             {[]string{key}, false, request("/v1/track", own, basic(key, "")), true, event.AuthenticPath},
		"a Bearer of OAuth and the body":   {[]string{key}, false, request("/v1/track", own, "Bearer abc"), true, event.AuthenticPath},
		"a Bearer of OAuth alone":          {[]string{key}, false, request("/v1/track", bare, "Bearer "+key), false, ""},
		"in the address of a beacon":       {[]string{key}, false, inQuery(key), true, event.AuthenticPath},
		"a wrong one in the address":       {[]string{key}, false, inQuery("other"), false, ""},
		"the old one during a rotation":    {[]string{"new", key}, false, request("/v1/track", own, ""), true, event.AuthenticPath},
		"the old one after it":             {[]string{"new"}, false, request("/v1/track", own, ""), false, ""},
		"none":                             {[]string{key}, false, request("/v1/track", bare, ""), false, ""},
		"another source's in the body":     {[]string{key}, false, request("/v1/track", other, ""), false, ""},
		"another source's in Basic":        {[]string{key}, false, request("/v1/track", bare, basic("other", "")), false, ""},
		"right in Basic, wrong in body":    {[]string{key}, false, request("/v1/track", other, basic(key, "")), false, ""},
		"wrong in Basic, right in body":    {[]string{key}, false, request("/v1/track", own, basic("other", "")), false, ""},
		"Basic with a password":            {[]string{key}, false, request("/v1/track", bare, basic(key, "x")), false, ""},
		"Basic without a colon":            {[]string{key}, false, request("/v1/track", bare, "Basic "+base64.StdEncoding.EncodeToString([]byte(key))), false, ""},
		"an empty one":                     {[]string{key}, false, request("/v1/track", call+`,"writeKey":""}`, ""), false, ""},
		"a number":                         {[]string{"5"}, false, request("/v1/track", call+`,"writeKey":5}`, ""), false, ""},
		"an empty secret is none":          {[]string{""}, false, request("/v1/track", call+`,"writeKey":""}`, basic("", "")), false, ""},
		"a token without keys":             {nil, false, token, true, event.AuthenticPath},
		"a token where there are keys":     {[]string{key}, false, token, false, ""},
		"an open source":                   {nil, true, request("/v1/track", bare, ""), true, ""},
		"an open source that has keys":     {[]string{key}, true, request("/v1/track", bare, ""), false, ""},
		"in an event of a batch":           {[]string{key}, false, request("/v1/batch", `{"batch":[`+own+`]}`, ""), false, ""},
		"a batch with it in the body":      {[]string{key}, false, request("/v1/batch", `{"writeKey":"`+key+`","batch":[`+call+`,"type":"track"}]}`, ""), true, event.AuthenticPath},
		"a batch with it after the events": {[]string{key}, false, request("/v1/batch", `{"batch":[`+call+`,"type":"track"}],"writeKey":"`+key+`"}`, ""), true, event.AuthenticPath},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t, test.keys...)
			s.settings.Open = test.open
			got, err := s.Receive(t.Context(), test.request)
			if !test.passes {
				if e := fault.From(err); e == nil || e.Reason != fault.NotAuthentic || strings.Contains(e.Error()+e.Fix, key) {
					t.Errorf("the error is %v, the items are %v; want not_authentic", err, got.Items)
				}
				return
			}
			if err != nil || len(got.Items) != 1 || got.Items[0].Err != nil || got.Items[0].Authenticated != test.want || got.Items[0].ID != "m" {
				t.Errorf("the items are %+v: %v", got.Items, err)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	const call = `{"messageId":"m","userId":"u","event":"E","groupId":"g","previousId":"p"}`
	for path, kind := range map[string]string{
		"/v1/track": "track", "/v1/identify": "identify", "/v1/page": "page", "/v1/screen": "screen", "/v1/group": "group", "/v1/alias": "alias",
		"/v1/t": "track", "/v1/i": "identify", "/v1/p": "page", "/v1/s": "screen", "/v1/g": "group", "/v1/a": "alias",
	} {
		got, err := newSource(t, key).Receive(t.Context(), request(path, call, basic(key, "")))
		if err != nil || len(got.Items) != 1 || got.Items[0].Kind != kind || got.Items[0].Err != nil {
			t.Errorf("%s: the items are %+v: %v", path, got.Items, err)
		}
	}
	got, err := newSource(t, key).Receive(t.Context(), request("/v1/m", `{"series":[]}`, ""))
	if err != nil || got.Reply == nil || got.Reply.Status != http.StatusOK || len(got.Items) != 0 {
		t.Errorf("metrics: %+v, %v", got, err)
	}
}

// TestRoutes tests that every path that a client knows is a route, once.
func TestRoutes(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, route := range newSource(t).Routes() {
		seen[route.Method+" "+route.Path]++
		if !route.Lenient {
			t.Errorf("%s takes no text/plain, which scripts for browsers send", route.Path)
		}
	}
	for _, path := range []string{"/v1/track", "/v1/batch", "/v1/import", "/v1/b", "/v1/t", "/v1/m", "/beacon/v1/batch"} {
		if seen["POST "+path] != 1 {
			t.Errorf("%s is there %d times", path, seen["POST "+path])
		}
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	body := `{"sentAt":"2026-11-25T09:00:00Z","context":{"page":{"url":"https://shop.test/a","title":"T"},"traits":{"plan":"free"}},
	"integrations":{"All":true},"batch":[
	 {"type":"track","messageId":"m-1","userId":"u","event":"E","context":{"page":{"url":"https://shop.test/b"}}},
	 {"type":"identify","messageId":"m-2","userId":"u"},
	 {"type":"track","messageId":"m-3","event":"E"},
	 {"type":"track","messageId":"m-4","userId":"u","event":"E","x":1,"x":2},
	 "text",
	 {"type":"track","userId":"u","event":"E","timestamp":"2026-11-25T08:00:00Z"},
	 {"type":"track","userId":"u","event":"E"},
	 {"type":"track","messageId":"m-8","userId":"u","event":"` + strings.Repeat("x", 10) + `","properties":{"big":"` + strings.Repeat("x", maxEvent) + `"}},
	 {"type":"track","messageId":"m-9","userId":"u","event":"E","context":7}
	]}`
	got, err := newSource(t, key).Receive(t.Context(), request("/v1/batch", body, basic(key, "")))
	if err != nil {
		t.Fatal(err)
	}
	type fate struct{ ID, URL, Plan, Pointer string }
	var fates []fate
	for _, item := range got.Items {
		f := fate{ID: item.ID, URL: item.Trigger.URL}
		f.Plan, _ = item.Trigger.Traits["plan"].(string)
		if item.Err != nil {
			f.Pointer = fault.From(item.Err).Field
		}
		fates = append(fates, f)
		if !strings.Contains(body, string(item.Raw)) {
			t.Errorf("%s shows %s", item.ID, item.Raw)
		}
	}
	want := []fate{
		{"m-1", "https://shop.test/b", "free", ""},
		{"m-2", "https://shop.test/a", "free", ""},
		{"m-3", "https://shop.test/a", "free", "/batch/2/userId"},
		{"", "", "", "/batch/3/x"},
		{"", "", "", "/batch/4"},
		{fates[5].ID, "https://shop.test/a", "free", ""},
		{"", "https://shop.test/a", "free", ""},
		{"", "", "", "/batch/7"},
		{"m-9", "", "", "/batch/8/context"},
	}
	if diff := cmp.Diff(want, fates); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if fates[5].ID == "" {
		t.Error("a call with a time has no id that a repetition would have")
	}
}

// TestContentID: a call without a messageId that comes again has the same id,
// and another call has another.
func TestContentID(t *testing.T) {
	t.Parallel()
	id := func(body string) string {
		got, err := newSource(t, key).Receive(t.Context(), request("/v1/track", body, basic(key, "")))
		if err != nil || got.Items[0].Err != nil {
			t.Fatalf("%s: %+v, %v", body, got.Items, err)
		}
		return got.Items[0].ID
	}
	first := id(`{"userId":"u","event":"E","timestamp":"2026-11-25T08:00:00Z","sentAt":"2026-11-25T08:00:01Z"}`)
	if again := id(`{"event":"E","sentAt":"2026-11-25T08:30:00Z","timestamp":"2026-11-25T08:00:00Z","userId":"u"}`); again != first || first == "" {
		t.Errorf("the second try has the id %q, the first had %q", again, first)
	}
	if other := id(`{"userId":"u","event":"F","timestamp":"2026-11-25T08:00:00Z"}`); other == first {
		t.Error("two events have one id")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	single := func(size int) string {
		const frame = `{"messageId":"m","userId":"u","event":"E","properties":{"x":""}}`
		return strings.Replace(frame, `""`, `"`+strings.Repeat("x", size-len(frame))+`"`, 1)
	}
	batch := func(size int) string {
		call := `{"type":"track","messageId":"m","userId":"u","event":"E","properties":{"x":"` + strings.Repeat("x", 20_000) + `"}}`
		body := `{"batch":[` + call + strings.Repeat(","+call, 20)
		return body + strings.Repeat(" ", size-len(body)-2) + "]}"
	}
	many := func(n int) string {
		return `{"batch":[` + strings.Repeat(`{"type":"track","messageId":"m","userId":"u","event":"E"},`, n-1) + `{"type":"track","messageId":"m","userId":"u","event":"E"}]}`
	}
	tests := map[string]struct {
		path, body   string
		items, wrong int
		status       int
	}{
		"an event, at the limit":   {"/v1/track", single(maxEvent), 1, 0, 200},
		"an event, one byte more":  {"/v1/track", single(maxEvent + 1), 1, 1, 400},
		"a batch, at the limit":    {"/v1/batch", batch(maxBatch), 21, 0, 200},
		"a batch, one byte more":   {"/v1/batch", batch(maxBatch + 1), 1, 1, 400},
		"as many events as may be": {"/v1/batch", many(maxEvents), maxEvents, 0, 200},
		"one event more":           {"/v1/batch", many(maxEvents + 1), maxEvents + 1, 1, 200},
		"no JSON":                  {"/v1/track", `{"userId"`, 1, 1, 400},
		"no JSON, a batch":         {"/v1/batch", `{"batch":[{]}`, 1, 1, 400},
		"a batch without events":   {"/v1/batch", `{"batch":[]}`, 0, 0, 200},
		"no visitor":               {"/v1/track", `{"event":"E"}`, 1, 1, 200},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := newSource(t, key), request(test.path, test.body, basic(key, ""))
			got, err := s.Receive(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			wrong := 0
			var results []ingest.Result
			for _, item := range got.Items {
				result := ingest.Result{ID: item.ID}
				if item.Err != nil {
					wrong++
					result.Rejected = fault.From(item.Err)
				}
				results = append(results, result)
			}
			reply := s.Answer(r, ingest.Outcome{Results: results})
			if len(got.Items) != test.items || wrong != test.wrong || reply.Status != test.status {
				t.Errorf("%d items, %d wrong, status %d; want %d, %d, %d", len(got.Items), wrong, reply.Status, test.items, test.wrong, test.status)
			}
			// A sender that nothing proves gets the same answer, and nothing is kept.
			r = request(test.path, test.body, "")
			if got, err := s.Receive(t.Context(), r); err == nil {
				t.Errorf("without a key, %d items passed", len(got.Items))
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body    string
		reason  fault.Reason
		pointer string
	}{
		"empty":              {"", fault.Malformed, ""},
		"an array":           {"[]", fault.SchemaViolation, ""},
		"no batch":           {`{"writeKey":"write-key"}`, fault.SchemaViolation, "/batch"},
		"a batch of nothing": {`{"batch":{}}`, fault.SchemaViolation, "/batch"},
		"two batches":        {`{"batch":[],"batch":[]}`, fault.SchemaViolation, "/batch"},
		"more after the end": {`{"batch":[]} {}`, fault.Malformed, ""},
		"no end":             {`{"batch":[]`, fault.Malformed, ""},
		"no colon":           {`{"batch" []}`, fault.Malformed, ""},
		"a lone surrogate":   {`{"batch":[],"x":"\ud800"}`, fault.Malformed, ""},
		"bad UTF-8":          {"{\"batch\":[],\"x\":\"\xff\"}", fault.Malformed, ""},
		"an escaped name":    {`{"\u0062atch":[]}`, fault.SchemaViolation, "/batch"},
	} {
		got, err := newSource(t, key).Receive(t.Context(), request("/v1/batch", test.body, basic(key, "")))
		if err != nil || len(got.Items) != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		if e := fault.From(got.Items[0].Err); e == nil || e.Reason != test.reason || e.Field != test.pointer || string(got.Items[0].Raw) != test.body {
			t.Errorf("%s: the error is %+v, want %s at %q", name, e, test.reason, test.pointer)
		}
	}
	if _, err := New(ingest.Settings{Name: "sdk", Mapping: map[string]string{"id": "x"}}); err == nil {
		t.Error("a mapping is taken, though it would do nothing")
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	call, err := ingest.ParseObject([]byte(`{"messageId":"m","event":"E"}`))
	if err != nil {
		t.Fatal(err)
	}
	nobody := fault.From(ingest.Call(call, "track").Err)
	tests := map[string]struct {
		outcome      ingest.Outcome
		status       int
		body         string
		after, reset string
	}{
		"stored":      {ingest.Outcome{Results: []ingest.Result{{ID: "m"}}}, 200, `{"success":true}`, "", ""},
		"a duplicate": {ingest.Outcome{Results: []ingest.Result{{ID: "m", Duplicate: true}}}, 200, `{"success":true}`, "", ""},
		"nobody": {
			ingest.Outcome{Results: []ingest.Result{{ID: "a"}, {ID: "m", Rejected: nobody}}},
			200,
			`{"rejected":[{"index":1,"messageId":"m","reason":"no_user_anon_id","pointer":"/userId","message":"no_user_anon_id: the call names no visitor"}],"success":true}`, "", "",
		},
		"a conflict": {
			ingest.Outcome{Results: []ingest.Result{{ID: "m", Conflict: true}}},
			200,
			`{"rejected":[{"index":0,"messageId":"m","reason":"id_reused","message":"another event was received under this messageId"}],"success":true}`, "", "",
		},
		"a wrong key": {ingest.Outcome{Err: ingest.Forbidden("no")}, 401, `{"code":"not_authentic","message":"no","success":false}`, "", ""},
		"no JSON":     {ingest.Outcome{Err: fault.New(fault.Malformed, "no")}, 400, `{"code":"malformed_message","message":"no","success":false}`, "", ""},
		"too large":   {ingest.Outcome{Err: fault.New(fault.TooLarge, "no")}, 400, `{"code":"payload_too_large","message":"no","success":false}`, "", ""},
		"over quota": {
			ingest.Outcome{Err: ingest.Later(fault.QuotaExhausted, 2500*time.Millisecond, "no")},
			429,
			`{"code":"quota_exhausted","message":"no","success":false}`, "3", "3",
		},
		"the bus is away": {
			ingest.Outcome{Err: ingest.Later(fault.BusUnavailable, 5*time.Second, "no")},
			503,
			`{"code":"bus_unavailable","message":"no","success":false}`, "5", "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newSource(t).Answer(request("/v1/track", "", ""), test.outcome)
			after, reset := got.Header.Get("Retry-After"), got.Header.Get("X-RateLimit-Reset")
			if body := strings.TrimSpace(string(got.Body)); got.Status != test.status || body != test.body || after != test.after || reset != test.reset {
				t.Errorf("the answer is %d %s, %q, %q; want %d %s, %q, %q", got.Status, body, after, reset, test.status, test.body, test.after, test.reset)
			}
		})
	}
}

func FuzzReceive(f *testing.F) {
	f.Add("/v1/batch", []byte(`{"batch":[{"type":"track","messageId":"m","userId":"u","event":"E"}],"context":{"a":{"b":1}},"writeKey":"write-key"}`), "")
	f.Add("/v1/track", []byte(`{"userId":"u","event":"E","timestamp":"2026-11-25T08:00:00Z"}`), basic(key, ""))
	f.Add("/v1/batch", []byte(`{"batch":[[]],"batch":1}`), "Basic x")
	f.Fuzz(func(t *testing.T, path string, body []byte, authorization string) {
		s, r := newSource(t, key), request(path, string(body), authorization)
		got, err := s.Receive(t.Context(), r)
		if err != nil {
			return
		}
		user, password, _ := ingest.Basic(r.Header)
		inBody := bytes.Contains(body, []byte(key)) || bytes.Contains(body, []byte{'\\'})
		if path != metricsPath && !inBody && (user != key || password != "") {
			t.Fatalf("%d items passed without a key", len(got.Items))
		}
		results := make([]ingest.Result, 0, len(got.Items))
		for i, item := range got.Items {
			if item.Err == nil && item.Trigger.Visitor.Key() == "" {
				t.Fatalf("item %d passed without a visitor", i)
			}
			result := ingest.Result{ID: item.ID}
			if item.Err != nil {
				result.Rejected = fault.From(item.Err)
			}
			results = append(results, result)
		}
		if status := s.Answer(r, ingest.Outcome{Results: results}).Status; status != http.StatusOK && status != http.StatusBadRequest {
			t.Fatalf("the status is %s", strconv.Itoa(status))
		}
	})
}
