package rudderstack

import (
	"encoding/base64"
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
	secret = "s3cret"
	track  = `{"type":"track","messageId":"m-1","userId":"u","anonymousId":"a","event":"Pricing Viewed","channel":"web","rudderId":"r",
		"request_ip":"192.0.2.1","context":{"page":{"url":"https://shop.test/p"},"sessionId":7},"properties":{"plan":"pro"},"originalTimestamp":"2026-11-25T09:00:00.000Z"}`
)

func newSource(t testing.TB, secrets ...string) *Source {
	t.Helper()
	settings := ingest.Settings{Name: "rudder", Type: Provider}
	for _, s := range secrets {
		settings.Secrets = append(settings.Secrets, []byte(s))
	}
	source, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func post(body string, headers ...string) *ingest.Request {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return &ingest.Request{Method: http.MethodPost, Header: h, Query: url.Values{}, Type: ingest.MediaJSON, Body: []byte(body), At: time.Now()}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestProof(t *testing.T) {
	t.Parallel()
	token := post(track)
	token.Token = true
	tests := map[string]struct {
		secrets []string
		open    bool
		request *ingest.Request
		passes  bool
		want    event.Authenticity
	}{
		"the header":                       {[]string{secret}, false, post(track, "X-Signing-Key", secret), true, event.AuthenticPath},
		"Basic, as the password":           {[]string{secret}, false, post(track, "Authorization", basic("parley", secret)), true, event.AuthenticPath},
		"Basic, as the user":               {[]string{secret}, false, post(track, "Authorization", basic(secret, "")), true, event.AuthenticPath},
		"the old secret in a rotation":     {[]string{"new", secret}, false, post(track, "X-Signing-Key", secret), true, event.AuthenticPath},
		"the old secret after it":          {[]string{"new"}, false, post(track, "X-Signing-Key", secret), false, ""},
		"another header":                   {[]string{secret}, false, post(track, "X-Signing-Key", "other"), false, ""},
		"another password":                 {[]string{secret}, false, post(track, "Authorization", basic("parley", "other")), false, ""},
		"one right and one wrong":          {[]string{secret}, false, post(track, "X-Signing-Key", secret, "Authorization", basic("parley", "other")), false, ""},
		"the header twice, one wrong":      {[]string{secret}, false, post(track, "X-Signing-Key", secret, "X-Signing-Key", "other"), false, ""},
		"nothing":                          {[]string{secret}, false, post(track), false, ""},
		"an empty header":                  {[]string{""}, false, post(track, "X-Signing-Key", ""), false, ""},
		"a token is enough":                {nil, false, token, true, event.AuthenticPath},
		"a token is not where secrets are": {[]string{secret}, false, token, false, ""},
		"an open source":                   {nil, true, post(track), true, ""},
		"an open source with a secret":     {[]string{secret}, true, post(track), false, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t, test.secrets...)
			s.settings.Open = test.open
			got, err := s.Receive(t.Context(), test.request)
			if !test.passes {
				if e := fault.From(err); e == nil || e.Reason != fault.NotAuthentic || strings.Contains(e.Error()+e.Fix, secret) {
					t.Errorf("the error is %v, the items are %v; want not_authentic", err, got.Items)
				}
				return
			}
			if err != nil || len(got.Items) != 1 || got.Items[0].Err != nil || got.Items[0].Authenticated != test.want {
				t.Errorf("the items are %+v: %v", got.Items, err)
			}
		})
	}
}

// request returns a request of the method with the text in its address, or in a
// form.
func request(t *testing.T, method, text string) *ingest.Request {
	t.Helper()
	r := &ingest.Request{Method: method, Header: http.Header{}, Query: url.Values{}, At: time.Now(), Token: true}
	if method == http.MethodPost {
		r.Type, r.Body = mediaForm, []byte(text)
		return r
	}
	query, err := url.ParseQuery(text)
	if err != nil {
		t.Fatal(err)
	}
	r.Query = query
	return r
}

func TestFlat(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		text string
		want ingest.Item
	}{
		"track": {
			"event=Pricing+Viewed&messageId=m&userId=u&timestamp=2026-11-25T09:00:00Z&plan=pro&items%5B0%5D=a&url=https://shop.test/p&email=u@shop.test",
			ingest.Item{ID: "m", Kind: "track", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "u", Email: "u@shop.test"}, Event: "Pricing Viewed", OccurredAt: at, URL: "https://shop.test/p",
				Properties: map[string]any{"plan": "pro", "items[0]": "a", "url": "https://shop.test/p", "email": "u@shop.test"},
				Traits:     map[string]any{"email": "u@shop.test"},
			}},
		},
		"identify, in snake case": {
			"type=identify&message_id=m&user_id=u&email=u@shop.test&plan=pro",
			ingest.Item{ID: "m", Kind: "identify", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "u", Email: "u@shop.test"}, Event: "identify",
				Traits: map[string]any{"email": "u@shop.test", "plan": "pro"},
			}},
		},
		"without an id it is its own": {
			"event=E&anonymousId=a",
			ingest.Item{Kind: "track", Trigger: event.Trigger{Visitor: event.Visitor{AnonymousID: "a"}, Event: "E"}},
		},
	}
	for name, test := range tests {
		for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPost} {
			got, err := newSource(t).Receive(t.Context(), request(t, method, test.text))
			if err != nil || len(got.Items) != 1 {
				t.Fatalf("%s, %s: %+v, %v", name, method, got, err)
			}
			item := got.Items[0]
			if raw := string(item.Raw); raw == "" {
				t.Errorf("%s, %s: it shows %q", name, method, raw)
			}
			item.Raw, item.Authenticated = nil, ""
			if diff := cmp.Diff(test.want, item); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, method, diff)
			}
		}
	}
}

func TestFlatRefuses(t *testing.T) {
	t.Parallel()
	for text, pointer := range map[string]string{
		"event=E":                            "/userId",
		"userId=u":                           "/event",
		"event=E&userId=u&plan=a&plan=b":     "/plan",
		"event=E&userId=u&timestamp=morning": "/timestamp",
		"":                                   "/userId",
	} {
		got, err := newSource(t).Receive(t.Context(), request(t, http.MethodGet, text))
		if err != nil || len(got.Items) != 1 {
			t.Fatalf("%q: %+v, %v", text, got, err)
		}
		if e := fault.From(got.Items[0].Err); e == nil || e.Reason != fault.SchemaViolation || e.Field != pointer {
			t.Errorf("%q: the error is %+v, want one at %s", text, e, pointer)
		}
	}
	got, err := newSource(t).Receive(t.Context(), request(t, http.MethodPost, "a=%zz"))
	if e := fault.From(got.Items[0].Err); err != nil || e == nil || e.Reason != fault.Malformed {
		t.Errorf("a broken form: %+v, %v", e, err)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	r := post("["+track+`,{"type":"identify","message_id":"m-2","user_id":"u"},{"type":"track","userId":"u","event":"E"},{"messageId":"m","type":"track","event":"E"},1]`, "X-Signing-Key", secret)
	got, err := newSource(t, secret).Receive(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	type fate struct{ ID, Kind, Pointer string }
	var fates []fate
	for _, item := range got.Items {
		f := fate{ID: item.ID, Kind: item.Kind}
		if item.Err != nil {
			f.Pointer = fault.From(item.Err).Field
		}
		fates = append(fates, f)
	}
	want := []fate{{"m-1", "track", ""}, {"m-2", "identify", ""}, {"", "track", "/2/messageId"}, {"m", "track", "/3/userId"}, {"", "", "/4"}}
	if diff := cmp.Diff(want, fates); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	first := got.Items[0].Trigger
	if first.URL != "https://shop.test/p" || first.Visitor != (event.Visitor{UserID: "u", AnonymousID: "a"}) || first.OccurredAt.IsZero() {
		t.Errorf("the first is %+v", first)
	}
	for body, reason := range map[string]fault.Reason{
		`{"type"`:                               fault.Malformed,
		"[" + strings.Repeat("1,", 4000) + "1]": fault.TooLarge,
	} {
		got, err := newSource(t, secret).Receive(t.Context(), post(body, "X-Signing-Key", secret))
		if err != nil || len(got.Items) != 1 || fault.From(got.Items[0].Err).Reason != reason || string(got.Items[0].Raw) != body {
			t.Errorf("%.20s: %+v, %v", body, got.Items, err)
		}
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	var routes []string
	for _, route := range newSource(t).Routes() {
		routes = append(routes, strings.TrimSpace(route.Method+" "+strings.Join(route.Types, " ")))
	}
	const both = " application/json application/x-www-form-urlencoded"
	if diff := cmp.Diff([]string{"POST" + both, "PUT" + both, "PATCH" + both, "GET", "DELETE"}, routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if _, err := New(ingest.Settings{Name: "rudder", Mapping: map[string]string{"id": "x"}}); err == nil {
		t.Error("a mapping is taken, though it would do nothing")
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		outcome ingest.Outcome
		status  int
		after   string
	}{
		"stored":      {ingest.Outcome{Results: []ingest.Result{{ID: "m"}}}, 202, ""},
		"a duplicate": {ingest.Outcome{Results: []ingest.Result{{ID: "m", Duplicate: true}}}, 200, ""},
		"forged":      {ingest.Outcome{Err: ingest.Forbidden("no")}, 401, ""},
		"over quota":  {ingest.Outcome{Err: ingest.Later(fault.QuotaExhausted, 3*time.Second, "no")}, 429, "3"},
		"maintenance": {ingest.Outcome{Err: ingest.Later(fault.Maintenance, time.Minute, "no")}, 503, "60"},
	} {
		got := newSource(t).Answer(post(track), test.outcome)
		if got.Status != test.status || got.Header.Get("Retry-After") != test.after {
			t.Errorf("%s: the answer is %d, Retry-After %q; want %d, %q", name, got.Status, got.Header.Get("Retry-After"), test.status, test.after)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(track), "X", "", false)
	f.Add([]byte("["+track+"]"), secret, "", false)
	f.Add([]byte("event=E&userId=u"), secret, "", true)
	f.Add([]byte{}, secret, "event=E&user_id=u&userId=v", false)
	f.Fuzz(func(t *testing.T, body []byte, key, query string, form bool) {
		r := post(string(body), "X-Signing-Key", key)
		if form {
			r.Type = mediaForm
		}
		if q, err := url.ParseQuery(query); err == nil && query != "" {
			r.Method, r.Query = http.MethodGet, q
		}
		got, err := newSource(t, secret).Receive(t.Context(), r)
		if err != nil {
			return
		}
		if key != secret {
			t.Fatalf("%d items passed without the secret", len(got.Items))
		}
		for i, item := range got.Items {
			if item.Err == nil && (item.Trigger.Visitor.Key() == "" || item.Trigger.Event == "") {
				t.Fatalf("item %d passed without a visitor or a name", i)
			}
		}
	})
}
